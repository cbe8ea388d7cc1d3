// Neighbour discovery messages (RFC 4861 section 4): the ICMPv6 messages that replace ARP and tell hosts their router.
//
//     133 router solicitation:     reserved (4 bytes)                                              options at 8
//     134 router advertisement:    hop limit, flags M O, router lifetime, reachable, retransmit    options at 16
//     135 neighbour solicitation:  reserved, target                                                options at 24
//     136 neighbour advertisement: flags R S O, target                                             options at 24
//
// Redirects are not parsed: a gateway ignores them. The view takes the whole ICMPv6 message and checks its length, its
// code (0) and that its options can be walked. The hop limit (255), the checksum and the rules on addresses (RFC 4861
// sections 6.1 and 7.1) need the IPv6 header and are left to the caller.

/// A neighbour discovery message of one of the four types.
package struct NDPView: ~Escapable {
    /// The ICMPv6 message.
    package let bytes: RawSpan
    package let options: NDPOptions

    @_lifetime(copy bytes)
    package init(_ bytes: RawSpan) throws(ParseError) {
        guard bytes.byteCount >= ICMPHeader.length else { throw .truncated }
        guard bytes.field8(at: 1) == 0 else { throw .badField }
        guard let length = Self.fixedLength(of: bytes.field8(at: 0)) else { throw .badField }
        guard bytes.byteCount >= length else { throw .truncated }
        options = try NDPOptions(bytes.part(from: length, to: bytes.byteCount))
        self.bytes = bytes
    }

    /// What precedes the options; nil for other types.
    package static func fixedLength(of type: UInt8) -> Int? {
        switch type {
        case ICMPv6Type.routerSolicitation: 8
        case ICMPv6Type.routerAdvertisement: 16
        case ICMPv6Type.neighborSolicitation, ICMPv6Type.neighborAdvertisement: 24
        default: nil
        }
    }

    /// One of `ICMPv6Type`.
    package var type: UInt8 { bytes.field8(at: 0) }

    /// Of a neighbour solicitation or advertisement; `::` for others.
    package var target: IPAddress {
        guard type == ICMPv6Type.neighborSolicitation || type == ICMPv6Type.neighborAdvertisement else { return .anyV6 }
        return IPAddress(hi: bytes.field64(at: 8), lo: bytes.field64(at: 16))
    }

    /// Of a neighbour advertisement: the sender is a router.
    package var isRouter: Bool { bytes.field8(at: 4) & 0x80 != 0 }

    /// Of a neighbour advertisement: it answers a solicitation.
    package var isSolicited: Bool { bytes.field8(at: 4) & 0x40 != 0 }

    /// Of a neighbour advertisement: it replaces what is cached.
    package var overrides: Bool { bytes.field8(at: 4) & 0x20 != 0 }

    /// Of a router advertisement.
    package var currentHopLimit: UInt8 { bytes.field8(at: 4) }

    /// Of a router advertisement, M: addresses by DHCPv6.
    package var isManaged: Bool { bytes.field8(at: 5) & 0x80 != 0 }

    /// Of a router advertisement, O: other configuration by DHCPv6.
    package var hasOtherConfiguration: Bool { bytes.field8(at: 5) & 0x40 != 0 }

    /// Of a router advertisement, in seconds; 0: not a default router.
    package var routerLifetime: UInt16 { bytes.field16(at: 6) }
}

/// A neighbour discovery message to write.
package enum NDPMessage: Sendable {
    case routerSolicitation
    /// Lifetime in seconds, timers in milliseconds; 0 for both timers means unspecified.
    case routerAdvertisement(
        hopLimit: UInt8, managed: Bool, otherConfiguration: Bool, routerLifetime: UInt16, reachableTime: UInt32 = 0,
        retransmitTimer: UInt32 = 0)
    case neighborSolicitation(target: IPAddress)
    case neighborAdvertisement(target: IPAddress, router: Bool, solicited: Bool, override: Bool)

    package var type: UInt8 {
        switch self {
        case .routerSolicitation: ICMPv6Type.routerSolicitation
        case .routerAdvertisement: ICMPv6Type.routerAdvertisement
        case .neighborSolicitation: ICMPv6Type.neighborSolicitation
        case .neighborAdvertisement: ICMPv6Type.neighborAdvertisement
        }
    }

    /// Writes the ICMPv6 message with `options` and its checksum. Traps when it does not fit.
    /// - Returns: the bytes written.
    @discardableResult
    package func write(
        to span: inout MutableRawSpan, at offset: Int, source: IPAddress, destination: IPAddress,
        options: [NDPOption] = []
    ) -> Int {
        var restOfHeader: UInt32 = 0
        var end = offset + ICMPHeader.length
        switch self {
        case .routerSolicitation:
            break
        case .routerAdvertisement(
            let hopLimit, let managed, let otherConfiguration, let routerLifetime, let reachableTime,
            let retransmitTimer):
            let flags: UInt32 = (managed ? 0x80 : 0) | (otherConfiguration ? 0x40 : 0)
            restOfHeader = UInt32(hopLimit) << 24 | flags << 16 | UInt32(routerLifetime)
            span.store(u32: reachableTime, at: end)
            span.store(u32: retransmitTimer, at: end + 4)
            end += 8
        case .neighborSolicitation(let target):
            span.store(u64: target.hi, at: end)
            span.store(u64: target.lo, at: end + 8)
            end += 16
        case .neighborAdvertisement(let target, let router, let solicited, let override):
            restOfHeader = (router ? 0x8000_0000 : 0) | (solicited ? 0x4000_0000 : 0) | (override ? 0x2000_0000 : 0)
            span.store(u64: target.hi, at: end)
            span.store(u64: target.lo, at: end + 8)
            end += 16
        }
        for option in options { end += option.write(to: &span, at: end) }
        let body = offset + ICMPHeader.length
        let sum = Checksum.sum(span.bytes.extracting(body..<end))
        ICMPHeader(type: type, restOfHeader: restOfHeader).write(
            to: &span, at: offset, source: source, destination: destination, payloadSum: sum, payloadLength: end - body)
        return end - offset
    }
}
