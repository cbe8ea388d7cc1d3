/// A 48-bit Ethernet address (IEEE 802 EUI-48), in the low bits of an integer: the first byte on the wire is the highest.
package struct MACAddress: Hashable, Sendable, BitwiseCopyable, CustomStringConvertible {
    package let rawValue: UInt64

    /// The low 48 bits of `rawValue`; the rest is cut off.
    @inlinable
    package init(rawValue: UInt64) { self.rawValue = rawValue & 0xffff_ffff_ffff }

    /// An address of one station that nobody has assigned (IEEE 802, "locally administered"), made of 46 of the `bits`.
    package init(locallyAdministered bits: UInt64) {
        self.init(rawValue: bits & 0xfcff_ffff_ffff | 0x0200_0000_0000)
    }

    /// Six groups of two hexadecimal digits, all separated by ":" or all by "-".
    package init?(_ text: some StringProtocol) {
        var value: UInt64 = 0
        var position = 0
        var separator: UInt8 = 0
        for byte in text.utf8 {
            if position % 3 == 2 {
                if position == 2 { separator = byte }
                guard byte == separator, byte == UInt8(ascii: ":") || byte == UInt8(ascii: "-") else { return nil }
            } else {
                guard let digit = byte.hexadecimalDigit else { return nil }
                value = value << 4 | UInt64(digit)
            }
            position += 1
            if position > 17 { return nil }
        }
        guard position == 17 else { return nil }
        self.init(rawValue: value)
    }

    @inlinable package static var broadcast: MACAddress { MACAddress(rawValue: 0xffff_ffff_ffff) }
    @inlinable package static var zero: MACAddress { MACAddress(rawValue: 0) }

    /// The group bit is set; true for the broadcast address too.
    @inlinable
    package var isMulticast: Bool { rawValue & 0x0100_0000_0000 != 0 }

    @inlinable
    package var isBroadcast: Bool { rawValue == 0xffff_ffff_ffff }

    /// Lower case, separated by ":".
    package var description: String {
        var text = ""
        text.reserveCapacity(17)
        for index in 0..<6 {
            let byte = UInt8(truncatingIfNeeded: rawValue >> UInt64(40 - 8 * index))
            if index > 0 { text.append(":") }
            text.append(Character(Unicode.Scalar(UInt8.lowerHexadecimal(byte >> 4))))
            text.append(Character(Unicode.Scalar(UInt8.lowerHexadecimal(byte & 0xf))))
        }
        return text
    }
}

extension UInt8 {
    /// The value of an ASCII hexadecimal digit of either case.
    package var hexadecimalDigit: UInt8? {
        switch self {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): self - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): self - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): self - UInt8(ascii: "A") + 10
        default: nil
        }
    }

    /// The ASCII digit of a value below 16.
    static func lowerHexadecimal(_ value: UInt8) -> UInt8 {
        value < 10 ? UInt8(ascii: "0") + value : UInt8(ascii: "a") + (value & 0xf) - 10
    }
}
