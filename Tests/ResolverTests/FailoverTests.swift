import Testing

@testable import Resolver

@Suite struct FailoverTests {
    private func answer(_ bench: Bench, _ index: Int, flags: Int = 0x8180) {
        let sent = bench.sent[index]
        bench.respond(Messages.response(to: sent.bytes, flags: flags), from: sent.upstream, sent.transport)
    }

    @Test("silence for 1.5 s asks the next upstream too; the first may still answer")
    func patience() {
        let bench = Bench(upstreams: 2)
        bench.query(Messages.query("a.test"))
        bench.advance(milliseconds: 1499)
        #expect(bench.sent.map(\.upstream) == [0])
        bench.advance(milliseconds: 1)
        #expect(bench.sent.map(\.upstream) == [0, 1])
        #expect(bench.sent[0].id != bench.sent[1].id)
        answer(bench, 0)
        answer(bench, 1)
        #expect(bench.answers.count == 1)
        #expect(bench.forwarder.statistics.unexpected == 1)
    }

    @Test("all silent: rounds through them, then SERVFAIL when the time is over")
    func allSilent() {
        let bench = Bench(upstreams: 2)
        bench.query(Messages.query("a.test"))
        bench.advance(milliseconds: 9_999)
        #expect(bench.sent.map(\.upstream) == [0, 1, 0, 1])
        #expect(bench.answers.isEmpty)
        bench.advance(milliseconds: 1)
        #expect(bench.answers.map { Messages.rcode($0.bytes) } == [2])
        #expect(bench.forwarder.inFlight == 0 && bench.forwarder.slotByID.isEmpty)
    }

    @Test("a single upstream is asked again over UDP")
    func single() {
        let bench = Bench(options: "options timeout:3 attempts:3")
        bench.query(Messages.query("a.test"))
        bench.advance(milliseconds: 8_999)
        #expect(bench.sent.count == 3 && bench.answers.isEmpty)
        bench.advance(milliseconds: 1)
        #expect(bench.answers.count == 1)
    }

    @Test("SERVFAIL and REFUSED ask the next at once", arguments: [2, 5])
    func refusing(rcode: Int) {
        let bench = Bench(upstreams: 3)
        bench.query(Messages.query("a.test"))
        answer(bench, 0, flags: 0x8180 | rcode)
        #expect(bench.sent.map(\.upstream) == [0, 1] && bench.answers.isEmpty)
        answer(bench, 1)
        #expect(bench.answers.map { Messages.rcode($0.bytes) } == [0])
    }

    @Test("when all fail the first upstream's own words are passed on, at once")
    func allRefusing() {
        let bench = Bench(upstreams: 2)
        bench.query(Messages.query("a.test"))
        answer(bench, 0, flags: 0x8185)
        answer(bench, 1, flags: 0x8182)
        #expect(bench.answers.map { Messages.rcode($0.bytes) } == [5])
        #expect(bench.sent.count == 2)
    }

    @Test("a failure and a silent upstream: the rounds go on with the silent one, then the failure is told")
    func failureAndSilence() {
        let bench = Bench(upstreams: 2)
        bench.query(Messages.query("a.test"))
        answer(bench, 0, flags: 0x8182)
        bench.advance(milliseconds: 5_000)
        #expect(bench.sent.map(\.upstream) == [0, 1, 1])
        #expect(bench.answers.map { Messages.rcode($0.bytes) } == [2])
    }

    @Test("unreachable upstreams: the next at once; all of them: SERVFAIL at once")
    func unreachable() {
        let bench = Bench(upstreams: 2)
        bench.query(Messages.query("a.test"))
        bench.fail(0)
        #expect(bench.sent.map(\.upstream) == [0, 1])
        bench.fail(1)
        #expect(bench.answers.map { Messages.rcode($0.bytes) } == [2])
        #expect(bench.sent.count == 2)
    }

    @Test("an unreachable upstream is avoided for 5 s, then asked again; an answer forgets its failures")
    func avoided() {
        let bench = Bench(upstreams: 2)
        bench.query(Messages.query("a.test"))
        bench.fail(0)
        answer(bench, 1)
        bench.advance(milliseconds: 4_900)
        bench.query(Messages.query("b.test"))
        #expect(bench.sent.last?.upstream == 1)
        answer(bench, 2)
        bench.advance(milliseconds: 100)
        bench.query(Messages.query("c.test"))
        #expect(bench.sent.last?.upstream == 0)
        answer(bench, 3)
        #expect(bench.forwarder.upstreams[0].failures == 0)
    }

    @Test("a silent upstream is avoided for 5 s, then 10, 20, 40, 60, 60")
    func backOff() {
        var state = UpstreamState()
        var now: Int64 = 0
        for seconds in [5, 10, 20, 40, 60, 60] {
            state.failed(sent: now, now: now)
            state.failed(sent: now, now: now)  // Another query's failure meanwhile.
            #expect(state.avoidUntil - now == Int64(seconds) * 1_000_000_000)
            now = state.avoidUntil
        }
        state.heard(now)
        #expect(state.avoidUntil <= now)
    }

    @Test("a closed connection is tried once more at the same upstream")
    func closed() {
        let bench = Bench()
        bench.query(Messages.query("a.test"), .tcp)
        bench.fail(0, .closed, .tcp)
        #expect(bench.sent.count == 2 && bench.answers.isEmpty)
        bench.fail(0, .closed, .tcp)
        #expect(bench.answers.map { Messages.rcode($0.bytes) } == [2])
    }

    @Test("rotate spreads queries over the upstreams")
    func rotate() {
        let bench = Bench(upstreams: 3, options: "options rotate")
        for client in 0..<6 { bench.query(Messages.query("n\(client).test"), client: UInt64(client)) }
        #expect(Set(bench.sent.map(\.upstream)) == [0, 1, 2])
        #expect(bench.sent[0].upstream == bench.sent[3].upstream)
    }

    @Test("without an upstream: SERVFAIL")
    func none() {
        let bench = Bench(upstreams: 0)
        bench.query(Messages.query("a.test"))
        #expect(bench.answers.map { Messages.rcode($0.bytes) } == [2])
    }
}
