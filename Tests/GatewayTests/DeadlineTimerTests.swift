import Glibc
import Testing
import Uv

@testable import Gateway

/// The timer on a real loop.
@Suite struct DeadlineTimerTests {
    final class Owner {
        var timer: DeadlineTimer!
        var firings: [Int64] = []
        var deadline = Int64.max
        var loop: EventLoop!
    }

    /// An owner whose timer, when it fires before the deadline, is armed for it again, as the shell does at a turn's end.
    static func owner() throws -> Owner {
        let owner = Owner()
        owner.loop = try EventLoop()
        let context = unsafe Unmanaged.passUnretained(owner).toOpaque()
        owner.timer = unsafe DeadlineTimer(
            Timer(loop: owner.loop, context: context, token: 0) { context, _ in
                let owner = unsafe Unmanaged<Owner>.fromOpaque(context).takeUnretainedValue()
                owner.timer.fired()
                let now = monotonicNanoseconds()
                owner.firings.append(now)
                if now < owner.deadline { owner.timer.arm(for: owner.deadline, now: now) }
            })
        return owner
    }

    /// The loop's clock is 30 ms old when the timer is armed for 20 ms from now: libuv fires at once.
    @Test func onethatFiresEarlyFiresAgain() throws {
        let owner = try Self.owner()
        owner.loop.runOnce(noWait: true)
        usleep(30_000)
        let now = monotonicNanoseconds()
        owner.deadline = now + 20_000_000
        owner.timer.arm(for: owner.deadline, now: now)
        owner.loop.run()
        #expect(owner.firings.count >= 2, "it was to fire early")
        #expect(try #require(owner.firings.last) >= owner.deadline)
        owner.timer.close()
        owner.loop.close()
    }

    @Test func onlyAnEarlierDeadlineMovesIt() throws {
        let owner = try Self.owner()
        owner.loop.updateTime()
        let now = monotonicNanoseconds()
        owner.timer.arm(for: now + 3_600_000_000_000, now: now)
        owner.timer.arm(for: now + 5_000_000, now: now)
        owner.timer.arm(for: now + 3_600_000_000_000, now: now)
        owner.deadline = 0
        owner.loop.run()
        #expect(owner.firings.count == 1)
        owner.timer.close()
        owner.loop.close()
    }

    @Test func noDeadlineStopsIt() throws {
        let owner = try Self.owner()
        let now = monotonicNanoseconds()
        owner.timer.arm(for: now + 1_000_000, now: now)
        owner.timer.fired()
        owner.timer.arm(for: .max, now: now)
        owner.timer.arm(for: now + 1_000_000, now: now)
        owner.timer.arm(for: .max, now: now + 2_000_000)
        owner.loop.run()
        #expect(owner.firings.isEmpty)
        owner.timer.close()
        owner.loop.close()
    }
}
