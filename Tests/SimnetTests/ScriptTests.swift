import Simnet
import Testing

// Every script of Tests/Scripts against the core, and the parser's complaints.

@Suite struct ScriptTests {
    static let folder = String(#filePath.dropLast("SimnetTests/ScriptTests.swift".count)) + "Scripts"
    static let files = FuzzCorpus.files(in: folder).filter { $0.hasSuffix(".pkt") }

    static func script(_ file: String, for side: Script.Side = .portolan) throws -> Script {
        let text = String(decoding: FuzzCorpus.read(folder + "/" + file), as: UTF8.self)
        return try ScriptParser.parse(text, name: "Tests/Scripts/" + file, for: side)
    }

    @Test(arguments: files) func theCoreAnswersAsTheScriptSays(_ file: String) throws {
        let script = try Self.script(file)
        if let only = script.only, only.side != .portolan { return }
        try ScriptRunner.run(script)
    }

    /// Only the end-to-end tests run this side; that it can be read is seen here already.
    @Test(arguments: files) func theKernelsSideIsWellFormed(_ file: String) throws {
        _ = try Self.script(file, for: .linux)
    }

    @Test func thereAreScripts() { #expect(Self.files.count >= 35) }

    @Test(arguments: [
        ("+0 guest> S 0:0(0) win", "'' is not a number"),
        ("guest> S 0:0(0)", "a line begins with its time, as '+0.01'"),
        ("+x guest> S 0:0(0)", "'x' is not a time"),
        ("+0.2..0.1 guest< S 0:0(0)", "'0.2..0.1' ends before it begins"),
        ("+0 guest> S 0:5(4)", "'0:5(4)': the length does not fit"),
        ("+0 guest> . 0:0(0)", "'.' and 'ack N' go together"),
        ("+0 guest> U. 0:0(0) ack 1", "'U' and 'urg N' go together"),
        ("+0 host writes 0 urgent", "no byte is urgent"),
        ("+0 guest> Q 0:0(0)", "'Q' is no flag"),
        ("+0 guest> S 0:0(0) <mss 1460,foo>", "'foo' is no option"),
        ("+0 guest> S 0:0(0) <mss 1460", "options end with '>'"),
        ("+0 host sings", "a host does not 'sings'"),
        ("+0 wait long", "'long' is too much"),
        ("+0 guest hopes", "'guest window N'"),
        ("linux: +0 wait", "a line for linux only needs a 'differs: REASON' before it"),
        ("differs:", "a difference needs its reason"),
        ("ip 5", "IP version 5"),
        ("", "no events"),
    ])
    func aBadLineIsNamed(_ text: String, _ message: String) {
        #expect {
            try ScriptParser.parse("# a title\n" + text, name: "x.pkt", for: .portolan)
        } throws: { error in
            "\(error)" == "x.pkt:2: \(message)"
        }
    }

    @Test(arguments: [
        ("+0 guest> S 0:0(0)\n+0 guest< S. 0:0(0) ack 1", "x.pkt:2: nothing came until 1.0 ms"),
        ("+0 guest> S 0:0(0)\n+0 host connect succeeds\n+1 wait", "x.pkt:3: S. 0:0(0) ack 1 win 65535 <mss 1460> came"),
        (
            "+0 guest> S 0:0(0)\n+0 host connect succeeds\n+0 guest< S. 0:0(0) ack 2 <mss 1460>",
            "x.pkt:3: S. 0:0(0) ack 1 win 65535 <mss 1460>: the ACK, expected 2 differs"
        ),
        (
            "+0 guest> S 0:0(0)\n+0 host connect succeeds\n+0 guest< S. 0:0(0) ack 1 <mss 1400>",
            "x.pkt:3: S. 0:0(0) ack 1 win 65535 <mss 1460>: the MSS differs"
        ),
        (
            "+0 host connects\n+0 guest< S 0:0(0) <mss 1460>",
            "x.pkt:2: S 0:0(0) win 65535 <mss 1460,sackOK,TS val "
        ),
        (
            "+0 host connects\n+0.1 guest> S. 0:0(0) ack 1\n+0 host has urgent 1",
            "x.pkt:3: the host's urgent bytes are []"
        ),
        ("+0 host writes 5", "x.pkt:1: there is no host socket"),
    ])
    func aWrongExpectationFails(_ text: String, _ message: String) throws {
        let script = try ScriptParser.parse(text, name: "x.pkt", for: .portolan)
        #expect {
            try ScriptRunner.run(script)
        } throws: { error in
            "\(error)".hasPrefix(message)
        }
    }
}
