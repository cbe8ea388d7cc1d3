import Testing

@testable import Gateway

@Suite struct AnswerPaceTests {
    @Test("the first answer goes at once, those of a stream wait for the timer")
    func stream() {
        var pace = AnswerPace()
        #expect(pace.verdict(inFlight: 15, now: 0) == .give(stopsTimer: false))
        #expect(pace.verdict(inFlight: 14, now: 20_000) == .hold)
        #expect(pace.verdict(inFlight: 13, now: 30_000) == .wait)
        pace.timerFired()
        #expect(pace.verdict(inFlight: 12, now: 40_000) == .give(stopsTimer: false))
        #expect(pace.verdict(inFlight: 12, now: 60_000) == .hold)
    }

    @Test("answers far apart and answers to few queries go at once")
    func apart() {
        var pace = AnswerPace()
        for turn in 0..<4 {
            #expect(pace.verdict(inFlight: 100, now: Int64(turn) * 100_000) == .give(stopsTimer: false))
        }
        for turn in 0..<4 {
            #expect(
                pace.verdict(inFlight: AnswerPace.stream - 1, now: 400_000 + Int64(turn))
                    == .give(stopsTimer: false))
        }
    }

    @Test("when few are left in flight nobody waits for the timer")
    func last() {
        var pace = AnswerPace()
        _ = pace.verdict(inFlight: 15, now: 0)
        #expect(pace.verdict(inFlight: 8, now: 1000) == .hold)
        #expect(pace.verdict(inFlight: 7, now: 2000) == .give(stopsTimer: true))
        #expect(pace.verdict(inFlight: 6, now: 3000) == .give(stopsTimer: false))
    }

    @Test("a timer that fires after its answers are gone means nothing")
    func late() {
        var pace = AnswerPace()
        pace.timerFired()
        _ = pace.verdict(inFlight: 15, now: 0)
        #expect(pace.verdict(inFlight: 15, now: 1000) == .hold)
        #expect(pace.verdict(inFlight: 15, now: 2000) == .wait)
    }
}
