internal import Netstack

// When the loop looks again at once instead of sleeping in epoll.
//
// A request through the proxy is four wake-ups, and each wakes a core that has just gone to sleep: on a virtual machine
// that is most of the time a request takes. So after an event the loop keeps looking for a while (as KVM does with
// halt_poll_ns, and a socket with SO_BUSY_POLL), when that has paid lately and nobody else wants the core:
//
//   event ──▶ did it come within the limit of the one before?  yes: credit + 1, no: credit - 1
//   end of the turn with an event, credit there, no rest ──▶ look again, until
//        an event      start over
//        the limit     sleep in epoll; the next event costs a credit if it is late
//        contended     another thread took this core, or more threads want to run than there are cores (the scheduler
//                      may crowd them on the others, away from ours): rest, 1 ms first, doubled each time up to 64 ms
//   a turn that moved 16 KiB or more is part of a transfer: rest for 1 ms. Sleep makes batches, and those make throughput.
//
// An idle proxy, one with an event now and then, one that moves bulk and one on a busy machine sleep as if this did not
// exist. Measurements: docs/decisions/006-busy-poll.md.

/// The policy of polling without sleep, without clock and without loop. Times are of one monotonic clock.
struct BusyPoll {
    /// Nanoseconds of looking after an event; 0 never looks.
    private let limit: Int64
    private var lastEventTurn = Instant(nanoseconds: 0)
    private var turnHasEvent = false
    /// Whether the loop did not sleep since the last event's turn.
    private(set) var isLooking = false
    private var credit = 0
    private var preemptions = 0
    private var askedAt = Instant(nanoseconds: 0)
    private var restUntil = Instant(nanoseconds: 0)
    /// How long the next contention means rest; halved whenever there was none for as long.
    private var rest = Self.shortestRest
    private var judgedAt = Instant(nanoseconds: 0)
    private var bytes: UInt64 = 0

    /// Events in a row that came soon before looking begins, and the most that is remembered.
    private static let enoughCredit = 2
    private static let mostCredit = 4
    private static let shortestRest = Int64.milliseconds(1)
    private static let longestRest = Int64.milliseconds(64)
    private static let bulk: UInt64 = 16 << 10
    private static let askEvery = Int64.milliseconds(1)

    init(limitNanoseconds: Int64) { limit = limitNanoseconds }

    /// An event was taken at `now`; only a turn's first counts.
    mutating func eventCame(at now: Instant) {
        guard !turnHasEvent else { return }
        turnHasEvent = true
        // Awake, the event would have been there sooner: a sleep may take twice as long and yet have been worth looking.
        if now - lastEventTurn <= (isLooking ? limit : 2 * limit) {
            credit = min(credit + 1, Self.mostCredit)
        } else {
            credit = max(credit - 1, 0)
        }
    }

    /// Whether the loop looks again at once, asked at the end of each turn. The last two are only asked when it matters.
    /// - Parameters:
    ///   - bytes: how many the link has carried so far.
    ///   - preemptions: how often this thread has lost its core to another one so far.
    ///   - crowded: whether more threads want to run than the machine has cores; at most once a millisecond.
    mutating func looksAgain(
        at now: Instant, bytes: UInt64, preemptions count: @autoclosure () -> Int, crowded: @autoclosure () -> Bool
    ) -> Bool {
        guard limit > 0 else { return false }
        if bytes &- self.bytes >= Self.bulk { restUntil = max(restUntil, now + Self.shortestRest) }
        self.bytes = bytes
        if turnHasEvent {
            turnHasEvent = false
            lastEventTurn = now
            isLooking = credit >= Self.enoughCredit && now >= restUntil
            if isLooking { preemptions = count() }
        } else if isLooking {
            if now - lastEventTurn >= limit || now < restUntil {
                isLooking = false
            } else if count() != preemptions || isCrowded(now, crowded) {
                isLooking = false
                restUntil = now + rest
                rest = min(2 * rest, Self.longestRest)
                judgedAt = restUntil
            }
        }
        return isLooking
    }

    private mutating func isCrowded(_ now: Instant, _ crowded: () -> Bool) -> Bool {
        guard now - askedAt >= Self.askEvery else { return false }
        askedAt = now
        if crowded() { return true }
        if now - judgedAt >= rest {
            judgedAt = now
            rest = max(Self.shortestRest, rest / 2)
        }
        return false
    }
}
