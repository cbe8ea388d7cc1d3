import Testing

@testable import Resolver

@Suite struct ForwarderTests {
    static let a = Messages.record(1, ttl: 300, [192, 0, 2, 7])

    @Test("a query goes upstream unchanged but for its id, and the answer comes back the same way")
    func unchanged() throws {
        let bench = Bench()
        for (type, cls) in [(1, 1), (65, 1), (255, 1), (16, 3), (64000, 1), (1, 255)] {
            let query = Messages.query(
                "MiXeD.Example", type: type, class: cls, flags: 0x0130,
                opt: Messages.opt(options: [0, 8, 0, 4, 0, 1, 0, 0]))
            bench.query(query)
            let sentLast = bench.sent.popLast()
            let sent = try #require(sentLast)
            #expect(Array(sent.bytes[2...]) == Array(query[2...]))
            #expect(Messages.id(sent.bytes) == Int(sent.id))
            let response = Messages.response(to: sent.bytes, flags: 0x85b3, opt: Messages.opt(size: 4096))
            bench.respond(response)
            let answerLast = bench.answers.popLast()
            let answer = try #require(answerLast)
            #expect(Array(answer.bytes[2...]) == Array(response[2...]))
            #expect(Messages.id(answer.bytes) == 0x1234)
        }
        #expect(bench.forwarder.inFlight == 0)
        #expect(bench.forwarder.nextDeadline == nil)
    }

    @Test("every rcode that is no failure of the upstream is passed on", arguments: [0, 1, 3, 4, 6, 7, 8, 9, 10, 11])
    func rcodes(rcode: Int) throws {
        let bench = Bench(upstreams: 2)
        bench.query(Messages.query("a.test"))
        bench.respond(Messages.response(to: bench.sent[0].bytes, flags: 0x8180 | rcode))
        #expect(bench.answers.map { Messages.rcode($0.bytes) } == [rcode])
        #expect(bench.sent.count == 1)
    }

    struct Nonsense: CustomTestStringConvertible {
        var name: String
        var bytes: [UInt8]
        /// Nil: silence.
        var rcode: Int?
        var testDescription: String { name }
    }

    @Test(arguments: [
        Nonsense(name: "empty", bytes: [], rcode: nil),
        Nonsense(name: "eleven bytes", bytes: [UInt8](repeating: 0, count: 11), rcode: nil),
        Nonsense(name: "a response", bytes: Messages.query("a.test", flags: 0x8100), rcode: nil),
        Nonsense(name: "NOTIFY", bytes: Messages.query("a.test", flags: 0x2000), rcode: 4),
        Nonsense(name: "UPDATE", bytes: Messages.query("a.test", flags: 0x2800), rcode: 4),
        Nonsense(name: "no question", bytes: Messages.header(1, 0x0100, [0, 0, 0, 0]), rcode: 1),
        Nonsense(
            name: "two questions",
            bytes: Messages.header(1, 0x0100, [2, 0, 0, 0]) + [0, 0, 1, 0, 1, 0, 0, 1, 0, 1], rcode: 1),
        Nonsense(
            name: "a compressed question", bytes: Messages.header(1, 0, [1, 0, 0, 0]) + [0xc0, 12, 0, 1, 0, 1], rcode: 1
        ),
        Nonsense(name: "a name without end", bytes: Messages.header(1, 0, [1, 0, 0, 0]) + [3, 97, 97, 97], rcode: 1),
        Nonsense(
            name: "a name of 256 bytes",
            bytes: Messages.header(1, 0, [1, 0, 0, 0]) + [UInt8](repeating: 1, count: 254) + [1, 0, 0, 1, 0, 1],
            rcode: 1),
        Nonsense(name: "no class", bytes: Array(Messages.query("a.test").dropLast()), rcode: 1),
        Nonsense(
            name: "a record promised", bytes: Messages.header(1, 0x0100, [1, 0, 0, 1]) + [1, 97, 0, 0, 1, 0, 1],
            rcode: 1),
        Nonsense(
            name: "two OPT records",
            bytes: Messages.header(1, 0x0100, [1, 0, 0, 2]) + [1, 97, 0, 0, 1, 0, 1] + Messages.opt() + Messages.opt(),
            rcode: 1),
        Nonsense(
            name: "an OPT record owned by a name",
            bytes: Messages.header(1, 0x0100, [1, 0, 0, 1]) + [1, 97, 0, 0, 1, 0, 1, 1, 97] + Messages.opt(), rcode: 1),
    ])
    func nonsense(row: Nonsense) {
        let bench = Bench()
        bench.query(row.bytes)
        #expect(bench.sent.isEmpty)
        #expect(bench.dropped.count == (row.rcode == nil ? 1 : 0))
        #expect(bench.answers.map { Messages.rcode($0.bytes) } == (row.rcode.map { [$0] } ?? []))
        for answer in bench.answers { #expect(answer.bytes[2] & 0x80 != 0 && answer.bytes[0..<2] == row.bytes[0..<2]) }
    }

    @Test("truncation is the client's affair: TC passes, and its TCP query goes upstream over TCP")
    func truncation() throws {
        let bench = Bench()
        bench.query(Messages.query("big.test"))
        #expect(bench.sent[0].transport == .udp)
        bench.respond(Messages.response(to: bench.sent[0].bytes, flags: 0x8380))
        #expect(Messages.isTruncated(try #require(bench.answers.first).bytes))
        bench.query(Messages.query("big.test"), .tcp)
        #expect(bench.sent[1].transport == .tcp)
        let records = (0..<200).map { Messages.record(1, ttl: 300, [192, 0, 2, UInt8($0)]) }
        let response = Messages.response(to: bench.sent[1].bytes, answers: records)
        bench.respond(response, .tcp)
        #expect(Array(bench.answers[1].bytes[2...]) == Array(response[2...]))
        // From the cache: cut for UDP, whole for TCP and for a large EDNS size.
        bench.query(Messages.query("big.test"))
        #expect(Messages.isTruncated(bench.answers[2].bytes) && bench.answers[2].bytes.count <= 512)
        #expect(Messages.answerCount(bench.answers[2].bytes) == 0)
        bench.query(Messages.query("big.test"), .tcp)
        #expect(bench.answers[3].bytes == Messages.id0x1234(response))
        bench.query(Messages.query("big.test", opt: Messages.opt(size: 4096)))
        #expect(Messages.answerCount(bench.answers[4].bytes) == 200)
        bench.query(Messages.query("big.test", opt: Messages.opt(size: 1232)))
        #expect(
            Messages.isTruncated(bench.answers[5].bytes) && bench.answers[5].bytes.suffix(11) == Messages.opt()[...])
        #expect(bench.sent.count == 2)
    }

    @Test("use-vc asks over TCP and cuts what is too long for a UDP client")
    func useTCP() {
        let bench = Bench(options: "options use-vc\n")
        bench.query(Messages.query("big.test"))
        #expect(bench.sent[0].transport == .tcp)
        let records = (0..<200).map { Messages.record(1, ttl: 300, [192, 0, 2, UInt8($0)]) }
        bench.respond(Messages.response(to: bench.sent[0].bytes, answers: records), .tcp)
        #expect(bench.answers.count == 1 && Messages.isTruncated(bench.answers[0].bytes))
    }

    struct Forgery: CustomTestStringConvertible {
        var name: String
        var change: @Sendable (inout [UInt8]) -> Void = { _ in }
        var upstream = 0
        var transport = Forwarder.Transport.udp
        var channel: UInt32 = 100
        var testDescription: String { name }
    }

    @Test(arguments: [
        Forgery(name: "another id") { $0[1] ^= 1 }, Forgery(name: "a query") { $0[2] &= 0x7f },
        Forgery(name: "another name") { $0[13] ^= 1 }, Forgery(name: "another type") { $0[20] = 28 },
        Forgery(name: "another class") { $0[22] = 3 }, Forgery(name: "two questions") { $0[5] = 2 },
        Forgery(name: "no question, NOERROR") { $0[5] = 0 }, Forgery(name: "cut") { $0.removeLast($0.count - 11) },
        Forgery(name: "from another upstream", upstream: 1),
        Forgery(name: "over another transport", transport: .tcp), Forgery(name: "by another socket", channel: 7),
    ])
    func forged(row: Forgery) {
        let bench = Bench(upstreams: 2)
        bench.query(Messages.query("a.test"))
        let good = Messages.response(to: bench.sent[0].bytes, answers: [Self.a])
        var forged = good
        row.change(&forged)
        bench.respond(forged, from: row.upstream, row.transport, via: row.channel)
        #expect(bench.answers.isEmpty)
        #expect(bench.forwarder.statistics.unexpected == 1)
        bench.respond(good)
        #expect(bench.answers.count == 1)
        bench.respond(good)
        #expect(bench.answers.count == 1 && bench.forwarder.statistics.unexpected == 2)
    }

    @Test("an answer that lowers the question's case is accepted")
    func caseInsensitive() {
        let bench = Bench()
        bench.query(Messages.query("A.Test"))
        var response = Messages.response(to: bench.sent[0].bytes)
        response[13] |= 0x20
        bench.respond(response)
        #expect(bench.answers.count == 1)
    }

    @Test("ids are random, unique, and the same for the same key")
    func ids() {
        let benches = [(1, 2), (1, 2), (1, 3)].map { (key: (UInt64, UInt64)) in
            let bench = Bench(key: key)
            for client in 0..<1000 { bench.query(Messages.query("n\(client).test"), client: UInt64(client)) }
            return bench.sent.map(\.id)
        }
        #expect(benches[0] == benches[1])
        #expect(benches[0] != benches[2])
        #expect(Set(benches[0]).count == 1000)
    }

    @Test("identical queries are forwarded each, and each gets its own answer")
    func notMerged() {
        let bench = Bench()
        bench.query(Messages.query("a.test", id: 1), client: 1)
        bench.query(Messages.query("a.test", id: 2), client: 2)
        #expect(bench.sent.count == 2)
        bench.respond(Messages.response(to: bench.sent[1].bytes))
        #expect(bench.answers.map(\.client) == [2])
        bench.respond(Messages.response(to: bench.sent[0].bytes))
        #expect(bench.answers.map { Messages.id($0.bytes) } == [2, 1])
    }

    @Test("a cancelled client hears nothing; its tries are forgotten")
    func cancel() {
        let bench = Bench()
        bench.query(Messages.query("a.test"), client: 5)
        bench.query(Messages.query("b.test"), client: 6)
        bench.forwarder.cancel(client: 5)
        bench.respond(Messages.response(to: bench.sent[0].bytes))
        bench.advance(milliseconds: 60_000)
        #expect(bench.answers.map(\.client) == [6])
    }

    @Test("a full table drops the oldest with SERVFAIL", arguments: [true, false])
    func full(byCount: Bool) {
        var limits = Forwarder.Limits()
        let size = Messages.query("n1.test").count
        if byCount { limits.inFlight = 3 } else { limits.inFlightBytes = 3 * size }
        let bench = Bench(limits: limits)
        for client in 1...5 {
            bench.now += 1
            bench.query(Messages.query("n\(client).test"), client: UInt64(client))
        }
        #expect(bench.answers.map(\.client) == [1, 2])
        #expect(bench.answers.allSatisfy { Messages.rcode($0.bytes) == 2 })
        #expect(bench.forwarder.inFlight == 3)
        #expect(bench.forwarder.inFlightBytes == 3 * size)
        #expect(bench.forwarder.statistics.overflowed == 2)
    }

    @Test("a zone transfer over TCP flows until the upstream falls silent")
    func transfer() {
        let bench = Bench()
        bench.query(Messages.query("zone.test", type: 252), .tcp)
        let first = Messages.response(to: bench.sent[0].bytes, answers: [Messages.soa(ttl: 5, minimum: 5)])
        bench.respond(first, .tcp)
        bench.advance(milliseconds: 4000)
        bench.respond(
            first[0..<2] + Messages.header(0, 0x8180, [0, 1, 0, 0])[2...] + [0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0], .tcp)
        bench.advance(milliseconds: 4000)
        bench.respond(first, .tcp)
        #expect(bench.answers.map(\.isLast) == [false, false, false])
        #expect(bench.answers.allSatisfy { Messages.id($0.bytes) == 0x1234 })
        #expect(bench.sent.count == 1)
        bench.advance(milliseconds: 6000)
        #expect(bench.dropped == [1] && bench.forwarder.inFlight == 0)
    }

    @Test("new upstreams take over what is in flight")
    func configure() {
        let bench = Bench(upstreams: 1)
        bench.query(Messages.query("a.test"))
        let old = bench.sent[0].bytes
        var conf = bench.forwarder.configuration
        conf.upstreams = ResolverConfiguration(parsing: Array("nameserver 198.51.100.1".utf8)).upstreams
        bench.forwarder.configure(conf, now: bench.now)
        bench.drain()
        #expect(bench.sent.count == 2)
        bench.respond(Messages.response(to: old))
        #expect(bench.answers.isEmpty)
        bench.respond(Messages.response(to: bench.sent[1].bytes))
        #expect(bench.answers.count == 1)
    }
}

extension Messages {
    static func id0x1234(_ message: [UInt8]) -> [UInt8] { [0x12, 0x34] + message[2...] }
}
