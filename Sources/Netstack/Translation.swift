package import Wire

// Which of the host's endpoints a guest's destination stands for, or why none: the policy, in one place and pure.
//
//   guest's destination                      verdict
//   gateway                                  .gateway: answered by our own services, everything else is a closed port
//   host's alias, with --host-loopback       .host(loopback of the family)
//   host's alias, without                    .refused: an RST or port unreachable at once, noted to the operator
//   loopback, unspecified, v4-mapped in v6   .martian: dropped and counted (RFC 1122 3.2.1.3, RFC 4291 2.5.2, 2.5.3)
//   link-local IPv6                          .martian: needs an interface of the host, which the guest cannot name
//   multicast, broadcast                     .multicast: not translated
//   another address of the subnet            .absent: nobody there; host unreachable
//   anything else                            .host(as it is)

/// What becomes of a packet to `destination`.
package enum Verdict: Equatable, Sendable {
    case host(IPAddress)
    case gateway
    case refused
    case absent
    case multicast
    case martian
}

extension Configuration {
    package static let loopback4 = IPAddress(v4: 0x7f00_0001)
    package static let loopback6 = IPAddress(hi: 0, lo: 1)

    /// The translation of a guest's destination address to the host's side.
    package func verdict(on destination: IPAddress) -> Verdict {
        if destination == gatewayLinkLocal { return .gateway }
        guard let family = destination.isV4 ? v4 : v6 else { return .martian }
        if destination == family.gateway { return .gateway }
        if destination == family.hostAlias {
            return hostLoopback ? .host(destination.isV4 ? Self.loopback4 : Self.loopback6) : .refused
        }
        if destination.isMulticast || destination.isBroadcast
            || destination == family.prefix.broadcast && destination.isV4
        {
            return .multicast
        }
        if destination.isLoopback || destination.isUnspecified { return .martian }
        if destination.isV4 {
            if destination.v4 >> 24 == 0 { return .martian }
        } else if destination.isLinkLocal || destination.hi == 0 && destination.lo >> 32 == 0 {
            // ::a.b.c.d, the IPv4-compatible form (RFC 4291 section 2.5.5.1), would name IPv4 hosts by a back door.
            return .martian
        }
        if family.prefix.contains(destination) { return .absent }
        return .host(destination)
    }

    /// The way back: the address that the guest knows for a packet from `source` on the host's side.
    package func guestView(of source: IPAddress) -> IPAddress {
        guard hostLoopback, source.isLoopback, let family = source.isV4 ? v4 : v6 else { return source }
        return family.hostAlias
    }
}
