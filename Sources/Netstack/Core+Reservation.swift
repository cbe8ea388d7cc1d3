package import Wire

extension Core {
    /// Leases an IPv4 address to a station that has asked for it by other means than DHCP; it gets the same one by DHCP. Until then the address
    /// goes back when the station leaves.
    /// - Returns: false when the address is not of this network, ours, or somebody else's.
    package mutating func reserve<O: Outside & ~Copyable>(
        _ address: IPAddress, for mac: MACAddress, at now: Instant, outside: inout O
    ) -> Bool {
        let isReserved = udp.dhcpv4.leases.bind(
            DHCPLeases.Client(mac: mac), address, .reservation, at: now,
            isHeld: { outside.isHeld($0, byOtherThan: mac, at: now) })
        udp.tellLeases(&outside)
        return isReserved
    }

    /// A station that may have reserved an address has left.
    /// - Parameter forGood: nobody will have its MAC address again: what DHCP has given it goes back, too.
    package mutating func leave<O: Outside & ~Copyable>(_ mac: MACAddress, forGood: Bool, outside: inout O) {
        udp.dhcpv4.leases.leave(mac, forGood: forGood)
        udp.dhcpv6.leases.leave(mac, forGood: forGood)
        udp.tellLeases(&outside)
    }
}
