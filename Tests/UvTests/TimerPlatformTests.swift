import Testing
import Uv

@Suite struct TimerPlatformTests {
    let loop: EventLoop
    let recorder = Recorder()

    init() throws { loop = try EventLoop() }

    private func timer(_ token: UInt64) -> Timer {
        unsafe Timer(loop: loop, context: recorder.context, token: token, callback: Recorder.turn)
    }

    @Test(
        "nanoseconds round up to milliseconds",
        arguments: [
            ("past", -1, 0), ("now", 0, 0), ("one nanosecond", 1, 1), ("just below", 999_999, 1),
            ("exact", 1_000_000, 1), ("just above", 1_000_001, 2), ("never", Int64.max, 9_223_372_036_855),
        ] as [(String, Int64, UInt64)])
    func roundingUp(name: String, nanoseconds: Int64, milliseconds: UInt64) {
        #expect(Timer.milliseconds(roundingUp: nanoseconds) == milliseconds, "\(name)")
    }

    @Test("timers fire in order of their deadlines; equal ones in order of their start")
    func order() {
        for (token, delay) in [(1, 3), (2, 1), (3, 2), (4, 1)] as [(UInt64, UInt64)] {
            timer(token).start(afterMilliseconds: delay)
        }
        while recorder.seen.count < 4 { loop.runOnce(noWait: false) }
        #expect(recorder.tokens == [2, 4, 3, 1])
        loop.close()
    }

    @Test("a timer is not early by more than 2 ms")
    func early() {
        let timer = timer(1)
        for _ in 0..<10 {
            loop.updateTime()
            let start = monotonicNanoseconds()
            timer.start(afterMilliseconds: 4)
            recorder.seen = []
            while recorder.seen.isEmpty { loop.runOnce(noWait: false) }
            #expect(monotonicNanoseconds() - start >= 2_000_000)
        }
        loop.close()
    }

    @Test("a delay of 0 fires in the next turn without waiting; starting again re-arms; stop prevents")
    func zeroRestartStop() {
        let one = timer(1)
        one.start(afterMilliseconds: 0)
        loop.runOnce(noWait: true)
        #expect(recorder.tokens == [1])
        one.start(afterMilliseconds: 0)
        one.start(afterMilliseconds: 1_000_000)
        loop.runOnce(noWait: true)
        #expect(recorder.tokens == [1])
        one.stop()
        #expect(!loop.runOnce(noWait: true))
        loop.close()
    }

    @Test("a callback that stops another due timer of the same turn prevents it")
    func stopInTurn() {
        let (one, two) = (timer(1), timer(2))
        recorder.onEvent = { _ in two.stop() }
        one.start(afterMilliseconds: 0)
        two.start(afterMilliseconds: 0)
        loop.runOnce(noWait: true)
        #expect(recorder.tokens == [1])
        loop.close()
    }

    @Test("a repeating timer repeats")
    func repeating() {
        let one = timer(1)
        one.start(afterMilliseconds: 0, repeatMilliseconds: 1)
        while recorder.seen.count < 3 { loop.runOnce(noWait: false) }
        loop.close()
    }
}
