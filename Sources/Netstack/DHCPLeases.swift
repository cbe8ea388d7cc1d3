package import Wire

// Who has which address of one family, for both DHCP servers.
//
//   client              a MAC address and, in IPv6, an identity association (IAID)
//   address             the one reserved for the MAC address; else the configured guest address for the first who asks; then what the
//                       client wishes for; then the lowest free
//   expires             an offer's after a minute, a lease's after the configured time, a declined address's after ten minutes; a reservation's,
//                       which is a lease that the client did not get by DHCP (`Core.reserve`), when its station leaves
//
// Client identifiers and DUIDs do not count: machines made from one image often share them, a boot loader and the system that it boots
// have different ones, and whoever knows another's could take its lease away. The MAC address the switch vouches for.
//
// Limits: `capacity` entries, `perStation` of one MAC address. When the table is full, the offer that ends first gives way; if there is none, the newcomer
// gets nothing, unless an address is reserved for it: then it takes the place of the lease that ends first. What has expired ends on
// time (`advance`), whether or not somebody asks. A lease that a client remembers, and that is free, is confirmed to it.

/// An address that a station has for a while.
package struct Lease: Equatable, Sendable {
    package var address: IPAddress
    package var mac: MACAddress
    /// IAID; 0 for IPv4.
    package var association: UInt32
    /// What the client calls itself, as an RFC 1123 label; empty if it does not, or not so.
    package var name: String
    package var expires: Instant

    package init(address: IPAddress, mac: MACAddress, association: UInt32 = 0, name: String = "", expires: Instant) {
        self.address = address
        self.mac = mac
        self.association = association
        self.name = name
        self.expires = expires
    }
}

/// What became of a lease.
package enum LeaseChange: Equatable, Sendable {
    /// Given or extended.
    case granted(Lease)
    /// Expired, released, declined or replaced by another of the same client.
    case ended(Lease)
}

/// The leases of one family.
package struct DHCPLeases: ~Copyable {
    package static let capacity = 1024
    /// Associations of one station.
    private static let perStation = 16
    private static let offerTime = Int64.seconds(60)
    private static let declineTime = Int64.seconds(600)
    /// Declined addresses that rest.
    private static let restingLimit = 64

    struct Client: Hashable {
        var mac: MACAddress
        var association: UInt32 = 0
    }

    enum Kind { case offer, reservation, lease }

    private struct Entry {
        var lease: Lease
        var kind: Kind
        /// When the client last asked.
        var askedAt: Instant
    }

    private let family: Configuration.Family?
    private let leaseTime: Int64
    private var entries: [Client: Entry] = [:]
    private var holders: [IPAddress: Client] = [:]
    private var resting: [IPAddress: Instant] = [:]
    private var reserved: [IPAddress: MACAddress] = [:]
    private var reservations: [MACAddress: IPAddress] = [:]
    /// Nothing ends earlier.
    private var earliest = Instant.never
    private var changes: [LeaseChange] = []

    init(_ family: Configuration.Family?, _ configuration: LeaseConfiguration) {
        self.family = family
        leaseTime = .seconds(Int64(configuration.seconds))
        for host in configuration.hosts {
            guard let family, let address = family.prefix.isV4 ? host.v4 : host.v6 else { continue }
            reserved[address] = host.mac
            reservations[host.mac] = address
        }
    }

    /// When `advance` has something to do; may be early, never late.
    var nextDeadline: Instant { earliest }

    /// Leases, offers and resting addresses.
    var count: Int { entries.count + resting.count }

    /// What has changed since the last call.
    mutating func takeChanges() -> [LeaseChange] {
        guard !changes.isEmpty else { return [] }
        defer { changes = [] }
        return changes
    }

    /// The address a client holds or was offered.
    func address(of client: Client) -> IPAddress? { entries[client]?.lease.address }

    /// Whether an address may go to a client: in the subnet, none of ours, held by nobody else.
    func isAvailable(_ address: IPAddress, to client: Client, isHeld: (IPAddress) -> Bool) -> Bool {
        guard let family, family.prefix.contains(address), address != family.gateway, address != family.hostAlias,
            address != family.prefix.network, !(address.isV4 && address == family.prefix.broadcast),
            resting[address] == nil
        else { return false }
        if let owner = reserved[address] {
            // Of the associations of its station, the last that asks.
            return owner == client.mac
        }
        if let holder = holders[address] { return holder == client }
        return !isHeld(address)
    }

    /// Finds an address for a client and holds it for a minute.
    /// - Parameter isHeld: whether somebody else uses an address without a lease.
    mutating func offer(
        _ client: Client, wish: IPAddress?, at now: Instant, isHeld: (IPAddress) -> Bool = { _ in false }
    ) -> IPAddress? {
        advance(to: now)
        // Of several associations in one message, the first gets what is reserved for their station.
        let reservation = reservations[client.mac].flatMap { address -> IPAddress? in
            guard let holder = holders[address], holder != client else { return address }
            return entries[holder]?.askedAt == now ? nil : address
        }
        if let known = address(of: client), reservation == nil || reservation == known {
            entries[client]?.askedAt = now
            return known
        }
        guard let family else { return nil }
        var choice: IPAddress?
        if let reservation, isAvailable(reservation, to: client, isHeld: isHeld) {
            choice = reservation
        } else if isAvailable(family.guest, to: client, isHeld: isHeld) {
            choice = family.guest
        } else if let wish, isAvailable(wish, to: client, isHeld: isHeld) {
            choice = wish
        } else {
            // Among so many one is free in any subnet that is large enough, as long as the table is not full.
            let first: UInt64 = family.prefix.isV4 ? 1 : 0x1000
            let tries = UInt64(Self.capacity + Self.restingLimit + reserved.count + 4)
            for offset in first..<first + tries {
                let address = family.prefix.address(at: offset)
                if isAvailable(address, to: client, isHeld: isHeld) {
                    choice = address
                    break
                }
            }
        }
        guard let choice, entries[client] != nil || makeRoom(for: client, isReserved: choice == reservation) else {
            return nil
        }
        put(
            Lease(
                address: choice, mac: client.mac, association: client.association, expires: now + Self.offerTime),
            .offer, at: now)
        return choice
    }

    /// Gives a client an address for the time of a lease.
    /// - Parameter kind: a reservation of what the client has leased already is no news.
    /// - Returns: false if the address is not to be had.
    mutating func bind(
        _ client: Client, _ address: IPAddress, name: String = "", _ kind: Kind = .lease, at now: Instant,
        isHeld: (IPAddress) -> Bool = { _ in false }
    ) -> Bool {
        advance(to: now)
        guard isAvailable(address, to: client, isHeld: isHeld) else { return false }
        if entries[client] == nil, !makeRoom(for: client, isReserved: reserved[address] == client.mac) { return false }
        if kind == .reservation, let known = entries[client], known.kind == .lease, known.lease.address == address {
            return true
        }
        let lease = Lease(
            address: address, mac: client.mac, association: client.association, name: name, expires: now + leaseTime)
        put(lease, kind, at: now)
        changes.append(.granted(lease))
        return true
    }

    /// Takes a lease of an earlier run. False when its address is none that could be given.
    mutating func restore(_ lease: Lease) -> Bool {
        let client = Client(mac: lease.mac, association: lease.association)
        guard holders[lease.address] == nil, entries[client] == nil, entries.count < Self.capacity,
            isAvailable(lease.address, to: client, isHeld: { _ in false })
        else { return false }
        put(lease, .lease, at: .never)
        changes.append(.granted(lease))
        return true
    }

    mutating func release(_ client: Client) {
        guard let entry = entries.removeValue(forKey: client) else { return }
        if holders[entry.lease.address] == client { holders[entry.lease.address] = nil }
        if entry.kind != .offer { changes.append(.ended(entry.lease)) }
    }

    /// A station has left: what is reserved for it goes back.
    /// - Parameter forGood: nobody will have its MAC address again, so all that it has goes back.
    mutating func leave(_ mac: MACAddress, forGood: Bool) {
        for client in entries.filter({ $0.key.mac == mac && (forGood || $0.value.kind == .reservation) }).keys {
            release(client)
        }
    }

    /// Takes an address out of use for a while: its client found somebody else there.
    mutating func decline(_ client: Client, _ address: IPAddress, at now: Instant) {
        guard self.address(of: client) == address else { return }
        release(client)
        // One that is reserved has nowhere else to go.
        guard reserved[address] == nil, resting.count < Self.restingLimit else { return }
        let end = now + Self.declineTime
        resting[address] = end
        earliest = min(earliest, end)
    }

    private mutating func put(_ lease: Lease, _ kind: Kind, at now: Instant) {
        let client = Client(mac: lease.mac, association: lease.association)
        if let other = holders[lease.address], other != client { release(other) }
        if let old = entries[client], old.lease.address != lease.address { release(client) }
        entries[client] = Entry(lease: lease, kind: kind, askedAt: now)
        holders[lease.address] = client
        earliest = min(earliest, lease.expires)
    }

    /// Ends what has expired.
    mutating func advance(to now: Instant) {
        guard earliest <= now else { return }
        for client in entries.filter({ $0.value.lease.expires <= now }).keys { release(client) }
        resting = resting.filter { $0.value > now }
        earliest = min(
            entries.values.map(\.lease.expires).min() ?? .never, resting.values.min() ?? .never)
    }

    private mutating func makeRoom(for client: Client, isReserved: Bool) -> Bool {
        if client.association != 0, entries.keys.count(where: { $0.mac == client.mac }) >= Self.perStation {
            return false
        }
        if entries.count < Self.capacity { return true }
        let idle = entries.filter { $0.value.kind == .offer || isReserved }
        guard let first = idle.min(by: { $0.value.lease.expires < $1.value.lease.expires }) else { return false }
        release(first.key)
        return true
    }
}
