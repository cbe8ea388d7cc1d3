import Netstack
import Testing

@testable import Gateway

/// The policy of looking again without sleep, driven turn by turn with a limit of 50 microseconds.
@Suite struct BusyPollTests {
    /// A loop that reports to the policy what it does.
    struct Loop {
        var policy = BusyPoll(limitNanoseconds: 50_000)
        var now = Instant(nanoseconds: 1_000_000_000)
        var bytes: UInt64 = 0
        var preemptions = 0

        /// A turn with an event, `gap` microseconds after the last one. Whether the loop looks again.
        @discardableResult
        mutating func event(after gap: Int64, bytes size: UInt64 = 100) -> Bool {
            now = now + gap * 1000
            policy.eventCame(at: now)
            bytes += size
            return policy.looksAgain(at: now, bytes: bytes, preemptions: preemptions)
        }

        /// A turn without one.
        mutating func look(after gap: Int64 = 1) -> Bool {
            now = now + gap * 1000
            return policy.looksAgain(at: now, bytes: bytes, preemptions: preemptions)
        }

        /// One that looks, because three events came soon one after the other.
        static var looking: Loop {
            var loop = Loop()
            for _ in 0..<3 { loop.event(after: 30) }
            return loop
        }
    }

    @Test func eventsInARowThatComeSoonMakeItLook() {
        var loop = Loop()
        #expect(loop.event(after: 30) == false)
        #expect(loop.event(after: 100) == false)
        #expect(loop.event(after: 100) == true, "asleep, twice the limit is soon")
        #expect(loop.look() == true)
    }

    @Test(arguments: [101, 1_000, 1_000_000])
    func eventsFarApartDoNot(gap: Int64) {
        var loop = Loop()
        for _ in 0..<100 { #expect(loop.event(after: gap) == false) }
    }

    @Test func itSleepsAtTheLimit() {
        var loop = Loop.looking
        #expect(loop.look(after: 49) == true)
        #expect(loop.look(after: 1) == false)
        #expect(loop.look(after: 1) == false, "and stays asleep until an event")
    }

    @Test func severalEventsInATurnAreOne() {
        var loop = Loop()
        loop.policy.eventCame(at: loop.now)
        for _ in 0..<10 { loop.policy.eventCame(at: loop.now) }
        #expect(loop.event(after: 0) == false)
    }

    @Test func lookingInVainTeachesIt() {
        var loop = Loop.looking
        var looks = 0
        for _ in 0..<20 where loop.event(after: 500) { looks += 1 }
        #expect(looks <= 3)
    }

    @Test func aPreemptionMakesItRestAndMoreOfThemLonger() {
        var rests: [Int64] = []
        var loop = Loop.looking
        for _ in 0..<8 {
            loop.preemptions += 1
            #expect(loop.look() == false)
            let start = loop.now
            while !loop.event(after: 10) {}
            rests.append((loop.now - start) / 1_000_000)
        }
        #expect(rests == [1, 2, 4, 8, 16, 32, 64, 64])
    }

    @Test func whatItLosesWhileAsleepIsNoPreemption() {
        var loop = Loop.looking
        #expect(loop.look(after: 60) == false)
        loop.preemptions += 5
        #expect(loop.event(after: 10) == true)
        #expect(loop.look() == true)
    }

    @Test func aTransferRests() {
        var loop = Loop.looking
        #expect(loop.event(after: 5, bytes: 16 << 10) == false)
        #expect(loop.event(after: 900) == false)
        for _ in 0..<4 { loop.event(after: 30) }
        #expect(loop.event(after: 30) == true)
        // The bytes may also leave in a turn without an event.
        loop.bytes += 65_536
        #expect(loop.look() == false)
    }

    @Test func aLimitOfZeroNeverLooks() {
        var loop = Loop()
        loop.policy = BusyPoll(limitNanoseconds: 0)
        for _ in 0..<100 { #expect(loop.event(after: 0) == false) }
    }
}
