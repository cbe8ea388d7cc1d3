import Testing
import Wire

@Suite struct DNSTests {
    func message(_ frame: [UInt8]) throws -> [UInt8] {
        try UDPView(IPv4View(EthernetView(frame.rawSpan).payload).payload).payload.array
    }

    @Test func readsAQuery() throws {
        let bytes = try message(Captured.dnsQueryA)
        let view = try DNSView(bytes.rawSpan)
        check(view.id, 57114)
        check(view.isResponse, false)
        check(view.opcode, 0)
        check(view.recursionDesired, true)
        check(view.questionCount, 1)
        check(view.additionalCount, 1)
        let question = try view.question()
        #expect(question.name.description == "www.example.com" && question.type == DNSType.a && question.class == 1)
        #expect(question.end == 33)
        check(view.maximumResponseLength(), 1232)
        check(try view.opt()?.type, DNSType.opt)
    }

    @Test func lowersCase() throws {
        let bytes = try message(Captured.dnsQueryMixedCase)
        let view = try DNSView(bytes.rawSpan)
        check(try view.question().name.description, "www.example.com")
        check(view.maximumResponseLength(), 512)
        check(try view.opt(), nil)
    }

    @Test func walksRecords() throws {
        let bytes = try message(Captured.dnsAnswerCNAME)
        let view = try DNSView(bytes.rawSpan)
        check(view.isResponse, true)
        check(view.answerCount, 2)
        var records = try view.records()
        let alias = try #require(try records.next())
        #expect(alias.section == .answer && alias.type == DNSType.cname && alias.class == 1)
        #expect(try DNSName(reading: bytes.rawSpan, at: alias.nameOffset).description == "alias.example.com")
        #expect(try DNSName(reading: bytes.rawSpan, at: alias.dataOffset).description == "host.example.com")
        check(view.address(of: alias), nil)
        let host = try #require(try records.next())
        check(view.address(of: host), IPAddress("192.0.2.7")!)
        #expect(host.dataRange.count == 4 && bytes[host.ttlOffset..<(host.ttlOffset + 4)].elementsEqual([0, 0, 0, 0]))
        let opt = try #require(try records.next())
        #expect(opt.section == .additional && opt.type == DNSType.opt && opt.end == bytes.count)
        check(try records.next(), nil)
        check(records.position, bytes.count)

        let v6 = try message(Captured.dnsAnswerAAAA)
        let answer = try DNSView(v6.rawSpan)
        var walk = try answer.records()
        let record = try #require(try walk.next())
        check(answer.address(of: record), IPAddress("2001:db8::1")!)
        let missing = try message(Captured.dnsNameError)
        check(try DNSView(missing.rawSpan).responseCode, DNSResponseCode.nameError)
        check(try DNSView(missing.rawSpan).negativeTTL(), nil)
    }

    /// A negative answer with an SOA whose names are compressed (RFC 2308 section 2.1).
    static func negative(ttl: UInt32, minimum: UInt32) -> [UInt8] {
        func be(_ value: UInt32) -> [UInt8] {
            (0..<4).map { UInt8(truncatingIfNeeded: value >> (24 - 8 * UInt32($0))) }
        }
        let data = hex("026e73 c00c 0568 6f7374 6d c00c") + be(1) + be(2) + be(3) + be(4) + be(minimum)
        return hex("1234 8183 0001 0000 0001 0000 0474657374 00 0001 0001") + hex("c00c 0006 0001") + be(ttl)
            + [0, UInt8(data.count)] + data
    }

    @Test(arguments: [(900, 300, 300), (60, 300, 60), (0x8000_0001, 300, 0)] as [(UInt32, UInt32, UInt32)])
    func boundsNegativeAnswers(_ ttl: UInt32, _ minimum: UInt32, _ expected: UInt32) throws {
        let bytes = Self.negative(ttl: ttl, minimum: minimum)
        check(try DNSView(bytes.rawSpan).negativeTTL(), expected)
        let short = Array(bytes.dropLast())
        checkThrows(.truncated) { () throws(ParseError) in _ = try DNSView(short.rawSpan).negativeTTL() }
        var wrong = bytes
        // The data's length no longer fits its fields.
        wrong[33] -= 1
        checkThrows(.badLength) { () throws(ParseError) in _ = try DNSView(wrong.rawSpan).negativeTTL() }
    }

    @Test func answersLikeDnsmasq() throws {
        let query = try message(Captured.dnsQueryA)
        let expected = try message(Captured.dnsAnswerA)
        let question = try DNSView(query.rawSpan).question()
        let size = try #require(try DNSView(expected.rawSpan).opt()).class
        let bytes = written(512) { span in
            var writer = DNSWriter(answering: query.rawSpan, question: question, authoritative: true, to: &span)
            writer.answer(IPAddress("192.0.2.1")!, ttl: 0, to: &span)
            writer.addOPT(payloadSize: size, to: &span)
            return writer.count
        }
        #expect(bytes == expected)
    }

    @Test func answersInAllForms() throws {
        let query = try message(Captured.dnsQueryMixedCase)
        let question = try DNSView(query.rawSpan).question()
        let name = DNSName("gateway.internal")!
        let bytes = written(512) { span in
            var writer = DNSWriter(answering: query.rawSpan, question: question, to: &span, at: 2)
            writer.answer(serverV6, ttl: 60, to: &span)
            writer.answer(clientV4, ttl: 61, to: &span)
            writer.answer(name, ttl: 62, to: &span)
            return 2 + writer.count
        }.dropFirst(2)
        let answer = Array(bytes)
        #expect(Array(answer[12..<33]) == Array(query[12..<33]))
        let view = try DNSView(answer.rawSpan)
        check(view.id, 44070)
        check(view.isResponse, true)
        check(view.recursionDesired, true)
        check(view.recursionAvailable, true)
        check(view.answerCount, 3)
        var records = try view.records()
        let (a, b, c) = (
            try #require(try records.next()), try #require(try records.next()), try #require(try records.next())
        )
        check(view.address(of: a), serverV6)
        check(view.address(of: b), clientV4)
        #expect(a.ttl == 60 && b.ttl == 61 && c.ttl == 62 && c.type == DNSType.ptr && c.end == answer.count)
        #expect(try DNSName(reading: answer.rawSpan, at: c.dataOffset) == name)
        #expect(try DNSName(reading: answer.rawSpan, at: c.nameOffset) == question.name)
    }

    @Test func answersErrorsAndStopsWhenFull() throws {
        let query = try message(Captured.dnsQueryMixedCase)
        let question = try DNSView(query.rawSpan).question()
        let broken = written(12) { span in
            DNSWriter(answering: query.rawSpan, question: nil, responseCode: DNSResponseCode.formatError, to: &span)
                .count
        }
        check(try DNSView(broken.rawSpan).responseCode, DNSResponseCode.formatError)
        check(try DNSView(broken.rawSpan).questionCount, 0)
        let full = written(33 + 30) { span in
            var writer = DNSWriter(answering: query.rawSpan, question: question, to: &span)
            #expect(writer.answer(serverV6, ttl: 1, to: &span))
            #expect(!writer.answer(clientV4, ttl: 1, to: &span))
            #expect(!writer.answer(question.name, ttl: 1, to: &span))
            #expect(!writer.addOPT(payloadSize: 1232, to: &span))
            return writer.count
        }
        check(try DNSView(full.rawSpan).answerCount, 1)
    }

    @Test func asks() throws {
        let question = DNSQuestion(name: DNSName("www.example.com")!, type: DNSType.aaaa)
        let bytes = written(64) { DNSWriter(asking: question, id: 0xabcd, to: &$0).count }
        #expect(bytes == hex("abcd 0100 0001 0000 0000 0000 03777777076578616d706c6503636f6d00 001c 0001"))
    }

    @Test func changesHeaders() throws {
        var bytes = try message(Captured.dnsAnswerMX)
        editing(&bytes) { span in
            DNSHeader.set(id: 7, in: &span)
            DNSHeader.set(truncated: true, in: &span)
            DNSHeader.set(recursionDesired: false, in: &span)
            DNSHeader.set(recursionAvailable: false, in: &span)
            DNSHeader.set(responseCode: DNSResponseCode.refused, in: &span)
        }
        let view = try DNSView(bytes.rawSpan)
        check(view.id, 7)
        check(view.isTruncated, true)
        check(view.recursionDesired, false)
        check(view.recursionAvailable, false)
        check(view.responseCode, DNSResponseCode.refused)
        check(view.isResponse, true)
        var records = try view.records()
        let record = try #require(try records.next())
        var aged = bytes
        editing(&aged) { DNSHeader.set(ttl: 77, at: record.ttlOffset, in: &$0) }
        var again = try DNSView(aged.rawSpan).records()
        check(try again.next()?.ttl, 77)
    }

    @Test func truncates() throws {
        let original = try message(Captured.dnsAnswerCNAME)
        var bytes = original
        let count = editing(&bytes) { DNSHeader.truncate(&$0, count: original.count) }
        let cut = Array(bytes[..<count])
        let view = try DNSView(cut.rawSpan)
        let end = try view.question().end
        #expect(count == end + 11 && Array(cut[12..<end]) == Array(original[12..<end]))
        check(view.isTruncated, true)
        check(view.answerCount, 0)
        check(view.additionalCount, 1)
        let before = try DNSView(original.rawSpan).opt()
        check(try view.opt()?.class, before?.class)

        var plain = try message(Captured.dnsAnswerAAAA)
        let all = plain.count
        let left = editing(&plain) { DNSHeader.truncate(&$0, count: all) }
        check(left, 33)
        check(try DNSView(Array(plain[..<left]).rawSpan).additionalCount, 0)
        var garbage = hex("0001 8180 0001 ffff ffff ffff c00c")
        let rest = editing(&garbage) { DNSHeader.truncate(&$0, count: 14) }
        #expect(rest == 12 && garbage[..<12] == hex("0001 8380 0000 0000 0000 0000")[...])
    }

    @Test func boundsCountsThatLie() throws {
        let bytes = hex("0001 8180 ffff ffff ffff ffff") + [UInt8](repeating: 0, count: 500)
        checkThrows(.truncated) { () throws(ParseError) in
            var records = try DNSView(bytes.rawSpan).records()
            while try records.next() != nil {}
        }
        let none = hex("0001 0100 0000 0000 0000 0000")
        checkThrows(.badField) { () throws(ParseError) in _ = try DNSView(none.rawSpan).question() }
    }
}
