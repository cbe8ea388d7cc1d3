/// An address and the length of its network part: an interface's address with its network, or a route's destination.
package struct Prefix: Hashable, Sendable, BitwiseCopyable {
    /// As given: host bits are kept.
    package let address: IPAddress
    /// 0...32 for IPv4, 0...128 for IPv6.
    package let length: UInt8

    /// Nil if `length` is too long for the address's family.
    package init?(address: IPAddress, length: UInt8) {
        guard length <= (address.isV4 ? 32 : 128) else { return nil }
        self.address = address
        self.length = length
    }

    /// `10.0.2.0/24`, `fd00::/64`. The length is required and has no leading zeros.
    package init?(_ text: some StringProtocol) {
        guard let slash = text.firstIndex(of: "/"), let address = IPAddress(text[..<slash]) else { return nil }
        var length: UInt16 = 0
        let digits = text[text.index(after: slash)...].utf8
        guard (1...3).contains(digits.count), digits.count == 1 || digits.first != UInt8(ascii: "0") else { return nil }
        for digit in digits {
            guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(digit) else { return nil }
            length = length * 10 + UInt16(digit - UInt8(ascii: "0"))
        }
        guard length <= 128 else { return nil }
        self.init(address: address, length: UInt8(length))
    }

    /// The length counted in the 128 bits of the mapped form.
    @inlinable
    package var mappedLength: Int { Int(length) + (address.isV4 ? 96 : 0) }

    @inlinable
    package var isV4: Bool { address.isV4 }

    /// The network bits of the first eight bytes.
    @inlinable
    package var maskHi: UInt64 { mappedLength >= 64 ? .max : ~(UInt64.max >> UInt64(mappedLength)) }

    /// The network bits of the last eight bytes. Swift's `>>` by 64 is zero, so the ends need no case.
    @inlinable
    package var maskLo: UInt64 { mappedLength <= 64 ? 0 : ~(UInt64.max >> UInt64(mappedLength - 64)) }

    /// The address with all host bits zero.
    @inlinable
    package var network: IPAddress { IPAddress(hi: address.hi & maskHi, lo: address.lo & maskLo) }

    /// The address with all host bits one: the directed broadcast of an IPv4 network.
    @inlinable
    package var broadcast: IPAddress { IPAddress(hi: address.hi | ~maskHi, lo: address.lo | ~maskLo) }

    /// The netmask of an IPv4 prefix, in host order.
    @inlinable
    package var v4Mask: UInt32 { UInt32(truncatingIfNeeded: maskLo) }

    /// True if `other` is of this family and in this network. (`::/0` does not contain IPv4 addresses.)
    @inlinable
    package func contains(_ other: IPAddress) -> Bool {
        ((other.hi ^ address.hi) & maskHi) | ((other.lo ^ address.lo) & maskLo) == 0 && other.isV4 == address.isV4
    }

    /// True if some address is in both.
    @inlinable
    package func overlaps(_ other: Prefix) -> Bool {
        length <= other.length ? contains(other.address) : other.contains(address)
    }

    /// The network's address plus `offset`, which wraps within the host bits.
    @inlinable
    package func address(at offset: UInt64) -> IPAddress {
        let (lo, carry) = network.lo.addingReportingOverflow(offset)
        let hi = carry ? network.hi &+ 1 : network.hi
        return IPAddress(hi: (hi & ~maskHi) | network.hi, lo: (lo & ~maskLo) | network.lo)
    }
}

extension Prefix: CustomStringConvertible {
    package var description: String { "\(address)/\(length)" }
}
