package import Wire

extension Core {
    /// Leases an IPv4 address to a station that has asked for it by other means than DHCP; it gets the same one by DHCP.
    /// - Returns: false when the address is not of this network, ours, or somebody else's.
    package mutating func reserve<O: Outside & ~Copyable>(
        _ address: IPAddress, for mac: MACAddress, at now: Instant, outside: inout O
    ) -> Bool {
        let isReserved = udp.dhcpv4.leases.bind(
            DHCPLeases.Client(mac: mac), address, at: now,
            isHeld: { outside.isHeld($0, byOtherThan: mac, at: now) })
        udp.tellLeases(&outside)
        return isReserved
    }
}
