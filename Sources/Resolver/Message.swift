internal import Wire

// The part of a DNS message that a forwarder needs (RFC 1035 section 4, RFC 6891).
//
//     0        2        4        6        8        10       12
//     | id     | flags  | QDCOUNT| ANCOUNT| NSCOUNT| ARCOUNT| question | records...
//
// Nothing here copies or interprets record data; names are skipped, not expanded. Every function is total: a message that
// ends early or points outside itself yields nil.

/// Numbers of the DNS (IANA "Domain DNSName System (DNS) Parameters").
package enum DNS {
    static let headerLength = 12

    static let response = 0x8000
    static let opcodeMask = 0x7800
    static let authoritative = 0x0400
    static let truncated = 0x0200
    static let recursionDesired = 0x0100
    static let recursionAvailable = 0x0080
    static let authenticData = 0x0020
    static let checkingDisabled = 0x0010
    static let rcodeMask = 0x000f

    static let noError = 0
    static let formatError = 1
    static let serverFailure = 2
    static let nameError = 3
    static let notImplemented = 4
    static let refused = 5

    static let typeA = 1
    static let typeSOA = 6
    static let typePTR = 12
    static let typeAAAA = 28
    static let typeOPT = 41
    static let typeTKEY = 249
    static let typeTSIG = 250
    static let typeIXFR = 251
    static let typeAXFR = 252
    static let typeANY = 255

    static let classIN = 1
}

/// The question section of a message with exactly one question, which stands at offset 12 and is not compressed.
struct Question {
    var name: DNSName
    var type: Int
    var `class`: Int
    /// Offset of the first byte after the question.
    var end: Int

    init?(_ message: Octets) {
        var at = DNS.headerLength
        while let length = message.load8(at), length > 0 {
            at += 1 + length
            guard length <= 63, at - DNS.headerLength < DNSName.maximumLength else { return nil }
        }
        guard let type = message.load16(at + 1), let `class` = message.load16(at + 3) else { return nil }
        name = DNSName(octets: message[DNS.headerLength...at].map(\.lowercased))
        self.type = type
        self.class = `class`
        end = at + 5
    }

    /// Whether `message` has this question, letters compared without case.
    func stands(in message: Octets) -> Bool {
        guard message.load16(end - 4) == type, message.load16(end - 2) == `class` else { return false }
        return zip(name.octets, message[DNS.headerLength...]).allSatisfy { $0 == $1.lowercased }
    }
}

/// Walks the records behind the question.
struct RecordWalker {
    enum Section { case answer, authority, additional }
    struct Record {
        var section: Section
        var start: Int
        /// Whether the owner is the root, written as one zero byte.
        var ownerIsRoot: Bool
        var type: Int
        /// For OPT: the sender's UDP payload size.
        var `class`: Int
        var ttlOffset: Int
        /// As an unsigned number; RFC 2181 section 8 calls one with the top bit set 0.
        var ttl: Int
        var dataOffset: Int
        var end: Int
    }

    private let message: Octets
    private var left: (answer: Int, authority: Int, additional: Int)
    private(set) var at: Int

    /// - Parameter start: the end of the question.
    init?(_ message: Octets, start: Int) {
        guard let answer = message.load16(6), let authority = message.load16(8), let additional = message.load16(10)
        else { return nil }
        self.message = message
        left = (answer, authority, additional)
        at = start
    }

    enum Step { case record(Record), end, malformed }

    mutating func next() -> Step {
        let section: Section
        if left.answer > 0 {
            left.answer -= 1
            section = .answer
        } else if left.authority > 0 {
            left.authority -= 1
            section = .authority
        } else if left.additional > 0 {
            left.additional -= 1
            section = .additional
        } else {
            return .end
        }
        let start = at
        guard let fixed = Self.skipName(message, start), let type = message.load16(fixed),
            let `class` = message.load16(fixed + 2), let ttl = message.load32(fixed + 4),
            let length = message.load16(fixed + 8), fixed + 10 + length <= message.count
        else { return .malformed }
        at = fixed + 10 + length
        return .record(
            Record(
                section: section, start: start, ownerIsRoot: fixed == start + 1, type: type, class: `class`,
                ttlOffset: fixed + 4, ttl: ttl, dataOffset: fixed + 10, end: at))
    }

    /// The offset after the name at `start`: labels up to the root or the first compression pointer.
    private static func skipName(_ message: Octets, _ start: Int) -> Int? {
        var at = start
        while let length = message.load8(at) {
            if length == 0 { return at + 1 }
            if length >= 0xc0 { return at + 2 <= message.count ? at + 2 : nil }
            if length > 63 { return nil }
            at += 1 + length
            if at - start >= DNSName.maximumLength { return nil }
        }
        return nil
    }
}
