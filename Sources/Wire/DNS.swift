// DNS messages (RFC 1035 section 4; negative answers RFC 2308; EDNS RFC 6891).
//
//      0    2       4                 6          8            10             12
//     +----+-------+-----------------+----------+------------+--------------+--------------------------------------
//     | id | flags | questions       | answers  | authority  | additional   | question, records ...
//     +----+-------+-----------------+----------+------------+--------------+--------------------------------------
//     flags: QR opcode(4) AA TC RD RA Z AD CD rcode(4)
//     question: name, type, class         record: name, type, class, ttl (4), length (2), data
//
// A forwarder reads the header and the question, walks the records of an answer to know how long it may be kept, and
// passes the rest on as it came. Nothing is decoded that is not asked for. Counts in the header are claims: every walk
// is bounded by the bytes.

/// Resource record types (IANA "DNS Parameters").
package enum DNSType {
    @inlinable package static var a: UInt16 { 1 }
    @inlinable package static var ns: UInt16 { 2 }
    @inlinable package static var cname: UInt16 { 5 }
    @inlinable package static var soa: UInt16 { 6 }
    @inlinable package static var ptr: UInt16 { 12 }
    @inlinable package static var mx: UInt16 { 15 }
    @inlinable package static var txt: UInt16 { 16 }
    @inlinable package static var aaaa: UInt16 { 28 }
    @inlinable package static var srv: UInt16 { 33 }
    /// EDNS (RFC 6891 section 6.1).
    @inlinable package static var opt: UInt16 { 41 }
    @inlinable package static var svcb: UInt16 { 64 }
    @inlinable package static var https: UInt16 { 65 }
    @inlinable package static var ixfr: UInt16 { 251 }
    @inlinable package static var axfr: UInt16 { 252 }
    @inlinable package static var any: UInt16 { 255 }
}

/// Classes.
package enum DNSClass {
    @inlinable package static var internet: UInt16 { 1 }
    @inlinable package static var any: UInt16 { 255 }
}

/// Response codes (RFC 1035 section 4.1.1).
package enum DNSResponseCode {
    @inlinable package static var noError: UInt8 { 0 }
    @inlinable package static var formatError: UInt8 { 1 }
    @inlinable package static var serverFailure: UInt8 { 2 }
    @inlinable package static var nameError: UInt8 { 3 }
    @inlinable package static var notImplemented: UInt8 { 4 }
    @inlinable package static var refused: UInt8 { 5 }
}

/// Sizes and ports.
package enum DNS {
    @inlinable package static var port: UInt16 { 53 }
    @inlinable package static var headerLength: Int { 12 }
    /// The most over UDP without EDNS (RFC 1035 section 2.3.4).
    @inlinable package static var plainLimit: Int { 512 }
    /// An OPT record without options.
    @inlinable package static var optLength: Int { 11 }

    /// Bits of the second 16 bits.
    @inlinable package static var response: UInt16 { 0x8000 }
    @inlinable package static var authoritative: UInt16 { 0x0400 }
    @inlinable package static var truncated: UInt16 { 0x0200 }
    @inlinable package static var recursionDesired: UInt16 { 0x0100 }
    @inlinable package static var recursionAvailable: UInt16 { 0x0080 }
    @inlinable package static var authenticData: UInt16 { 0x0020 }
    @inlinable package static var checkingDisabled: UInt16 { 0x0010 }
}

/// A DNS message of at least a header.
package struct DNSView: ~Escapable {
    package let bytes: RawSpan

    @inlinable
    @_lifetime(copy bytes)
    package init(_ bytes: RawSpan) throws(ParseError) {
        guard bytes.byteCount >= DNS.headerLength else { throw .truncated }
        self.bytes = bytes
    }

    package var id: UInt16 { bytes.field16(at: 0) }
    package var flags: UInt16 { bytes.field16(at: 2) }
    package var isResponse: Bool { flags & DNS.response != 0 }
    /// 0 is a standard query.
    package var opcode: UInt8 { UInt8(flags >> 11 & 0xf) }
    package var isAuthoritative: Bool { flags & DNS.authoritative != 0 }
    package var isTruncated: Bool { flags & DNS.truncated != 0 }
    package var recursionDesired: Bool { flags & DNS.recursionDesired != 0 }
    package var recursionAvailable: Bool { flags & DNS.recursionAvailable != 0 }
    /// Without the upper bits of EDNS; one of `DNSResponseCode`.
    package var responseCode: UInt8 { UInt8(flags & 0xf) }

    package var questionCount: Int { Int(bytes.field16(at: 4)) }
    package var answerCount: Int { Int(bytes.field16(at: 6)) }
    package var authorityCount: Int { Int(bytes.field16(at: 8)) }
    package var additionalCount: Int { Int(bytes.field16(at: 10)) }

    /// The first question. Throws `badField` if there is none.
    package func question() throws(ParseError) -> DNSQuestion {
        guard questionCount > 0 else { throw .badField }
        let name = try DNSName(reading: bytes, at: DNS.headerLength)
        let nameEnd = try DNSName.end(in: bytes, at: DNS.headerLength)
        guard bytes.byteCount - nameEnd >= 4 else { throw .truncated }
        return DNSQuestion(
            name: name, type: bytes.field16(at: nameEnd), class: bytes.field16(at: nameEnd + 2), end: nameEnd + 4)
    }

    /// All resource records in order, after the questions.
    @_lifetime(copy self)
    package func records() throws(ParseError) -> DNSRecords {
        var offset = DNS.headerLength
        for _ in 0..<questionCount {
            offset = try DNSName.end(in: bytes, at: offset) + 4
            guard offset <= bytes.byteCount else { throw .truncated }
        }
        return DNSRecords(message: self, at: offset)
    }

    /// The EDNS record of the additional section; nil if there is none.
    package func opt() throws(ParseError) -> DNSRecord? {
        var records = try records()
        while let record = try records.next() {
            if record.section == .additional, record.type == DNSType.opt { return record }
        }
        return nil
    }

    /// The longest answer the sender takes over UDP (RFC 6891 section 6.2.3): 512 without EDNS, or with nonsense.
    package func maximumResponseLength() -> Int {
        guard let record = try? opt() else { return DNS.plainLimit }
        return max(DNS.plainLimit, Int(record.class))
    }

    /// How long, in seconds, the absence that this message states may be remembered: the lesser of the TTL and the
    /// MINIMUM of the SOA in its authority section (RFC 2308 section 5); nil without SOA: not to be cached.
    package func negativeTTL() throws(ParseError) -> UInt32? {
        var records = try records()
        while let record = try records.next() {
            guard record.section == .authority, record.type == DNSType.soa else { continue }
            return min(record.ttl, try soaMinimum(of: record))
        }
        return nil
    }

    /// The MINIMUM field of an SOA record (RFC 1035 section 3.3.13).
    package func soaMinimum(of record: DNSRecord) throws(ParseError) -> UInt32 {
        let serverEnd = try DNSName.end(in: bytes, at: record.dataOffset)
        let mailboxEnd = try DNSName.end(in: bytes, at: serverEnd)
        // Serial, refresh, retry, expire, minimum.
        guard mailboxEnd + 20 == record.end, record.end <= bytes.byteCount else { throw .badLength }
        return bytes.field32(at: mailboxEnd + 16)
    }

    /// The address in an A or AAAA record of the Internet class; nil for others and for a wrong length.
    package func address(of record: DNSRecord) -> IPAddress? {
        guard record.class == DNSClass.internet, record.dataOffset >= 0, record.end <= bytes.byteCount else {
            return nil
        }
        switch (record.type, record.dataLength) {
        case (DNSType.a, 4):
            return IPAddress(v4: bytes.field32(at: record.dataOffset))
        case (DNSType.aaaa, 16):
            return IPAddress(hi: bytes.field64(at: record.dataOffset), lo: bytes.field64(at: record.dataOffset + 8))
        default:
            return nil
        }
    }
}

/// What is asked.
package struct DNSQuestion: Hashable, Sendable {
    package var name: DNSName
    /// One of `DNSType`, or another.
    package var type: UInt16
    package var `class`: UInt16
    /// Where the question ends in the message it was read from.
    package var end: Int

    package init(name: DNSName, type: UInt16, class: UInt16 = DNSClass.internet, end: Int = 0) {
        self.name = name
        self.type = type
        self.class = `class`
        self.end = end
    }
}

/// A resource record: its numbers, and where its parts are in the message. All of it lies in the message.
package struct DNSRecord: Equatable, Sendable, BitwiseCopyable {
    package enum Section: UInt8, Sendable, BitwiseCopyable { case answer, authority, additional }

    package var section: Section
    package var nameOffset: Int
    package var type: UInt16
    /// Of OPT: the sender's UDP payload size.
    package var `class`: UInt16
    /// In seconds. A value with the top bit set is read as 0 (RFC 2181 section 8). Of OPT: other things; raw.
    package var ttl: UInt32
    package var ttlOffset: Int
    package var dataOffset: Int
    package var dataLength: Int

    /// Where the next record begins.
    package var end: Int { dataOffset + dataLength }
    package var dataRange: Range<Int> { dataOffset..<(dataOffset + dataLength) }
}

/// The walk over the records of a message.
package struct DNSRecords: ~Escapable {
    private let message: DNSView
    private var offset: Int
    private var index = 0

    @_lifetime(copy message)
    init(message: borrowing DNSView, at offset: Int) {
        self.message = copy message
        self.offset = offset
    }

    /// Where the next record begins; after the last one, where the message ends.
    package var position: Int { offset }

    /// The next record; nil after the last one that the header claims.
    @_lifetime(self: copy self)
    package mutating func next() throws(ParseError) -> DNSRecord? {
        let answers = message.answerCount
        let authorities = answers + message.authorityCount
        guard index < authorities + message.additionalCount else { return nil }
        let bytes = message.bytes
        let nameEnd = try DNSName.end(in: bytes, at: offset)
        guard bytes.byteCount - nameEnd >= 10 else { throw .truncated }
        let length = Int(bytes.field16(at: nameEnd + 8))
        guard bytes.byteCount - nameEnd - 10 >= length else { throw .truncated }
        let type = bytes.field16(at: nameEnd)
        let ttl = bytes.field32(at: nameEnd + 4)
        let record = DNSRecord(
            section: index < answers ? .answer : index < authorities ? .authority : .additional, nameOffset: offset,
            type: type, class: bytes.field16(at: nameEnd + 2), ttl: type != DNSType.opt && ttl >> 31 != 0 ? 0 : ttl,
            ttlOffset: nameEnd + 4, dataOffset: nameEnd + 10, dataLength: length)
        offset = nameEnd + 10 + length
        index += 1
        return record
    }
}
