internal import Wire

/// Answers that the forwarder writes itself.
enum Reply {
    /// The payload size we state in an OPT record of our own (the DNS flag day 2020's value).
    static let payloadSize = 1232

    /// An answer with no records.
    ///
    /// For a message whose question could not be read, only the header comes back (RFC 1035 section 4.1.1 lets nothing else).
    static func bare(to message: Octets, query: Query?, rcode: Int) -> Octets {
        var reply = start(message, query, flags: rcode)
        appendOPT(&reply, query)
        return reply
    }

    /// An authoritative answer from our own tables.
    static func local(to message: Octets, query: Query, rcode: Int, ttl: Int, records: [LocalRecord]) -> Octets {
        var reply = start(message, query, flags: rcode | DNS.authoritative)
        for record in records {
            reply.append16(0xc00c)  // The question's name.
            reply.append16(record.type)
            reply.append16(DNS.classIN)
            reply.append32(ttl)
            reply.append16(record.data.count)
            reply += record.data
        }
        reply.store16(records.count, 6)
        appendOPT(&reply, query)
        return reply
    }

    /// `reply` without its records and with TC set, when it is longer than the client takes over UDP.
    static func fitted(_ reply: Octets, to message: Octets, query: Query) -> Octets {
        if reply.count <= query.datagramLimit { return reply }
        var short = start(message, query, flags: 0)
        // Everything the answer's flags said holds, and TC.
        short.store16((reply.load16(2) ?? 0) | DNS.truncated, 2)
        appendOPT(&short, query)
        return short
    }

    /// Header and, if it could be read, question, in the client's own letters.
    private static func start(_ message: Octets, _ query: Query?, flags: Int) -> Octets {
        let end = query?.question.end ?? DNS.headerLength
        var reply = Octets()
        reply.reserveCapacity(end + 64)
        reply += message[..<end]
        let kept = (message.load16(2) ?? 0) & (DNS.opcodeMask | DNS.recursionDesired | DNS.checkingDisabled)
        reply.store16(kept | DNS.response | DNS.recursionAvailable | flags, 2)
        reply.store16(query == nil ? 0 : 1, 4)
        for at in [6, 8, 10] { reply.store16(0, at) }
        return reply
    }

    /// An OPT record for a client that sent one (RFC 6891 section 6.1.1), as the last record.
    static func appendOPT(_ reply: inout Octets, _ query: Query?) {
        guard let edns = query?.edns else { return }
        reply.append(0)
        reply.append16(DNS.typeOPT)
        reply.append16(payloadSize)
        reply.append32(edns.dnssecOK ? 0x8000 : 0)
        reply.append16(0)
        reply.store16((reply.load16(10) ?? 0) + 1, 10)
    }
}

/// One record of an answer of ours; its owner is the question's name and its class IN.
struct LocalRecord {
    var type: Int
    var data: Octets

    static func address(_ address: IPAddress) -> LocalRecord {
        var data = Octets()
        if address.isV4 {
            data.append32(Int(address.v4))
            return LocalRecord(type: DNS.typeA, data: data)
        }
        for word in [address.hi, address.lo] {
            data.append32(Int(word >> 32))
            data.append32(Int(word & 0xffff_ffff))
        }
        return LocalRecord(type: DNS.typeAAAA, data: data)
    }

    static func pointer(_ name: DNSName) -> LocalRecord { LocalRecord(type: DNS.typePTR, data: name.octets) }
}
