import Testing
import Wire

@Suite struct DNSNameTests {
    @Test(arguments: [
        ("www.example.com", "03777777076578616d706c6503636f6d00"),
        ("WWW.Example.COM.", "03777777076578616d706c6503636f6d00"),
        ("a", "016100"), ("_dns.resolver.arpa", "045f646e73087265736f6c766572046172706100"),
    ])
    func readsText(_ text: String, _ wire: String) throws {
        let name = try #require(DNSName(text))
        #expect(name.octets == hex(wire))
        #expect(DNSName(octets: hex(wire)) == name)
    }

    @Test func refusesText() {
        let label = String(repeating: "a", count: 63)
        for text in ["", ".", "..", "a..b", ".a", "a" + label, "\(label).\(label).\(label).\(label)"] {
            #expect(DNSName(text) == nil, "\(text)")
        }
        let longest = "\(label).\(label).\(label).\(label.dropLast(2))"
        #expect(DNSName(longest)?.octets.count == 255)
        #expect(DNSName(longest + "b") == nil)
    }

    @Test func describes() {
        #expect(DNSName("WWW.example.com.")?.description == "www.example.com")
        #expect(DNSName(octets: [0]).description == ".")
        #expect(DNSName(octets: hex("04 612e5c07 00")).description == "a\\.\\\\\\007")
    }

    @Test func climbsAndReverses() {
        let name = DNSName("a.b.example.com")!
        #expect(name.isWithin(DNSName("example.com")!) && name.isWithin(name) && name.isWithin(DNSName(octets: [0])))
        #expect(!name.isWithin(DNSName("ample.com")!) && !DNSName("com")!.isWithin(name))
        #expect(name.labels.map { String(decoding: $0, as: UTF8.self) } == ["a", "b", "example", "com"])
        #expect(DNSName(reverse: clientV4).description == "15.2.0.10.in-addr.arpa")
        #expect(
            DNSName(reverse: IPAddress("4321:0:1:2:3:4:567:89ab")!).description
                == "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.0.0.0.0.1.2.3.4.ip6.arpa")
    }
}
