/// The part of a file that a `Range` header asks for (RFC 9110 section 14.2): one range of bytes.
package enum ByteRange: Equatable, Sendable {
    /// No header, or one that is to be ignored: another unit, several ranges, nonsense.
    case whole
    case part(Range<Int>)
    /// Beyond the file: status 416.
    case unsatisfiable

    package init(_ header: String?, size: Int) {
        self = .whole
        guard let header, header.hasPrefix("bytes=") else { return }
        let ends = header.dropFirst(6).split(separator: "-", omittingEmptySubsequences: false)
        guard ends.count == 2, ends.allSatisfy({ $0.utf8.allSatisfy { $0 >= 0x30 && $0 <= 0x39 } }) else { return }
        if ends[0].isEmpty {
            // The last bytes.
            guard let count = Int(ends[1]) else { return }
            self = count == 0 || size == 0 ? .unsatisfiable : .part(max(0, size - count)..<size)
            return
        }
        guard let first = Int(ends[0]) else { return }
        var last = size - 1
        if !ends[1].isEmpty {
            guard let stated = Int(ends[1]), stated >= first else { return }
            last = min(stated, last)
        }
        self = first < size ? .part(first..<last + 1) : .unsatisfiable
    }
}

/// A file's name as machines write it, made relative; nil when it is none or leads elsewhere.
package func bootFileName(_ text: String) -> String? {
    // Firmware from Windows writes backslashes.
    let parts = text.split(whereSeparator: { $0 == "/" || $0 == "\\" })
    guard !parts.isEmpty, !parts.contains(".."), !text.utf8.contains(0), text.utf8.count <= 1024 else { return nil }
    return parts.joined(separator: "/")
}
