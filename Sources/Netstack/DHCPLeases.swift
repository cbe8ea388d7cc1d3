import Wire

// Who has which address of one family, for both DHCP servers.
//
//   client key          what the client calls itself: client identifier or MAC (v4), DUID and IAID (v6)
//   address             the configured guest address for the first who asks; then what it wishes for; then the lowest free
//   expires             an offer's after a minute, a lease's after a day, a declined address's after ten minutes
//
// Limits: 256 entries. When the table is full, an offer that nobody took up gives way; if there is none, the newcomer
// gets nothing. Expired entries are swept whenever somebody asks. Nothing is kept across a restart, so a lease that a
// client remembers and that is free is confirmed to it.

/// The leases of one family.
struct DHCPLeases: ~Copyable {
    static let capacity = 256
    static let leaseSeconds: UInt32 = 86_400
    private static let offerTime = Int64.seconds(60)
    private static let declineTime = Int64.seconds(600)

    private struct Lease {
        var key: [UInt8]
        var mac: MACAddress
        var address: IPAddress
        var expires: Instant
        var isOffer: Bool
    }

    private let family: Configuration.Family?
    private var leases: [Lease] = []

    init(_ family: Configuration.Family?) { self.family = family }

    var count: Int { leases.count }

    /// The address a client holds or was offered.
    func address(of key: [UInt8]) -> IPAddress? { leases.first { $0.key == key }?.address }

    /// The client that holds an address with this MAC, under whatever name.
    func key(of mac: MACAddress) -> [UInt8]? { leases.first { $0.mac == mac && !$0.key.isEmpty }?.key }

    /// Lets a client keep its address under another name: a boot loader and the system it boots give different
    /// client identifiers from one MAC address, and are one guest.
    mutating func rename(_ old: [UInt8], to new: [UInt8]) {
        for index in leases.indices where leases[index].key == old { leases[index].key = new }
    }

    /// Whether an address may go to `key`: in the subnet, none of ours, held by nobody else.
    func isAvailable(_ address: IPAddress, to key: [UInt8]) -> Bool {
        guard let family, family.prefix.contains(address), address != family.gateway, address != family.hostAlias,
            address != family.prefix.network, !(address.isV4 && address == family.prefix.broadcast)
        else { return false }
        return !leases.contains { $0.address == address && $0.key != key }
    }

    /// Finds an address for a client and holds it for a minute.
    mutating func offer(_ key: [UInt8], mac: MACAddress, wish: IPAddress?, at now: Instant) -> IPAddress? {
        sweep(now)
        if let known = address(of: key) { return known }
        guard let family else { return nil }
        var choice: IPAddress?
        if isAvailable(family.guest, to: key) {
            choice = family.guest
        } else if let wish, isAvailable(wish, to: key) {
            choice = wish
        } else {
            // Below 256 entries, one of these is free in any subnet that is large enough.
            let first: UInt64 = family.prefix.isV4 ? 1 : 0x1000
            for offset in first..<first + UInt64(Self.capacity) + 4 {
                let address = family.prefix.address(at: offset)
                if isAvailable(address, to: key) {
                    choice = address
                    break
                }
            }
        }
        guard let choice, makeRoom() else { return nil }
        leases.append(
            Lease(key: key, mac: mac, address: choice, expires: now + Self.offerTime, isOffer: true))
        return choice
    }

    /// Gives a client an address for a day.
    /// - Returns: false if the address is not to be had.
    mutating func bind(_ key: [UInt8], mac: MACAddress, _ address: IPAddress, at now: Instant) -> Bool {
        sweep(now)
        guard isAvailable(address, to: key) else { return false }
        release(key)
        guard makeRoom() else { return false }
        leases.append(
            Lease(
                key: key, mac: mac, address: address, expires: now + .seconds(Int64(Self.leaseSeconds)),
                isOffer: false))
        return true
    }

    mutating func release(_ key: [UInt8]) { leases.removeAll { $0.key == key } }

    /// Takes an address out of use for a while: its client found somebody else there.
    mutating func decline(_ key: [UInt8], _ address: IPAddress, at now: Instant) {
        guard self.address(of: key) == address else { return }
        release(key)
        leases.append(
            Lease(key: [], mac: .zero, address: address, expires: now + Self.declineTime, isOffer: false))
    }

    private mutating func sweep(_ now: Instant) { leases.removeAll { $0.expires <= now } }

    private mutating func makeRoom() -> Bool {
        if leases.count < Self.capacity { return true }
        guard let idle = leases.firstIndex(where: { $0.isOffer }) else { return false }
        leases.remove(at: idle)
        return true
    }
}
