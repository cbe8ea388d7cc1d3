// Domain names (RFC 1035 section 3.1): labels with a length byte each, up to the root's empty one.
//
//     3 w w w 7 e x a m p l e 3 c o m 0
//
// A name is at most 255 bytes, a label at most 63 (RFC 1035 section 2.3.4). In a message a name may end with a pointer
// to an earlier one (section 4.1.4): two bits 11 and 14 bits of offset. Here a pointer must lead in front of everything
// read so far, so the walk ends: each jump goes further to the front, and the result is bounded by 255 bytes.
//
// Names compare without regard to ASCII case (RFC 4343). A `DNSName` is therefore held in lower case. Labels are bytes,
// not text: the description escapes what is not printable (RFC 1035 section 5.1).

/// A domain name in lower case, uncompressed.
package struct DNSName: Hashable, Sendable {
    /// The most bytes of a name, the root's included.
    @inlinable package static var maximumLength: Int { 255 }
    @inlinable package static var maximumLabelLength: Int { 63 }

    /// In wire form, with the root's zero: 1...255 bytes.
    package let bytes: [UInt8]

    /// The root.
    package init() { bytes = [0] }

    private init(bytes: [UInt8]) { self.bytes = bytes }

    /// The name at `offset` of a message, compressed or not.
    package init(reading message: RawSpan, at offset: Int) throws(ParseError) {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(64)
        var next = offset
        /// Where the part being read began: pointers must lead in front of it.
        var start = offset
        var jumps = 0
        guard offset >= 0 else { throw .badField }
        while true {
            guard next < message.byteCount else { throw .truncated }
            let length = Int(message.field8(at: next))
            if length == 0 { break }
            switch length >> 6 {
            case 0:
                guard length < message.byteCount - next else { throw .truncated }
                guard bytes.count + 1 + length < Self.maximumLength else { throw .tooLong }
                bytes.append(UInt8(truncatingIfNeeded: length))
                for index in (next + 1)...(next + length) { bytes.append(message.field8(at: index).lowercased) }
                next += 1 + length
            case 3:
                guard message.byteCount - next >= 2 else { throw .truncated }
                let target = Int(message.field16(at: next) & 0x3fff)
                guard target < start else { throw .badField }
                // A name has at most 127 labels; more pointers than that follow each other in vain.
                jumps += 1
                guard jumps <= 127 else { throw .tooLong }
                start = target
                next = target
            default:
                // 01 and 10 are reserved (RFC 6891 section 5 took back extended labels).
                throw .badField
            }
        }
        bytes.append(0)
        self.bytes = bytes
    }

    /// The dotted form, with or without the final dot; "." is the root. Labels of letters, digits and any other byte but
    /// the dot; no escapes. Nil for an empty label or one that is too long.
    package init?(_ text: some StringProtocol) {
        var bytes: [UInt8] = []
        if text != "." {
            var label: [UInt8] = []
            for byte in text.utf8 {
                if byte == UInt8(ascii: ".") {
                    guard !label.isEmpty else { return nil }
                    bytes.append(UInt8(label.count))
                    bytes += label
                    label.removeAll(keepingCapacity: true)
                } else {
                    guard label.count < Self.maximumLabelLength else { return nil }
                    label.append(byte.lowercased)
                }
            }
            if !label.isEmpty {
                bytes.append(UInt8(label.count))
                bytes += label
            }
            guard !bytes.isEmpty else { return nil }
        }
        bytes.append(0)
        guard bytes.count <= Self.maximumLength else { return nil }
        self.bytes = bytes
    }

    /// The name that a PTR query for the address asks: `1.2.0.10.in-addr.arpa` (RFC 1035 section 3.5) or nibbles below
    /// `ip6.arpa` (RFC 3596 section 2.5).
    package init(reverse address: IPAddress) {
        var bytes: [UInt8] = []
        if address.isV4 {
            for shift in [0, 8, 16, 24] as [UInt32] {
                let digits = Array(String(address.v4 >> shift & 255).utf8)
                bytes.append(UInt8(digits.count))
                bytes += digits
            }
            bytes += [7] + Array("in-addr".utf8)
        } else {
            for half in [address.lo, address.hi] {
                for nibble in 0..<16 {
                    bytes += [1, UInt8.lowerHexadecimal(UInt8(half >> UInt64(4 * nibble) & 0xf))]
                }
            }
            bytes += [3] + Array("ip6".utf8)
        }
        self.bytes = bytes + [4] + Array("arpa".utf8) + [0]
    }

    /// The end of the name at `offset`, without reading what a pointer points to: the offset after it.
    package static func end(in message: RawSpan, at offset: Int) throws(ParseError) -> Int {
        var next = offset
        while true {
            guard next >= 0, next < message.byteCount else { throw .truncated }
            let length = Int(message.field8(at: next))
            if length == 0 { return next + 1 }
            switch length >> 6 {
            case 0:
                next += 1 + length
                guard next - offset < maximumLength else { throw .tooLong }
            case 3:
                guard message.byteCount - next >= 2 else { throw .truncated }
                return next + 2
            default:
                throw .badField
            }
        }
    }

    package var isRoot: Bool { bytes.count == 1 }

    /// The labels, without lengths; the root has none.
    package var labels: [ArraySlice<UInt8>] {
        var labels: [ArraySlice<UInt8>] = []
        var offset = 0
        while bytes[offset] != 0 {
            let end = offset + 1 + Int(bytes[offset])
            labels.append(bytes[(offset + 1)..<end])
            offset = end
        }
        return labels
    }

    /// The name without its first label; nil for the root.
    package var parent: DNSName? { isRoot ? nil : DNSName(bytes: Array(bytes[(1 + Int(bytes[0]))...])) }

    /// True if this is `other` or a name below it.
    package func isAtOrBelow(_ other: DNSName) -> Bool {
        var offset = 0
        while bytes.count - offset > other.bytes.count { offset += 1 + Int(bytes[offset]) }
        return bytes[offset...].elementsEqual(other.bytes)
    }
}

extension DNSName: CustomStringConvertible {
    /// `www.example.com`, without the final dot; "." for the root.
    package var description: String {
        if isRoot { return "." }
        var text = ""
        for (index, label) in labels.enumerated() {
            if index > 0 { text.append(".") }
            for byte in label {
                switch byte {
                case UInt8(ascii: "."), UInt8(ascii: "\\"):
                    text.append("\\")
                    text.append(Character(Unicode.Scalar(byte)))
                case 0x21...0x7e:
                    text.append(Character(Unicode.Scalar(byte)))
                default:
                    let digits = String(byte)
                    text += "\\" + String(repeating: "0", count: 3 - digits.utf8.count) + digits
                }
            }
        }
        return text
    }
}

extension UInt8 {
    /// ASCII lower case; other bytes as they are.
    @inlinable
    package var lowercased: UInt8 { self >= 0x41 && self <= 0x5a ? self | 0x20 : self }
}
