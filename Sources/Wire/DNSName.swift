// Domain names (RFC 1035 section 3.1): labels with a length byte each, up to the root's empty one.
//
//     3 w w w 7 e x a m p l e 3 c o m 0
//
// A name is at most 255 bytes, a label at most 63 (RFC 1035 section 2.3.4). Names compare without regard to ASCII case
// (RFC 4343), so a `DNSName` is held in lower case. Labels are bytes, not text: the description escapes what is not printable
// (RFC 1035 section 5.1). Compression (section 4.1.4) is not for names of ours.

/// A domain name in lower case and in wire form: what tables are keyed by.
package struct DNSName: Hashable, Sendable {
    /// The most bytes of a name, the root's included.
    @inlinable package static var maximumLength: Int { 255 }
    @inlinable package static var maximumLabelLength: Int { 63 }

    /// With the root's zero: 1...255 bytes.
    package let octets: [UInt8]
    /// Of the octets under this process's random key; made once, because a name is looked up several times on its way.
    package let hash: Int

    /// A name that was checked when it was read from a message: labels of at most 63 bytes in lower case, 255 in all.
    package init(octets: [UInt8]) {
        self.octets = octets
        hash = octets.fingerprint
    }

    package static func == (a: DNSName, b: DNSName) -> Bool { a.hash == b.hash && a.octets == b.octets }
    package func hash(into hasher: inout Hasher) { hasher.combine(hash) }

    /// From text such as `host.internal`, with or without the final dot. Nil when a label is empty or too long, or the whole is.
    /// Escapes (`\032`) are not known: hosts files and search lists have none.
    package init?(_ text: some StringProtocol) {
        var octets: [UInt8] = []
        var label: [UInt8] = []
        var bytes = Array(text.utf8)
        if bytes.last == UInt8(ascii: ".") { bytes.removeLast() }
        for byte in bytes {
            if byte == UInt8(ascii: ".") {
                guard Self.append(&label, to: &octets) else { return nil }
            } else {
                label.append(byte.lowercased)
            }
        }
        guard Self.append(&label, to: &octets), octets.count < Self.maximumLength else { return nil }
        self.init(octets: octets + [0])
    }

    private static func append(_ label: inout [UInt8], to octets: inout [UInt8]) -> Bool {
        if label.isEmpty || label.count > maximumLabelLength { return false }
        octets.append(UInt8(label.count))
        octets += label
        label.removeAll(keepingCapacity: true)
        return true
    }

    /// The name of `address` under in-addr.arpa (RFC 1035 section 3.5) or ip6.arpa (RFC 3596 section 2.5).
    package init(reverse address: IPAddress) {
        var labels: [String] = []
        if address.isV4 {
            labels = (0..<4).map { String(address.v4 >> (8 * UInt32($0)) & 0xff) } + ["in-addr", "arpa"]
        } else {
            for word in [address.lo, address.hi] {
                labels += (0..<16).map { String(word >> (4 * UInt64($0)) & 0xf, radix: 16) }
            }
            labels += ["ip6", "arpa"]
        }
        self.init(octets: labels.flatMap { [UInt8($0.utf8.count)] + Array($0.utf8) } + [0])
    }

    /// The address whose reverse name this is.
    package var reversedAddress: IPAddress? {
        let labels = self.labels
        if labels.count == 6, labels[5].elementsEqual("arpa".utf8), labels[4].elementsEqual("in-addr".utf8) {
            var value: UInt32 = 0
            for label in labels[..<4].reversed() {
                let text = String(decoding: label, as: UTF8.self)
                guard label.count <= 3, label.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }), let byte = UInt8(text) else {
                    return nil
                }
                value = value << 8 | UInt32(byte)
            }
            return IPAddress(v4: value)
        }
        if labels.count == 34, labels[33].elementsEqual("arpa".utf8), labels[32].elementsEqual("ip6".utf8) {
            var words: (hi: UInt64, lo: UInt64) = (0, 0)
            for index in (0..<32).reversed() {
                guard labels[index].count == 1, let octet = labels[index].first,
                    let digit = Character(UnicodeScalar(octet)).hexDigitValue
                else { return nil }
                if index >= 16 {
                    words.hi = words.hi << 4 | UInt64(digit)
                } else {
                    words.lo = words.lo << 4 | UInt64(digit)
                }
            }
            return IPAddress(hi: words.hi, lo: words.lo)
        }
        return nil
    }

    /// The labels, without lengths; the root has none.
    package var labels: [ArraySlice<UInt8>] {
        var labels: [ArraySlice<UInt8>] = []
        var at = 0
        while at < octets.count, octets[at] != 0 {
            let end = min(at + 1 + Int(octets[at]), octets.count)
            labels.append(octets[(at + 1)..<end])
            at = end
        }
        return labels
    }

    /// Whether this name is `ancestor` or below it.
    package func isWithin(_ ancestor: DNSName) -> Bool {
        if octets.count < ancestor.octets.count { return false }
        var at = 0
        let distance = octets.count - ancestor.octets.count
        while at < distance { at += 1 + Int(octets[at]) }
        return at == distance && octets[at...].elementsEqual(ancestor.octets)
    }
}

extension DNSName: CustomStringConvertible {
    /// `www.example.com`, without the final dot; "." for the root.
    package var description: String {
        if octets.count <= 1 { return "." }
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
