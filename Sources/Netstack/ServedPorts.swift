package import Wire

// Ports of the host that are served from inside: what the shell tells the core about their clients.
//
// The guest sees the client's own address wherever an answer to it comes back to us: everywhere but on the guest's own
// link. Addresses that mean something else inside (`Configuration.guestView(ofClient:)`) are shown as the host's alias. The
// port is the client's own unless that pair of endpoints is in use: two clients shown as one address, or one client that
// reaches the same server by two ports.

extension Configuration {
    /// The address under which the guest sees a client.
    ///
    ///     the host's loopback               the host's alias: inside it would mean the guest itself
    ///     an address of the guest's subnet  the host's alias: the guest would look for it on its link
    ///     link-local IPv6                   the host's alias: needs an interface that the guest does not have
    ///     anything else                     as it is
    package func guestView(ofClient source: IPAddress) -> IPAddress {
        guard let family = source.isV4 ? v4 : v6 else { return source }
        let isLocal = source.isLoopback || !source.isV4 && source.isLinkLocal || family.prefix.contains(source)
        return isLocal ? family.hostAlias : source
    }
}

extension Core {
    /// A client has connected to a forwarded port: opens towards the guest's endpoint.
    /// - Returns: the flow whose socket is the client's, not watched until the core asks for it; nil when it has to be refused.
    package mutating func hostAccepted<O: Outside & ~Copyable>(
        from client: Endpoint, to guest: Endpoint, at now: Instant, outside: inout O
    ) -> FlowID? {
        let shown = Endpoint(address: configuration.guestView(ofClient: client.address), port: client.port)
        guard let remote = shown.firstFree({ !tcp.isTaken(FlowKey(guest: guest, remote: $0)) }) else {
            return nil
        }
        let key = FlowKey(guest: guest, remote: remote)
        switch station(of: guest.address, at: now, outside: &outside) {
        case .at(let mac): return tcp.accept(key, mac: mac, now: now, counters: &counters, outside: &outside)
        case .asked: return tcp.accept(key, mac: nil, now: now, counters: &counters, outside: &outside)
        case .unavailable: return nil
        }
    }
}

extension Endpoint {
    /// Ports that are tried when the client's own is taken.
    private static var portAttempts: Int { 1024 }

    /// The endpoint itself, or the same address with a port of the dynamic range (RFC 6335 section 6).
    func firstFree(_ isFree: (Endpoint) -> Bool) -> Endpoint? {
        if isFree(self) { return self }
        for attempt in 1...Self.portAttempts {
            let offset = (Int(port) &* 31 &+ attempt) & 0x3fff
            let other = Endpoint(address: address, port: UInt16(49_152 + offset))
            if isFree(other) { return other }
        }
        return nil
    }
}
