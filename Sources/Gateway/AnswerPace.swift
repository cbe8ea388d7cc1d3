// When answers that are ready go to the client.
//
// A client with many names in flight takes an answer, asks for the next name, and sleeps: given one by one, each answer costs a
// wake-up here and one there. So when answers come in a stream and more are to come, they wait a little for one another, as
// a network card does with its interrupts:
//
//   answer ──▶ as many in flight as make a stream, and the last answer came within `streamGap`?
//                no: given at the end of the turn
//                yes: given `hold` after the first that waits, or when fewer are in flight
//
// Measurements: docs/decisions/005-trains-of-datagrams.md.

/// The policy of holding answers, without clock and without timer. Times are nanoseconds of one monotonic clock.
struct AnswerPace {
    enum Verdict: Equatable {
        /// Give them now; `stopsTimer` when it runs.
        case give(stopsTimer: Bool)
        /// Start the timer for `hold`.
        case hold
        /// The timer runs already.
        case wait
    }

    /// How long an answer may wait: a fifth of the time that one takes from an upstream on the same machine.
    static let hold: Int64 = 20_000
    /// Queries in flight that make it likely that more answers follow at once.
    static let stream = 8
    private static let streamGap: Int64 = 100_000

    private var lastAt = Int64.min / 2
    private var isHolding = false
    private var isDue = false

    /// `hold` has passed.
    mutating func timerFired() { isDue = isHolding }

    /// What to do with the answers that are ready, of which there is at least one.
    mutating func verdict(inFlight: Int, now: Int64) -> Verdict {
        if isHolding {
            guard isDue || inFlight < Self.stream else { return .wait }
            defer { (isHolding, isDue) = (false, false) }
            lastAt = now
            return .give(stopsTimer: !isDue)
        }
        let isStream = now - lastAt < Self.streamGap
        lastAt = now
        guard isStream, inFlight >= Self.stream else { return .give(stopsTimer: false) }
        isHolding = true
        return .hold
    }
}
