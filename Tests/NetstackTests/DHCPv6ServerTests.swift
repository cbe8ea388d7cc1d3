import Testing
import Wire

@testable import Netstack

@Suite struct DHCPv6ServerTests {
    static let client: [UInt8] = [0, 3, 0, 1, 0x52, 0x54, 0, 0, 0, 2]
    static let server = DHCPv6Message.identifier(of: Lab.gatewayMAC)

    struct Answer: Equatable {
        var type: UInt8
        var associations: [DHCPv6IdentityAssociation]
        var status: UInt16?
        var rapid: Bool
    }

    static func message(
        _ type: UInt8, client: [UInt8] = client, server: [UInt8] = [], address: IPAddress? = nil, rapid: Bool = false,
        associations: [UInt32] = [7]
    ) -> [UInt8] {
        var message = DHCPv6Message(type: type, transactionID: 0x00ab_cdef)
        message.rapidCommit = rapid
        message.identityAssociations = associations.map {
            var association = DHCPv6IdentityAssociation(identifier: $0)
            association.address = address
            return association
        }
        var length = 0
        let bytes = [UInt8].written(1024) {
            length = message.write(
                to: &$0, at: 0, clientIdentifier: client.rawSpan, serverIdentifier: server.rawSpan)
        }
        return Array(bytes[..<length])
    }

    static func send(_ rig: inout Rig, _ message: [UInt8]) -> Answer? {
        let client = Endpoint(address: Lab.guestLinkLocal, port: 546)
        let servers = Endpoint(address: DHCPv6.allServers, port: 547)
        rig.send(
            GuestPacket.ipv6(
                from: client.address, to: servers.address, IPProtocol.udp,
                GuestPacket.udp(from: client, to: servers, message)), to: MACAddress(rawValue: 0x3333_0001_0002))
        guard let frame = rig.frames().first else { return nil }
        #expect(frame.source == Lab.gatewayLinkLocal && frame.destination == Lab.guestLinkLocal)
        #expect(frame.u16(0) == 547 && frame.u16(2) == 546)
        var answer: Answer?
        Array(frame.payload[8...]).withSpan { bytes in
            guard let view = try? DHCPv6View(bytes) else { return }
            let (id, servers) = (view.transactionID, view.dnsServers)
            #expect(id == 0x00ab_cdef && servers == [Lab.gateway6])
            var identifier: [UInt8] = []
            if let value = view.serverIdentifier { identifier = Array(copying: value) }
            #expect(identifier == Self.server)
            answer = Answer(
                type: view.type, associations: view.identityAssociations(), status: view.statusCode,
                rapid: view.hasRapidCommit)
        }
        return answer
    }

    @Test func solicitAdvertiseRequestReplyRenewRelease() throws {
        var rig = Rig()
        let advertise = Self.send(&rig, Self.message(1))
        #expect(advertise?.type == 2 && advertise?.associations.map(\.address) == [Lab.guest6])
        #expect(advertise?.associations.first?.identifier == 7)
        let reply = Self.send(&rig, Self.message(3, server: Self.server, address: Lab.guest6))
        #expect(reply?.type == 7 && reply?.associations.map(\.address) == [Lab.guest6])
        #expect(reply?.associations.map(\.validLifetime) == [3600])
        let renewed = Self.send(&rig, Self.message(5, server: Self.server, address: Lab.guest6))
        #expect(renewed?.associations.map(\.validLifetime) == [3600])
        let rebound = Self.send(&rig, Self.message(6, address: Lab.guest6))
        #expect(rebound?.associations.map(\.validLifetime) == [3600])
        #expect(rig.core.udp.dhcpv6.leaseCount == 1)
        let released = Self.send(&rig, Self.message(8, server: Self.server, address: Lab.guest6))
        #expect(released?.status == 0)
        #expect(rig.core.udp.dhcpv6.leaseCount == 0)
    }

    @Test func rapidCommitSavesARound() {
        var rig = Rig()
        let reply = Self.send(&rig, Self.message(1, rapid: true))
        #expect(reply?.type == 7 && reply?.rapid == true && reply?.associations.map(\.address) == [Lab.guest6])
    }

    struct Row: CustomTestStringConvertible {
        var name: String
        var message: [UInt8]
        var type: UInt8?
        var status: UInt16?
        var testDescription: String { name }
    }

    static let stranger: [UInt8] = [0, 3, 0, 1, 9, 9, 9, 9, 9, 9]
    static let rows = [
        Row(name: "solicit without client", message: message(1, client: [])),
        Row(name: "solicit with server", message: message(1, server: server)),
        Row(name: "request without server", message: message(3)),
        Row(name: "request to another server", message: message(3, server: stranger)),
        Row(name: "renew to another server", message: message(5, server: stranger, address: Lab.guest6)),
        Row(name: "rebind with server", message: message(6, server: server, address: Lab.guest6)),
        Row(name: "confirm on link", message: message(4, address: Lab.guest6), type: 7, status: 0),
        Row(name: "confirm off link", message: message(4, address: Lab.remote6), type: 7, status: 4),
        Row(name: "confirm nothing", message: message(4)),
        Row(name: "decline", message: message(9, server: server, address: Lab.guest6), type: 7, status: 0),
        Row(name: "information", message: message(11, associations: []), type: 7),
        Row(name: "information without client", message: message(11, client: [], associations: []), type: 7),
        Row(name: "information with association", message: message(11)),
        Row(name: "reply", message: message(7, server: server)),
        Row(name: "advertise", message: message(2, server: server)),
        Row(name: "reconfigure", message: message(10, server: server)),
    ]

    @Test("messages out of the blue", arguments: rows)
    func outOfTheBlue(_ row: Row) {
        var rig = Rig()
        let answer = Self.send(&rig, row.message)
        #expect(answer?.type == row.type)
        #expect(answer?.status == row.status)
    }

    @Test func anAddressFromElsewhereGetsNoLifetime() {
        var rig = Rig()
        let renewed = Self.send(&rig, Self.message(5, server: Self.server, address: Lab.remote6))
        #expect(renewed?.associations.map(\.address) == [Lab.remote6])
        #expect(renewed?.associations.map(\.validLifetime) == [0])
    }

    @Test func everyAssociationHasItsOwnAddress() {
        var rig = Rig()
        let reply = Self.send(&rig, Self.message(1, rapid: true, associations: [1, 2, 3]))
        #expect(Set(reply?.associations.compactMap(\.address) ?? []).count == 3)
    }

    @Test func aStationHasSoManyAssociations() {
        var rig = Rig()
        for number in UInt32(1)...40 { _ = Self.send(&rig, Self.message(1, rapid: true, associations: [number])) }
        #expect(rig.core.udp.dhcpv6.leaseCount == 16)
        let refused = Self.send(&rig, Self.message(1, rapid: true, associations: [9999]))
        #expect(refused?.associations.map(\.statusCode) == [2])
    }

    @Test func truncationAtEveryLengthIsHarmless() {
        var rig = Rig()
        let message = Self.message(3, server: Self.server, address: Lab.guest6)
        for length in 0..<message.count { _ = Self.send(&rig, Array(message[..<length])) }
        #expect(rig.drops(.malformedDHCP) > 0)
    }

    @Test func onlyWhatIsAskedFor() {
        var configuration = Lab.configuration()
        configuration.leases.ntpServers = [Lab.remote4, Lab.remote6]
        configuration.leases.boot.files = [.init(architecture: nil, name: "ipxe.efi")]
        for (asked, told) in [
            ([23] as [UInt8], [1, 2, 3, 7, 23] as Set<UInt16>), ([24, 56, 59], [1, 2, 3, 7, 24, 56, 59]),
        ] {
            var rig = Rig(configuration)
            let request = Self.message(1) + [0, 6, 0, UInt8(2 * asked.count)] + asked.flatMap { [0, $0] }
            let client = Endpoint(address: Lab.guestLinkLocal, port: 546)
            let servers = Endpoint(address: DHCPv6.allServers, port: 547)
            rig.send(
                GuestPacket.ipv6(
                    from: client.address, to: servers.address, IPProtocol.udp,
                    GuestPacket.udp(from: client, to: servers, request)), to: MACAddress(rawValue: 0x3333_0001_0002))
            let bytes = Array(rig.frames()[0].payload[8...])
            var options: [UInt16: [UInt8]] = [:]
            var at = 4
            while at + 4 <= bytes.count {
                let length = Int(bytes[at + 2]) << 8 | Int(bytes[at + 3])
                options[UInt16(bytes[at]) << 8 | UInt16(bytes[at + 1])] = Array(bytes[(at + 4)..<(at + 4 + length)])
                at += 4 + length
            }
            #expect(Set(options.keys) == told)
            if let ntp = options[56] {
                #expect(ntp == [0, 1, 0, 16, 0x20, 1, 0x0d, 0xb8] + [UInt8](repeating: 0, count: 11) + [7])
            }
            if let url = options[59] { #expect(String(decoding: url, as: UTF8.self) == "tftp://[fd00:2::1]/ipxe.efi") }
        }
    }
}
