/// An IPv4 or IPv6 address, 16 bytes.
///
/// IPv4 addresses are held v4-mapped (`::ffff:a.b.c.d`, RFC 4291 section 2.5.5.2), so one trivial type serves both
/// families and a table keyed by it needs no case for either. A v4-mapped address can therefore not be told from the
/// IPv4 address; on the wire of an IPv6 packet it has no business anyway.
package struct IPAddress: Hashable, Sendable, BitwiseCopyable {
    /// The first eight bytes, in host order.
    package let hi: UInt64
    /// The last eight bytes, in host order.
    package let lo: UInt64

    @inlinable
    package init(hi: UInt64, lo: UInt64) {
        self.hi = hi
        self.lo = lo
    }

    /// The IPv4 address with this value in host order: `127.0.0.1` is `0x7f00_0001`.
    @inlinable
    package init(v4: UInt32) {
        hi = 0
        lo = 0x0000_ffff_0000_0000 | UInt64(v4)
    }

    /// `0.0.0.0`.
    @inlinable package static var anyV4: IPAddress { IPAddress(v4: 0) }
    /// `::`.
    @inlinable package static var anyV6: IPAddress { IPAddress(hi: 0, lo: 0) }
    /// `255.255.255.255`.
    @inlinable package static var broadcast: IPAddress { IPAddress(v4: 0xffff_ffff) }

    @inlinable
    package var isV4: Bool { hi == 0 && lo >> 32 == 0xffff }

    /// The low 32 bits: the IPv4 address in host order if `isV4`.
    @inlinable
    package var v4: UInt32 { UInt32(truncatingIfNeeded: lo) }

    /// `0.0.0.0` or `::`.
    @inlinable
    package var isUnspecified: Bool { hi == 0 && (lo == 0 || lo == 0x0000_ffff_0000_0000) }

    /// `127.0.0.0/8` (RFC 1122 section 3.2.1.3) or `::1`.
    @inlinable
    package var isLoopback: Bool { hi == 0 && (lo == 1 || lo >> 24 == 0xffff7f) }

    /// `224.0.0.0/4` (RFC 5771) or `ff00::/8`.
    @inlinable
    package var isMulticast: Bool { hi >> 56 == 0xff || (hi == 0 && lo >> 28 == 0xffffe) }

    /// `169.254.0.0/16` (RFC 3927) or `fe80::/10`.
    @inlinable
    package var isLinkLocal: Bool { hi >> 54 == 0x3fa || (hi == 0 && lo >> 16 == 0xffff_a9fe) }

    /// The limited broadcast, `255.255.255.255`.
    @inlinable
    package var isBroadcast: Bool { hi == 0 && lo == 0x0000_ffff_ffff_ffff }
}

extension IPAddress: Comparable {
    /// The order of the 16 bytes; for tables and stable output only.
    @inlinable
    package static func < (a: IPAddress, b: IPAddress) -> Bool { a.hi == b.hi ? a.lo < b.lo : a.hi < b.hi }
}

/// An address and a port: one end of a flow.
package struct Endpoint: Hashable, Sendable, BitwiseCopyable {
    package var address: IPAddress
    package var port: UInt16

    @inlinable
    package init(address: IPAddress, port: UInt16) {
        self.address = address
        self.port = port
    }
}

extension Endpoint: CustomStringConvertible {
    /// `10.0.2.2:80`, `[fe80::1]:80` (RFC 5952 section 6).
    package var description: String { address.isV4 ? "\(address):\(port)" : "[\(address)]:\(port)" }
}
