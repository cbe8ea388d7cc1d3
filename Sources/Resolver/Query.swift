/// A client's query, as far as the forwarder looks into it.
struct Query {
    /// What the client said about itself in its OPT record (RFC 6891).
    struct EDNS: Equatable {
        /// The largest UDP payload the client takes.
        var payloadSize: Int
        var dnssecOK: Bool
    }

    var id: Int
    var flags: Int
    var question: Question
    var edns: EDNS?
    /// Whether an answer from the cache would do: a recursive query without anything that asks for this very server's word
    /// (client subnet, NSID, TSIG).
    var cacheable: Bool

    /// The largest answer the client takes over UDP (RFC 1035 section 4.2.1, RFC 6891 section 6.2.3).
    var datagramLimit: Int { max(512, edns?.payloadSize ?? 512) }

    enum Verdict {
        case query(Query)
        /// Nonsense that deserves an answer: the rcode.
        case refuse(rcode: Int)
        /// Not even that: no header, or itself a response (answering those makes loops).
        case ignore
    }

    static func parse(_ message: Octets) -> Verdict {
        guard message.count >= DNS.headerLength, let id = message.load16(0), let flags = message.load16(2),
            flags & DNS.response == 0
        else { return .ignore }
        if flags & DNS.opcodeMask != 0 { return .refuse(rcode: DNS.notImplemented) }
        guard message.load16(4) == 1, let question = Question(message),
            var walker = RecordWalker(message, start: question.end)
        else { return .refuse(rcode: DNS.formatError) }
        var query = Query(
            id: id, flags: flags, question: question, edns: nil, cacheable: flags & DNS.recursionDesired != 0)
        if question.type >= DNS.typeTKEY && question.type <= DNS.typeAXFR { query.cacheable = false }
        while true {
            switch walker.next() {
            case .malformed:
                return .refuse(rcode: DNS.formatError)
            case .end:
                return .query(query)
            case .record(let record):
                guard record.section == .additional, record.type == DNS.typeOPT else {
                    query.cacheable = false
                    continue
                }
                // RFC 6891 section 6.1.1: at most one, and owned by the root.
                if query.edns != nil || !record.ownerIsRoot { return .refuse(rcode: DNS.formatError) }
                query.edns = EDNS(payloadSize: record.class, dnssecOK: record.ttl & 0x8000 != 0)
                let version = record.ttl >> 16 & 0xff
                if version != 0 || !optionsAreHarmless(message, record) { query.cacheable = false }
            }
        }
    }

    /// Whether an answer without regard to the options is right: cookies (RFC 7873) and padding (RFC 7830) may be ignored.
    private static func optionsAreHarmless(_ message: Octets, _ record: RecordWalker.Record) -> Bool {
        var at = record.dataOffset
        while at < record.end {
            guard let code = message.load16(at), let length = message.load16(at + 2), code == 10 || code == 12 else {
                return false
            }
            at += 4 + length
        }
        return at == record.end
    }
}
