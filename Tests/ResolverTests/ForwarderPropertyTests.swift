import Testing

@testable import Resolver

/// Random and mutated messages, failures and clock steps: nothing traps, every table stays bounded, and every query is
/// finished exactly once.
@Suite struct ForwarderPropertyTests {
    @Test(arguments: 0..<24)
    func storms(round: Int) {
        let seed = UInt64.random(in: 0 ... .max)
        var random = KeyedGenerator(key: (seed, UInt64(round)))
        var limits = Forwarder.Limits()
        limits.inFlight = 16
        limits.inFlightBytes = 2_000
        limits.cacheEntries = 8
        limits.cacheBytes = 1_500
        let options = "options timeout:\(Int.random(in: 1...4, using: &random)) attempts:2 rotate"
        let bench = Bench(
            upstreams: Int.random(in: 0...3, using: &random), options: options, hosts: "192.0.2.1 h.test",
            key: (seed, 0), limits: limits)
        var asked: Set<UInt64> = []
        let names = ["a.test", "b.test", "h.test", "host.internal", "1.2.0.10.in-addr.arpa", "x.host.internal"]
        for step in 0..<1_500 {
            switch Int.random(in: 0..<10, using: &random) {
            case 0..<4:
                var query = Messages.query(
                    names.randomElement(using: &random) ?? "", id: Int.random(in: 0..<65_536, using: &random),
                    type: [1, 28, 12, 255, 252, 6].randomElement(using: &random) ?? 1,
                    opt: Bool.random(using: &random) ? Messages.opt() : nil)
                Self.mutate(&query, &random)
                asked.insert(UInt64(step))
                bench.query(query, client: UInt64(step), Bool.random(using: &random) ? .udp : .tcp)
            case 4..<8:
                guard let sent = bench.sent.suffix(20).randomElement(using: &random) else { continue }
                let record = Messages.record(
                    [1, 5, 6, 41].randomElement(using: &random) ?? 1,
                    ttl: Int.random(in: 0..<100, using: &random), [1, 2, 3, 4])
                var response =
                    Question(sent.bytes) == nil
                    ? sent.bytes
                    : Messages.response(
                        to: sent.bytes, flags: 0x8180 | Int.random(in: 0..<6, using: &random),
                        answers: [record], authority: [Messages.soa(ttl: 9, minimum: 9)],
                        opt: Bool.random(using: &random) ? Messages.opt() : nil)
                Self.mutate(&response, &random)
                bench.respond(response, from: sent.upstream, sent.transport)
            case 8:
                bench.fail(
                    Int.random(in: 0..<3, using: &random), Bool.random(using: &random) ? .closed : .unreachable,
                    Bool.random(using: &random) ? .udp : .tcp)
            default:
                bench.advance(milliseconds: Int64.random(in: 0..<3_000, using: &random))
            }
            let forwarder = bench.forwarder.snapshot
            #expect(forwarder.inFlight <= 16 && forwarder.inFlightBytes <= 2_000 + 512, "seed \(seed) step \(step)")
            #expect(forwarder.cacheCount <= 8 && forwarder.cacheBytes <= 1_500, "seed \(seed) step \(step)")
            #expect(forwarder.tries <= 16 * 40, "seed \(seed) step \(step)")
        }
        bench.advance(milliseconds: 120_000)
        let finished = bench.answers.filter(\.isLast).map(\.client) + bench.dropped
        #expect(finished.count == asked.count && Set(finished) == asked, "seed \(seed)")
        let end = bench.forwarder.snapshot
        #expect(end.inFlight == 0 && end.tries == 0 && end.inFlightBytes == 0, "seed \(seed)")
    }

    /// Leaves half as they are; flips, cuts, or replaces the others.
    static func mutate(_ message: inout [UInt8], _ random: inout KeyedGenerator) {
        switch Int.random(in: 0..<8, using: &random) {
        case 0:
            for _ in 0..<3 where !message.isEmpty {
                message[Int.random(in: 0..<message.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
            }
        case 1: message.removeLast(Int.random(in: 0...message.count, using: &random))
        case 2:
            message += (0..<Int.random(in: 0..<30, using: &random)).map { _ in UInt8.random(in: 0...255, using: &random)
            }
        case 3:
            message = (0..<Int.random(in: 0..<64, using: &random)).map { _ in UInt8.random(in: 0...255, using: &random)
            }
        default: break
        }
    }

    @Test("30,000 answers a second from the cache and 10,000 forwarded are far within reach")
    func throughput() {
        let clock = ContinuousClock()
        let bench = Bench()
        let query = Messages.query("a.test")
        bench.query(query)
        bench.respond(Messages.response(to: bench.sent[0].bytes, answers: [AnswerCacheTests.a]))
        let cached = clock.measure { for _ in 0..<10_000 { bench.query(query) } }
        let forwarded = clock.measure {
            for index in 0..<10_000 {
                bench.query(Messages.query("n\(index).test"))
                bench.respond(
                    Messages.response(to: bench.sent[bench.sent.count - 1].bytes, answers: [AnswerCacheTests.a]))
            }
        }
        print("10,000 cached answers: \(cached); 10,000 forwarded queries: \(forwarded)")
        #expect(bench.answers.count == 20_001)
    }
}

extension Forwarder {
    struct Snapshot {
        var inFlight, inFlightBytes, cacheCount, cacheBytes, tries: Int
    }
    var snapshot: Snapshot {
        Snapshot(
            inFlight: inFlight, inFlightBytes: inFlightBytes, cacheCount: cacheCount, cacheBytes: cacheBytes,
            tries: slotByID.count)
    }
}
