import Simnet
import Testing
import Wire

@testable import Netstack

@Suite struct DHCPLeasesTests {
    static func mac(_ number: Int) -> MACAddress { MACAddress(rawValue: 0x5254_0000_1000 + UInt64(number)) }
    static func client(_ number: Int, _ association: UInt32 = 0) -> DHCPLeases.Client {
        DHCPLeases.Client(mac: mac(number), association: association)
    }
    static let now = Lab.start
    static let web = IPAddress(v4: 0x0a00_0264)

    static func configuration(hosts: [LeaseConfiguration.Host] = [], seconds: UInt32 = 3600) -> LeaseConfiguration {
        var configuration = LeaseConfiguration()
        configuration.hosts = hosts
        configuration.seconds = seconds
        return configuration
    }

    static func leases(_ configuration: LeaseConfiguration = configuration()) -> DHCPLeases {
        DHCPLeases(Lab.configuration().v4, configuration)
    }

    @Test func aReservedAddressIsItsStationsAlone() {
        var leases = Self.leases(Self.configuration(hosts: [.init(mac: Self.mac(7), name: "web", v4: Self.web)]))
        // Somebody else wishes for it, or takes it without asking.
        #expect(leases.offer(Self.client(1), wish: Self.web, at: Self.now) == Lab.guest4)
        #expect(leases.bind(Self.client(1), Self.web, at: Self.now) == false)
        // Whatever it wishes for.
        #expect(leases.offer(Self.client(7), wish: Lab.guest4, at: Self.now) == Self.web)
        #expect(leases.bind(Self.client(7), Self.web, at: Self.now) == true)
    }

    @Test func aReservationMovesAStationThatHasAnotherAddress() {
        var leases = Self.leases(Self.configuration(hosts: [.init(mac: Self.mac(7), v4: Self.web)]))
        let old = Lease(address: Lab.guest4, mac: Self.mac(7), expires: Self.now + .seconds(3000))
        #expect(leases.restore(old) == true)
        #expect(leases.offer(Self.client(7), wish: Lab.guest4, at: Self.now) == Self.web)
        #expect(leases.takeChanges() == [.granted(old), .ended(old)])
    }

    @Test func changesAreTold() {
        var leases = Self.leases()
        let address = Lab.guest4
        #expect(leases.offer(Self.client(1), wish: nil, at: Self.now) == address)
        #expect(leases.takeChanges() == [])  // An offer is none.
        #expect(leases.bind(Self.client(1), address, name: "web", at: Self.now) == true)
        var lease = Lease(address: address, mac: Self.mac(1), name: "web", expires: Self.now + .seconds(3600))
        #expect(leases.takeChanges() == [.granted(lease)])
        let later = Self.now + .seconds(1800)
        #expect(leases.bind(Self.client(1), address, name: "web", at: later) == true)
        lease.expires = later + .seconds(3600)
        #expect(leases.takeChanges() == [.granted(lease)])
        // Somebody asks when it has expired.
        _ = leases.offer(Self.client(2), wish: nil, at: later + .seconds(3600))
        #expect(leases.takeChanges() == [.ended(lease)])
    }

    /// Nobody has to ask.
    @Test func aLeaseEndsWhenItsTimeIsUp() {
        var rig = Rig()
        let first = Lease(address: Lab.guest4, mac: Self.mac(1), name: "web", expires: rig.now + .seconds(90))
        let second = Lease(address: Lab.guest6, mac: Self.mac(1), association: 1, expires: rig.now + .seconds(91))
        for lease in [first, second] {
            let isRestored = rig.core.restore(lease, at: rig.now, outside: &rig.outside)
            #expect(isRestored)
        }
        #expect(rig.outside.takeLeaseChanges() == [.granted(first), .granted(second)])
        // By the core's own deadlines.
        var ended: [Instant: [LeaseChange]] = [:]
        while rig.now < second.expires {
            let deadline = rig.core.nextDeadline
            rig.advance(by: max(1, deadline - rig.now))
            let changes = rig.outside.takeLeaseChanges()
            if !changes.isEmpty { ended[rig.now] = changes }
        }
        #expect(ended == [first.expires: [.ended(first)], second.expires: [.ended(second)]])
    }

    @Test func whatAnotherUsesIsNotGiven() {
        var leases = Self.leases()
        let used = [Lab.guest4, Self.web]
        let address = leases.offer(Self.client(1), wish: Self.web, at: Self.now) { used.contains($0) }
        #expect(address == IPAddress(v4: 0x0a00_0203))
        #expect(leases.bind(Self.client(1), Self.web, at: Self.now) { used.contains($0) } == false)
    }

    @Test func aReservationGoesBackWithItsStation() {
        var leases = Self.leases()
        let (client, now) = (Self.client(1), Self.now)
        #expect(leases.bind(client, Self.web, .reservation, at: now) == true)
        var lease = Lease(address: Self.web, mac: Self.mac(1), expires: now + .seconds(3600))
        #expect(leases.takeChanges() == [.granted(lease)])
        leases.leave(Self.mac(2), forGood: true)
        #expect(leases.takeChanges() == [])
        leases.leave(Self.mac(1), forGood: false)
        #expect(leases.takeChanges() == [.ended(lease)])
        #expect(leases.count == 0)
        // DHCP has made it a lease, which asking once more for the same does not unmake.
        #expect(leases.bind(client, Self.web, .reservation, at: now) == true)
        #expect(leases.bind(client, Self.web, name: "web", at: now) == true)
        #expect(leases.bind(client, Self.web, .reservation, at: now) == true)
        _ = leases.takeChanges()
        leases.leave(Self.mac(1), forGood: false)
        #expect(leases.takeChanges() == [])
        lease.name = "web"
        leases.leave(Self.mac(1), forGood: true)
        #expect(leases.takeChanges() == [.ended(lease)])
        #expect(leases.count == 0)
    }

    @Test func aRestoredLeaseMustBeOfThisNetwork() {
        var leases = Self.leases()
        for address in [Lab.gateway4, Lab.alias4, Lab.remote4, IPAddress(v4: 0x0a00_02ff)] {
            #expect(leases.restore(Lease(address: address, mac: Self.mac(1), expires: .never)) == false)
        }
        let good = Lease(address: Self.web, mac: Self.mac(1), expires: Self.now + 1)
        #expect(leases.restore(good) == true)
        #expect(leases.restore(good) == false)
        #expect(leases.offer(Self.client(1), wish: nil, at: Self.now) == Self.web)
    }

    @Test func anAssociationOfABootLoaderGivesItsReservationToTheSystem() {
        let address = Lab.address("fd00:2::10")
        var leases = DHCPLeases(
            Lab.configuration().v6, Self.configuration(hosts: [.init(mac: Self.mac(7), v6: address)]))
        #expect(leases.offer(Self.client(7, 1), wish: nil, at: Self.now) == address)
        #expect(leases.bind(Self.client(7, 1), address, at: Self.now) == true)
        // Two associations of one message are two addresses.
        #expect(leases.offer(Self.client(7, 2), wish: nil, at: Self.now) == Lab.guest6)
        #expect(leases.offer(Self.client(7, 3), wish: nil, at: Self.now + 1) == address)
        #expect(leases.bind(Self.client(7, 3), address, at: Self.now + 1) == true)
        #expect(leases.address(of: Self.client(7, 1)) == nil)
    }

    @Test func theTableIsBounded() {
        var configuration = Lab.configuration()
        configuration.v4?.prefix = Prefix(address: IPAddress(v4: 0x0a00_0000), length: 8)!
        let reserved = LeaseConfiguration.Host(mac: Self.mac(9999), v4: Self.web)
        var leases = DHCPLeases(configuration.v4, Self.configuration(hosts: [reserved]))
        for number in 0..<DHCPLeases.capacity + 10 {
            guard let address = leases.offer(Self.client(number), wish: nil, at: Self.now) else { continue }
            #expect(leases.bind(Self.client(number), address, at: Self.now) == true)
        }
        #expect(leases.count == DHCPLeases.capacity)
        #expect(leases.offer(Self.client(5000), wish: nil, at: Self.now) == nil)
        // What is reserved is to be had all the same.
        #expect(leases.offer(Self.client(9999), wish: nil, at: Self.now) == Self.web)
        #expect(leases.count == DHCPLeases.capacity)
    }

    /// Whatever clients do, no address is two stations', and those told are those held.
    @Test(arguments: UInt64(1)...20)
    func noAddressIsGivenTwice(seed: UInt64) {
        var random = SeededRandom(seed)
        var leases = Self.leases(Self.configuration(hosts: [.init(mac: Self.mac(3), v4: Self.web)], seconds: 60))
        var now = Self.now
        var held: [IPAddress: MACAddress] = [:]
        for _ in 0..<2000 {
            let number = random.below(40)
            let client = Self.client(number)
            let wish = IPAddress(v4: 0x0a00_0200 + UInt32(random.below(256)))
            switch random.below(6) {
            case 0, 1: _ = leases.offer(client, wish: random.chance(0.5) ? wish : nil, at: now)
            case 2, 3: _ = leases.bind(client, leases.address(of: client) ?? wish, at: now)
            case 4: leases.release(client)
            default: if let address = leases.address(of: client) { leases.decline(client, address, at: now) }
            }
            for change in leases.takeChanges() {
                switch change {
                case .granted(let lease):
                    #expect(held[lease.address] ?? lease.mac == lease.mac)
                    #expect(lease.address != Self.web || lease.mac == Self.mac(3))
                    held[lease.address] = lease.mac
                case .ended(let lease):
                    #expect(held[lease.address] == lease.mac)
                    held[lease.address] = nil
                }
            }
            now = now + Int64(random.below(5_000_000_000))
        }
        #expect(Set(held.values).count == held.count)
    }
}

@Suite struct HostNameTests {
    @Test(arguments: [
        ("web", "web"), ("Web-01.example.org", "web-01"), ("my vm_2", "my-vm-2"), ("a\0b", "a"), ("", nil), ("-a", nil),
        ("a-", nil), ("ä", nil), ("..", nil), ("a/b", nil),
        (String(repeating: "x", count: 63), String(repeating: "x", count: 63)),
        (String(repeating: "x", count: 64), nil),
    ])
    func labels(text: String, label: String?) {
        #expect(Array(text.utf8).withSpan { HostName.label($0) } == label)
    }

    @Test func qualifiedNames() {
        let wire: [UInt8] = [3, 0x57, 0x65, 0x62, 2, 0x65, 0x78, 0]
        #expect(wire.withSpan { HostName.label(fqdn: $0, isWire: true) } == "web")
        for length in 0..<4 {
            #expect(Array(wire[..<length]).withSpan { HostName.label(fqdn: $0, isWire: true) } == nil)
        }
        #expect([0].withSpan { HostName.label(fqdn: $0, isWire: true) } == nil)
        #expect([192, 1, 2].withSpan { HostName.label(fqdn: $0, isWire: true) } == nil)
        #expect(Array("a.b".utf8).withSpan { HostName.label(fqdn: $0, isWire: false) } == "a")
    }
}
