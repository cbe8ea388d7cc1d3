import Glibc
import Testing
import Uv

@Suite struct EventLoopTests {
    let loop: EventLoop
    let recorder = Recorder()

    init() throws { loop = try EventLoop() }

    @Test("one turn: timer, idle, prepare, poll, check")
    func order() throws {
        let pair = Pair()
        pair.sendFromB()
        let check = unsafe Check(loop: loop, context: recorder.context, token: 5, callback: Recorder.turn)
        let poll = try unsafe Poll(
            loop: loop, fd: pair.a, context: recorder.context, token: 4, callback: Recorder.poll)
        let prepare = unsafe Prepare(loop: loop, context: recorder.context, token: 3, callback: Recorder.turn)
        let idle = unsafe Idle(loop: loop, context: recorder.context, token: 2, callback: Recorder.turn)
        let timer = unsafe Timer(loop: loop, context: recorder.context, token: 1, callback: Recorder.turn)
        check.start()
        poll.start(.readable)
        prepare.start()
        idle.start()
        timer.start(afterMilliseconds: 0)
        loop.runOnce(noWait: false)
        #expect(recorder.tokens == [1, 2, 3, 4, 5])
        recorder.seen = []
        for stop in [idle.stop, prepare.stop, poll.stop] { stop() }
        loop.runOnce(noWait: true)
        #expect(recorder.tokens == [5])
        loop.close()
    }

    @Test("run returns after stop, and when nothing is left")
    func runAndStop() {
        loop.run()  // Nothing to wait for.
        let idle = unsafe Idle(loop: loop, context: recorder.context, token: 1, callback: Recorder.turn)
        idle.start()
        recorder.onEvent = { [loop, recorder] _ in if recorder.seen.count == 3 { loop.stop() } }
        loop.run()
        #expect(recorder.seen.count == 3)
        loop.close()
    }

    @Test(
        "work is done on another thread, and what comes after it on the loop's, also when the loop is closed meanwhile")
    func work() {
        @Sendable func thread() -> UInt { UInt(pthread_self()) }
        let here = thread()
        var results: [Bool] = []
        func offload() {
            loop.offload({ thread() }) { results.append($0 != here && thread() == here) }
        }
        offload()
        #expect(results.isEmpty)
        loop.run()
        #expect(results == [true])
        for _ in 0..<20 { offload() }
        loop.close()
        #expect(results.count == 21 && results.allSatisfy { $0 })
    }

    @Test("a wake-up from another thread; several sends are one callback")
    func async() throws {
        let async = try unsafe Async(loop: loop, context: recorder.context, token: 9, callback: Recorder.turn)
        async.send()
        async.send()
        loop.runOnce(noWait: false)
        #expect(recorder.tokens == [9])
        var thread = pthread_t()
        let argument = UnsafeMutablePointer<Async>.allocate(capacity: 1)
        unsafe argument.initialize(to: async)
        defer { unsafe argument.deallocate() }
        unsafe pthread_create(
            &thread, nil,
            {
                unsafe $0?.assumingMemoryBound(to: Async.self).pointee.send()
                return nil
            }, argument)
        while recorder.seen.count < 2 { loop.runOnce(noWait: false) }
        pthread_join(thread, nil)
        loop.close()
    }

    @Test("a signal becomes a callback; numbers that cannot be caught are refused")
    func signal() throws {
        let signal = try unsafe Signal(loop: loop, context: recorder.context, token: 4, callback: Recorder.turn)
        #expect(throws: UvError(code: -EINVAL)) { try signal.start(SIGKILL) }
        try signal.start(SIGWINCH)
        kill(getpid(), SIGWINCH)
        while recorder.seen.isEmpty { loop.runOnce(noWait: false) }
        #expect(recorder.tokens.first == 4)
        loop.close()
    }

    @Test("close with every kind of handle open, twice, and many handles through the free list")
    func close() throws {
        var pairs: [Pair] = []
        for round in 0..<3 {
            for index in 0..<100 {
                let pair = Pair()
                pairs.append(pair)
                let poll = try unsafe Poll(
                    loop: loop, fd: pair.a, context: recorder.context, token: UInt64(index), callback: Recorder.poll)
                poll.start(.readable)
                pair.sendFromB()
                let timer = unsafe Timer(loop: loop, context: recorder.context, token: 0, callback: Recorder.turn)
                timer.start(afterMilliseconds: 100_000)
                if round < 2 {
                    poll.close()
                    timer.close()
                }
            }
            loop.runOnce(noWait: true)
        }
        #expect(recorder.tokens.sorted() == (0..<100).map { UInt64($0) })
        loop.close()
        loop.close()
    }

    @Test("errors have a name and a sentence")
    func errors() {
        #expect(UvError.badDescriptor.name == "EBADF")
        #expect("\(UvError(code: -ECONNREFUSED))" == "ECONNREFUSED: connection refused")
    }

    @Test("the clock is CLOCK_MONOTONIC and does not go back")
    func clock() {
        var last = monotonicNanoseconds()
        for _ in 0..<1000 {
            let now = monotonicNanoseconds()
            #expect(now >= last)
            last = now
        }
    }
}
