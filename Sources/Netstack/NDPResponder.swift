package import Wire

// The gateway's half of neighbour discovery (RFC 4861): it answers solicitations, and hands on what a station says of itself.
// Asking is `Neighbours`' affair.
//
//   neighbour solicitation for           answer
//   gateway (global and link-local),     an advertisement: to the asker, or to all nodes when the asker has no address
//   host's alias                         yet (a DAD probe: the address is taken, RFC 4862 section 5.4.3)
//   any other address                    none: SLAAC makes it the guest's
//
//   router solicitation                  a router advertisement, see RouterAdvertisement.swift
//   anything else                        none
//
// Every message must have come one hop, with the hop limit at 255 (RFC 4861 section 3.1), and be well formed down to its
// options (sections 6.1.1, 7.1.1); else it is counted and dropped.

/// The groups of neighbour discovery.
package enum NDPGroup {
    /// ff02::1 (RFC 4291 section 2.7.1) and its Ethernet address (RFC 2464 section 7).
    package static let allNodes = IPAddress(hi: 0xff02_0000_0000_0000, lo: 1)
    package static let allNodesMAC = MACAddress(rawValue: 0x3333_0000_0001)

    /// ff02::1:ffXX:XXXX (RFC 4291 section 2.7.1).
    package static func solicitedNode(of address: IPAddress) -> IPAddress {
        IPAddress(hi: 0xff02_0000_0000_0000, lo: 0x1_ff00_0000 | address.lo & 0xff_ffff)
    }

    /// The Ethernet address of a group (RFC 2464 section 7).
    package static func mac(of group: IPAddress) -> MACAddress {
        MACAddress(rawValue: 0x3333_0000_0000 | group.lo & 0xffff_ffff)
    }

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
    /// - Returns: the station that sent it, when it says where it is.
    package mutating func receive<O: Outside & ~Copyable>(
        _ packet: PacketInfo, _ message: RawSpan, configuration: Configuration, egress: inout Egress,
        counters: inout Counters, outside: inout O
    ) -> Neighbour? {
        // RFC 4861 section 8.1: a redirect is a router's to send.
        guard message.byteCount > 0, message.u8(at: 0) != ICMPv6Type.redirect else {
            counters.drop(.unexpectedICMP)
            return nil
        }
        // RFC 4861 sections 6.1.1 and 7.1.1: one hop only; code and options are the view's to check.
        guard packet.hopLimit == 255, let view = try? NDPView(message) else {
            counters.drop(.malformedNDP)
            return nil
        }
        let fromNobody = packet.source.isUnspecified
        let hasLinkLayer = view.options.first(NDPOptionType.sourceLinkLayerAddress) != nil
        switch view.type {
        case ICMPv6Type.routerSolicitation:
            // RFC 4861 section 6.1.1: no source link-layer address from an unspecified source.
            guard !(fromNobody && hasLinkLayer) else {
                counters.drop(.malformedNDP)
                return nil
            }
            advertisement.send(
                to: fromNobody ? NDPGroup.allNodes : packet.source,
                mac: fromNobody ? NDPGroup.allNodesMAC : packet.guestMAC,
                configuration: configuration, egress: &egress, counters: &counters, outside: &outside)
        case ICMPv6Type.neighborSolicitation:
            let target = view.target
            // RFC 4861 section 7.1.1: the target is not multicast; an unspecified source asks the solicited-node
            // address, without a source link-layer address.
            guard !target.isMulticast,
                !fromNobody || NDPGroup.isSolicitedNode(packet.destination) && !hasLinkLayer
            else {
                counters.drop(.malformedNDP)
                return nil
            }
            if let family = configuration.v6,
                target == family.gateway || target == family.hostAlias || target == configuration.gatewayLinkLocal
            {
                advertise(
                    target, to: packet, configuration: configuration, egress: &egress, counters: &counters,
                    outside: &outside)
            }
        case ICMPv6Type.neighborAdvertisement:
            // RFC 4861 section 7.2.5: without the option there is nothing new in it, on a link that has addresses.
            return view.options.targetLinkLayerAddress.map { Neighbour(address: view.target, mac: $0) }
        default:
            break
        }
        return hasLinkLayer && !fromNobody ? Neighbour(address: packet.source, mac: packet.guestMAC) : nil
    }

    /// RFC 4861 section 4.4: a neighbour advertisement with the target link-layer address option.
    private mutating func advertise<O: Outside & ~Copyable>(
        _ target: IPAddress, to packet: PacketInfo, configuration: Configuration, egress: inout Egress,
        counters: inout Counters, outside: inout O
    ) {
        // RFC 4861 section 7.2.4: an unspecified asker is answered through all nodes, not "solicited".
        let toAll = packet.source.isUnspecified
        // The checksum is Egress's to fill in, with the payload's.
        var header = egress.transportHeader
        let length = NDPMessage.neighborAdvertisement(target: target, router: true, solicited: !toAll, override: true)
            .write(
                to: &header, at: 0, source: target, destination: packet.source,
                options: [.targetLinkLayerAddress(configuration.gatewayMAC)])
        _ = egress.send(
            IPProtocol.icmpv6, from: target, to: toAll ? NDPGroup.allNodes : packet.source,
            mac: toAll ? NDPGroup.allNodesMAC : packet.guestMAC, hopLimit: 255, headerLength: length,
            payload: RawSpan(),
            counters: &counters, outside: &outside)
    }
}
