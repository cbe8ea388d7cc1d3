import Wire

/// The names by which DHCP clients call themselves: made into one label of RFC 1123 section 2.1, or dropped.
package enum HostName {
    /// Whether it is such a label: 1 to 63 letters, digits and hyphens in lower case, no hyphen at either end.
    package static func isLabel(_ text: String) -> Bool {
        let bytes = Array(text.utf8)
        return (1...63).contains(bytes.count) && bytes.first != hyphen && bytes.last != hyphen
            && bytes.allSatisfy { isLetterOrDigit($0) || $0 == hyphen }
    }

    /// The first label of what a client sent. Capitals become small, spaces and underscores hyphens; nil for anything else.
    package static func label(_ bytes: RawSpan) -> String? {
        var label: [UInt8] = []
        for index in 0..<min(bytes.byteCount, 255) {
            let byte = bytes.u8(at: index).lowercased
            // Some clients send the zero that ends a string in C.
            if byte == UInt8(ascii: ".") || byte == 0 { break }
            label.append(byte == UInt8(ascii: " ") || byte == UInt8(ascii: "_") ? hyphen : byte)
        }
        let text = String(decoding: label, as: UTF8.self)
        return isLabel(text) ? text : nil
    }

    /// The name of a DHCP client's FQDN option (RFC 4702 section 2, RFC 4704 section 4), behind its flags: in wire form, or the older
    /// text.
    package static func label(fqdn bytes: RawSpan, isWire: Bool) -> String? {
        guard isWire else { return label(bytes) }
        guard bytes.byteCount > 0 else { return nil }
        let length = Int(bytes.u8(at: 0))
        guard length > 0, length <= 63, length < bytes.byteCount else { return nil }
        return label(bytes.extracting(1..<1 + length))
    }

    private static let hyphen = UInt8(ascii: "-")

    private static func isLetterOrDigit(_ byte: UInt8) -> Bool {
        (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte) || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
    }
}
