internal import CHost
internal import Capture
internal import Glibc
package import Logging
internal import Netstack
internal import Uv
internal import Wire

// One guest's network on one event loop: the thin shell around the core.
//
// A turn of the loop:
//   poll       epoll's callbacks: frames of the tap, readiness of host sockets, what others asked to be watched
//   prepare    once, before the loop sleeps again: answers of the name service, timers that are due, then one `flush`,
//              in which every connection with something to say says it in as few frames as it can
//
// While the core still has output (bursts are bounded), or while looking again beats sleeping (`BusyPoll`), an idle handle
// keeps the loop from sleeping. One timer stands for all of the core's deadlines; it may fire early, never late.
//
// Callbacks carry no Swift object: the context is a box with an unretained pointer to the network, the token is a flow's
// number. The network lives until `run` returns.

/// Runs a guest's network until stopped or until its link is gone.
@safe
package final class Network {
    private let loop: EventLoop
    private let box: UnsafeMutablePointer<Unmanaged<Network>?>
    private var core: Core
    private var sockets: HostSockets
    private let names: NameService
    private let leases: LeaseBook
    private let boot: BootService?
    private let logger: Logger
    private let tapPoll: Poll?
    private let machines: VirtualSwitch?
    private let prepare: Prepare
    private let idle: Idle
    private var timer: DeadlineTimer
    /// When the tap last gave a frame.
    private var lastFrameAt = Instant(nanoseconds: 0)
    private var watchers: [(poll: Poll, act: () -> Void)] = []
    private let batch = DatagramBatch()
    private var answers = AnswerBatch()
    /// The tap cuts super-frames into datagrams (USO).
    private let joinsDatagrams: Bool
    private var busyPoll: BusyPoll
    private let runQueue = RunQueue()

    /// Frames read from the tap before everybody else gets a turn.
    private static let framesPerTurn = 64
    /// Frames closer together than this come in a stream: read on until there are none. A lone one is not worth the read that
    /// says so; the loop tells of a second one.
    private static let streamGap: Int64 = 20_000
    /// Clients accepted before everybody else gets a turn.
    private static let clientsPerTurn = 64
    /// Bytes read before a flush: the guest's window must see ACKs evenly, not in lumps.
    private static let bytesPerFlush = 192 * 1024

    package init(configuration: NetworkConfiguration, guest: NetworkGuest, logger: Logger) throws {
        let capture = try configuration.capturePath.map { path in try CaptureFile(path: path) }
        loop = try EventLoop()
        unsafe box = .allocate(capacity: 1)
        unsafe box.initialize(to: nil)
        let context = unsafe UnsafeMutableRawPointer(box)
        self.logger = logger
        joinsDatagrams = configuration.joinsDatagrams
        busyPoll = BusyPoll(limitNanoseconds: Int64(configuration.busyPollMicroseconds) * 1000)
        var random = SystemRandomNumberGenerator()
        core = Core(configuration.core, seed: random.next(), at: Instant(nanoseconds: monotonicNanoseconds()))
        names = NameService(loop: loop, configuration: configuration, logger: logger)
        let tap: Int32
        switch guest {
        case .tap(let fd):
            tap = fd
            machines = nil
            tapPoll = try unsafe Poll(loop: loop, fd: fd, context: context, token: 0, callback: onTap)
        case .machines(let addresses, let isolates):
            tap = -1
            tapPoll = nil
            machines = try unsafe VirtualSwitch(
                addresses, loop: loop, context: context, callback: onMachine,
                configuration: configuration.core, isolates: isolates, seed: random.next(), logger: logger)
            machines?.joins = capture == nil
        }
        let (loop, bootSeed) = (self.loop, random.next())
        boot = try configuration.bootDirectory.map {
            try BootService(
                directory: $0, loop: loop, mtu: configuration.core.mtu, seed: bootSeed,
                joinsDatagrams: configuration.joinsDatagrams)
        }
        leases = try LeaseBook(
            configuration, loop: loop, names: names, machines: machines, logger: logger)
        sockets = try unsafe HostSockets(
            loop: loop, context: context, onStream: onStream, onDatagram: onDatagram,
            link: GuestLink(tap: GuestTap(fd: tap), machines: machines, capture: capture),
            notices: Notices(logger: logger), names: names, leases: leases, boot: boot,
            ports: PortListeners(configuration.forwards, loop: loop, context: context, callback: onPort))
        prepare = unsafe Prepare(loop: loop, context: context, token: 0, callback: onTurnEnd)
        idle = unsafe Idle(loop: loop, context: context, token: 0, callback: nothing)
        timer = unsafe DeadlineTimer(Timer(loop: loop, context: context, token: 0, callback: onTimer))
        unsafe box.pointee = Unmanaged.passUnretained(self)
        try leases.restore { core.restore($0, at: now, outside: &sockets) }
        machines?.reserve = { [unowned self] address, mac in
            forgetDeparted()
            return core.reserve(address, for: mac, at: now, outside: &sockets)
        }
    }

    deinit { unsafe box.deallocate() }

    /// Calls `act` on the loop whenever `fd` is readable. The descriptor stays the caller's.
    package func watch(fd: Int32, onReadable act: @escaping () -> Void) throws {
        let context = unsafe UnsafeMutableRawPointer(box)
        let poll = try unsafe Poll(
            loop: loop, fd: fd, context: context, token: UInt64(watchers.count), callback: onWatcher)
        watchers.append((poll, act))
        poll.start(.readable)
    }

    /// Blocks until `stop` or until the link is gone.
    package func run() {
        tapPoll?.start(.readable)
        machines?.start()
        sockets.ports.start()
        prepare.start()
        loop.run()
        sockets.closeAll()
        machines?.close()
        forgetDeparted()
        names.close()
        leases.close()
        boot?.close()
        sockets.link.capture?.close()
        loop.close()
    }

    package func stop() { loop.stop() }

    private var now: Instant { Instant(nanoseconds: monotonicNanoseconds()) }

    // MARK: Events

    fileprivate func tapReady(_ events: PollEvents, status: Int32) {
        if events.contains(.writable) { core.linkHasRoom() }
        if status != 0 || events.contains(.readable) { receiveFrames(status: status) }
    }

    private func receiveFrames(status: Int32) {
        guard status == 0 else { return linkGone() }
        var now = self.now
        var sinceFlush = 0
        defer { sockets.endTrain() }
        let isStream = now - lastFrameAt < Self.streamGap
        lastFrameAt = now
        busyPoll.eventCame(at: now)
        for _ in 0..<Self.framesPerTurn {
            switch sockets.link.tap.read() {
            case .empty: return
            case .gone: return linkGone()
            case .bad: continue
            case .frame(let offload, let length):
                if sockets.link.capture != nil {
                    sockets.link.record(sockets.link.tap.frame(length), RawSpan())
                }
                sockets.link.bytes &+= UInt64(length)
                receive(length, offload, now)
                if !isStream, length < 2048 { return }
                sinceFlush += length
                if sinceFlush >= Self.bytesPerFlush {
                    core.flush(at: now, outside: &sockets)
                    sinceFlush = 0
                    now = self.now
                }
            }
        }
    }

    /// The frame lies in the tap's buffer, which no call of the core's outside touches.
    private func receive(_ length: Int, _ offload: OffloadHeader, _ now: Instant) {
        let frame = unsafe _overrideLifetime(sockets.link.tap.frame(length), copying: ())
        core.receive(frame, offload: offload, at: now, outside: &sockets)
    }

    private func linkGone() {
        logger.info("the sandbox's interface is gone")
        tapPoll?.stop()
        loop.stop()
    }

    /// A machine has come, has sent, or takes frames again.
    fileprivate func machineReady(_ event: LinkEvent, _ events: PollEvents, status: Int32) {
        guard let machines else { return }
        let now = self.now
        busyPoll.eventCame(at: now)
        let port: Int
        switch event {
        case .listener(let index): return machines.accept(index)
        case .link(let index): port = index
        case .ring(let index, let ring):
            port = index
            if ring == 0 {
                if machines.buffersCame(port) { core.linkHasRoom() }
                return
            }
        }
        if status < 0 { machines.fail(port) }
        // A machine that sends is also one that may have read.
        if machines.drain(port, at: now) { core.linkHasRoom() }
        if events.contains(.readable) {
            if case .link = event, !machines.hear(port) { return }
            machines.read(port)
            receiveMachineFrames(machines, now)
            sockets.endTrain()
        }
        if machines.isForsaken { linkGone() }
    }

    private func receiveMachineFrames(_ machines: VirtualSwitch, _ start: Instant) {
        var now = start
        var sinceFlush = 0
        while let range = machines.next() {
            // The frame lies in the switch's buffer until its next read.
            let frame = unsafe _overrideLifetime(machines.frame(range), copying: ())
            if sockets.link.capture != nil { sockets.link.record(frame, RawSpan()) }
            sockets.link.bytes &+= UInt64(range.count)
            core.receive(frame, offload: machines.offload, at: now, outside: &sockets)
            sinceFlush += range.count
            if sinceFlush >= Self.bytesPerFlush {
                core.flush(at: now, outside: &sockets)
                machines.flush()
                sinceFlush = 0
                now = self.now
            }
        }
    }

    fileprivate func streamReady(_ flow: FlowID, _ events: PollEvents, status: Int32) {
        let now = self.now
        busyPoll.eventCame(at: now)
        if let outcome = sockets.connectEnded(flow) {
            core.hostConnected(flow, outcome, at: now, outside: &sockets)
            return
        }
        if status < 0 {
            sockets.markFailed(flow)
            core.hostFailed(flow, .reset, at: now, outside: &sockets)
            return
        }
        if events.contains(.writable) { core.hostWritable(flow, at: now, outside: &sockets) }
        if events.contains(.readable) { core.hostReadable(flow) }
        if events.contains(.prioritized), sockets.urgentWaits(flow) { core.hostUrgent(flow) }
        if !events.contains(.readable), !events.contains(.writable) { sockets.quiet(flow) }
    }

    fileprivate func datagramReady(_ flow: FlowID, status: Int32) {
        let now = self.now
        busyPoll.eventCame(at: now)
        if status < 0 {
            drainErrors(flow, now)
            sockets.rewatch(flow)
        }
        guard let fd = sockets.descriptor(flow) else { return }
        let batch = self.batch
        let count = batch.receive(from: fd)
        var i = 0
        while i < count {
            let from = batch.source(i)
            if flow.kind == .udp {
                let run = joinsDatagrams ? batch.run(from: i) : i..<i + 1
                core.hostDatagrams(
                    flow, from: from, batch.bytes(run), size: run.count > 1 ? batch.size : nil,
                    trafficClass: batch.trafficClass(i), at: now, outside: &sockets)
                i = run.upperBound
            } else {
                core.hostEcho(
                    flow, from: from.address, batch.bytes(i..<i + 1), hopLimit: batch.hopLimit(i), at: now,
                    outside: &sockets)
                i += 1
            }
        }
    }

    private func drainErrors(_ flow: FlowID, _ now: Instant) {
        guard let fd = sockets.descriptor(flow) else { return }
        Self.drainErrors(fd, isEcho: flow.kind == .echo) { error in
            core.hostDatagramError(flow, error, at: now, outside: &sockets)
        }
    }

    /// Empties a socket's error queue. Bounded: a flood of ICMP errors must not hold the loop.
    private static func drainErrors(_ fd: Int32, isEcho: Bool, _ tell: (DatagramError) -> Void) {
        for _ in 0..<64 {
            var entry = host_icmp_error()
            guard unsafe host_error_next(fd, &entry) == 1 else { break }
            guard entry.local == 0, !entry.destination.isAbsent else { continue }
            var destination = entry.destination.endpoint
            if isEcho { destination.port = entry.sequence }
            tell(
                DatagramError(
                    destination: destination,
                    offender: entry.offender.isAbsent ? nil : entry.offender.endpoint.address, type: entry.type,
                    code: entry.code, information: entry.information))
        }
        _ = host_stream_error(fd)
    }

    /// Datagrams of clients of a forwarded port.
    private func servedReady(_ index: Int, to guest: Endpoint?, status: Int32, _ now: Instant) {
        let fd = sockets.ports.listeners[index].fd
        let port = UInt32(index)
        if status < 0 {
            Self.drainErrors(fd, isEcho: false) { error in
                core.hostServedError(port, error, at: now, outside: &sockets)
            }
            sockets.ports.restart(index)
        }
        let batch = self.batch
        let count = batch.receive(from: fd)
        guard let guest else { return }
        var i = 0
        while i < count {
            let run = joinsDatagrams ? batch.run(from: i, byPath: true) : i..<i + 1
            core.hostServed(
                port, from: batch.source(i), path: batch.path(i), to: guest, batch.bytes(run),
                size: run.count > 1 ? batch.size : nil, trafficClass: batch.trafficClass(i), at: now, outside: &sockets)
            i = run.upperBound
        }
    }

    /// Clients of a forwarded port.
    fileprivate func portReady(_ index: Int, status: Int32) {
        let now = self.now
        busyPoll.eventCame(at: now)
        let forward = sockets.ports.listeners[index].forward
        let guest = leases.guest(of: forward)
        if forward.transport == .udp { return servedReady(index, to: guest, status: status, now) }
        if status < 0 { sockets.ports.restart(index) }
        // Bounded: those that are open want their turn too.
        for _ in 0..<Self.clientsPerTurn {
            guard case .client(let fd, let client) = sockets.ports.accept(index) else { return }
            guard let guest, let flow = core.hostAccepted(from: client, to: guest, at: now, outside: &sockets) else {
                host_close(fd, 1)
                continue
            }
            if !sockets.adopt(flow, fd) { core.hostFailed(flow, .exhausted, at: now, outside: &sockets) }
        }
    }

    fileprivate func watcherReady(_ index: Int) { watchers[index].act() }

    // MARK: The turn's end

    fileprivate func turnEnds() {
        let now = self.now
        giveAnswers(now)
        if let machines, machines.retry(at: now) { core.linkHasRoom() }
        let turn = core.endTurn(at: now, outside: &sockets)
        let retry = machines?.endTurn(at: now) ?? .never
        forgetDeparted()
        // A tap says when it has room; a machine's link is watched by the switch.
        tapPoll?.start(turn.waitsForLink ? .readableWritable : .readable)
        keepCapture()
        let looksAgain = busyPoll.looksAgain(
            at: now, bytes: sockets.link.bytes, preemptions: host_preemptions(), crowded: runQueue.isCrowded)
        if looksAgain || turn.hasPendingOutput { idle.start() } else { idle.stop() }
        timer.arm(for: min(turn.nextDeadline, retry).nanoseconds, now: now.nanoseconds)
    }

    /// Machines have left that may have had addresses for as long as they were there.
    private func forgetDeparted() {
        for gone in machines?.takeDeparted() ?? [] {
            core.leave(gone.mac, forGood: gone.isNameless, outside: &sockets)
        }
    }

    private func giveAnswers(_ now: Instant) {
        names.endTurn(&answers, now: now.nanoseconds)
        boot?.endTurn(&answers)
        guard !answers.isEmpty else { return }
        for run in answers.runs {
            let bytes = unsafe answers.bytes.span.bytes.extracting(run.range)
            core.dnsAnswer(to: run.client, bytes, size: run.size, at: now, outside: &sockets)
        }
        answers.removeAll()
    }

    /// What is due is done at the turn's end, which follows.
    fileprivate func timeCame() { timer.fired() }

    /// While a capture is on, each turn's frames are in the file when the turn ends: whoever reads along sees them, and a kill
    /// loses none. A full disk is said once and does not stop the network.
    private func keepCapture() {
        guard let capture = sockets.link.capture else { return }
        capture.flush()
        if let failure = capture.takeFailure() { logger.warning("\(failure)") }
    }
}

// MARK: Callbacks from libuv

private func network(_ context: UnsafeMutableRawPointer) -> Network? {
    unsafe context.assumingMemoryBound(to: Unmanaged<Network>?.self).pointee?.takeUnretainedValue()
}

private let onTap: PollCallback = { context, _, events, status in
    unsafe network(context)?.tapReady(PollEvents(rawValue: events), status: status)
}
private let onStream: PollCallback = { context, token, events, status in
    unsafe network(context)?.streamReady(FlowID(rawValue: token), PollEvents(rawValue: events), status: status)
}
private let onDatagram: PollCallback = { context, token, _, status in
    unsafe network(context)?.datagramReady(FlowID(rawValue: token), status: status)
}
private let onMachine: PollCallback = { context, token, events, status in
    unsafe network(context)?.machineReady(
        LinkEvent(token: token), PollEvents(rawValue: events), status: status)
}
private let onPort: PollCallback = { context, token, _, status in
    unsafe network(context)?.portReady(Int(token), status: status)
}
private let onWatcher: PollCallback = { context, token, _, _ in
    unsafe network(context)?.watcherReady(Int(token))
}
private let onTurnEnd: TimerCallback = { context, _ in unsafe network(context)?.turnEnds() }
private let onTimer: TimerCallback = { context, _ in unsafe network(context)?.timeCame() }
private let nothing: TimerCallback = { _, _ in }
