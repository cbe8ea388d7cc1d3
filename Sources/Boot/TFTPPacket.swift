internal import Wire

// The Trivial File Transfer Protocol (RFC 1350, options RFC 2347, 2348, 2349, 7440), as much of it as a read-only server needs.
//
//     1 RRQ, 2 WRQ    name 0 mode 0 [option 0 value 0]...
//     3 DATA          block (2), 0 to blksize bytes
//     4 ACK           block (2)
//     5 ERROR         code (2), message 0
//     6 OACK          [option 0 value 0]...

/// A message of a client.
package enum TFTPMessage: Equatable, Sendable {
    case read(TFTPRequest)
    case write
    case acknowledgment(UInt16)
    case error
    /// Anything else.
    case malformed

    package init(_ bytes: RawSpan) {
        guard bytes.byteCount >= 4 else {
            self = .malformed
            return
        }
        switch bytes.u16(at: 0) {
        case 1: self = TFTPRequest(bytes).map { .read($0) } ?? .malformed
        case 2: self = .write
        case 4: self = .acknowledgment(bytes.u16(at: 2))
        case 5: self = .error
        default: self = .malformed
        }
    }
}

/// A read request.
package struct TFTPRequest: Equatable, Sendable {
    package var name: String
    /// In lower case.
    package var mode: String
    /// As asked for, when they are numbers in the range of their RFC; nil else, and then as if they were not there.
    package var blockSize: Int?
    package var windowSize: Int?
    package var timeout: Int?
    package var wantsSize = false

    /// The longest request that is read, as RFC 2347 has it.
    private static let limit = 512

    init?(_ bytes: RawSpan) {
        var words: [String] = []
        var word: [UInt8] = []
        for index in 2..<min(bytes.byteCount, Self.limit) {
            let byte = bytes.u8(at: index)
            if byte == 0 {
                words.append(String(decoding: word, as: UTF8.self))
                word = []
            } else {
                word.append(byte)
            }
        }
        guard words.count >= 2 else { return nil }
        name = words[0]
        mode = words[1].lowercased()
        for index in stride(from: 2, to: words.count - 1, by: 2) {
            let value = words[index + 1].utf8.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }) ? Int(words[index + 1]) : nil
            func within(_ range: ClosedRange<Int>) -> Int? { value.flatMap { range.contains($0) ? $0 : nil } }
            switch words[index].lowercased() {
            case "blksize": blockSize = within(8...65_464)
            case "windowsize": windowSize = within(1...65_535)
            case "timeout": timeout = within(1...255)
            case "tsize": wantsSize = value != nil
            default: break
            }
        }
    }
}

/// Error codes (RFC 1350 section 5, RFC 2347).
package enum TFTPError: UInt16, Sendable {
    case other = 0
    case notFound = 1
    case accessViolation = 2
    case illegal = 4
    case unknownTransfer = 5

    var message: String {
        switch self {
        case .other: "busy, or not in this mode"
        case .notFound: "file not found"
        case .accessViolation: "read-only"
        case .illegal: "not understood"
        case .unknownTransfer: "unknown transfer"
        }
    }

    var bytes: [UInt8] {
        [0, 5, 0, UInt8(truncatingIfNeeded: rawValue)] + Array(message.utf8) + [0]
    }
}
