import Testing

@testable import Resolver

@Suite struct AnswerCacheTests {
    /// A guest may ask one name for every type and class: that must not make one long chain of the table.
    @Test func typesAndClassesOfOneNameSpread() {
        func low(_ type: Int, _ class: Int) -> Int? {
            guard case .query(let query) = Query.parse(Messages.query("a.test", type: type, class: `class`)) else {
                return nil
            }
            return AnswerCache.Key(query).hash & 2047
        }
        // Of 2048 throws into 2048 buckets about 1295 are hit.
        #expect(Set((1000..<3048).compactMap { low($0, 1) }).count > 1100)
        #expect(Set((1000..<3048).compactMap { low(1, $0) }).count > 1100)
    }

    static let a = Messages.record(1, ttl: 300, [192, 0, 2, 7])

    struct Row: CustomTestStringConvertible {
        var name: String
        var flags = 0x8180
        var answers: [[UInt8]] = []
        var authority: [[UInt8]] = []
        var opt: [UInt8]?
        var query = Messages.query("a.test")
        /// 0: not kept.
        var seconds: Int
        var testDescription: String { name }
    }

    @Test(arguments: [
        Row(name: "an answer", answers: [a], seconds: 300),
        Row(name: "the shortest TTL counts", answers: [a, Messages.record(1, ttl: 20, [1, 2, 3, 4])], seconds: 20),
        Row(name: "TTL 0", answers: [Messages.record(1, ttl: 0, [1, 2, 3, 4])], seconds: 0),
        Row(name: "a TTL with the top bit", answers: [Messages.record(1, ttl: 0x8000_0001, [1, 2, 3, 4])], seconds: 0),
        Row(name: "a week is a day", answers: [Messages.record(1, ttl: 604_800, [1, 2, 3, 4])], seconds: 86_400),
        Row(
            name: "NXDOMAIN by SOA minimum", flags: 0x8183, authority: [Messages.soa(ttl: 900, minimum: 60)],
            seconds: 60),
        Row(name: "NXDOMAIN by SOA TTL", flags: 0x8183, authority: [Messages.soa(ttl: 30, minimum: 60)], seconds: 30),
        Row(name: "NODATA", authority: [Messages.soa(ttl: 90, minimum: 60)], seconds: 60),
        Row(
            name: "a negative answer is kept an hour", flags: 0x8183,
            authority: [Messages.soa(ttl: 9999, minimum: 9999)], seconds: 3600),
        Row(name: "NXDOMAIN without SOA", flags: 0x8183, seconds: 0),
        Row(name: "an empty NOERROR", seconds: 0),
        Row(name: "a referral", authority: [Messages.record(2, ttl: 60, Messages.name("ns.test"))], seconds: 0),
        Row(name: "truncated", flags: 0x8380, answers: [a], seconds: 0),
        Row(name: "FORMERR", flags: 0x8181, answers: [a], seconds: 0),
        Row(name: "with OPT", answers: [a], opt: Messages.opt(), seconds: 300),
        Row(name: "with an extended rcode", answers: [a], opt: Messages.opt(ttl: [1, 0, 0, 0]), seconds: 0),
        Row(
            name: "OPT not last", answers: [a], authority: [Messages.opt(), Messages.soa(ttl: 5, minimum: 5)],
            seconds: 0),
        Row(name: "a record cut short", answers: [Array(a.dropLast())], seconds: 0),
        Row(name: "without recursion", answers: [a], query: Messages.query("a.test", flags: 0), seconds: 0),
        Row(
            name: "a query with a client subnet", answers: [a],
            query: Messages.query("a.test", opt: Messages.opt(options: [0, 8, 0, 0])), seconds: 0),
        Row(
            name: "a query with a cookie", answers: [a],
            query: Messages.query("a.test", opt: Messages.opt(options: [0, 10, 0, 2, 1, 2])), seconds: 300),
        Row(
            name: "EDNS version 1", answers: [a],
            query: Messages.query("a.test", opt: Messages.opt(ttl: [0, 1, 0, 0])),
            seconds: 0),
    ])
    func lifetime(row: Row) {
        func hit(after seconds: Int) -> Bool {
            let bench = Bench()
            bench.query(row.query)
            bench.respond(
                Messages.response(
                    to: bench.sent[0].bytes, flags: row.flags, answers: row.answers, authority: row.authority,
                    opt: row.opt))
            bench.now += Int64(seconds) * 1_000_000_000
            bench.query(row.query, client: 2)
            return bench.sent.count == 1
        }
        if row.seconds == 0 {
            #expect(!hit(after: 0))
        } else {
            #expect(hit(after: row.seconds - 1))
            #expect(!hit(after: row.seconds))
        }
    }

    @Test("TTLs go down, the client's id and spelling come back, OPT is ours")
    func rewriting() {
        let bench = Bench()
        bench.query(Messages.query("a.TEST", opt: Messages.opt(options: [0, 10, 0, 1, 9])))
        bench.respond(
            Messages.response(
                to: bench.sent[0].bytes, answers: [Self.a], opt: Messages.opt(size: 4096, options: [0, 10, 0, 1, 7])))
        bench.now += 100_900_000_000
        let plain = Messages.query("A.test", id: 9)
        bench.query(plain)
        let record = Messages.record(1, ttl: 200, [192, 0, 2, 7])
        #expect(bench.answers[1].bytes == Messages.header(9, 0x8180, [1, 1, 0, 0]) + plain[12...] + record)
        bench.query(Messages.query("A.test", id: 9, opt: Messages.opt(options: [0, 10, 0, 1, 8])))
        #expect(
            bench.answers[2].bytes == Messages.header(9, 0x8180, [1, 1, 0, 1]) + plain[12...] + record + Messages.opt())
        #expect(bench.sent.count == 1)
    }

    @Test("DO, CD, AD, type and class make another entry; case and transport do not")
    func keys() {
        let bench = Bench()
        let different = [
            Messages.query("a.test"), Messages.query("a.test", flags: 0x0110), Messages.query("a.test", flags: 0x0120),
            Messages.query("a.test", opt: Messages.opt(ttl: [0, 0, 0x80, 0])), Messages.query("a.test", type: 28),
            Messages.query("a.test", class: 3), Messages.query("b.test"),
        ]
        for query in different {
            bench.query(query)
            bench.respond(Messages.response(to: bench.sent[bench.sent.count - 1].bytes, answers: [Self.a]))
        }
        #expect(bench.sent.count == different.count)
        for query in different + [Messages.query("A.TEST"), Messages.query("a.test", opt: Messages.opt())] {
            bench.query(query, .tcp)
        }
        #expect(bench.sent.count == different.count)
    }

    @Test("entries and bytes are bounded; the least recently used goes first")
    func bounds() {
        var limits = Forwarder.Limits()
        limits.cacheEntries = 4
        let bench = Bench(limits: limits)
        func ask(_ name: String) -> Bool {
            let before = bench.sent.count
            bench.query(Messages.query(name))
            if bench.sent.count == before { return true }
            bench.respond(Messages.response(to: bench.sent[before].bytes, answers: [Self.a]))
            return false
        }
        for name in ["a", "b", "c", "d"] { #expect(!ask(name)) }
        #expect(ask("a"))
        #expect(!ask("e"))  // b goes.
        #expect(bench.forwarder.cacheCount == 4)
        for name in ["a", "c", "d", "e"] { #expect(ask(name)) }
        #expect(!ask("b"))
        limits.cacheEntries = 1000
        limits.cacheBytes = 1000
        let small = Bench(limits: limits)
        for index in 0..<50 {
            small.query(Messages.query("n\(index).test"))
            small.respond(Messages.response(to: small.sent[index].bytes, answers: [Self.a]))
            #expect(small.forwarder.cacheBytes <= 1000)
        }
        #expect(small.forwarder.cacheCount >= 4)
    }

    @Test("an entry larger than the whole cache is not kept")
    func tooLarge() {
        var limits = Forwarder.Limits()
        limits.cacheBytes = 200
        let bench = Bench(limits: limits)
        bench.query(Messages.query("a.test"))
        bench.respond(Messages.response(to: bench.sent[0].bytes, answers: (0..<20).map { _ in Self.a }))
        #expect(bench.forwarder.cacheCount == 0 && bench.forwarder.cacheBytes == 0)
    }
}
