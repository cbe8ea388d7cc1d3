package import Wire

/// A domain name in lower case and in wire form (length-prefixed labels and the root's zero byte): what tables are keyed by.
package struct Name: Hashable, Sendable {
    let octets: [UInt8]
    /// Made once, because a name is looked up several times on its way.
    private let fingerprint: Int

    /// At most 255 bytes with the final zero (RFC 1035 section 2.3.4).
    static let maximumLength = 255

    init(octets: [UInt8]) {
        self.octets = octets
        fingerprint = octets.fingerprint
    }

    package static func == (a: Name, b: Name) -> Bool { a.fingerprint == b.fingerprint && a.octets == b.octets }
    package func hash(into hasher: inout Hasher) { hasher.combine(fingerprint) }

    /// From text such as `host.internal`, with or without the final dot. Nil when a label is empty or longer than 63 bytes,
    /// or the whole longer than 255. Escapes (`\032`) are not known: hosts files have none.
    package init?(_ text: some StringProtocol) {
        var octets: [UInt8] = []
        var label: [UInt8] = []
        var bytes = Array(text.utf8)
        if bytes.last == UInt8(ascii: ".") { bytes.removeLast() }
        for byte in bytes {
            if byte == UInt8(ascii: ".") {
                guard Self.append(&label, to: &octets) else { return nil }
            } else {
                label.append(lowercased(byte))
            }
        }
        guard Self.append(&label, to: &octets), octets.count < Self.maximumLength else { return nil }
        self.init(octets: octets + [0])
    }

    private static func append(_ label: inout [UInt8], to octets: inout [UInt8]) -> Bool {
        if label.isEmpty || label.count > 63 { return false }
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
    var reversedAddress: IPAddress? {
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

    var labels: [ArraySlice<UInt8>] {
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
    func isWithin(_ ancestor: Name) -> Bool {
        if octets.count < ancestor.octets.count { return false }
        var at = 0
        let distance = octets.count - ancestor.octets.count
        while at < distance { at += 1 + Int(octets[at]) }
        return at == distance && octets[at...].elementsEqual(ancestor.octets)
    }
}

extension Name: CustomStringConvertible {
    package var description: String {
        octets.count <= 1 ? "." : labels.map { String(decoding: $0, as: UTF8.self) }.joined(separator: ".")
    }
}
