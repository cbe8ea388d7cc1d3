import Testing
import Wire

@Suite struct TCPTests {
    @Test func readsASYN() throws {
        let tcpSYN = Captured.tcpSYN
        let view = try TCPView(IPv4View(EthernetView(tcpSYN.rawSpan).payload).payload)
        check(view.sourcePort, 50522)
        check(view.destinationPort, 7777)
        check(view.sequence.rawValue, 2_652_280_157)
        check(view.acknowledgment.rawValue, 0)
        check(view.headerLength, 40)
        check(view.flags, .syn)
        check(view.window, 64240)
        check(view.urgentPointer, 0)
        check(view.payload.byteCount, 0)
        check(view.verifyChecksum(source: clientV4, destination: serverV4), true)
        check(view.verifyChecksum(source: clientV4, destination: clientV4), false)
        let options = TCPOptions(parsing: view.options)
        #expect(options.maximumSegmentSize == 1460 && options.windowScale == 10 && options.sackPermitted)
        #expect(options.timestamps?.value == 1_050_240_160 && options.timestamps?.echoReply == 0)
    }

    @Test(arguments: ["tcpSYN", "tcpSYNACK", "tcpACK", "tcpPSH", "tcpFIN", "tcpRST"])
    func writesTheHeaderItRead(_ name: String) throws {
        let frame = try #require(Captured.all.first { $0.name == name }).frame
        let view = try TCPView(IPv4View(EthernetView(frame.rawSpan).payload).payload)
        let header = TCPHeader(
            sourcePort: view.sourcePort, destinationPort: view.destinationPort, sequence: view.sequence,
            acknowledgment: view.acknowledgment, flags: view.flags, window: view.window, checksum: view.checksum,
            urgentPointer: view.urgentPointer)
        let optionsLength = view.options.byteCount
        let bytes = written(20) { header.write(to: &$0, at: 0, optionsLength: optionsLength) }
        #expect(bytes == Array(frame[34..<54]))
    }

    @Test func writesTheOptionsOfEstablishedSegments() throws {
        let frame = Captured.tcpPSH
        let view = try TCPView(IPv4View(EthernetView(frame.rawSpan).payload).payload)
        check(view.flags, [.psh, .ack])
        check(view.payload.array, Array("hello".utf8))
        let options = TCPOptions(parsing: view.options)
        #expect(written(40) { options.write(to: &$0, at: 0) } == Array(frame[54..<66]))
    }

    @Test(arguments: [(0x4f, .badLength), (0x00, .badLength), (0xb0, .truncated)] as [(UInt8, ParseError)])
    func refusesDataOffsets(_ value: UInt8, _ error: ParseError) {
        var bytes = Array(Captured.tcpSYN[34...])
        bytes[12] = value
        checkThrows(error) { () throws(ParseError) in _ = try TCPView(bytes.rawSpan) }
    }

    @Test func namesFlags() {
        #expect(TCPFlags([.syn, .ack]).description == "SYN|ACK")
        #expect(TCPFlags().description == "-")
        #expect(TCPFlags(rawValue: 0xff).description == "FIN|SYN|RST|PSH|ACK|URG|ECE|CWR")
    }
}

@Suite struct TCPOptionsTests {
    static func options(
        _ mss: UInt16?, _ scale: UInt8?, _ sack: Bool, _ stamps: (value: UInt32, echoReply: UInt32)?, blocks: Int = 0
    ) -> TCPOptions {
        var options = TCPOptions(maximumSegmentSize: mss, windowScale: scale, sackPermitted: sack, timestamps: stamps)
        for index in 0..<blocks {
            let left = SequenceNumber(rawValue: UInt32(index) << 28 | 0xf)
            options.appendSack(left: left, right: left + 0x100)
        }
        return options
    }

    static let layouts: [(name: String, options: TCPOptions, bytes: String)] = [
        ("none", options(nil, nil, false, nil), ""),
        ("MSS", options(1460, nil, false, nil), "020405b4"),
        ("a SYN with everything", options(65495, 7, true, (1, 2)), "0204ffd7 01030307 0402080a 00000001 00000002"),
        ("a SYN without timestamps", options(1460, 14, true, nil), "020405b4 0103030e 01010402"),
        ("timestamps", options(nil, nil, false, (0xdead_beef, 7)), "0101080a deadbeef 00000007"),
        ("one block", options(nil, nil, false, nil, blocks: 1), "0101050a 0000000f 0000010f"),
        (
            "two blocks and timestamps", options(nil, nil, false, (1, 2), blocks: 2),
            "0101080a 00000001 00000002 01010512 0000000f 0000010f 1000000f 1000010f"
        ),
    ]

    @Test(arguments: layouts)
    func writesAndReads(_ name: String, _ options: TCPOptions, _ expected: String) {
        let bytes = written(40) { options.write(to: &$0, at: 0) }
        #expect(bytes == hex(expected))
        #expect(options.length == bytes.count)
        #expect(TCPOptions(parsing: bytes.rawSpan) == options)
    }

    @Test func leavesOutBlocksThatDoNotFit() {
        let four = Self.options(nil, nil, false, nil, blocks: 5)
        #expect(four.sackCount == 4 && four.length == 36)
        let three = Self.options(nil, nil, false, (1, 2), blocks: 4)
        #expect(three.length == 40)
        let bytes = written(40) { three.write(to: &$0, at: 0) }
        let parsed = TCPOptions(parsing: bytes.rawSpan)
        #expect(parsed.sackCount == 3)
        #expect(
            parsed.sackBlock(at: 2).left.rawValue == 0x2000_000f
                && parsed.sackBlock(at: 2).right.rawValue == 0x2000_010f)
        let two = Self.options(1460, 7, true, (1, 2), blocks: 4)
        #expect(two.length == 40)
    }

    @Test(
        arguments: [
            ("end of list hides the rest", "00 020405b4", options(nil, nil, false, nil)),
            ("only padding", "01010101", options(nil, nil, false, nil)),
            ("kind without length", "01 02", options(nil, nil, false, nil)),
            ("length 0", "020405b4 0800 030307", options(1460, nil, false, nil)),
            ("length 1", "0801 020405b4", options(nil, nil, false, nil)),
            ("length beyond the end", "030307 080a0000", options(nil, 7, false, nil)),
            ("unknown kind is skipped", "fd06f989aabb 020405b4", options(1460, nil, false, nil)),
            ("MSS of wrong length", "02050000ff 030305", options(nil, 5, false, nil)),
            ("window scale above 14", "03030f", options(nil, 14, false, nil)),
            ("window scale of 255", "0303ff", options(nil, 14, false, nil)),
            ("first of two counts", "020405b4 02040218", options(1460, nil, false, nil)),
            ("SACK of odd length", "0507aabbccddee 0402", options(nil, nil, true, nil)),
            ("empty SACK", "0502 0402", options(nil, nil, true, nil)),
            ("timestamps unaligned", "080a 0000000100000002", options(nil, nil, false, (1, 2))),
        ] as [(String, String, TCPOptions)])
    func toleratesGarbage(_ name: String, _ bytes: String, _ expected: TCPOptions) {
        #expect(TCPOptions(parsing: hex(bytes).rawSpan) == expected)
    }

    @Test func neverFails() {
        let seed = newSeed("TCPOptions")
        var random = SplitMix64(seed: seed)
        for _ in 0..<50_000 {
            var bytes = random.bytes(Int.random(in: 0...40, using: &random))
            // Mostly plausible kinds and lengths.
            for index in bytes.indices where random.next() & 3 != 0 { bytes[index] &= 0x0f }
            let options = TCPOptions(parsing: bytes.rawSpan)
            let again = written(40) { options.write(to: &$0, at: 0) }
            #expect(again.count % 4 == 0 && again.count == options.length, "seed \(seed)")
            let parsed = TCPOptions(parsing: again.rawSpan)
            #expect(
                parsed.sackCount <= options.sackCount && parsed.timestamps?.value == options.timestamps?.value,
                "seed \(seed)")
        }
    }
}

@Suite struct UDPTests {
    @Test func readsADatagram() throws {
        let dnsQueryA = Captured.dnsQueryA
        let view = try UDPView(IPv4View(EthernetView(dnsQueryA.rawSpan).payload).payload)
        check(view.sourcePort, 56488)
        check(view.destinationPort, 53)
        check(view.length, 64)
        check(view.payload.byteCount, 56)
        check(view.verifyChecksum(source: clientV4, destination: serverV4), true)
        let header = UDPHeader(sourcePort: 56488, destinationPort: 53, length: 64, checksum: view.checksum)
        #expect(written(8) { header.write(to: &$0, at: 0) } == Array(Captured.dnsQueryA[34..<42]))
    }

    @Test func honoursAbsentChecksums() throws {
        let bytes = hex("0001 0002 0009 0000 ff")
        let view = try UDPView(bytes.rawSpan)
        check(view.verifyChecksum(source: clientV4, destination: serverV4), true)
        check(view.verifyChecksum(source: clientV6, destination: serverV6), false)
        check(try UDPView((bytes + [1, 2]).rawSpan).payload.array, [0xff])
    }

    @Test(arguments: [(7, .badLength), (0, .badLength), (10, .truncated)] as [(UInt8, ParseError)])
    func refusesLengths(_ length: UInt8, _ error: ParseError) {
        let bytes = hex("0001 0002 00") + [length] + hex("0000 ff")
        checkThrows(error) { () throws(ParseError) in _ = try UDPView(bytes.rawSpan) }
    }
}

@Suite struct ICMPTests {
    @Test func readsAndWritesEchoV4() throws {
        let frame = Captured.echoRequestV4
        let view = try ICMPView(IPv4View(EthernetView(frame.rawSpan).payload).payload)
        check(view.type, ICMPv4Type.echoRequest)
        check(view.code, 0)
        check(view.identifier, 20686)
        check(view.sequence, 1)
        check(view.payload.byteCount, 56)
        check(view.verifyChecksum(source: clientV4, destination: serverV4), true)
        let header = ICMPHeader(type: ICMPv4Type.echoReply, restOfHeader: view.restOfHeader)
        let payload = view.payload.array
        let reply = written(8) {
            header.write(
                to: &$0, at: 0, source: serverV4, destination: clientV4, payloadSum: Checksum.sum(payload.rawSpan),
                payloadLength: payload.count)
        }
        #expect(reply == Array(Captured.echoReplyV4[34..<42]))
    }

    @Test func readsErrorsV4() throws {
        let portUnreachableV4 = Captured.portUnreachableV4
        let view = try ICMPView(IPv4View(EthernetView(portUnreachableV4.rawSpan).payload).payload)
        check(view.type, ICMPv4Type.destinationUnreachable)
        check(view.code, ICMPv4Code.portUnreachable)
        check(view.restOfHeader, 0)
        let quoted = try IPv4View(quoted: view.payload)
        check(quoted.source, clientV4)
        check(try UDPView(quoted.payload).destinationPort, 54)
    }

    @Test func readsAndWritesEchoV6() throws {
        let frame = Captured.echoRequestV6
        let view = try ICMPView(IPv6View(EthernetView(frame.rawSpan).payload).payload)
        check(view.type, ICMPv6Type.echoRequest)
        check(view.identifier, 20688)
        check(view.sequence, 1)
        check(view.verifyChecksum(source: clientV6, destination: serverV6), true)
        let header = ICMPHeader(type: ICMPv6Type.echoRequest, restOfHeader: view.restOfHeader)
        let payload = view.payload.array
        let bytes = written(8) {
            header.write(
                to: &$0, at: 0, source: clientV6, destination: serverV6, payloadSum: Checksum.sum(payload.rawSpan),
                payloadLength: payload.count)
        }
        #expect(bytes == Array(frame[54..<62]))
    }

    @Test func readsErrorsV6() throws {
        let portUnreachableV6 = Captured.portUnreachableV6
        let packet = try IPv6View(EthernetView(portUnreachableV6.rawSpan).payload)
        let view = try ICMPView(packet.payload)
        check(view.type, ICMPv6Type.destinationUnreachable)
        check(view.code, ICMPv6Code.portUnreachable)
        check(view.verifyChecksum(source: packet.source, destination: packet.destination), true)
        let quoted = try IPv6View(quoted: view.payload)
        check(quoted.destination, serverV6)
        check(try UDPView(quoted.payload).destinationPort, 7779)
    }
}
