package import Wire

// The gateway's half of neighbour discovery (RFC 4861): it answers solicitations and asks none, because every packet it
// sends answers one from the guest, whose MAC address came with it.
//
//   neighbour solicitation for           answer
//   gateway (global and link-local),     an advertisement: to the asker, or to all nodes when the asker has no address
//   host's alias                         yet (a DAD probe: the address is taken, RFC 4862 section 5.4.3)
//   any other address                    none: SLAAC makes it the guest's
//
//   router solicitation                  a router advertisement, see RouterAdvertisement.swift
//   anything else                        none; the gateway keeps no neighbour cache
//
// Every message must have come one hop, with the hop limit at 255 (RFC 4861 section 3.1), and be well formed down to its
// options (sections 6.1.1, 7.1.1); else it is counted and dropped.

/// The groups of neighbour discovery.
package enum NDPGroup {
    /// ff02::1 (RFC 4291 section 2.7.1) and its Ethernet address (RFC 2464 section 7).
    package static let allNodes = IPAddress(hi: 0xff02_0000_0000_0000, lo: 1)
    package static let allNodesMAC = MACAddress(rawValue: 0x3333_0000_0001)

    /// ff02::1:ffXX:XXXX (RFC 4291 section 2.7.1).
    package static func isSolicitedNode(_ address: IPAddress) -> Bool {
        address.hi == 0xff02_0000_0000_0000 && address.lo >> 24 == 0x1_ff
    }
}

/// Answers neighbour and router solicitations.
package struct NDPResponder: ~Copyable {
    package var advertisement: RouterAdvertisement

    package init(configuration: Configuration, seed: UInt64, at now: Instant) {
        advertisement = RouterAdvertisement(configuration: configuration, seed: seed, at: now)
    }

    /// - Parameter message: the ICMPv6 message, its checksum verified, its type one of 133...137.
    package mutating func receive<O: Outside & ~Copyable>(
        _ packet: PacketInfo, _ message: RawSpan, configuration: Configuration, egress: inout Egress,
        counters: inout Counters, outside: inout O
    ) {
        // RFC 4861 sections 6.1.1 and 7.1.1: hop limit 255, code 0.
        guard message.byteCount >= 8, packet.hopLimit == 255, message.u8(at: 1) == 0 else {
            return counters.drop(.malformedNDP)
        }
        switch message.u8(at: 0) {
        case ICMPv6Type.routerSolicitation:
            guard let linkLayer = Self.walkOptions(message, from: 8),
                // RFC 4861 section 6.1.1: no source link-layer address from an unspecified source.
                !(packet.source.isUnspecified && linkLayer)
            else { return counters.drop(.malformedNDP) }
            let toAll = packet.source.isUnspecified
            advertisement.send(
                to: toAll ? NDPGroup.allNodes : packet.source, mac: toAll ? NDPGroup.allNodesMAC : packet.guestMAC,
                configuration: configuration, egress: &egress, counters: &counters, outside: &outside)
        case ICMPv6Type.neighborSolicitation:
            guard message.byteCount >= 24, let linkLayer = Self.walkOptions(message, from: 24) else {
                return counters.drop(.malformedNDP)
            }
            let target = IPAddress(hi: message.u64(at: 8), lo: message.u64(at: 16))
            // RFC 4861 section 7.1.1: the target is not multicast; an unspecified source asks the solicited-node
            // address, without a source link-layer address.
            guard !target.isMulticast,
                !packet.source.isUnspecified || NDPGroup.isSolicitedNode(packet.destination) && !linkLayer
            else { return counters.drop(.malformedNDP) }
            guard let family = configuration.v6,
                target == family.gateway || target == family.hostAlias || target == configuration.gatewayLinkLocal
            else { return }
            advertise(
                target, to: packet, configuration: configuration, egress: &egress, counters: &counters,
                outside: &outside)
        case ICMPv6Type.routerAdvertisement, ICMPv6Type.neighborAdvertisement:
            // Announcements of the guest: nothing to learn.
            return
        default:
            // A redirect is a router's to send (RFC 4861 section 8.1).
            return counters.drop(.unexpectedICMP)
        }
    }

    /// RFC 4861 section 4.4: a neighbour advertisement with the target link-layer address option.
    private mutating func advertise<O: Outside & ~Copyable>(
        _ target: IPAddress, to packet: PacketInfo, configuration: Configuration, egress: inout Egress,
        counters: inout Counters, outside: inout O
    ) {
        // RFC 4861 section 7.2.4: an unspecified asker is answered through all nodes, not "solicited".
        let toAll = packet.source.isUnspecified
        var header = egress.transportHeader
        header.store(u8: ICMPv6Type.neighborAdvertisement, at: 0)
        header.store(u8: 0, at: 1)
        header.store(u16: 0, at: 2)
        // R (a router speaks), S, O.
        header.store(u32: toAll ? 0xa000_0000 : 0xe000_0000, at: 4)
        header.store(u64: target.hi, at: 8)
        header.store(u64: target.lo, at: 16)
        header.store(u64: 0x0201 << 48 | configuration.gatewayMAC.rawValue, at: 24)
        _ = egress.send(
            IPProtocol.icmpv6, from: target, to: toAll ? NDPGroup.allNodes : packet.source,
            mac: toAll ? NDPGroup.allNodesMAC : packet.guestMAC, hopLimit: 255, headerLength: 32, payload: RawSpan(),
            counters: &counters, outside: &outside)
    }

    /// RFC 4861 section 4.6: type, length in units of eight bytes, never zero.
    /// - Returns: whether there is a source link-layer address; nil for options that cannot be walked.
    private static func walkOptions(_ message: RawSpan, from start: Int) -> Bool? {
        var offset = start
        var found = false
        while offset < message.byteCount {
            guard offset + 2 <= message.byteCount else { return nil }
            let length = Int(message.u8(at: offset + 1)) * 8
            guard length > 0, offset + length <= message.byteCount else { return nil }
            if message.u8(at: offset) == 1 { found = true }
            offset += length
        }
        return found
    }
}
