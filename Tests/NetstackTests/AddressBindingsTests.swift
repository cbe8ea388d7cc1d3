import Simnet
import Testing
import Wire

@testable import Netstack

/// Who may use which address of a switch.
@Suite struct AddressBindingsTests {
    static func mac(_ number: Int) -> MACAddress { MACAddress(rawValue: 0x5254_0000_0010 + UInt64(number)) }
    static func v4(_ last: UInt32) -> IPAddress { IPAddress(v4: 0x0a00_0200 + last) }
    static let now = Lab.start

    static func bindings(hosts: [LeaseConfiguration.Host] = [], ports: Int = 8) -> AddressBindings {
        var configuration = Lab.configuration()
        configuration.leases.hosts = hosts
        return AddressBindings(configuration, ports: ports, seed: 7)
    }

    @Test func whoComesFirstKeepsAnAddress() {
        var table = Self.bindings()
        for address in [Self.v4(7), Lab.address("fd00:2::7"), Lab.address("fe80::7"), Lab.address("169.254.1.1")] {
            #expect(table.claim(address, by: Self.mac(0), port: 0, now: Self.now) == nil)
            #expect(table.claim(address, by: Self.mac(0), port: 0, now: Self.now) == nil)
            #expect(table.claim(address, by: Self.mac(1), port: 1, now: Self.now) == .addressOfAnother)
        }
        // Until its port goes.
        table.forget(port: 0)
        #expect(table.claim(Self.v4(7), by: Self.mac(1), port: 1, now: Self.now) == nil)
        #expect(table.claim(Self.v4(7), by: Self.mac(0), port: 2, now: Self.now) == .addressOfAnother)
    }

    @Test func theGatewaysAddressesAreNobodyElses() {
        var table = Self.bindings()
        for address in [Lab.gateway4, Lab.alias4, Lab.gateway6, Lab.alias6, Lab.gatewayLinkLocal] {
            #expect(table.claim(address, by: Self.mac(0), port: 0, now: Self.now) == .addressOfGateway)
            #expect(table.claim(address, by: Self.mac(0), port: 0, isProbe: true, now: Self.now) == .addressOfGateway)
            table.lease(address, to: Self.mac(0), until: .never)
            #expect(table.claim(address, by: Self.mac(0), port: 0, now: Self.now) == .addressOfGateway)
        }
    }

    @Test func otherAddressesAreNotBound() {
        var table = Self.bindings()
        let before = table.count
        for address in [Lab.remote4, Lab.remote6, Self.v4(255), Self.v4(0), .broadcast] {
            #expect(table.claim(address, by: Self.mac(0), port: 0, now: Self.now) == nil)
            #expect(table.claim(address, by: Self.mac(1), port: 1, now: Self.now) == nil)
        }
        #expect(table.count == before)
    }

    @Test func aLeaseIsTheLastWord() {
        var table = Self.bindings()
        #expect(table.claim(Self.v4(7), by: Self.mac(0), port: 0, now: Self.now) == nil)
        #expect(table.isHeld(Self.v4(7), byOtherThan: Self.mac(1), at: Self.now) == true)
        #expect(table.isHeld(Self.v4(7), byOtherThan: Self.mac(0), at: Self.now) == false)
        table.lease(Self.v4(7), to: Self.mac(1), until: Self.now + 10)
        #expect(table.claim(Self.v4(7), by: Self.mac(0), port: 0, now: Self.now) == .addressOfAnother)
        #expect(table.claim(Self.v4(7), by: Self.mac(0), port: 0, isProbe: true, now: Self.now) == .addressOfAnother)
        // On whatever port it comes back.
        table.forget(port: 1)
        #expect(table.claim(Self.v4(7), by: Self.mac(1), port: 5, now: Self.now) == nil)
        // Once it has ended, its station may go on, and whoever is first otherwise has it.
        #expect(table.claim(Self.v4(7), by: Self.mac(1), port: 5, now: Self.now + 10) == nil)
        #expect(table.claim(Self.v4(7), by: Self.mac(0), port: 0, now: Self.now + 10) == nil)
        #expect(table.claim(Self.v4(7), by: Self.mac(1), port: 5, now: Self.now + 10) == .addressOfAnother)
    }

    @Test func aReleasedAddressIsFree() {
        var table = Self.bindings(hosts: [.init(mac: Self.mac(3), v4: Self.v4(9))])
        table.lease(Self.v4(7), to: Self.mac(1), until: .never)
        table.release(Self.v4(7))
        #expect(table.claim(Self.v4(7), by: Self.mac(0), port: 0, now: Self.now) == nil)
        table.release(Self.v4(7))  // Not a lease.
        #expect(table.claim(Self.v4(7), by: Self.mac(1), port: 1, now: Self.now) == .addressOfAnother)
        // A reservation outlives every lease.
        table.lease(Self.v4(9), to: Self.mac(3), until: Self.now)
        table.release(Self.v4(9))
        #expect(table.claim(Self.v4(9), by: Self.mac(0), port: 0, now: Self.now + 5) == .addressOfAnother)
        #expect(table.claim(Self.v4(9), by: Self.mac(3), port: 2, now: Self.now) == nil)
    }

    @Test func probes() {
        var table = Self.bindings()
        // What is probed for nobody can spoil, and its prober uses.
        #expect(table.claim(Self.v4(7), by: Self.mac(0), port: 0, isProbe: true, now: Self.now) == nil)
        #expect(table.claim(Self.v4(7), by: Self.mac(1), port: 1, isProbe: true, now: Self.now) == .addressOfAnother)
        #expect(table.claim(Self.v4(7), by: Self.mac(1), port: 1, now: Self.now) == .addressOfAnother)
        #expect(table.claim(Self.v4(7), by: Self.mac(0), port: 0, now: Self.now) == nil)
        // Then its holder answers who probes.
        #expect(table.claim(Self.v4(7), by: Self.mac(1), port: 1, isProbe: true, now: Self.now) == nil)
        #expect(table.claim(Self.v4(7), by: Self.mac(1), port: 1, now: Self.now) == .addressOfAnother)
    }

    @Test func aMachineThatInventsAddressesHurtsItselfAlone() {
        var table = Self.bindings()
        let before = table.count
        #expect(table.claim(Self.v4(100), by: Self.mac(1), port: 1, now: Self.now) == nil)
        for i in 0..<10_000 {
            let address = IPAddress(hi: Lab.guest6.hi, lo: 0x1000 + UInt64(i))
            #expect(table.claim(address, by: Self.mac(0), port: 0, now: Self.now) == nil)
            // The one that it uses stays.
            #expect(table.claim(Self.v4(50), by: Self.mac(0), port: 0, now: Self.now) == nil)
            #expect(table.claim(Self.v4(50), by: Self.mac(1), port: 1, now: Self.now) == .addressOfAnother)
        }
        #expect(table.count == before + 1 + AddressBindings.perPort)
        #expect(table.claim(Self.v4(100), by: Self.mac(0), port: 0, now: Self.now) == .addressOfAnother)
        table.forget(port: 0)
        #expect(table.count == before + 1)
    }

    /// Against a model without limits: what is leased is its station's alone, what is learnt its first's, and nothing leaks.
    @Test(arguments: UInt64(1)...20)
    func agreesWithAModel(seed: UInt64) {
        var random = SeededRandom(seed)
        var table = Self.bindings()
        let empty = table.count
        var leases: [IPAddress: (mac: MACAddress, end: Instant)] = [:]
        var learnt: [IPAddress: Int] = [:]
        var now = Self.now
        for _ in 0..<5000 {
            now = now + Int64(random.below(10))
            // Fewer than a port may have, so that none is forgotten.
            let address = Self.v4(10 + UInt32(random.below(30)))
            let station = random.below(6)
            switch random.below(12) {
            case 0:
                let end = now + Int64(random.below(2000))
                table.lease(address, to: Self.mac(station), until: end)
                leases[address] = (Self.mac(station), end)
                learnt[address] = nil
            case 1:
                table.release(address)
                leases[address] = nil
            case 2:
                table.forget(port: station)
                learnt = learnt.filter { $0.value != station }
            default:
                let refusal = table.claim(address, by: Self.mac(station), port: station, now: now)
                let isRefused: Bool
                if let lease = leases[address] {
                    isRefused = lease.mac != Self.mac(station) && lease.end > now
                    if lease.mac != Self.mac(station), lease.end <= now {
                        leases[address] = nil
                        learnt[address] = station
                    }
                } else {
                    isRefused = learnt[address, default: station] != station
                    if !isRefused { learnt[address] = station }
                }
                #expect((refusal != nil) == isRefused)
            }
        }
        for port in 0..<6 { table.forget(port: port) }
        for address in leases.keys { table.release(address) }
        #expect(table.count == empty)
    }
}

/// What frames claim.
@Suite struct SourceValidationTests {
    static let thief = MACAddress(rawValue: 0x5254_0000_0066)
    static let victim4 = IPAddress(v4: 0x0a00_0207)
    static let victim6 = Lab.address("fd00:2::7")
    static let own4 = IPAddress(v4: 0x0a00_0266)
    static let own6 = Lab.address("fd00:2::66")
    static let ownLocal = Lab.address("fe80::66")

    struct Row: CustomTestStringConvertible {
        var name: String
        var frame: [UInt8]
        var refusal: AddressBindings.Refusal?
        var testDescription: String { name }
    }

    static func ethernet(_ type: UInt16, _ payload: [UInt8]) -> [UInt8] {
        [UInt8].written(14) {
            EthernetHeader(destination: .broadcast, source: thief, etherType: type).write(to: &$0, at: 0)
        } + payload
    }

    static func arp(
        _ operation: UInt16, _ sender: IPAddress, at mac: MACAddress = thief, for target: IPAddress = own4
    ) -> [UInt8] {
        ethernet(
            EtherType.arp,
            [UInt8].written(28) {
                ARPPacket(
                    operation: operation, senderMAC: mac, senderAddress: sender, targetMAC: .zero, targetAddress: target
                ).write(to: &$0, at: 0)
            })
    }

    static func ip(_ source: IPAddress, _ proto: UInt8 = IPProtocol.tcp, _ payload: [UInt8] = [0, 1, 2, 3]) -> [UInt8] {
        let isV4 = source.isV4
        return ethernet(
            isV4 ? EtherType.ipv4 : EtherType.ipv6,
            GuestPacket.ip(from: source, to: isV4 ? own4 : own6, proto, payload, hopLimit: 255))
    }

    static func ndp(
        _ message: NDPMessage, from source: IPAddress, options: [NDPOption] = [], behind headers: [UInt8] = []
    ) -> [UInt8] {
        var length = 0
        var bytes = [UInt8].written(200) {
            length = message.write(to: &$0, at: 0, source: source, destination: NDPGroup.allNodes, options: options)
        }
        bytes = Array(bytes[..<length])
        return ip(source, headers.isEmpty ? IPProtocol.icmpv6 : IPProtocol.destinationOptions, headers + bytes)
    }

    static func advertisement(_ target: IPAddress) -> NDPMessage {
        .neighborAdvertisement(target: target, router: false, solicited: false, override: true)
    }

    static func udpFrom(_ port: UInt16) -> [UInt8] { be16(port) + be16(68) + be16(12) + [0, 0, 1, 2, 3, 4] }
    /// Destination options (padding) in front of ICMPv6.
    static let options: [UInt8] = [IPProtocol.icmpv6, 0, 1, 4, 0, 0, 0, 0]
    static let rows = [
        Row(name: "IPv4 with an own address", frame: ip(own4), refusal: nil),
        Row(name: "IPv4 with a leased one", frame: ip(victim4), refusal: .addressOfAnother),
        Row(name: "IPv4 with the gateway's", frame: ip(Lab.gateway4), refusal: .addressOfGateway),
        Row(name: "IPv4 with the host's alias", frame: ip(Lab.alias4), refusal: .addressOfGateway),
        Row(name: "IPv4 from nobody: DHCP", frame: ip(.anyV4, IPProtocol.udp, be16(68) + be16(67)), refusal: nil),
        Row(name: "IPv4 from beyond the link, by a router", frame: ip(Lab.remote4), refusal: nil),
        Row(name: "a DHCP server's answer", frame: ip(own4, IPProtocol.udp, udpFrom(67)), refusal: .serverMessage),
        Row(name: "other UDP", frame: ip(own4, IPProtocol.udp, udpFrom(53)), refusal: nil),
        Row(name: "IPv6 with an own address", frame: ip(own6), refusal: nil),
        Row(name: "IPv6 with a leased one", frame: ip(victim6), refusal: .addressOfAnother),
        Row(name: "IPv6 with the gateway's", frame: ip(Lab.gateway6), refusal: .addressOfGateway),
        Row(name: "IPv6 with the gateway's local", frame: ip(Lab.gatewayLinkLocal), refusal: .addressOfGateway),
        Row(name: "a DHCPv6 server's", frame: ip(ownLocal, IPProtocol.udp, udpFrom(547)), refusal: .serverMessage),
        Row(name: "ARP request", frame: arp(1, own4, for: victim4), refusal: nil),
        Row(name: "ARP request as another", frame: arp(1, victim4, for: Lab.gateway4), refusal: .addressOfAnother),
        Row(name: "ARP reply as another", frame: arp(2, victim4), refusal: .addressOfAnother),
        Row(name: "ARP reply as the gateway", frame: arp(2, Lab.gateway4), refusal: .addressOfGateway),
        Row(name: "ARP announcement", frame: arp(1, victim4, for: victim4), refusal: .addressOfAnother),
        Row(name: "ARP probe for a leased address", frame: arp(1, .anyV4, for: victim4), refusal: .addressOfAnother),
        Row(name: "ARP probe for a free address", frame: arp(1, .anyV4, for: own4), refusal: nil),
        Row(name: "ARP with another MAC address", frame: arp(2, own4, at: Lab.guestMAC), refusal: .foreignMAC),
        Row(
            name: "ARP of other hardware", frame: ethernet(EtherType.arp, [0, 6] + arp(2, victim4)[16...]),
            refusal: .malformed),
        Row(name: "ARP cut short", frame: Array(arp(2, victim4)[..<40]), refusal: .malformed),
        Row(
            name: "solicitation", frame: ndp(.neighborSolicitation(target: victim6), from: own6),
            refusal: nil),
        Row(
            name: "solicitation as another", frame: ndp(.neighborSolicitation(target: own6), from: victim6),
            refusal: .addressOfAnother),
        Row(
            name: "solicitation with another MAC address",
            frame: ndp(
                .neighborSolicitation(target: own6), from: own6, options: [.sourceLinkLayerAddress(Lab.guestMAC)]),
            refusal: .foreignMAC),
        Row(
            name: "duplicate address probe for a leased one",
            frame: ndp(.neighborSolicitation(target: victim6), from: .anyV6), refusal: .addressOfAnother),
        Row(
            name: "duplicate address probe for a free one",
            frame: ndp(.neighborSolicitation(target: own6), from: .anyV6), refusal: nil),
        Row(name: "advertisement", frame: ndp(advertisement(own6), from: own6), refusal: nil),
        Row(
            name: "advertisement of another's", frame: ndp(advertisement(victim6), from: own6),
            refusal: .addressOfAnother),
        Row(
            name: "advertisement of the gateway's", frame: ndp(advertisement(Lab.gateway6), from: own6),
            refusal: .addressOfGateway),
        Row(
            name: "advertisement of another's behind options",
            frame: ndp(advertisement(victim6), from: own6, behind: options), refusal: .addressOfAnother),
        Row(
            name: "advertisement with another MAC address",
            frame: ndp(advertisement(own6), from: own6, options: [.targetLinkLayerAddress(Lab.guestMAC)]),
            refusal: .foreignMAC),
        Row(name: "router solicitation", frame: ndp(.routerSolicitation, from: ownLocal), refusal: nil),
        Row(
            name: "router advertisement",
            frame: ndp(
                .routerAdvertisement(hopLimit: 64, managed: false, otherConfiguration: false, routerLifetime: 9),
                from: ownLocal), refusal: .routerMessage),
        Row(
            name: "redirect",
            frame: ip(ownLocal, IPProtocol.icmpv6, [137, 0, 0, 0] + [UInt8](repeating: 0, count: 36)),
            refusal: .routerMessage),
        Row(
            name: "IPv6 with too many headers",
            frame: ip(
                own6, IPProtocol.destinationOptions,
                (0..<9).flatMap { _ in [IPProtocol.destinationOptions, 0, 1, 4, 0, 0, 0, 0] as [UInt8] }),
            refusal: .malformed),
        Row(
            name: "a DHCPv6 server's behind a second hop-by-hop header",
            frame: ip(
                ownLocal, IPProtocol.hopByHop,
                [IPProtocol.hopByHop, 0, 1, 4, 0, 0, 0, 0, IPProtocol.udp, 0, 1, 4, 0, 0, 0, 0] + udpFrom(547)),
            refusal: .malformed),
        Row(name: "another protocol", frame: ethernet(0x88cc, [1, 2, 3]), refusal: nil),
    ]

    static func table() -> AddressBindings {
        var table = AddressBindingsTests.bindings()
        table.lease(victim4, to: Lab.guestMAC, until: .never)
        table.lease(victim6, to: Lab.guestMAC, until: .never)
        return table
    }

    static func refusal(_ table: inout AddressBindings, _ frame: [UInt8]) -> AddressBindings.Refusal? {
        guard let view = try? EthernetView(frame.rawSpan) else { return nil }
        return table.refusal(of: view, port: 3, now: Lab.start)
    }

    @Test("frames", arguments: rows)
    func frames(_ row: Row) {
        var table = Self.table()
        #expect(Self.refusal(&table, row.frame) == row.refusal)
    }

    /// Cut anywhere and with bytes changed: no trap, and the table stays within its limits.
    @Test func mutilatedFramesAreHarmless() {
        var table = Self.table()
        let before = table.count
        var random = SeededRandom(5)
        for row in Self.rows {
            for length in 0...row.frame.count { _ = Self.refusal(&table, Array(row.frame[..<length])) }
            for _ in 0..<2000 {
                var frame = row.frame
                for _ in 0...random.below(4) { frame[12 + random.below(frame.count - 12)] = UInt8(random.below(256)) }
                _ = Self.refusal(&table, frame)
            }
        }
        #expect(table.count <= before + AddressBindings.perPort)
        #expect(table.claim(Self.victim4, by: Lab.guestMAC, port: 0, now: Lab.start) == nil)
        #expect(table.claim(Self.victim4, by: Self.thief, port: 3, now: Lab.start) == .addressOfAnother)
    }
}
