import Testing
import Wire

@testable import Netstack

@Suite struct ICMPErrorsTests {
    /// Sends one error about `packet` and says what the guest got.
    static func errors(about packet: [UInt8], mac: MACAddress = Lab.guestMAC) -> [SentFrame] {
        let configuration = Lab.configuration()
        var errors = ICMPErrors()
        var egress = Egress(configuration: configuration, seed: 1)
        var counters = Counters()
        var outside = RecordingOutside()
        packet.withSpan { bytes in
            var info = PacketInfo(guestMAC: mac, source: .anyV4, destination: .anyV4, proto: 0, hopLimit: 64)
            if let ip = try? IPv4View(bytes) {
                info.source = ip.source
                info.destination = ip.destination
                info.proto = ip.protocol
            } else if let ip = try? IPv6View(bytes) {
                info.source = ip.source
                info.destination = ip.destination
                info.proto = ip.nextHeader
            }
            errors.send(
                .hostUnreachable, about: info, original: bytes, at: Lab.start, configuration: configuration,
                egress: &egress, counters: &counters, outside: &outside)
        }
        return outside.frames.map { SentFrame($0) }
    }

    struct Row: CustomTestStringConvertible {
        var name: String
        var packet: [UInt8]
        var answered = false
        var testDescription: String { name }
    }

    static let rows: [Row] =
        [
            Row(name: "UDP", packet: GuestPacket.ipv4(to: Lab.remote4, 17, [1, 2, 3, 4, 5, 6, 7, 8]), answered: true),
            Row(
                name: "UDP v6", packet: GuestPacket.ipv6(to: Lab.remote6, 17, [1, 2, 3, 4, 5, 6, 7, 8]), answered: true),
            Row(name: "nothing behind the header", packet: GuestPacket.ipv4(to: Lab.remote4, 17, []), answered: true),
            Row(name: "echo request", packet: GuestPacket.ipv4(to: Lab.remote4, 1, [8, 0, 0, 0]), answered: true),
            Row(
                name: "echo request v6", packet: GuestPacket.ipv6(to: Lab.remote6, 58, [128, 0, 0, 0]), answered: true),
            Row(name: "redirect v6", packet: GuestPacket.ipv6(to: Lab.remote6, 58, [137, 0, 0, 0])),
            Row(name: "empty ICMP", packet: GuestPacket.ipv4(to: Lab.remote4, 1, [])),
            Row(name: "empty ICMPv6", packet: GuestPacket.ipv6(to: Lab.remote6, 58, [])),
            Row(
                name: "second fragment",
                packet: GuestPacket.ipv4(to: Lab.remote4, 17, [1, 2, 3, 4, 5, 6, 7, 8], offset: 8)),
            Row(name: "to multicast", packet: GuestPacket.ipv4(to: IPAddress(v4: 0xe000_0001), 17, [1, 2])),
            Row(name: "to multicast v6", packet: GuestPacket.ipv6(to: NDPGroup.allNodes, 17, [1, 2])),
            Row(name: "to broadcast", packet: GuestPacket.ipv4(to: .broadcast, 17, [1, 2])),
            Row(name: "from nobody", packet: GuestPacket.ipv4(from: .anyV4, to: Lab.remote4, 17, [1, 2])),
            Row(name: "from nobody v6", packet: GuestPacket.ipv6(from: .anyV6, to: Lab.remote6, 17, [1, 2])),
            Row(
                name: "from many",
                packet: GuestPacket.ipv4(from: IPAddress(v4: 0xe000_0001), to: Lab.remote4, 17, [1, 2])),
        ]
        + [3, 4, 5, 11, 12].map {
            Row(name: "ICMP error \($0)", packet: GuestPacket.ipv4(to: Lab.remote4, 1, [$0, 0, 0, 0]))
        }
        + [1, 2, 3, 4, 100, 127].map {
            Row(name: "ICMPv6 error \($0)", packet: GuestPacket.ipv6(to: Lab.remote6, 58, [$0, 0, 0, 0]))
        }

    @Test("about what errors are sent", arguments: rows)
    func about(_ row: Row) {
        #expect(Self.errors(about: row.packet).count == (row.answered ? 1 : 0))
    }

    @Test("as much is quoted as may be", arguments: [Lab.remote4, Lab.remote6])
    func quote(_ remote: IPAddress) throws {
        let limit = remote.isV4 ? 576 : 1280
        for size in [0, 8, 100, 519, 520, 521, 1191, 1192, 1193, 1400] {
            let packet = GuestPacket.ip(
                from: Rig.guest(for: remote), to: remote, 17, (0..<size).map { UInt8(truncatingIfNeeded: $0) })
            let error = try #require(Self.errors(about: packet).first)
            #expect(error.packet.count == min(limit, packet.count + (remote.isV4 ? 28 : 48)))
            #expect(Array(error.payload[8...]) == Array(packet.prefix(error.payload.count - 8)))
        }
    }

    @Test func aLinkLocalGuestHearsFromALinkLocalGateway() throws {
        let packet = GuestPacket.ipv6(from: Lab.guestLinkLocal, to: Lab.remote6, 17, [1, 2, 3, 4])
        let error = try #require(Self.errors(about: packet).first)
        #expect(error.source == Lab.gatewayLinkLocal && error.destination == Lab.guestLinkLocal)
    }

    @Test func aThousandASecondAreEnough() {
        var rig = Rig()
        func flood(_ rig: inout Rig, _ count: Int) -> Int {
            for _ in 0..<count { rig.sendUDP(from: 5000, to: Endpoint(address: Lab.gateway4, port: 9), []) }
            return rig.outside.takeFrames().count
        }
        let first = flood(&rig, 1500)
        #expect(first == 1000)
        #expect(rig.drops(.errorRateLimited) == 500)
        rig.now = rig.now + .milliseconds(100)
        let second = flood(&rig, 500)
        #expect(second == 100)
        rig.now = rig.now + .seconds(3600)
        let third = flood(&rig, 1500)
        #expect(third == 1000)
    }

    @Test("late errors about TCP name the segment", arguments: [Lab.remote4, Lab.remote6])
    func tcp(_ remote: IPAddress) throws {
        let configuration = Lab.configuration()
        var errors = ICMPErrors()
        var egress = Egress(configuration: configuration, seed: 1)
        var counters = Counters()
        var outside = RecordingOutside()
        let key = FlowKey(
            guest: Endpoint(address: Rig.guest(for: remote), port: 40_000), remote: Endpoint(address: remote, port: 80))
        errors.send(
            .networkUnreachable, about: .tcp(key, sequence: SequenceNumber(rawValue: 0xdead_beef)), mac: Lab.guestMAC,
            at: Lab.start, configuration: configuration, egress: &egress, counters: &counters, outside: &outside)
        let frame = try #require(outside.frames.first)
        let error = SentFrame(frame)
        #expect(error.u8(0) == (remote.isV4 ? 3 : 1) && error.u8(1) == 0)
        let quoted = Array(error.payload[(8 + (remote.isV4 ? 20 : 40))...])
        #expect(quoted == be16(40_000) + be16(80) + be32(0xdead_beef))
    }
}
