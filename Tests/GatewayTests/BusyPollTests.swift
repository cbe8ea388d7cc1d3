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
        var isCrowded = false
        var asked = 0

        /// A turn with an event, `gap` microseconds after the last one. Whether the loop looks again.
        @discardableResult
        mutating func event(after gap: Int64, bytes size: UInt64 = 100) -> Bool {
            now = now + gap * 1000
            policy.eventCame(at: now)
            bytes += size
            return ask()
        }

        /// A turn without one.
        mutating func look(after gap: Int64 = 1) -> Bool {
            now = now + gap * 1000
            return ask()
        }

        private mutating func ask() -> Bool {
            var asked = 0
            func crowded() -> Bool {
                asked += 1
                return isCrowded
            }
            defer { self.asked += asked }
            return policy.looksAgain(at: now, bytes: bytes, preemptions: preemptions, crowded: crowded())
        }

        /// Looks and takes events, one each 20 microseconds. Whether it looked all the time.
        mutating func keepsLooking(milliseconds: Int) -> Bool {
            for _ in 0..<milliseconds * 50 {
                guard look(after: 10), event(after: 10) else { return false }
            }
            return true
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

    @Test func aCrowdedMachineMakesItRest() {
        var loop = Loop.looking
        #expect(loop.keepsLooking(milliseconds: 10) == true)
        #expect((9...11).contains(loop.asked), "once a millisecond: \(loop.asked)")
        loop.isCrowded = true
        #expect(loop.keepsLooking(milliseconds: 2) == false)
        loop.isCrowded = false
        let start = loop.now
        while !loop.event(after: 10) {}
        #expect((loop.now - start) / 1_000_000 == 1)
    }

    @Test func quietMakesRestsShorterAgain() {
        func rest(afterQuiet milliseconds: Int) -> Int64 {
            var loop = Loop.looking
            for _ in 0..<4 {
                loop.preemptions += 1
                _ = loop.look()
                while !loop.event(after: 10) {}
            }
            #expect(loop.keepsLooking(milliseconds: milliseconds) == true)
            loop.preemptions += 1
            _ = loop.look()
            let start = loop.now
            while !loop.event(after: 10) {}
            return (loop.now - start) / 1_000_000
        }
        #expect(rest(afterQuiet: 0) == 16)
        #expect(rest(afterQuiet: 18) == 8)
        #expect(rest(afterQuiet: 100) == 1)
    }

    @Test(arguments: [
        ("0.20 0.18 0.12 2/412 9123\n", 2), ("110.20 0.18 0.12 64/41200 9123", 64), ("0.20 0.18 0.12 2", nil),
        ("0.20 0.18 0.12 /412", nil), ("", nil),
    ])
    func loadavg(text: String, running: Int?) {
        let bytes = Array(text.utf8)
        let found = RunQueue.running(bytes.span)
        #expect(found == running)
    }

    @Test func thisMachineTellsItsRunQueue() {
        // This thread runs.
        var file = HostFile(path: "/proc/loadavg", limit: 100)
        let text = file.changed() ?? []
        let running = RunQueue.running(text.span)
        #expect((running ?? 0) >= 1)
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
