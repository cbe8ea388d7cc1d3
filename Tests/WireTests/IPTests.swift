import Testing
import Wire

@Suite struct IPv4Tests {
    let packet = Array(Captured.tcpSYN[14...])

    @Test func readsAPacket() throws {
        let view = try IPv4View(packet.rawSpan)
        check(view.headerLength, 20)
        check(view.totalLength, 60)
        check(view.dontFragment, true)
        check(view.moreFragments, false)
        check(view.isFragment, false)
        check(view.fragmentOffset, 0)
        check(view.timeToLive, 64)
        check(view.protocol, IPProtocol.tcp)
        check(view.source, clientV4)
        check(view.destination, serverV4)
        check(view.options.byteCount, 0)
        check(view.payload.byteCount, 40)
        check(view.verifyChecksum(), true)
    }

    @Test func readsTheLastFragment() throws {
        let fragmentV4 = Captured.fragmentV4
        let view = try IPv4View(EthernetView(fragmentV4.rawSpan).payload)
        check(view.isFragment, true)
        check(view.moreFragments, false)
        check(view.fragmentOffset, 2960)
        check(view.dontFragment, false)
        check(view.verifyChecksum(), true)
    }

    @Test(arguments: ["tcpSYN", "fragmentV4", "dnsAnswerA", "dhcpDiscover", "echoReplyV4"])
    func writesTheHeaderItRead(_ name: String) throws {
        let frame = try #require(Captured.all.first { $0.name == name }).frame
        let view = try IPv4View(EthernetView(frame.rawSpan).payload)
        let header = IPv4Header(
            source: view.source, destination: view.destination, protocol: view.protocol,
            payloadLength: view.payload.byteCount, timeToLive: view.timeToLive, trafficClass: view.trafficClass,
            identification: view.identification, dontFragment: view.dontFragment, moreFragments: view.moreFragments,
            fragmentOffset: view.fragmentOffset)
        #expect(written(20) { header.write(to: &$0, at: 0) } == Array(frame[14..<34]))
    }

    @Test func readsEveryField() throws {
        let bytes = written(60) { span in
            IPv4Header(
                source: serverV4, destination: clientV4, protocol: 200, payloadLength: 40, timeToLive: 3,
                trafficClass: 0xb9,
                identification: 0xbeef, dontFragment: false, moreFragments: true, fragmentOffset: 65_528
            ).write(to: &span, at: 0)
            return 60
        }
        let view = try IPv4View(bytes.rawSpan)
        check(view.trafficClass, 0xb9)
        check(view.identification, 0xbeef)
        check(view.moreFragments, true)
        check(view.fragmentOffset, 65_528)
        check(view.timeToLive, 3)
        check(view.protocol, 200)
        check(view.verifyChecksum(), true)
        for bit in 0..<160 {
            var broken = bytes
            broken[bit / 8] ^= 1 << (bit % 8)
            guard let view = try? IPv4View(broken.rawSpan) else { continue }
            check(view.verifyChecksum(), false, "bit \(bit)")
        }
    }

    @Test func dropsPadding() throws {
        let padded = packet + [1, 2, 3]
        check(try IPv4View(padded.rawSpan).payload.byteCount, 40)
    }

    @Test func readsOptions() throws {
        let bytes = hex("46 00 0019 0000 0000 40 06 0000 0a00020f 0a000202 94040000 41")
        let view = try IPv4View(bytes.rawSpan)
        check(view.options.array, hex("94040000"))
        check(view.payload.array, [0x41])
        var long = bytes
        long[0] = 0x4f
        let wrong = long
        checkThrows(.badLength) { () throws(ParseError) in _ = try IPv4View(wrong.rawSpan) }
    }

    @Test(
        arguments: [
            ("version 6", 0, 0x65, .badVersion), ("header of 16", 0, 0x44, .badLength),
            ("total below header", 3, 19, .badLength),
            ("total beyond the bytes", 3, 61, .truncated),
        ] as [(String, Int, UInt8, ParseError)])
    func refuses(_ name: String, _ index: Int, _ value: UInt8, _ error: ParseError) {
        var bytes = packet
        bytes[index] = value
        checkThrows(error) { () throws(ParseError) in _ = try IPv4View(bytes.rawSpan) }
    }

    @Test func readsQuotedPackets() throws {
        let cut = Array(packet[..<28])
        checkThrows(.truncated) { () throws(ParseError) in _ = try IPv4View(cut.rawSpan) }
        check(try IPv4View(quoted: cut.rawSpan).payload.byteCount, 8)
        check(try IPv4View(quoted: (packet + [0]).rawSpan).payload.byteCount, 40)
    }
}

@Suite struct IPv6Tests {
    @Test func readsAPacket() throws {
        let tcpSYNV6 = Captured.tcpSYNV6
        let view = try IPv6View(EthernetView(tcpSYNV6.rawSpan).payload)
        check(view.trafficClass, 0)
        check(view.payloadLength, 40)
        check(view.nextHeader, IPProtocol.tcp)
        check(view.hopLimit, 64)
        check(view.source, clientV6)
        check(view.destination, serverV6)
        check(view.payload.byteCount, 40)
    }

    @Test(arguments: ["tcpSYNV6", "fragmentV6", "routerAdvertisement", "dhcpv6Solicit", "portUnreachableV6"])
    func writesTheHeaderItRead(_ name: String) throws {
        let frame = try #require(Captured.all.first { $0.name == name }).frame
        let view = try IPv6View(EthernetView(frame.rawSpan).payload)
        let header = IPv6Header(
            source: view.source, destination: view.destination, nextHeader: view.nextHeader,
            payloadLength: view.payloadLength, hopLimit: view.hopLimit, trafficClass: view.trafficClass,
            flowLabel: view.flowLabel)
        #expect(written(40) { header.write(to: &$0, at: 0) } == Array(frame[14..<54]))
    }

    @Test func readsEveryField() throws {
        let header = IPv6Header(
            source: clientV6, destination: serverV6, nextHeader: 59, payloadLength: 0, hopLimit: 9, trafficClass: 0xb9,
            flowLabel: 0xabcde)
        let bytes = written(40) { header.write(to: &$0, at: 0) }
        #expect(Array(bytes[..<8]) == hex("6b9abcde 0000 3b 09"))
        let view = try IPv6View(bytes.rawSpan)
        check(view.trafficClass, 0xb9)
        check(view.flowLabel, 0xabcde)
    }

    @Test func cutsAndRefuses() throws {
        let packet = Array(Captured.tcpSYNV6[14...])
        check(try IPv6View((packet + [0, 0]).rawSpan).payload.byteCount, 40)
        checkThrows(.truncated) { () throws(ParseError) in _ = try IPv6View(Array(packet.dropLast()).rawSpan) }
        check(try IPv6View(quoted: Array(packet.dropLast()).rawSpan).payload.byteCount, 39)
        let other = Array(Captured.tcpSYN[14...])
        checkThrows(.badVersion) { () throws(ParseError) in _ = try IPv6View(other.rawSpan) }
    }
}

@Suite struct IPv6ChainTests {
    /// An IPv6 packet with this chain and payload.
    func packet(_ nextHeader: UInt8, _ payload: [UInt8]) -> [UInt8] {
        let header = IPv6Header(
            source: clientV6, destination: serverV6, nextHeader: nextHeader, payloadLength: payload.count)
        return written(40) { header.write(to: &$0, at: 0) } + payload
    }

    @Test(
        arguments: [
            ("plain TCP", 6, "aabb", 6, "aabb", 6),
            ("hop-by-hop", 0, "3a00 0502000001 00 cc", 58, "cc", 40),
            (
                "two headers, one of 16 bytes", 60, "2b01 000000000000 0000000000000000 1100 000000000000 dd", 17, "dd",
                56
            ),
            ("hop-by-hop in second place", 60, "0000 000000000000 3a00 000000000000", 0, "3a00 000000000000", 40),
            ("unknown", 253, "01", 253, "01", 6),
            ("no next header", 59, "", 59, "", 6),
            ("atomic fragment", 44, "0600 0000 00000001 ee", 6, "ee", 40),
            ("atomic fragment twice", 44, "2c00 0000 00000001 0600 0000 00000002 ee", 44, "0600 0000 00000002 ee", 40),
            ("first fragment", 44, "3c00 0001 00000007 0600 000000000000", 60, "0600 000000000000", 40),
            ("later fragment", 60, "2c00 000000000000 0600 0b50 00000007 ff", 6, "ff", 48),
        ] as [(String, UInt8, String, UInt8, String, Int)])
    func walks(
        _ name: String, _ first: UInt8, _ bytes: String, _ upper: UInt8, _ payload: String, _ nextHeaderOffset: Int
    ) throws {
        let packet = packet(first, hex(bytes))
        let view = try IPv6View(packet.rawSpan)
        let chain = try IPv6Chain(view)
        check(chain.upperProtocol, upper)
        check(chain.payload.array, hex(payload))
        check(chain.nextHeaderOffset, nextHeaderOffset)
    }

    @Test func readsFragments() throws {
        let fragmentV6 = Captured.fragmentV6
        let view = try IPv6View(EthernetView(fragmentV6.rawSpan).payload)
        let chain = try IPv6Chain(view)
        let found = chain.fragment
        let fragment = try #require(found)
        #expect(fragment.offset == 2896 && !fragment.more && !fragment.isAtomic)
        check(chain.upperProtocol, IPProtocol.icmpv6)
        check(chain.payload.byteCount, 112)
        let header = written(8) { fragment.write(nextHeader: IPProtocol.icmpv6, to: &$0, at: 0) }
        #expect(header == Array(Captured.fragmentV6[54..<62]))
    }

    @Test func walksRealHopByHop() throws {
        let multicastListenerReport = Captured.multicastListenerReport
        let view = try IPv6View(EthernetView(multicastListenerReport.rawSpan).payload)
        let chain = try IPv6Chain(view)
        check(chain.upperProtocol, IPProtocol.icmpv6)
        check(chain.payload.u8(at: 0), ICMPv6Type.multicastListenerReportV2)
        check(try ICMPView(chain.payload).verifyChecksum(source: view.source, destination: view.destination), true)
    }

    @Test func boundsTheWalk() throws {
        func headers(_ count: Int) -> [UInt8] {
            packet(60, (0..<count).flatMap { [$0 == count - 1 ? 6 : 60, 0, 1, 4, 0, 0, 0, 0] as [UInt8] })
        }
        let eight = headers(8)
        let nine = headers(9)
        check(try IPv6Chain(IPv6View(eight.rawSpan)).upperProtocol, 6)
        checkThrows(.tooLong) { () throws(ParseError) in _ = try IPv6Chain(IPv6View(nine.rawSpan)) }
        for cut in [packet(60, hex("0600 00")), packet(60, hex("0601 000000000000")), packet(44, hex("0600 0000"))] {
            checkThrows(.truncated) { () throws(ParseError) in _ = try IPv6Chain(IPv6View(cut.rawSpan)) }
        }
    }
}
