import Wire

extension Core {
    /// Takes a lease of an earlier run, and tells of it as of a new one. False when its address is none of this network's, or taken.
    package mutating func restore<O: Outside & ~Copyable>(_ lease: Lease, at now: Instant, outside: inout O) -> Bool {
        guard lease.expires > now else { return false }
        let isRestored = lease.address.isV4 ? udp.dhcpv4.leases.restore(lease) : udp.dhcpv6.leases.restore(lease)
        udp.tellLeases(&outside)
        return isRestored
    }
}
