import Testing
import Wire

@Suite struct DNSNameTests {
    @Test(arguments: [
        ("www.example.com", "03777777076578616d706c6503636f6d00"),
        ("WWW.Example.COM.", "03777777076578616d706c6503636f6d00"),
        (".", "00"), ("a", "016100"), ("_dns.resolver.arpa", "045f646e73087265736f6c766572046172706100"),
    ])
    func readsText(_ text: String, _ wire: String) throws {
        let name = try #require(DNSName(text))
        #expect(name.bytes == hex(wire))
        #expect(try DNSName(reading: name.bytes.rawSpan, at: 0) == name)
    }

    @Test func refusesText() {
        let label = String(repeating: "a", count: 63)
        for text in ["", "..", "a..b", ".a", "a" + label, "\(label).\(label).\(label).\(label)"] {
            #expect(DNSName(text) == nil, "\(text)")
        }
        let longest = "\(label).\(label).\(label).\(label.dropLast(2))"
        #expect(DNSName(longest)?.bytes.count == 255)
        #expect(DNSName(longest + "b") == nil)
    }

    @Test func describes() {
        #expect(DNSName("WWW.example.com.")?.description == "www.example.com")
        #expect(DNSName().description == ".")
        let odd = hex("04 612e5c07 00")
        #expect((try? DNSName(reading: odd.rawSpan, at: 0))?.description == "a\\.\\\\\\007")
    }

    @Test func followsPointers() throws {
        // 0: example.com, 13: www + pointer to 0, 19: pointer to 13, 21: pointer to "com"
        let bytes = hex("076578616d706c6503636f6d00 03777777c000 c00d c008")
        #expect(try DNSName(reading: bytes.rawSpan, at: 13).description == "www.example.com")
        #expect(try DNSName(reading: bytes.rawSpan, at: 19).description == "www.example.com")
        #expect(try DNSName(reading: bytes.rawSpan, at: 21).description == "com")
        #expect(try DNSName.end(in: bytes.rawSpan, at: 0) == 13)
        #expect(try DNSName.end(in: bytes.rawSpan, at: 13) == 19)
        #expect(try DNSName.end(in: bytes.rawSpan, at: 19) == 21)
    }

    @Test(
        arguments: [
            ("points at itself", "c000", 0, .badField), ("two that point at each other", "c002c000", 2, .badField),
            ("points forward", "c002 00", 0, .badField), ("label, then back to its start", "0161c000", 0, .badField),
            ("beyond the end", "cfff", 0, .badField), ("half a pointer", "c0", 0, .truncated),
            ("label cut short", "0361", 0, .truncated),
            ("no end", "0161", 0, .truncated), ("nothing", "", 0, .truncated), ("reserved 01", "4161", 0, .badField),
            ("reserved 10", "8161", 0, .badField),
        ] as [(String, String, Int, ParseError)])
    func refuses(_ name: String, _ bytes: String, _ offset: Int, _ error: ParseError) {
        let bytes = hex(bytes)
        checkThrows(error) { () throws(ParseError) in _ = try DNSName(reading: bytes.rawSpan, at: offset) }
    }

    @Test func boundsLongNamesAndPointerChains() {
        // Every label is followed by a pointer to the label before it: longer and longer names.
        var growing = hex("3f") + [UInt8](repeating: 0x61, count: 63) + [0]
        var last = 0
        var lengths: [Int?] = []
        for _ in 0..<5 {
            let start = growing.count
            growing += hex("3f") + [UInt8](repeating: 0x61, count: 63) + [0xc0 | UInt8(last >> 8), UInt8(last & 255)]
            last = start
            lengths.append((try? DNSName(reading: growing.rawSpan, at: last))?.bytes.count)
        }
        #expect(lengths == [129, 193, nil, nil, nil])
        // Pointers to pointers and nothing else.
        var chain: [UInt8] = [0, 0]
        for index in 0..<8000 { chain += [0xc0 | UInt8(2 * index >> 8), UInt8(2 * index & 255)] }
        checkThrows(.tooLong) { () throws(ParseError) in _ = try DNSName(reading: chain.rawSpan, at: chain.count - 2) }
        let long = [UInt8](repeating: 1, count: 600)
        checkThrows(.tooLong) { () throws(ParseError) in _ = try DNSName.end(in: long.rawSpan, at: 0) }
        checkThrows(.tooLong) { () throws(ParseError) in _ = try DNSName(reading: long.rawSpan, at: 0) }
    }

    @Test func climbsAndReverses() {
        let name = DNSName("a.b.example.com")!
        #expect(name.parent == DNSName("b.example.com") && DNSName().parent == nil)
        #expect(name.isAtOrBelow(DNSName("example.com")!) && name.isAtOrBelow(name) && name.isAtOrBelow(DNSName()))
        #expect(!name.isAtOrBelow(DNSName("ample.com")!) && !DNSName("com")!.isAtOrBelow(name))
        #expect(name.labels.map { String(decoding: $0, as: UTF8.self) } == ["a", "b", "example", "com"])
        #expect(DNSName(reverse: clientV4).description == "15.2.0.10.in-addr.arpa")
        #expect(
            DNSName(reverse: IPAddress("4321:0:1:2:3:4:567:89ab")!).description
                == "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.0.0.0.0.1.2.3.4.ip6.arpa")
    }
}
