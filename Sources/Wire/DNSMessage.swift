// Writing DNS: queries, short answers of our own, and changes to a message that passes through.
//
// An answer is built behind the question it answers, which is copied as it came (a client may have mixed the case of
// its letters and compares, draft-vixie-dnsext-dns0x20). Records that answer the question name it by a pointer to it.
// The writer fills a span it is lent for each call and keeps only numbers, so it can be held between calls.

/// In-place changes. Every one traps when the message has no header.
package enum DNSHeader {
    package static func set(id: UInt16, in message: inout MutableRawSpan, at offset: Int = 0) {
        message.store(u16: id, at: offset)
    }

    package static func set(flags: UInt16, in message: inout MutableRawSpan, at offset: Int = 0) {
        message.store(u16: flags, at: offset + 2)
    }

    package static func set(truncated: Bool, in message: inout MutableRawSpan, at offset: Int = 0) {
        set(DNS.truncated, truncated, in: &message, at: offset)
    }

    package static func set(recursionDesired: Bool, in message: inout MutableRawSpan, at offset: Int = 0) {
        set(DNS.recursionDesired, recursionDesired, in: &message, at: offset)
    }

    package static func set(recursionAvailable: Bool, in message: inout MutableRawSpan, at offset: Int = 0) {
        set(DNS.recursionAvailable, recursionAvailable, in: &message, at: offset)
    }

    package static func set(responseCode: UInt8, in message: inout MutableRawSpan, at offset: Int = 0) {
        let flags = message.bytes.u16(at: offset + 2)
        message.store(u16: flags & 0xfff0 | UInt16(responseCode & 0xf), at: offset + 2)
    }

    /// Sets a record's TTL: `DNSRecord.ttlOffset` says where.
    package static func set(ttl: UInt32, at ttlOffset: Int, in message: inout MutableRawSpan) {
        message.store(u32: ttl, at: ttlOffset)
    }

    private static func set(_ bit: UInt16, _ value: Bool, in message: inout MutableRawSpan, at offset: Int) {
        let flags = message.bytes.u16(at: offset + 2)
        message.store(u16: value ? flags | bit : flags & ~bit, at: offset + 2)
    }

    /// Shortens the message in `message[0..<count]` to header, question and a bare OPT record if it had one, and sets
    /// TC, so that the client asks again over TCP (RFC 2181 section 9, RFC 6891 section 7). A message that cannot be
    /// walked keeps its header alone.
    /// - Returns: the bytes that are left.
    package static func truncate(_ message: inout MutableRawSpan, count: Int) -> Int {
        var end = DNS.headerLength
        var questions: UInt16 = 0
        var optHead: UInt64?
        do {
            let bytes = message.bytes.extracting(0..<count)
            guard let view = try? DNSView(bytes) else { return count }
            if let question = try? view.question(), view.questionCount == 1 {
                end = question.end
                questions = 1
                // Type, class, TTL: all that is kept of OPT, whose name is the root.
                if let record = try? view.opt() { optHead = bytes.u64(at: record.ttlOffset - 4) }
            }
        }
        message.store(u16: message.bytes.u16(at: 2) | DNS.truncated, at: 2)
        message.store(u16: questions, at: 4)
        message.store(u32: 0, at: 6)
        message.store(u16: 0, at: 10)
        guard let optHead, count - end >= DNS.optLength else { return end }
        message.store(u8: 0, at: end)
        message.store(u64: optHead, at: end + 1)
        message.store(u16: 0, at: end + 9)
        message.store(u16: 1, at: 10)
        return end + DNS.optLength
    }
}

/// Builds a message from the front: header, question, records.
package struct DNSWriter: Equatable, Sendable {
    /// Where the next record goes, counted from the start of the message: its length so far.
    package private(set) var count: Int
    private let offset: Int
    private var answers: UInt16 = 0
    private var additionals: UInt16 = 0

    /// Begins an answer to `query`, whose question is copied as it is. Traps when it does not fit.
    /// - Parameters:
    ///   - query: the message that asks.
    ///   - question: as read from `query`; nil if it could not be read: then none is repeated.
    ///   - offset: where in the span the message begins.
    package init(
        answering query: RawSpan, question: DNSQuestion?, responseCode: UInt8 = DNSResponseCode.noError,
        authoritative: Bool = false, to span: inout MutableRawSpan, at offset: Int = 0
    ) {
        let end = question?.end ?? DNS.headerLength
        span.copy(from: query.extracting(0..<end), at: offset)
        // The client's opcode, RD and CD are repeated (RFC 1035 section 4.1.1, RFC 4035 section 3.1.6).
        var flags = span.bytes.u16(at: offset + 2) & (0x7800 | DNS.recursionDesired | DNS.checkingDisabled)
        flags |= DNS.response | DNS.recursionAvailable | UInt16(responseCode & 0xf)
        if authoritative { flags |= DNS.authoritative }
        span.store(u16: flags, at: offset + 2)
        span.store(u16: question == nil ? 0 : 1, at: offset + 4)
        span.store(u32: 0, at: offset + 6)
        span.store(u16: 0, at: offset + 10)
        count = end
        self.offset = offset
    }

    /// Begins a query with RD. Traps when it does not fit.
    package init(asking question: DNSQuestion, id: UInt16, to span: inout MutableRawSpan, at offset: Int = 0) {
        span.store(u16: id, at: offset)
        span.store(u16: DNS.recursionDesired, at: offset + 2)
        span.store(u64: 0x0001_0000_0000_0000, at: offset + 4)
        let name = question.name.bytes
        span.copy(from: name.rawSpan, at: offset + DNS.headerLength)
        span.store(u16: question.type, at: offset + DNS.headerLength + name.count)
        span.store(u16: question.class, at: offset + DNS.headerLength + name.count + 2)
        count = DNS.headerLength + name.count + 4
        self.offset = offset
    }

    /// Answers the question's name with an A or AAAA record.
    /// - Returns: false when it does not fit; then nothing is written. So for all records.
    @discardableResult
    package mutating func answer(_ address: IPAddress, ttl: UInt32, to span: inout MutableRawSpan) -> Bool {
        let length = address.isV4 ? 4 : 16
        guard hasRoom(12 + length, in: span) else { return false }
        putHead(type: address.isV4 ? DNSType.a : DNSType.aaaa, ttl: ttl, length: length, to: &span)
        if address.isV4 {
            span.store(u32: address.v4, at: offset + count)
        } else {
            span.store(u64: address.hi, at: offset + count)
            span.store(u64: address.lo, at: offset + count + 8)
        }
        count += length
        finishAnswer(to: &span)
        return true
    }

    /// Answers the question's name with a PTR or CNAME record.
    @discardableResult
    package mutating func answer(
        _ name: DNSName, type: UInt16 = DNSType.ptr, ttl: UInt32, to span: inout MutableRawSpan
    ) -> Bool {
        guard hasRoom(12 + name.bytes.count, in: span) else { return false }
        putHead(type: type, ttl: ttl, length: name.bytes.count, to: &span)
        span.copy(from: name.bytes.rawSpan, at: offset + count)
        count += name.bytes.count
        finishAnswer(to: &span)
        return true
    }

    /// Adds the bare EDNS record (RFC 6891 section 6.1.2) that an answer to a query with EDNS must have.
    @discardableResult
    package mutating func addOPT(payloadSize: UInt16, to span: inout MutableRawSpan) -> Bool {
        guard hasRoom(DNS.optLength, in: span) else { return false }
        span.store(u8: 0, at: offset + count)
        span.store(u16: DNSType.opt, at: offset + count + 1)
        span.store(u16: payloadSize, at: offset + count + 3)
        span.store(u32: 0, at: offset + count + 5)
        span.store(u16: 0, at: offset + count + 9)
        count += DNS.optLength
        additionals += 1
        span.store(u16: additionals, at: offset + 10)
        return true
    }

    private func hasRoom(_ length: Int, in span: borrowing MutableRawSpan) -> Bool {
        length <= span.byteCount - offset - count
    }

    /// A pointer to the question's name, type, class, TTL and length: 12 bytes.
    private mutating func putHead(type: UInt16, ttl: UInt32, length: Int, to span: inout MutableRawSpan) {
        let start = offset + count
        span.store(u16: 0xc000 | UInt16(DNS.headerLength), at: start)
        span.store(u16: type, at: start + 2)
        span.store(u16: DNSClass.internet, at: start + 4)
        span.store(u32: ttl, at: start + 6)
        span.store(u16: UInt16(truncatingIfNeeded: length), at: start + 10)
        count += 12
    }

    private mutating func finishAnswer(to span: inout MutableRawSpan) {
        answers += 1
        span.store(u16: answers, at: offset + 6)
    }
}
