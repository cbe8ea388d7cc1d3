@testable import Netstack
import Simnet
import Testing
import Wire

// Every frame that the cutter makes is read back as its receiver would: lengths, both checksums, and that the pieces make
// the whole. The super-frames are the core's own, and the simulator's cutter, written apart, has to agree.

@Suite struct SegmentCutterTests {
    static func cut(_ frame: Frame, headerLength: Int) -> [[UInt8]] {
        let bytes = frame.bytes.raw
        let cutter = SegmentCutter(
            frame.offload, header: bytes.extracting(0..<headerLength),
            payload: bytes.extracting(headerLength..<bytes.byteCount))
        var total = 0
        var frames: [[UInt8]] = []
        for i in 0..<cutter.count {
            let length = cutter.length(of: i)
            // At an odd place, between bytes that must stay.
            let space = [UInt8].written(length + 6) { span in
                for at in 0..<span.byteCount { span.store(u8: 0xee, at: at) }
                let written = cutter.write(i, to: &span, at: 3)
                #expect(written == length)
            }
            #expect(space.prefix(3) == [0xee, 0xee, 0xee] && space.suffix(3) == [0xee, 0xee, 0xee])
            frames.append(Array(space[3..<3 + length]))
            total += length
        }
        #expect(total == cutter.totalLength)
        return frames
    }

    /// Checks one frame in full and gives its transport payload.
    static func check(_ frame: [UInt8], mtu: Int) -> [UInt8] {
        #expect(frame.count - 14 <= mtu)
        let bytes = frame.raw
        guard let ethernet = try? EthernetView(bytes) else {
            Issue.record("no Ethernet")
            return []
        }
        if ethernet.etherType == EtherType.ipv4, let ip = try? IPv4View(ethernet.payload) {
            let isGood = ip.verifyChecksum() && ip.totalLength == frame.count - 14
            #expect(isGood)
            return transport(ip.protocol, ip.payload, ip.source, ip.destination)
        }
        if let ip = try? IPv6View(ethernet.payload) {
            let isGood = ip.payloadLength == frame.count - 54
            #expect(isGood)
            return transport(ip.nextHeader, ip.payload, ip.source, ip.destination)
        }
        Issue.record("neither IPv4 nor IPv6")
        return []
    }

    private static func transport(
        _ proto: UInt8, _ bytes: RawSpan, _ source: IPAddress, _ destination: IPAddress
    ) -> [UInt8] {
        if proto == IPProtocol.tcp, let tcp = try? TCPView(bytes) {
            let isGood = tcp.verifyChecksum(source: source, destination: destination)
            #expect(isGood)
            return tcp.payload.array
        }
        if proto == IPProtocol.udp, let udp = try? UDPView(bytes) {
            let isGood = udp.verifyChecksum(source: source, destination: destination) && udp.checksum != 0
            #expect(isGood)
            return udp.payload.array
        }
        Issue.record("neither TCP nor UDP")
        return []
    }

    /// Frames that the core emits while it sends `count` bytes to a guest.
    static func frames(isV4: Bool, mss: Int, count: Int, mtu: Int) -> [Frame] {
        var simulation = Simulation(Simulation.configuration(mtu: mtu))
        simulation.trace = []
        simulation.host.script.stream = TCPScenarioTests.bytes(count)
        var options = GuestTCP.Options()
        options.isV4 = isV4
        options.mss = mss
        if !isV4 { options.remote.address = IPAddress("2001:db8::7")! }
        simulation.connect(options)
        simulation.run { $0.guests[0].isFinished }
        return simulation.trace ?? []
    }

    @Test(arguments: [true, false], [536, 1400, 1460])
    func whatTheCoreSendsArrivesWhole(isV4: Bool, mss: Int) {
        var supers = 0
        for frame in Self.frames(isV4: isV4, mss: mss, count: 300_001, mtu: 1500) where frame.offload.needsChecksum {
            let pieces = Self.cut(frame, headerLength: Int(frame.offload.headerLength))
            if frame.offload.segmentation != .none { supers += 1 }
            let payloads = pieces.map { Self.check($0, mtu: 1500) }
            #expect(payloads.flatMap { $0 } == Array(frame.bytes[Int(frame.offload.headerLength)...]))
            // The simulator's cutter leaves checksums partial and agrees in all else.
            let others = frame.segments
            #expect(others.count == pieces.count)
            for (piece, other) in zip(pieces, others) {
                let transport = isV4 ? 34 : 54
                func withoutSums(_ bytes: [UInt8]) -> [UInt8] {
                    var bytes = bytes
                    // Identification and checksums.
                    if isV4 { bytes.replaceSubrange(18..<20, with: [0, 0]) }
                    if isV4 { bytes.replaceSubrange(24..<26, with: [0, 0]) }
                    bytes.replaceSubrange(transport + 16..<transport + 18, with: [0, 0])
                    return bytes
                }
                #expect(withoutSums(piece) == withoutSums(other.bytes))
            }
        }
        #expect(supers > 2)
    }

    @Test func onlyTheLastPieceEndsTheStream() {
        let frame = Self.frames(isV4: true, mss: 1460, count: 20_000, mtu: 1500).last {
            $0.offload.segmentation != .none
        }!
        var flagged = frame
        flagged.bytes[34 + 13] =
            (TCPFlags.ack.rawValue | TCPFlags.fin.rawValue | TCPFlags.psh.rawValue | TCPFlags.cwr.rawValue)
        let flags = Self.cut(flagged, headerLength: Int(frame.offload.headerLength)).map { $0[34 + 13] }
        #expect(flags.count > 2)
        #expect(flags.first == TCPFlags.ack.rawValue | TCPFlags.cwr.rawValue)
        #expect(flags.dropFirst().dropLast().allSatisfy { $0 == TCPFlags.ack.rawValue })
        #expect(flags.last == TCPFlags.pshAck.rawValue | TCPFlags.fin.rawValue)
    }

    @Test(arguments: [Lab.remote4, Lab.remote6], [1, 100, 999, 1000, 1001, 4000, 30_001])
    func datagramsAreCut(remote: IPAddress, count: Int) {
        var rig = Rig()
        rig.sendUDP(from: 5000, to: Endpoint(address: remote, port: 7), [1])
        let flow = rig.outside.firstFlow!
        let bytes = TCPScenarioTests.bytes(count)
        rig.core.hostDatagrams(
            flow, from: Endpoint(address: remote, port: 7), bytes.raw, size: count > 1000 ? 1000 : nil, trafficClass: 0,
            at: rig.now, outside: &rig.outside)
        let sent = rig.outside.takeFrames()
        #expect(sent.count == 1)
        let headerLength = (remote.isV4 ? 34 : 54) + 8
        let pieces = Self.cut(Frame(sent[0].bytes, sent[0].offload), headerLength: headerLength)
        #expect(pieces.count == max(1, (count + 999) / 1000))
        #expect(pieces.flatMap { Self.check($0, mtu: 1500) } == bytes)
    }

    @Test func whatNeedsNothingIsCopied() {
        let arp: [UInt8] = Array(0..<42)
        #expect(Self.cut(Frame(arp), headerLength: 20) == [arp])
    }
}
