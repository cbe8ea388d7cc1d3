import Simnet
import Testing
import Wire

@testable import Netstack

/// "Packet too big" from a router behind the guest.
@Suite struct PathMTUTests {
    struct Row: CustomTestStringConvertible, Sendable {
        var isV4: Bool
        var mtu: Int
        var timestamps = true
        var sack = true
        var isOld = false
        var loss = 0.0
        var testDescription: String {
            "IPv\(isV4 ? 4 : 6) \(mtu)\(timestamps ? " ts" : "")\(sack ? " sack" : "")\(isOld ? " old" : "") loss \(loss)"
        }
    }

    static let rows: [Row] = [
        Row(isV4: true, mtu: 1400), Row(isV4: true, mtu: 1400, timestamps: false), Row(isV4: true, mtu: 576),
        Row(isV4: true, mtu: 1400, sack: false), Row(isV4: true, mtu: 1300, isOld: true),
        Row(isV4: true, mtu: 552, isOld: true), Row(isV4: false, mtu: 1280), Row(isV4: false, mtu: 1400, sack: false),
        Row(isV4: true, mtu: 1400, loss: 0.02), Row(isV4: false, mtu: 1300, loss: 0.02),
    ]

    @Test("a connection cuts its segments to the path and goes on without a timeout", arguments: rows)
    func connection(_ row: Row) {
        var faults = WireFaults()
        faults.loss = row.loss
        var simulation = Simulation(down: faults)
        simulation.router = NarrowRouter(mtu: row.mtu)
        simulation.router?.isOld = row.isOld
        let stream = TCPScenarioTests.bytes(1_000_000)
        simulation.host.script.stream = stream
        var options = GuestTCP.Options()
        options.isV4 = row.isV4
        options.timestamps = row.timestamps
        options.sack = row.sack
        if !row.isV4 { options.remote.address = IPAddress("2001:db8::7")! }
        simulation.connect(options, stream: TCPScenarioTests.bytes(10_000))
        simulation.run(for: .seconds(60)) { $0.guests[0].isFinished }
        let isSame = simulation.guests[0].received == stream
        #expect(isSame, "\(simulation.guests[0].received.count)")
        #expect(simulation.violations.isEmpty)
        if row.loss == 0 {
            #expect(simulation.core.tcpCounters.timeouts == 0)
            // One complaint for each frame of the first flight, and for an old router one flight for each plateau.
            #expect((simulation.router?.complaints ?? 0) <= (row.isOld ? 12 : 4))
        }
    }

    // MARK: What is not believed

    /// The MSS of the next frame with text after the complaint, which `bend` may falsify from the quoted packet on.
    static func segmentSize(mtu: Int, _ bend: (inout [UInt8]) -> Void = { _ in }) -> (size: Int, dropped: UInt64) {
        // A connection with unanswered text in flight, and the first segment of it.
        var simulation = TCPScenarioTests.idle()
        simulation.guests[0].isAlive = false
        simulation.host.sockets[0].script.stream = TCPScenarioTests.bytes(50_000)
        simulation.trace = []
        simulation.run(for: .milliseconds(10))
        guard let frame = simulation.trace?.first(where: { $0.offload.segmentation != .none }) else { return (-1, 0) }
        var packet = Array(frame.bytes[14..<14 + 28])
        bend(&packet)
        let remote = IPAddress(v4: 0xc633_6401)
        let guest = IPAddress("10.0.2.2")!
        let message = GuestPacket.icmp(
            from: guest, to: remote, type: 3, code: 4, [0, 0] + be16(UInt16(mtu)) + packet)
        var bytes = GuestPacket.ethernet(
            EtherType.ipv4, GuestPacket.ip(from: guest, to: remote, IPProtocol.icmp, message),
            to: Simulation.gatewayMAC)
        bytes.replaceSubrange(6..<12, with: frame.bytes[0..<6])
        let before = simulation.core.counters.dropped
        simulation.trace = []
        simulation.core.receive(bytes.rawSpan, offload: OffloadHeader(), at: simulation.now, outside: &simulation.host)
        let dropped = simulation.core.counters.dropped - before
        simulation.run(for: .milliseconds(1))
        return (Int(simulation.trace?.first?.offload.segmentSize ?? 0), dropped)
    }

    @Test func anHonestComplaintIsBelieved() {
        #expect(Self.segmentSize(mtu: 1000) == (1000 - 52, 0))
        #expect(Self.segmentSize(mtu: 0) == (1492 - 52, 0), "the next plateau")
    }

    @Test func aTinyMTUIsNotTaken() {
        for mtu in [1, 68, 300, 551] { #expect(Self.segmentSize(mtu: mtu) == (552 - 52, 0)) }
    }

    @Test func nothingNewIsCounted() {
        for mtu in [1500, 1501, 9000, 65_535] { #expect(Self.segmentSize(mtu: mtu) == (0, 1)) }
    }

    @Test("a quote of what is not in flight is counted", arguments: [0, 4, 9, 12, 16, 20, 21, 22, 23])
    func bent(offset: Int) {
        // Version, identification (nobody's business), protocol, addresses, ports: each bent alone.
        let result = Self.segmentSize(mtu: 1000) { $0[offset] ^= 0x55 }
        #expect(result == (offset == 4 ? (1000 - 52, 0) : (0, 1)))
    }

    @Test func aSequenceNumberOutsideTheFlightIsCounted() {
        for difference in [-1, 50_000] as [Int32] {
            let result = Self.segmentSize(mtu: 1000) { packet in
                let sequence = packet[24..<28].reduce(0) { $0 << 8 | UInt32($1) }
                packet.replaceSubrange(24..<28, with: be32(sequence &+ UInt32(bitPattern: difference)))
            }
            #expect(result == (0, 1))
        }
    }

    @Test func aQuoteOfAnyLengthIsSurvived() {
        for length in 0..<28 { #expect(Self.segmentSize(mtu: 1000) { $0.removeSubrange(length...) } == (0, 1)) }
    }

    // MARK: Datagrams

    @Test func datagramsOfIPv6AreFragmentedToThePath() throws {
        var rig = Rig()
        let remote = Endpoint(address: Lab.remote6, port: 7)
        rig.sendUDP(from: 5000, to: remote, [1])
        let flow = try #require(
            rig.outside.calls.compactMap { call -> FlowID? in
                if case .openDatagram(let flow, _, _) = call { return flow }
                return nil
            }.first)
        func receive(_ rig: inout Rig) -> [SentFrame] {
            let payload = [UInt8](repeating: 7, count: 1400)
            rig.core.hostDatagrams(
                flow, from: remote, payload.rawSpan, trafficClass: 0, at: rig.now, outside: &rig.outside)
            return rig.frames()
        }
        func complain(_ rig: inout Rig, _ packet: [UInt8], mtu: UInt32) {
            let source = Rig.guest(for: remote.address)
            rig.send(
                GuestPacket.ip(
                    from: source, to: remote.address, IPProtocol.icmpv6,
                    GuestPacket.icmp(
                        from: source, to: remote.address, type: 2, be32(mtu) + packet.prefix(100))))
        }
        let whole = receive(&rig)
        #expect(whole.count == 1)
        complain(&rig, whole[0].packet, mtu: 1300)
        let cut = receive(&rig)
        #expect(cut.count == 2 && cut.allSatisfy { $0.packet.count <= 1300 })
        #expect(SentFrame.joined(cut)?.payload == whole[0].payload)
        // Narrower still, told by a fragment; never below IPv6's minimum.
        complain(&rig, cut[0].packet, mtu: 500)
        #expect(receive(&rig).allSatisfy { $0.packet.count <= 1280 })
        #expect(rig.core.counters.dropped == 0)
        // Forgotten after ten minutes.
        rig.sendUDP(from: 5000, to: remote, [1])
        for _ in 0..<3 {
            rig.advance(by: .seconds(200))
            rig.sendUDP(from: 5000, to: remote, [1])
        }
        rig.advance(by: .seconds(1))
        _ = rig.frames()  // router advertisements
        #expect(receive(&rig).count == 1)
    }

    @Test func theTableIsBounded() {
        var table = PathMTUs()
        let addresses = (0..<100).map { IPAddress(hi: 1, lo: UInt64($0)) }
        for (i, address) in addresses.enumerated() {
            table.learn(1300, to: address, at: Instant(nanoseconds: Int64(i)))
            table.learn(1290, to: address, at: Instant(nanoseconds: Int64(i)))
        }
        let known = addresses.filter { table.mtu(to: $0, standard: 1500) == 1290 }
        #expect(known == Array(addresses.suffix(PathMTUs.capacity)))
        #expect(table.nextDeadline == Instant(nanoseconds: 84) + PathMTUs.lifetime)
        table.advance(to: table.nextDeadline)
        #expect(table.mtu(to: addresses[84], standard: 1500) == 1500)
    }
}
