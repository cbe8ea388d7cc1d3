import Glibc
import Testing
import Uv

/// What the shell relies on from libuv's poll handle and from epoll below it.
@Suite struct PollPlatformTests {
    let loop: EventLoop
    let recorder = Recorder()

    init() throws { loop = try EventLoop() }

    private func poll(_ fd: Int32, token: UInt64 = 7) throws -> Poll {
        try unsafe Poll(loop: loop, fd: fd, context: recorder.context, token: token, callback: Recorder.poll)
    }

    @Test("readiness is level-triggered and carries the token")
    func levelTriggered() throws {
        let pair = Pair()
        let poll = try poll(pair.a, token: .max)
        poll.start(.readable)
        #expect(poll.events == .readable)
        loop.runOnce(noWait: true)
        #expect(recorder.seen.isEmpty)
        pair.sendFromB()
        loop.runOnce(noWait: true)
        loop.runOnce(noWait: true)
        #expect(recorder.seen == [.init(token: .max, events: 1), .init(token: .max, events: 1)])
        loop.close()
    }

    @Test("init makes the descriptor non-blocking")
    func nonBlocking() throws {
        let pair = Pair()
        #expect(fcntl(pair.a, F_GETFL) & O_NONBLOCK == 0)
        _ = try poll(pair.a)
        #expect(fcntl(pair.a, F_GETFL) & O_NONBLOCK != 0)
        loop.close()
    }

    @Test("a regular file and a closed descriptor are refused")
    func refusedDescriptors() throws {
        let file = unsafe open("/proc/self/exe", O_RDONLY)
        #expect(throws: UvError(code: -EPERM)) { try poll(file) }
        Glibc.close(file)
        #expect(throws: UvError.badDescriptor) { try poll(1_000_000) }
        loop.close()
    }

    @Test("a second handle on a started descriptor is refused; after stop or close it is not")
    func oneHandlePerDescriptor() throws {
        let pair = Pair()
        let first = try poll(pair.a)
        first.start(.readable)
        #expect(throws: UvError.exists) { try poll(pair.a) }
        first.stop()
        let second = try poll(pair.a)
        second.close()
        first.close()
        _ = try poll(pair.a)
        loop.close()
    }

    @Test("adding is lazy, removing is immediate")
    func lazyChanges() throws {
        let pair = Pair()
        let poll = try poll(pair.a)
        poll.start(.readable)
        #expect(!isInEpoll(loop, pair.a))
        loop.runOnce(noWait: true)
        #expect(isInEpoll(loop, pair.a))
        poll.start(.readable)  // No change: nothing happens.
        #expect(isInEpoll(loop, pair.a))
        poll.start([.readable, .writable])  // A change: out at once, in again at the next turn.
        #expect(!isInEpoll(loop, pair.a))
        loop.runOnce(noWait: true)
        #expect(isInEpoll(loop, pair.a))
        #expect(recorder.seen == [.init(token: 7, events: 2)])
        poll.stop()
        #expect(!isInEpoll(loop, pair.a))
        loop.close()
    }

    @Test("starting a set again from inside the callback changes it")
    func changeInCallback() throws {
        let pair = Pair()
        let poll = try poll(pair.a)
        recorder.onEvent = { _ in poll.start(.readable) }
        poll.start(.writable)
        loop.runOnce(noWait: true)
        loop.runOnce(noWait: true)
        #expect(recorder.seen == [.init(token: 7, events: 2)])
        pair.sendFromB()
        loop.runOnce(noWait: true)
        #expect(recorder.seen.last == .init(token: 7, events: 1))
        loop.close()
    }

    @Test("no callback after close, even for an event of the same turn")
    func closeDropsEvents() throws {
        let (one, two) = (Pair(), Pair())
        let polls = [try poll(one.a, token: 1), try poll(two.a, token: 2)]
        one.sendFromB()
        two.sendFromB()
        recorder.onEvent = { event in polls[event.token == 1 ? 1 : 0].close() }
        for poll in polls { poll.start(.readable) }
        loop.runOnce(noWait: true)
        #expect(recorder.seen.count == 1)
        loop.close()
    }

    @Test("a descriptor number can be reused right after close of handle and descriptor")
    func reuse() throws {
        let first = Pair()
        let old = try poll(first.a, token: 1)
        old.start(.readable)
        first.sendFromB()
        loop.runOnce(noWait: true)
        old.close()
        let number = first.a
        let second = Pair()
        dup2(second.a, number)  // Closes the old one and takes its number at once.
        let new = try poll(number, token: 2)
        new.start(.readable)
        second.sendFromB()
        loop.runOnce(noWait: true)
        #expect(recorder.tokens == [1, 2])
        loop.close()
    }

    @Test("an error queue stops the handle with EBADF; drained and started again it lives")
    func errorQueueStops() throws {
        let fd = datagramSocketToNowhere()
        defer { Glibc.close(fd) }
        let poll = try poll(fd)
        poll.start(.readable)
        _ = unsafe send(fd, "x", 1, 0)
        loop.runOnce(noWait: true)
        #expect(recorder.seen == [.init(token: 7, events: 0, status: UvError.badDescriptor.code)])
        #expect(poll.events.isEmpty)
        // Not drained: nothing more comes, because the handle is stopped.
        loop.runOnce(noWait: true)
        #expect(recorder.seen.count == 1)
        drainErrorQueue(fd)
        poll.start(.readable)
        loop.runOnce(noWait: true)
        #expect(recorder.seen.count == 1)
        _ = unsafe send(fd, "x", 1, 0)
        loop.runOnce(noWait: true)
        #expect(recorder.seen.count == 2)
        loop.close()
    }

    @Test("with SO_SELECT_ERR_QUEUE and .prioritized an error queue is an ordinary event")
    func errorQueueAsPriority() throws {
        let fd = datagramSocketToNowhere()
        defer { Glibc.close(fd) }
        setOption(fd, SOL_SOCKET, 45 /* SO_SELECT_ERR_QUEUE */, 1)
        let poll = try poll(fd)
        let set: PollEvents = [.readable, .prioritized]
        for watched in [set, set.union(.writable)] {
            recorder.seen = []
            poll.start(watched)
            _ = unsafe send(fd, "x", 1, 0)
            loop.runOnce(noWait: true)
            let event = try #require(recorder.seen.first)
            #expect(event.status == 0)
            #expect(PollEvents(rawValue: event.events).contains(.prioritized))
            #expect(poll.events == watched)
            drainErrorQueue(fd)
            recorder.seen = []
            loop.runOnce(noWait: true)
            #expect(!recorder.seen.contains { PollEvents(rawValue: $0.events).contains(.prioritized) })
        }
        loop.close()
    }

    @Test("the peer's shutdown is readable, and disconnect where watched")
    func disconnect() throws {
        let pair = Pair()
        let poll = try poll(pair.a)
        poll.start([.readable, .disconnect])
        shutdown(pair.b, Int32(SHUT_WR))
        loop.runOnce(noWait: true)
        #expect(recorder.seen == [.init(token: 7, events: 5)])
        loop.close()
    }

    private func drainErrorQueue(_ fd: Int32) {
        var message = unsafe msghdr()
        var control = [UInt8](repeating: 0, count: 512)
        unsafe control.withUnsafeMutableBytes {
            unsafe message.msg_control = $0.baseAddress
            unsafe message.msg_controllen = $0.count
            while unsafe recvmsg(fd, &message, Int32(MSG_ERRQUEUE | MSG_DONTWAIT)) >= 0 {
                unsafe message.msg_controllen = $0.count
            }
        }
        // The pending error is separate from the queue.
        var error: Int32 = 0
        var length = socklen_t(4)
        _ = unsafe getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length)
    }
}
