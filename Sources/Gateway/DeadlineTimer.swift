internal import Uv

// One libuv timer for an owner whose earliest deadline moves with almost every event.
//
// The timer is moved only to an earlier time: firing early costs a wake-up now and then, moving it at every ACK and every
// query would cost more. libuv counts from a clock that it read when the turn began, so it may also fire before the
// deadline (`Timer`); the owner then arms again with the same deadline, which is why it must say `fired`.

/// A timer that fires at a deadline or before, never after it by more than a millisecond.
struct DeadlineTimer {
    private let timer: Timer
    /// `.max`: not armed.
    private var armedFor = Int64.max

    init(_ timer: Timer) { self.timer = timer }

    /// To be called with every callback of the timer: libuv has stopped it.
    mutating func fired() { armedFor = .max }

    /// Makes the timer fire at the deadline or before.
    /// - Parameters:
    ///   - deadline: nanoseconds of the monotonic clock; `.max` is none.
    ///   - now: the same clock.
    mutating func arm(for deadline: Int64, now: Int64) {
        if armedFor <= deadline, armedFor > now { return }
        armedFor = deadline
        if deadline == .max {
            timer.stop()
        } else {
            timer.start(afterMilliseconds: Timer.milliseconds(roundingUp: deadline - now))
        }
    }

    func close() { timer.close() }
}
