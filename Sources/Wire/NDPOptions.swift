// Options of neighbour discovery (RFC 4861 section 4.6, RFC 8106 section 5).
//
//     type, length in units of 8 bytes (never 0), body
//
//     1 source, 2 target link-layer address: MAC                                         8 bytes
//     3 prefix information: length, flags L A, valid and preferred lifetime, prefix     32
//     5 MTU                                                                              8
//     25 recursive DNS servers: lifetime, addresses                                      8 + 16 n
//     31 DNS search list: lifetime, names (RFC 1035 section 3.1) padded with zeros       8 + 8 n
//
// A message with an option of length 0, or one that ends beyond the message, is invalid as a whole (RFC 4861 sections
// 6.1 and 7.1), so `NDPOptions` walks all of them once in its `init`. Unknown types are skipped.

/// Types of options.
package enum NDPOptionType {
    @inlinable package static var sourceLinkLayerAddress: UInt8 { 1 }
    @inlinable package static var targetLinkLayerAddress: UInt8 { 2 }
    @inlinable package static var prefixInformation: UInt8 { 3 }
    @inlinable package static var mtu: UInt8 { 5 }
    @inlinable package static var recursiveDNSServer: UInt8 { 25 }
    @inlinable package static var dnsSearchList: UInt8 { 31 }
}

/// All options of a message, known to be walkable.
package struct NDPOptions: ~Escapable {
    package let bytes: RawSpan

    @_lifetime(copy bytes)
    package init(_ bytes: RawSpan) throws(ParseError) {
        var offset = 0
        while offset < bytes.byteCount {
            guard bytes.byteCount - offset >= 2 else { throw .truncated }
            let length = Int(bytes.field8(at: offset + 1)) * 8
            guard length > 0 else { throw .badOption }
            guard length <= bytes.byteCount - offset else { throw .truncated }
            offset += length
        }
        self.bytes = bytes
    }

    /// The first option of a type with at least `minimum` bytes, with its type and length bytes; nil if there is none.
    @_lifetime(copy self)
    package func first(_ type: UInt8, minimum: Int = 8) -> RawSpan? {
        var offset = 0
        while offset < bytes.byteCount {
            let length = Int(bytes.field8(at: offset + 1)) * 8
            if bytes.field8(at: offset) == type, length >= minimum {
                return bytes.part(from: offset, to: offset + length)
            }
            offset += length
        }
        return nil
    }

    package var sourceLinkLayerAddress: MACAddress? { macAddress(NDPOptionType.sourceLinkLayerAddress) }

    package var targetLinkLayerAddress: MACAddress? { macAddress(NDPOptionType.targetLinkLayerAddress) }

    private func macAddress(_ type: UInt8) -> MACAddress? {
        guard let option = first(type) else { return nil }
        return MACAddress(rawValue: option.field64(at: 0))
    }

    package var mtu: UInt32? {
        guard let option = first(NDPOptionType.mtu) else { return nil }
        return option.field32(at: 4)
    }

    /// The first prefix information.
    package var prefixInformation: NDPPrefixInformation? {
        guard let option = first(NDPOptionType.prefixInformation, minimum: NDPPrefixInformation.length) else {
            return nil
        }
        return NDPPrefixInformation(
            address: IPAddress(hi: option.field64(at: 16), lo: option.field64(at: 24)),
            prefixLength: option.field8(at: 2), onLink: option.field8(at: 3) & 0x80 != 0,
            autonomous: option.field8(at: 3) & 0x40 != 0, validLifetime: option.field32(at: 4),
            preferredLifetime: option.field32(at: 8))
    }

    /// The addresses of the first list of recursive DNS servers.
    package var recursiveDNSServers: [IPAddress] {
        guard let option = first(NDPOptionType.recursiveDNSServer, minimum: 24) else { return [] }
        return (0..<(option.byteCount - 8) / 16).map {
            IPAddress(hi: option.field64(at: 8 + 16 * $0), lo: option.field64(at: 16 + 16 * $0))
        }
    }

    /// The names of the first DNS search list, padding included.
    package var dnsSearchList: RawSpan? {
        @_lifetime(copy self) get {
            guard let option = first(NDPOptionType.dnsSearchList, minimum: 16) else { return nil }
            return option.part(from: 8, to: option.byteCount)
        }
    }
}

/// A prefix of the link (RFC 4861 section 4.6.2).
package struct NDPPrefixInformation: Equatable, Sendable, BitwiseCopyable {
    @inlinable package static var length: Int { 32 }

    package var address: IPAddress
    package var prefixLength: UInt8
    /// L: addresses of the prefix are neighbours.
    package var onLink: Bool
    /// A: a host may make its address from the prefix (RFC 4862).
    package var autonomous: Bool
    /// In seconds; 0xffffffff is for ever.
    package var validLifetime: UInt32
    package var preferredLifetime: UInt32

    package init(
        address: IPAddress, prefixLength: UInt8, onLink: Bool = true, autonomous: Bool = true,
        validLifetime: UInt32 = 2_592_000, preferredLifetime: UInt32 = 604_800
    ) {
        self.address = address
        self.prefixLength = prefixLength
        self.onLink = onLink
        self.autonomous = autonomous
        self.validLifetime = validLifetime
        self.preferredLifetime = preferredLifetime
    }
}

/// An option to write. Each traps when it does not fit in the span.
package enum NDPOption: Sendable {
    case sourceLinkLayerAddress(MACAddress)
    case targetLinkLayerAddress(MACAddress)
    case prefixInformation(NDPPrefixInformation)
    case mtu(UInt32)
    /// Lifetime in seconds; 1...127 servers.
    case recursiveDNSServers([IPAddress], lifetime: UInt32)
    /// Lifetime in seconds; names in wire form without the padding, at most 2032 bytes.
    case dnsSearchList([UInt8], lifetime: UInt32)

    /// In bytes, a multiple of 8.
    package var length: Int {
        switch self {
        case .sourceLinkLayerAddress, .targetLinkLayerAddress, .mtu: 8
        case .prefixInformation: NDPPrefixInformation.length
        case .recursiveDNSServers(let servers, _): 8 + 16 * servers.count
        case .dnsSearchList(let names, _): 8 + (names.count + 7) / 8 * 8
        }
    }

    /// - Returns: the bytes written: `length`.
    @discardableResult
    package func write(to span: inout MutableRawSpan, at offset: Int) -> Int {
        let length = length
        span.checkRoom(length, at: offset)
        precondition(length <= 255 * 8, "option too long for neighbour discovery")
        span.clear(at: offset, count: length)
        span.putField(u8: UInt8(truncatingIfNeeded: length / 8), at: offset + 1)
        switch self {
        case .sourceLinkLayerAddress(let address):
            span.putField(u64: 0x0101 << 48 | address.rawValue, at: offset)
        case .targetLinkLayerAddress(let address):
            span.putField(u64: 0x0201 << 48 | address.rawValue, at: offset)
        case .prefixInformation(let prefix):
            span.putField(u8: NDPOptionType.prefixInformation, at: offset)
            span.putField(u8: prefix.prefixLength, at: offset + 2)
            span.putField(u8: (prefix.onLink ? 0x80 : 0) | (prefix.autonomous ? 0x40 : 0), at: offset + 3)
            span.putField(u32: prefix.validLifetime, at: offset + 4)
            span.putField(u32: prefix.preferredLifetime, at: offset + 8)
            span.putField(u64: prefix.address.hi, at: offset + 16)
            span.putField(u64: prefix.address.lo, at: offset + 24)
        case .mtu(let mtu):
            span.putField(u8: NDPOptionType.mtu, at: offset)
            span.putField(u32: mtu, at: offset + 4)
        case .recursiveDNSServers(let servers, let lifetime):
            span.putField(u8: NDPOptionType.recursiveDNSServer, at: offset)
            span.putField(u32: lifetime, at: offset + 4)
            for (index, server) in servers.enumerated() {
                span.putField(u64: server.hi, at: offset + 8 + 16 * index)
                span.putField(u64: server.lo, at: offset + 16 + 16 * index)
            }
        case .dnsSearchList(let names, let lifetime):
            span.putField(u8: NDPOptionType.dnsSearchList, at: offset)
            span.putField(u32: lifetime, at: offset + 4)
            span.copy(from: names.rawSpan, at: offset + 8)
        }
        return length
    }
}
