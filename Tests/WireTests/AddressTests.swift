import Testing
import Wire

@Suite struct MACAddressTests {
    @Test(
        arguments: [
            ("52:54:00:12:34:56", 0x5254_0012_3456, "52:54:00:12:34:56"),
            ("FF-FF-FF-FF-FF-FF", 0xffff_ffff_ffff, "ff:ff:ff:ff:ff:ff"),
            ("00:00:00:00:00:01", 1, "00:00:00:00:00:01"),
        ] as [(String, UInt64, String)])
    func reads(_ text: String, _ value: UInt64, _ canonical: String) throws {
        let address = try #require(MACAddress(text))
        #expect(address.rawValue == value)
        #expect(address.description == canonical)
    }

    @Test(arguments: [
        "", "52", "52:54:00:12:34", "52:54:00:12:34:5", "52:54:00:12:34:567", "52:54:00:12:34:56:78",
        "52:54-00:12:34:56",
        "5254:00:12:34:56", "g2:54:00:12:34:56", "52:54:00:12:34:56 ", "52.54.00.12.34.56",
    ])
    func refuses(_ text: String) {
        #expect(MACAddress(text) == nil)
    }

    @Test func tellsGroups() {
        #expect(MACAddress.broadcast.isMulticast && MACAddress.broadcast.isBroadcast)
        #expect(MACAddress(rawValue: 0x3333_0000_0001).isMulticast)
        #expect(!MACAddress(rawValue: 0x5254_0000_0001).isMulticast)
        #expect(MACAddress(rawValue: 0xffff_5254_0000_0001).rawValue == 0x5254_0000_0001)
    }
}

@Suite struct IPAddressTests {
    /// RFC 5952 sections 2 and 4, RFC 4291 section 2.2.
    static let canonical: [(text: String, canonical: String)] = [
        ("2001:0db8:0000:0000:0001:0000:0000:0001", "2001:db8::1:0:0:1"),
        ("2001:db8:0:0:0:0:2:1", "2001:db8::2:1"),
        ("2001:db8::0:1", "2001:db8::1"),
        ("2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"),
        ("2001:0:0:1:0:0:0:1", "2001:0:0:1::1"),
        ("2001:DB8::ABCD", "2001:db8::abcd"),
        ("2001:db8::aaaa:0:0:1", "2001:db8::aaaa:0:0:1"),
        ("0:0:0:0:0:0:0:0", "::"),
        ("::", "::"),
        ("::1", "::1"),
        ("1::", "1::"),
        ("0:1::", "0:1::"),
        ("1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"),
        ("::2:3:4:5:6:7:8", "0:2:3:4:5:6:7:8"),
        ("1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8"),
        ("fe80::5054:ff:fe00:1", "fe80::5054:ff:fe00:1"),
        ("64:ff9b::192.0.2.33", "64:ff9b::c000:221"),
        ("1:2:3:4:5:6:1.2.3.4", "1:2:3:4:5:6:102:304"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::FFFF:c000:0201", "192.0.2.1"),
        ("0.0.0.0", "0.0.0.0"),
        ("255.255.255.255", "255.255.255.255"),
        ("10.0.2.15", "10.0.2.15"),
    ]

    @Test(arguments: canonical)
    func reads(_ text: String, _ canonical: String) throws {
        let address = try #require(IPAddress(text))
        #expect(address.description == canonical)
        #expect(IPAddress(address.description) == address)
        #expect(IPAddress("x\(text)x".dropFirst().dropLast()) == address)
    }

    @Test(arguments: [
        "", ":", ":::", "::::", "1:", ":1", "::1:", ":1::", "1::2::3", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9",
        "1:2:3:4:5:6:7::8", "1:2:3:4::5:6:7:8", "::2:3:4:5:6:7:8:9", "12345::", "::00001", "g::", "fe80::1%eth0",
        "[::1]",
        "::1.2.3", "::1.2.3.4.5", "1.2.3.4::", "1:2:3:4:5:6:7:1.2.3.4", "1:2:3:4:5:1.2.3.4", "::1.2.3.4:5",
        "::01.2.3.4",
        "1.2.3", "1.2.3.4.5", "1.2.3.", ".1.2.3", "1..2.3", "01.2.3.4", "00.0.0.0", "256.1.1.1", "1.2.3.1000",
        "0x1.2.3.4",
        "1.2.3.4 ", " 1.2.3.4", "1.2.3.-4", "+1.2.3.4", "1234", "1.2.3.4/8", "localhost", "١.٢.٣.٤",
        "0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000",
    ])
    func refuses(_ text: String) {
        #expect(IPAddress(text) == nil)
    }

    @Test func survivesAnyText() {
        let seed = newSeed("IPAddress text")
        var random = SplitMix64(seed: seed)
        let alphabet = Array("0123456789abcdefF:::..%/ x")
        for _ in 0..<20_000 {
            let text = String(
                (0..<Int.random(in: 0..<24, using: &random)).map { _ in alphabet.randomElement(using: &random)! })
            guard let address = IPAddress(text) else { continue }
            #expect(IPAddress(address.description) == address, "\(text), seed \(seed)")
        }
        for _ in 0..<20_000 {
            // Many zero groups.
            let mask = random.next() & random.next()
            let address = IPAddress(
                hi: random.next() & (mask | mask << 8), lo: random.next() & (mask >> 16 | mask << 16))
            #expect(IPAddress(address.description) == address, "\(address), seed \(seed)")
        }
    }

    enum Kind: String, CaseIterable { case v4, unspecified, loopback, multicast, linkLocal, broadcast }

    @Test(
        arguments: [
            ("0.0.0.0", [.v4, .unspecified]), ("::", [.unspecified]),
            ("127.0.0.1", [.v4, .loopback]), ("127.255.0.9", [.v4, .loopback]), ("128.0.0.1", [.v4]),
            ("::1", [.loopback]),
            ("::7f00:1", []), ("224.0.0.1", [.v4, .multicast]), ("239.255.255.255", [.v4, .multicast]),
            ("240.0.0.1", [.v4]),
            ("223.255.255.255", [.v4]), ("ff02::1", [.multicast]), ("fe80::1", [.linkLocal]), ("febf::1", [.linkLocal]),
            ("fec0::1", []), ("fe7f::1", []), ("169.254.1.2", [.v4, .linkLocal]), ("169.255.1.2", [.v4]),
            ("255.255.255.255", [.v4, .broadcast]), ("10.0.2.2", [.v4]), ("2001:db8::1", []), ("::fffe:1.2.3.4", []),
        ] as [(String, [Kind])])
    func classifies(_ text: String, _ kinds: [Kind]) throws {
        let address = try #require(IPAddress(text))
        #expect(address.isV4 == kinds.contains(.v4))
        #expect(address.isUnspecified == kinds.contains(.unspecified))
        #expect(address.isLoopback == kinds.contains(.loopback))
        #expect(address.isMulticast == kinds.contains(.multicast))
        #expect(address.isLinkLocal == kinds.contains(.linkLocal))
        #expect(address.isBroadcast == kinds.contains(.broadcast))
    }

    @Test func holdsIPv4Mapped() {
        let address = IPAddress(v4: 0x7f00_0001)
        #expect(address.isV4 && address.v4 == 0x7f00_0001 && address.description == "127.0.0.1")
        #expect(address == IPAddress("::ffff:127.0.0.1"))
        #expect(IPAddress(v4: 1) < IPAddress(v4: 2) && IPAddress.anyV6 < IPAddress.anyV4)
        #expect(IPAddress("ff02::1")! > IPAddress("fe80::ffff:0:0")!)
        #expect(Endpoint(address: address, port: 80).description == "127.0.0.1:80")
        #expect(Endpoint(address: IPAddress("fe80::1")!, port: 80).description == "[fe80::1]:80")
    }
}

@Suite struct PrefixTests {
    @Test(arguments: [
        ("10.0.2.15/24", "10.0.2.0", "10.0.2.255", "10.0.2.1"), ("10.0.2.15/32", "10.0.2.15", "10.0.2.15", "10.0.2.15"),
        ("10.0.2.15/0", "0.0.0.0", "255.255.255.255", "0.0.0.1"),
        ("10.0.2.15/31", "10.0.2.14", "10.0.2.15", "10.0.2.15"),
        ("fd00::15/64", "fd00::", "fd00::ffff:ffff:ffff:ffff", "fd00::1"),
        ("fd00::15/128", "fd00::15", "fd00::15", "fd00::15"),
        ("fd00:1234::15/20", "fd00:1000::", "fd00:1fff:ffff:ffff:ffff:ffff:ffff:ffff", "fd00:1000::1"),
        ("2001:db8::/96", "2001:db8::", "2001:db8::255.255.255.255", "2001:db8::1"),
        ("::1/0", "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "::1"),
    ])
    func spans(_ text: String, _ network: String, _ broadcast: String, _ first: String) throws {
        let prefix = try #require(Prefix(text))
        #expect(prefix.description == text)
        #expect(prefix.network == IPAddress(network))
        #expect(prefix.broadcast == IPAddress(broadcast))
        #expect(prefix.address(at: 1) == IPAddress(first))
        #expect(prefix.contains(prefix.network) && prefix.contains(prefix.broadcast) && prefix.contains(prefix.address))
    }

    @Test(arguments: [
        "", "/", "10.0.2.0", "10.0.2.0/", "10.0.2.0/33", "10.0.2.0/-1", "10.0.2.0/024", "10.0.2.0/1000", "10.0.2.0/8/8",
        "fd00::/129", "fd00::/ 64", "/24", "10.0.2/24", "fd00::/999", "fd00::/+4",
    ])
    func refuses(_ text: String) {
        #expect(Prefix(text) == nil)
    }

    @Test(
        arguments: [
            ("10.0.2.0/24", "10.0.2.255", true), ("10.0.2.0/24", "10.0.3.0", false), ("10.0.2.0/24", "::1", false),
            ("::/0", "10.0.2.1", false), ("::/0", "fe80::1", true), ("0.0.0.0/0", "8.8.8.8", true),
            ("0.0.0.0/0", "::", false),
            ("fd00::/8", "fdff::1", true), ("fd00::/8", "fe00::", false), ("fd00::/65", "fd00::8000:0:0:0", false),
        ] as [(String, String, Bool)])
    func contains(_ prefix: String, _ address: String, _ expected: Bool) {
        #expect(Prefix(prefix)!.contains(IPAddress(address)!) == expected)
    }

    @Test(
        arguments: [
            ("10.0.0.0/8", "10.1.2.0/24", true), ("10.1.2.0/24", "10.1.3.0/24", false),
            ("10.1.2.0/23", "10.1.3.0/24", true),
            ("::/0", "10.0.0.0/8", false), ("fd00::/8", "fd00:1::/32", true), ("1.2.3.4/32", "1.2.3.4/32", true),
        ] as [(String, String, Bool)])
    func overlaps(_ a: String, _ b: String, _ expected: Bool) {
        #expect(Prefix(a)!.overlaps(Prefix(b)!) == expected)
        #expect(Prefix(b)!.overlaps(Prefix(a)!) == expected)
    }

    @Test func addressesWrapWithinTheNetwork() {
        let v4 = Prefix("10.0.2.0/24")!
        #expect(v4.address(at: 256) == v4.network)
        #expect(v4.address(at: .max).isV4 && v4.contains(v4.address(at: .max)))
        #expect(Prefix("0.0.0.0/0")!.address(at: 1 << 32 | 7) == IPAddress("0.0.0.7"))
        #expect(Prefix("fd00:0:0:0:ffff::/48")!.address(at: .max) == IPAddress("fd00::ffff:ffff:ffff:ffff"))
        #expect(v4.v4Mask == 0xffff_ff00)
        #expect(Prefix(address: IPAddress("10.0.0.1")!, length: 33) == nil)
        #expect(Prefix(address: IPAddress("fd00::")!, length: 33) != nil)
    }
}
