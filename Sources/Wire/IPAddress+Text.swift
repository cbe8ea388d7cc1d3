// Text forms of addresses: strict in, canonical out.
//
// In: dotted quad of four decimal numbers without leading zeros (RFC 6943 section 3.1.1, the strict form), or the IPv6
// forms of RFC 4291 section 2.2, with at most one "::" (for one group or more) and an optional dotted quad at the end.
// No zone, no brackets, no spaces. Out: dotted quad, or RFC 5952: lower case, no leading zeros, the longest run of two
// or more zero groups (the first of equals) as "::".

extension IPAddress {
    /// Reads a strict text form of either family; nil if it is none.
    package init?(_ text: some StringProtocol) {
        var bytes = InlineArray<46, UInt8>(repeating: 0)
        var count = 0
        var hasColon = false
        for byte in text.utf8 {
            // The longest form is 45 characters: six groups and a dotted quad.
            guard count < 45 else { return nil }
            if byte == UInt8(ascii: ":") { hasColon = true }
            bytes[count] = byte
            count += 1
        }
        if hasColon {
            guard let address = IPAddress(v6Text: bytes, count: count) else { return nil }
            self = address
        } else {
            guard let v4 = IPAddress.dottedQuad(bytes, from: 0, to: count) else { return nil }
            self.init(v4: v4)
        }
    }

    /// The dotted quad in `bytes[start..<end]`, nothing before or after it.
    private static func dottedQuad(_ bytes: InlineArray<46, UInt8>, from start: Int, to end: Int) -> UInt32? {
        var value: UInt32 = 0
        var parts = 0
        var index = start
        while parts < 4 {
            if parts > 0 {
                guard index < end, bytes[index] == UInt8(ascii: ".") else { return nil }
                index += 1
            }
            let first = index
            var part: UInt32 = 0
            while index < end, index - first < 3, case UInt8(ascii: "0")...UInt8(ascii: "9") = bytes[index] {
                part = part * 10 + UInt32(bytes[index] - UInt8(ascii: "0"))
                index += 1
            }
            guard index > first, part <= 255, index - first == 1 || bytes[first] != UInt8(ascii: "0") else {
                return nil
            }
            value = value << 8 | part
            parts += 1
        }
        return index == end ? value : nil
    }

    private init?(v6Text bytes: InlineArray<46, UInt8>, count: Int) {
        var groups = InlineArray<8, UInt16>(repeating: 0)
        var filled = 0
        /// How many groups precede the "::", if there is one.
        var gap: Int?
        var index = 0
        let colon = UInt8(ascii: ":")
        if bytes[0] == colon {
            guard count >= 2, bytes[1] == colon else { return nil }
            gap = 0
            index = 2
        }
        while index < count {
            guard filled < 8 else { return nil }
            let first = index
            var value: UInt16 = 0
            while index < count, index - first < 4, let digit = bytes[index].hexadecimalDigit {
                value = value << 4 | UInt16(digit)
                index += 1
            }
            if index < count, bytes[index] == UInt8(ascii: ".") {
                guard filled <= 6, let v4 = Self.dottedQuad(bytes, from: first, to: count) else { return nil }
                groups[filled] = UInt16(truncatingIfNeeded: v4 >> 16)
                groups[filled + 1] = UInt16(truncatingIfNeeded: v4)
                filled += 2
                break
            }
            guard index > first else { return nil }
            groups[filled] = value
            filled += 1
            if index == count { break }
            guard bytes[index] == colon else { return nil }
            index += 1
            if index < count, bytes[index] == colon {
                guard gap == nil else { return nil }
                gap = filled
                index += 1
            } else if index == count {
                return nil
            }
        }
        guard gap == nil ? filled == 8 : filled < 8 else { return nil }
        let head = gap ?? filled
        var hi: UInt64 = 0
        var lo: UInt64 = 0
        for position in 0..<8 {
            let group: UInt16
            if position < head {
                group = groups[position]
            } else if position < 8 - (filled - head) {
                group = 0
            } else {
                group = groups[position - (8 - filled)]
            }
            if position < 4 { hi = hi << 16 | UInt64(group) } else { lo = lo << 16 | UInt64(group) }
        }
        self.init(hi: hi, lo: lo)
    }

    /// The 16-bit group at `index`, 0...7.
    private func group(_ index: Int) -> UInt16 {
        UInt16(truncatingIfNeeded: (index < 4 ? hi : lo) >> UInt64(48 - 16 * (index & 3)))
    }
}

extension IPAddress: CustomStringConvertible {
    /// Dotted quad, or RFC 5952.
    package var description: String {
        if isV4 { return "\(v4 >> 24).\(v4 >> 16 & 255).\(v4 >> 8 & 255).\(v4 & 255)" }
        var best = 0..<0
        var index = 0
        while index < 8 {
            var end = index
            while end < 8, group(end) == 0 { end += 1 }
            if end - index > best.count { best = index..<end }
            index = end + 1
        }
        if best.count < 2 { best = 8..<8 }
        var text = ""
        for index in 0..<8 where !best.contains(index) {
            if index == best.upperBound, best.count > 0 {
                text += "::"
            } else if index > 0 {
                text += ":"
            }
            text += String(group(index), radix: 16)
        }
        if best.count > 0, best.upperBound == 8 { text += "::" }
        return text
    }
}
