import Testing
import Wire

@testable import Netstack

@Suite struct NDPResponderTests {
    struct Row: CustomTestStringConvertible {
        var name: String
        var source = Lab.guest6
        var destination: IPAddress?
        var target: IPAddress
        var hopLimit: UInt8 = 255
        var code: UInt8 = 0
        var options: [UInt8] = [1, 1, 0x52, 0x54, 0, 0, 0, 2]
        var outcome: Outcome
        var testDescription: String { name }
    }
    enum Outcome { case advertised, advertisedToAll, silent, malformed }

    static func solicitedNode(_ address: IPAddress) -> IPAddress {
        IPAddress(hi: 0xff02_0000_0000_0000, lo: 0x1_ff00_0000 | address.lo & 0xff_ffff)
    }

    static let rows = [
        Row(name: "gateway", target: Lab.gateway6, outcome: .advertised),
        Row(
            name: "gateway, unicast probe without option", destination: Lab.gateway6, target: Lab.gateway6, options: [],
            outcome: .advertised),
        Row(
            name: "gateway's link-local", source: Lab.guestLinkLocal, target: Lab.gatewayLinkLocal, outcome: .advertised
        ),
        Row(name: "host's alias", target: Lab.alias6, outcome: .advertised),
        Row(name: "another address", target: Lab.address("fd00:2::99"), outcome: .silent),
        Row(name: "DAD for the gateway", source: .anyV6, target: Lab.gateway6, options: [], outcome: .advertisedToAll),
        Row(name: "DAD for the guest", source: .anyV6, target: Lab.guest6, options: [], outcome: .silent),
        Row(name: "DAD with a link-layer address", source: .anyV6, target: Lab.gateway6, outcome: .malformed),
        Row(
            name: "DAD to a unicast address", source: .anyV6, destination: Lab.gateway6, target: Lab.gateway6,
            options: [], outcome: .malformed),
        Row(name: "from afar", target: Lab.gateway6, hopLimit: 254, outcome: .malformed),
        Row(name: "code 1", target: Lab.gateway6, code: 1, outcome: .malformed),
        Row(name: "multicast target", target: NDPGroup.allNodes, outcome: .malformed),
        Row(
            name: "option of length zero", target: Lab.gateway6, options: [1, 0, 0, 0, 0, 0, 0, 0], outcome: .malformed),
        Row(
            name: "option beyond the end", target: Lab.gateway6, options: [1, 2, 0, 0, 0, 0, 0, 0], outcome: .malformed),
    ]

    @Test("neighbour solicitations", arguments: rows)
    func solicitations(_ row: Row) throws {
        var rig = Rig()
        let destination = row.destination ?? Self.solicitedNode(row.target)
        let body = be32(0) + bytes(row.target) + row.options
        let message = GuestPacket.icmp(from: row.source, to: destination, type: 135, code: row.code, body)
        rig.send(
            GuestPacket.ipv6(from: row.source, to: destination, IPProtocol.icmpv6, message, hopLimit: row.hopLimit),
            to: MACAddress(rawValue: 0x3333_ff00_0001))
        let frames = rig.frames()
        #expect(rig.drops(.malformedNDP) == (row.outcome == .malformed ? 1 : 0))
        guard row.outcome == .advertised || row.outcome == .advertisedToAll else {
            #expect(frames.isEmpty)
            return
        }
        let answer = try #require(frames.first)
        let toAll = row.outcome == .advertisedToAll
        #expect(answer.hopLimit == 255)
        #expect(answer.source == row.target)
        #expect(answer.destination == (toAll ? NDPGroup.allNodes : row.source))
        #expect(answer.mac == (toAll ? NDPGroup.allNodesMAC : Lab.guestMAC))
        #expect(answer.payload.count == 32)
        #expect(answer.u8(0) == 136)
        #expect(answer.u32(4) == (toAll ? 0xa000_0000 : 0xe000_0000))
        #expect(Array(answer.payload[8..<24]) == bytes(row.target))
        #expect(Array(answer.payload[24...]) == [2, 1, 0x52, 0x54, 0, 0, 0, 1])
    }

    @Test func aSolicitedRouterAdvertisesItself() throws {
        var rig = Rig()
        let message = GuestPacket.icmp(
            from: Lab.guestLinkLocal, to: Lab.address("ff02::2"), type: 133, be32(0) + [1, 1, 0x52, 0x54, 0, 0, 0, 2])
        rig.send(
            GuestPacket.ipv6(
                from: Lab.guestLinkLocal, to: Lab.address("ff02::2"), IPProtocol.icmpv6, message, hopLimit: 255),
            to: MACAddress(rawValue: 0x3333_0000_0002))
        let frames = rig.frames()
        let answer = try #require(frames.first)
        #expect(answer.source == Lab.gatewayLinkLocal)
        #expect(answer.destination == Lab.guestLinkLocal)
        #expect(answer.hopLimit == 255)
        answer.payload.withSpan { bytes in
            guard let view = try? NDPView(bytes) else {
                Issue.record("not an advertisement")
                return
            }
            let (managed, other, lifetime) = (view.isManaged, view.hasOtherConfiguration, view.routerLifetime)
            #expect(managed && other && lifetime == 1800)
            let mtu = view.options.mtu
            #expect(mtu == 1500)
            let servers = view.options.recursiveDNSServers
            #expect(servers == [Lab.gateway6])
            let prefix = view.options.prefixInformation
            #expect(prefix?.address == Lab.address("fd00:2::"))
            #expect(prefix?.autonomous == true && prefix?.onLink == true && prefix?.prefixLength == 64)
            var names: [UInt8] = []
            if let list = view.options.dnsSearchList { names = Array(copying: list) }
            #expect(names.starts(with: [3] + Array("lab".utf8) + [7] + Array("example".utf8) + [0]))
        }
    }

    @Test func advertisementsComeOnScheduleToAllNodes() {
        var rig = Rig()
        var times: [Int64] = []
        for _ in 0..<12 {
            let due = rig.core.icmp.ndp.advertisement.nextDeadline
            #expect(rig.core.nextDeadline <= due)
            rig.advance(by: due - rig.now)
            let frames = rig.frames()
            #expect(frames.count == 1)
            #expect(frames.first?.destination == NDPGroup.allNodes)
            #expect(frames.first?.mac == NDPGroup.allNodesMAC)
            times.append(rig.now - Lab.start)
        }
        #expect(Array(times[..<3]) == [0, Int64.seconds(16), Int64.seconds(32)])
        for (earlier, later) in zip(times.dropFirst(2), times.dropFirst(3)) {
            #expect((Int64.seconds(200)...Int64.seconds(600)).contains(later - earlier))
        }
    }

    @Test func truncationAtEveryLengthIsCounted() {
        var rig = Rig()
        let destination = Self.solicitedNode(Lab.gateway6)
        let body = be32(0) + bytes(Lab.gateway6) + [1, 1, 0x52, 0x54, 0, 0, 0, 2]
        for length in 0..<body.count where length != 20 {
            let message = GuestPacket.icmp(from: Lab.guest6, to: destination, type: 135, Array(body[..<length]))
            rig.send(GuestPacket.ipv6(to: destination, IPProtocol.icmpv6, message, hopLimit: 255))
        }
        #expect(rig.outside.frames.isEmpty)
        #expect(rig.core.counters.dropped == UInt64(body.count - 1))
    }

    func bytes(_ address: IPAddress) -> [UInt8] { Self.bytes(address) }
    static func bytes(_ address: IPAddress) -> [UInt8] {
        be32(UInt32(address.hi >> 32)) + be32(UInt32(address.hi & 0xffff_ffff)) + be32(UInt32(address.lo >> 32))
            + be32(UInt32(address.lo & 0xffff_ffff))
    }
}
