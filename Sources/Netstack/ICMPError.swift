package import Wire

/// Something the guest must be told about a packet of its own, in one form for both families.
package enum ICMPError: Equatable, Sendable, BitwiseCopyable {
    case networkUnreachable
    case hostUnreachable
    case protocolUnreachable
    case portUnreachable
    case prohibited
    case timeExceeded
    case reassemblyTimeExceeded
    /// With the MTU that would have fitted; 0 when nobody knows it.
    case tooBig(mtu: UInt32)
    /// As it came from another node: type, code and the type's 32 bits (an MTU, a pointer).
    case relayed(type: UInt8, code: UInt8, information: UInt32)

    /// What the guest is told about a datagram that the host's socket did not take. nil: nothing; it is as good as lost.
    package init?(_ error: HostError) {
        switch error {
        case .refused: self = .portUnreachable
        case .networkUnreachable: self = .networkUnreachable
        case .hostUnreachable, .timedOut: self = .hostUnreachable
        case .prohibited: self = .prohibited
        case .messageTooBig(let mtu): self = .tooBig(mtu: mtu)
        case .reset, .exhausted, .other: return nil
        }
    }

    /// What the guest is told about an error from the host's error queue. nil: a type that is not an error, or not one
    /// that a node behind a router may get (redirects).
    package init?(_ error: DatagramError) {
        let types: ClosedRange<UInt8> = error.destination.address.isV4 ? 3...12 : 1...4
        guard types.contains(error.type) else { return nil }
        // RFC 792: destination unreachable, time exceeded, parameter problem. Source quench is deprecated (RFC 6633).
        if error.destination.address.isV4 && ![3, 11, 12].contains(error.type) { return nil }
        self = .relayed(type: error.type, code: error.code, information: error.information)
    }

    /// Type, code and the 32 bits after the checksum for IPv4: RFC 792, RFC 1812 section 5.2.7.1, RFC 1191 section 4.
    package var v4: (type: UInt8, code: UInt8, rest: UInt32) {
        switch self {
        case .networkUnreachable: (3, 0, 0)
        case .hostUnreachable: (3, 1, 0)
        case .protocolUnreachable: (3, 2, 0)
        case .portUnreachable: (3, 3, 0)
        case .prohibited: (3, 13, 0)
        case .timeExceeded: (11, 0, 0)
        case .reassemblyTimeExceeded: (11, 1, 0)
        case .tooBig(let mtu): (3, 4, Self.mtu4(mtu))
        case .relayed(3, 4, let mtu): (3, 4, Self.mtu4(mtu))
        // RFC 792: the pointer of a parameter problem is the first octet of the word.
        case .relayed(12, let code, let pointer): (12, code, pointer << 24)
        case .relayed(let type, let code, _): (type, code, 0)
        }
    }

    /// Type, code and the 32 bits after the checksum for IPv6: RFC 4443 section 3.
    package var v6: (type: UInt8, code: UInt8, rest: UInt32) {
        switch self {
        case .networkUnreachable: (1, 0, 0)
        case .hostUnreachable: (1, 3, 0)
        // RFC 4443 section 3.4: "unrecognized next header" points at the next-header field of the IPv6 header.
        case .protocolUnreachable: (4, 1, 6)
        case .portUnreachable: (1, 4, 0)
        case .prohibited: (1, 1, 0)
        case .timeExceeded: (3, 0, 0)
        case .reassemblyTimeExceeded: (3, 1, 0)
        case .tooBig(let mtu): (2, 0, Self.mtu6(mtu))
        case .relayed(2, _, let mtu): (2, 0, Self.mtu6(mtu))
        case .relayed(4, let code, let pointer): (4, code, pointer)
        case .relayed(let type, let code, _): (type, code, 0)
        }
    }

    /// RFC 1191 section 3: no link's MTU is below 68, and the field has 16 bits.
    private static func mtu4(_ mtu: UInt32) -> UInt32 { mtu == 0 ? 0 : min(max(mtu, 68), 65_535) }

    /// RFC 8200 section 5: no link's MTU is below 1280.
    private static func mtu6(_ mtu: UInt32) -> UInt32 { max(mtu, 1280) }
}

/// The start of a packet of the guest, rebuilt from what a flow remembers, for an error that comes long after the packet:
/// its IP header and the first eight bytes of its transport header, by which the guest finds its socket (RFC 792:
/// "Internet Header + 64 bits of Data Datagram").
package struct ICMPQuote: Equatable, Sendable, BitwiseCopyable {
    package var proto: UInt8
    /// The guest's address.
    package var source: IPAddress
    /// The destination as the guest knows it.
    package var destination: IPAddress
    /// The first eight bytes of the transport header, big-endian.
    package var transport: UInt64

    /// A segment of a connection: ports and sequence number.
    package static func tcp(_ key: FlowKey, sequence: SequenceNumber) -> ICMPQuote {
        ICMPQuote(
            proto: IPProtocol.tcp, source: key.guest.address, destination: key.remote.address,
            transport: ports(key.guest, key.remote) | UInt64(sequence.rawValue))
    }

    /// A datagram: ports, a length of 8 and no checksum.
    package static func udp(from guest: Endpoint, to remote: Endpoint) -> ICMPQuote {
        ICMPQuote(
            proto: IPProtocol.udp, source: guest.address, destination: remote.address,
            transport: ports(guest, remote) | 8 << 16)
    }

    /// An echo request.
    package static func echo(
        from guest: IPAddress, to remote: IPAddress, identifier: UInt16, sequence: UInt16
    ) -> ICMPQuote {
        // Type 8 for ICMP (RFC 792), 128 for ICMPv6 (RFC 4443 section 4.1); code and checksum zero.
        ICMPQuote(
            proto: remote.isV4 ? IPProtocol.icmp : IPProtocol.icmpv6, source: guest, destination: remote,
            transport: (remote.isV4 ? 8 : 128) << 56 | UInt64(identifier) << 16 | UInt64(sequence))
    }

    private static func ports(_ guest: Endpoint, _ remote: Endpoint) -> UInt64 {
        UInt64(guest.port) << 48 | UInt64(remote.port) << 32
    }
}
