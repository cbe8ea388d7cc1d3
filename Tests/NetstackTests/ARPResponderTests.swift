import Testing
import Wire

@testable import Netstack

@Suite struct ARPResponderTests {
    struct Row: CustomTestStringConvertible {
        var name: String
        var operation: UInt16 = 1
        var sender = Lab.guest4
        var senderMAC = Lab.guestMAC
        var target: IPAddress
        var answered: Bool
        var testDescription: String { name }
    }

    static let rows = [
        Row(name: "gateway", target: Lab.gateway4, answered: true),
        Row(name: "host's alias", target: Lab.alias4, answered: true),
        Row(name: "another address of the subnet", target: IPAddress(v4: 0x0a00_0263), answered: true),
        Row(name: "outside of the subnet", target: Lab.remote4, answered: false),
        Row(name: "the guest's own", target: Lab.guest4, answered: false),
        Row(name: "network address", target: IPAddress(v4: 0x0a00_0200), answered: false),
        Row(name: "broadcast address", target: IPAddress(v4: 0x0a00_02ff), answered: false),
        Row(name: "probe for the gateway", sender: .anyV4, target: Lab.gateway4, answered: true),
        Row(name: "probe for a free address", sender: .anyV4, target: IPAddress(v4: 0x0a00_0263), answered: false),
        Row(
            name: "announcement", sender: IPAddress(v4: 0x0a00_0263), target: IPAddress(v4: 0x0a00_0263),
            answered: false),
        Row(name: "reply", operation: 2, target: Lab.gateway4, answered: false),
        Row(name: "group sender", senderMAC: .broadcast, target: Lab.gateway4, answered: false),
    ]

    static func packet(_ row: Row) -> [UInt8] {
        [UInt8].written(28) {
            ARPPacket(
                operation: row.operation, senderMAC: row.senderMAC, senderAddress: row.sender, targetMAC: .zero,
                targetAddress: row.target
            ).write(to: &$0, at: 0)
        }
    }

    @Test("answers what is ours and what is nobody's", arguments: rows)
    func answers(_ row: Row) throws {
        var rig = Rig()
        rig.sendFrame(GuestPacket.ethernet(EtherType.arp, Self.packet(row), to: .broadcast))
        let frames = rig.frames()
        #expect(frames.count == (row.answered ? 1 : 0))
        guard row.answered, let reply = frames.first else { return }
        #expect(reply.mac == Lab.guestMAC)
        let expected = [UInt8].written(28) {
            ARPPacket(
                operation: 2, senderMAC: Lab.gatewayMAC, senderAddress: row.target, targetMAC: Lab.guestMAC,
                targetAddress: row.sender
            ).write(to: &$0, at: 0)
        }
        #expect(reply.payload == expected)
    }

    @Test func truncationAtEveryLengthIsCounted() {
        var rig = Rig()
        let packet = Self.packet(Self.rows[0])
        for length in 0..<packet.count {
            rig.sendFrame(GuestPacket.ethernet(EtherType.arp, Array(packet[..<length])))
        }
        #expect(rig.drops(.malformedARP) == UInt64(packet.count))
        #expect(rig.outside.frames.isEmpty)
    }
}
