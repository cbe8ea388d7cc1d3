import Testing
import Wire

@testable import Resolver

@Suite struct ResolvConfTests {
    struct Row: CustomTestStringConvertible {
        var name: String
        var text: String
        var upstreams = ["127.0.0.1"]
        var search: [String] = []
        var timeout = 5
        var attempts = 2
        var rotate = false
        var useTCP = false
        var testDescription: String { name }
    }

    @Test(arguments: [
        Row(name: "empty: the host itself", text: ""),
        Row(
            name: "both families and a scope",
            text: "nameserver 192.0.2.1\nnameserver 2001:db8::1\nnameserver fe80::1%eth0\n",
            upstreams: ["192.0.2.1", "2001:db8::1", "fe80::1%eth0"]),
        Row(
            name: "comments, tabs, CRLF, rubbish behind the address",
            text: "# a\n; b\r\n\tnameserver\t192.0.2.1 # x\r\nnameserver nonsense\nnameserver\nfrobnicate 1\n",
            upstreams: ["192.0.2.1"]),
        Row(name: "a scope without a name", text: "nameserver fe80::1%\nnameserver ::1", upstreams: ["::1"]),
        Row(name: "twice the same", text: "nameserver 192.0.2.1\nnameserver 192.0.2.1\n", upstreams: ["192.0.2.1"]),
        Row(
            name: "more than eight",
            text: (1...20).map { "nameserver 192.0.2.\($0)\n" }.joined(), upstreams: (1...8).map { "192.0.2.\($0)" }),
        Row(
            name: "options", text: "options timeout:2 attempts:3 rotate use-vc edns0 ndots:4 what:ever trust-ad\n",
            timeout: 2, attempts: 3, rotate: true, useTCP: true),
        Row(
            name: "options out of range", text: "options timeout:0 attempts:99 timeout: attempts:x timeout:-1",
            timeout: 1, attempts: 5),
        Row(
            name: "the last search list wins", text: "domain a.test b.test\nsearch c.test d.test",
            search: ["c.test", "d.test"]),
        Row(name: "domain takes one", text: "domain a.test b.test", search: ["a.test"]),
        Row(name: "search .", text: "search .", search: []),
        Row(name: "not UTF-8", text: "\u{fffd}\0nameserver 192.0.2.1\nnameserver 192.0.2.2", upstreams: ["192.0.2.2"]),
    ])
    func parses(row: Row) {
        let conf = ResolverConfiguration(parsing: Array(row.text.utf8))
        #expect(conf.upstreams.map { "\($0)" } == row.upstreams)
        #expect(conf.search == row.search)
        #expect(conf.timeout == row.timeout)
        #expect(conf.attempts == row.attempts)
        #expect(conf.rotate == row.rotate)
        #expect(conf.useTCP == row.useTCP)
        #expect(conf.upstreams.allSatisfy { $0.endpoint.port == 53 })
    }
}

@Suite struct HostsTableTests {
    static let text = """
        127.0.0.1   localhost
        # 192.0.2.9 commented
        192.0.2.1\tServer.Example alias  # trailing
        2001:db8::1 server.example
        fe80::1%eth0 scoped
        192.0.2.1   server.example
        nonsense    name
        192.0.2.2
        192.0.2.3   .. bad..name ok.name.
        """

    @Test(
        arguments: [
            ("server.example", ["192.0.2.1", "2001:db8::1"]), ("SERVER.example.", ["192.0.2.1", "2001:db8::1"]),
            ("alias", ["192.0.2.1"]), ("scoped", ["fe80::1"]), ("commented", nil), ("name", nil),
            ("ok.name", ["192.0.2.3"]), ("nowhere", nil),
        ] as [(String, [String]?)])
    func forward(name: String, addresses: [String]?) throws {
        let table = HostsTable(parsing: Array(Self.text.utf8))
        #expect(table.addresses(of: try #require(DNSName(name)))?.map { "\($0)" } == addresses)
    }

    @Test func reverse() {
        let table = HostsTable(parsing: Array(Self.text.utf8))
        #expect(table.name(of: address("192.0.2.1")).map { "\($0)" } == "server.example")
        #expect(table.name(of: address("192.0.2.2")) == nil)
    }

    @Test func bounded() {
        let many = (0..<(HostsTable.maximumNames + 10)).map { "192.0.2.1 n\($0)\n" }.joined()
        let table = HostsTable(parsing: Array(many.utf8))
        #expect(table.count == HostsTable.maximumNames)
        #expect(table.ignored == 10)
        let crowd = (0..<100).map { "192.0.2.\($0) crowd\n" }.joined()
        let crowded = HostsTable(parsing: Array(crowd.utf8))
        #expect(crowded.addresses(of: DNSName("crowd")!)?.count == HostsTable.maximumAddresses)
    }
}

@Suite struct NameTests {
    @Test(arguments: [
        ("a", true), ("a.b.", true), ("", false), (".", false), ("a..b", false), (".a", false),
        (String(repeating: "x", count: 63), true), (String(repeating: "x", count: 64), false),
        (Array(repeating: "abcdefg", count: 31).joined(separator: "."), true),
        (Array(repeating: "abcdefg", count: 32).joined(separator: "."), false),
    ])
    func limits(text: String, valid: Bool) { #expect((DNSName(text) != nil) == valid) }

    @Test(arguments: ["192.0.2.1", "0.0.0.0", "255.255.255.255", "2001:db8::1", "::", "fe80::dead:beef"])
    func reverseRoundTrip(text: String) {
        let name = DNSName(reverse: address(text))
        #expect(name.reversedAddress == address(text))
    }

    @Test func reverseText() {
        #expect("\(DNSName(reverse: address("192.0.2.1")))" == "1.2.0.192.in-addr.arpa")
        #expect("\(DNSName(reverse: address("2001:db8::1")))".hasPrefix("1.0.0.0."))
    }

    @Test(arguments: [
        "256.2.0.192.in-addr.arpa", "2.0.192.in-addr.arpa", "x.2.0.192.in-addr.arpa", "1.ip6.arpa",
        "+1.2.3.4.in-addr.arpa",
    ])
    func notReverse(text: String) { #expect(DNSName(text)?.reversedAddress == nil) }

    @Test(arguments: [
        ("host.internal", true), ("a.b.host.internal", true), ("ghost.internal", false), ("internal", false),
        ("internal.host", false),
    ])
    func within(text: String, expected: Bool) {
        #expect(DNSName(text)!.isWithin(DNSName("host.internal")!) == expected)
    }

    @Test("SipHash-2-4 of eight bytes, from the reference's vectors")
    func sipHash() {
        // Key 00..0f, message 00..07.
        let hash = KeyedGenerator.sipHash(0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908, 0x0706_0504_0302_0100)
        #expect(hash == 0x93f5_f579_9a93_2462)
    }
}
