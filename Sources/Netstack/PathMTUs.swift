package import Wire

// Path MTUs behind the guest, learnt from "packet too big" (RFC 8201, RFC 1191).
//
// A guest may be a router itself: to containers behind a tunnel, say. What we send to addresses behind it is then cut or
// refused at its narrow link.
//
//   TCP          a connection lowers its segment size and resends at once (Connection.pathNarrows); each learns for itself
//   IPv6, else   this table: datagrams to the address are fragmented to its MTU (only the source may, RFC 8200 section 5)
//   IPv4, else   nothing: our datagrams do not say "don't fragment"
//
// A complaint counts only if it quotes a flow that exists (RFC 8201 section 4, RFC 5927 section 4.1).
//
// Limits: `capacity` addresses, the one learnt longest ago gives way. Forgotten after ten minutes (RFC 8201 section 4).

/// MTUs by destination. Mostly empty, and then a look-up is one comparison.
package struct PathMTUs {
    private struct Entry {
        var destination: IPAddress
        var mtu: Int
        var expires: Instant
    }

    static let capacity = 16
    static let lifetime = Int64.seconds(600)

    /// Oldest first.
    private var entries: [Entry] = []

    /// The largest packet for the destination, or `standard`.
    func mtu(to destination: IPAddress, standard: Int) -> Int {
        if entries.isEmpty { return standard }
        return entries.first { $0.destination == destination }?.mtu ?? standard
    }

    mutating func learn(_ mtu: Int, to destination: IPAddress, at now: Instant) {
        entries.removeAll { $0.destination == destination }
        if entries.count == Self.capacity { entries.removeFirst() }
        entries.append(Entry(destination: destination, mtu: mtu, expires: now + Self.lifetime))
    }

    var nextDeadline: Instant { entries.first?.expires ?? .never }

    mutating func advance(to now: Instant) {
        while let first = entries.first, first.expires <= now { entries.removeFirst() }
    }
}

/// A router behind the guest could not pass a packet of ours on.
package struct PacketTooBig: Equatable, Sendable {
    package var packet: QuotedPacket
    /// What would have fitted; 0 when an old router does not say (RFC 1191 section 5).
    package var mtu: Int

    /// RFC 8200 section 5; Linux' `min_pmtu` for IPv4, below which a value is taken for an attack or a mistake.
    static func minimum(isV4: Bool) -> Int { isV4 ? 552 : 1280 }
}

extension Core {
    mutating func packetTooBig<O: Outside & ~Copyable>(_ tooBig: PacketTooBig, _ now: Instant, _ outside: inout O) {
        let packet = tooBig.packet
        let isV4 = packet.source.address.isV4
        let key = FlowKey(guest: packet.destination, remote: packet.source)
        switch packet.proto {
        case IPProtocol.tcp:
            guard tcp.pathNarrows(key, to: tooBig.mtu, sequence: packet.sequence, now: now) else {
                return counters.drop(.unexpectedICMP)
            }
        case IPProtocol.udp where !isV4 && udp.flows.find(key.guest) != nil:
            let mtu = max(tooBig.mtu, PacketTooBig.minimum(isV4: false))
            guard mtu < configuration.mtu else { return counters.drop(.unexpectedICMP) }
            egress.pathMTUs.learn(mtu, to: key.guest.address, at: now)
        default: counters.drop(.unexpectedICMP)
        }
    }
}

extension TCPTranslator {
    /// A segment was too big for the path to the guest's endpoint. False when that cannot be.
    mutating func pathNarrows(_ key: FlowKey, to mtu: Int, sequence: SequenceNumber, now: Instant) -> Bool {
        withConnection(key) { connection, shared in
            connection.pathNarrows(to: mtu, sequence: sequence, now: now, shared: &shared)
        }
    }
}

extension Connection {
    /// Plateaus for routers that do not tell their MTU (RFC 1191 section 7.1), down to Linux' minimum.
    private static let plateaus = [32_000, 17_914, 8_166, 4_352, 2_002, 1_492, 1_006, 552]

    /// Cuts segments smaller from now on and sends again what was in flight, cut anew. It is not a sign of congestion: the window
    /// stays (RFC 1191 section 6.4). False when the segment is none that is in flight (RFC 5927 section 4.1) or the MTU no news.
    mutating func pathNarrows(
        to mtu: Int, sequence: SequenceNumber, now: Instant, shared: inout TCPShared
    ) -> Bool {
        guard flight != .max, sequence >= snd.una, sequence < snd.nxt else { return false }
        let told = mtu > 0 ? mtu : Self.plateaus.first { $0 < snd.mss + headers } ?? 0
        let size = max(told, PacketTooBig.minimum(isV4: key.isV4)) - headers
        guard size < snd.mss else { return false }
        pathIsKnown(size: size, at: now)
        resendAll(at: now, shared: &shared)
        return true
    }

    /// What is in flight is to be sent again, cut anew, at the pace of the window as it stands.
    mutating func resendAll(at now: Instant, shared: inout TCPShared) {
        shared.flights[flight].transmissions.loseAll(sentBefore: now.stamp, wait: 0)
        shared.flights[flight].recovery = .loss
        shared.flights[flight].recover = snd.nxt
        shared.flights[flight].dupAcks = 0
        shared.flights[flight].undoWindow = 0
        shared.flights[flight].pathProbe = 0
        armRetransmission(at: now, shared: &shared)
    }
}
