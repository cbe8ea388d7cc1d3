import Testing
import Yaml

@Suite struct YAMLReaderTests {
    /// A node as a line of text: `{key@line: value, ...}`, `[item, ...]`, `text`, `"quoted"`.
    private static func text(_ node: YAMLNode) -> String {
        switch node.content {
        case .scalar(let text, let isQuoted): isQuoted ? "\"\(text)\"" : text
        case .sequence(let items): "[" + items.map(Self.text).joined(separator: ", ") + "]"
        case .mapping(let pairs):
            "{" + pairs.map { "\($0.key)@\($0.line): \(Self.text($0.value))" }.joined(separator: ", ") + "}"
        }
    }

    @Test(arguments: [
        ("a: 1", "{a@1: 1}"),
        ("# a comment\n\na: 1\nb:   two words  # more\n", "{a@3: 1, b@4: two words}"),
        ("a: [x, 'y', \"z\\n\"]", "{a@1: [x, \"y\", \"z\n\"]}"),
        ("a:\n  - x\n  - y\nb: true\n", "{a@1: [x, y], b@4: true}"),
        ("a:\n  b:\n    c: 10.0.2.0/24\n", "{a@1: {b@2: {c@3: 10.0.2.0/24}}}"),
        ("listen: qemu:/run/vm.sock\n", "{listen@1: qemu:/run/vm.sock}"),
        ("publish: [2222:22, \"[::1]:80:80\"]", "{publish@1: [2222:22, \"[::1]:80:80\"]}"),
        ("52:54:00:12:34:56", "52:54:00:12:34:56"),
        ("a:\n", "{a@1: }"),
        ("---\na: 1\n...\n", "{a@2: 1}"),
        ("[]", "[]"), ("{}", "{}"), ("ü: ö\n", "{ü@1: ö}"),
    ])
    func reads(text: String, wanted: String) throws {
        let node = try #require(try YAMLReader.read(text))
        #expect(Self.text(node) == wanted)
    }

    @Test(arguments: ["", "\n\n", "# nothing\n", "---\n# nothing\n...\n"])
    func nothingIsThere(text: String) throws {
        // An empty document is an empty scalar.
        if let node = try YAMLReader.read(text) { #expect(Self.text(node) == "") }
    }

    @Test(arguments: [
        ("a: 1\nb: [1, 2\nc: 3\n", 3, ""),
        ("a: 1\n\tb: 2\n", 2, ""),
        ("a: 1\nb: 2\na: 3\n", 3, "'a' is there twice, first on line 1"),
        ("a: &x 1\nb: *x\n", 2, "aliases"),
        ("a: 1\n---\nb: 2\n", 2, "second document"),
        ("a: 1\n? [x, y]\n: 2\n", 2, "a key has to be text"),
        ("a: \"no end\n", 2, ""),
        ("a: b: c\n", 1, ""),
    ])
    func refuses(text: String, line: Int, problem: String) {
        #expect {
            _ = try YAMLReader.read(text)
        } throws: { error in
            guard let error = error as? YAMLError else { return false }
            return error.line == line && (problem.isEmpty ? !error.problem.isEmpty : error.problem.contains(problem))
        }
    }

    @Test func whatIsTooMuchIsRefused() {
        for text in [
            String(repeating: "[", count: 100), String(repeating: "- ", count: 100) + "a",
            "[" + String(repeating: "1,", count: 30_000) + "]", String(repeating: "# long\n", count: 200_000),
        ] {
            #expect(throws: YAMLError.self) { _ = try YAMLReader.read(text) }
        }
    }
}
