internal import Glibc
internal import Logging
internal import Netstack
internal import Resolver
internal import Uv
internal import Wire

// The gateway's name service: the forwarder (module Resolver, no I/O) with its sockets.
//
//   guest, UDP ─▶ query ──┐                         ┌─▶ DNSUpstreams ─▶ the host's resolvers
//   guest, TCP ─▶ streams ┴─▶ Forwarder ─▶ actions ─┤
//                                                   └─▶ answers: waiting for `endTurn`, or written to a stream
//
// Answers are not given from within `query`: they wait for the turn's end, because no call of `Outside` may
// call back into the core.
//
// Limits: 64 streams of guests, each closed after 10 seconds of silence (RFC 7766 section 6.2.3 leaves the time to the
// server); the rest is the forwarder's.

/// Serves DNS to one guest's network.
@safe
final class NameService {
    private enum Client {
        case datagram(GuestPort)
        case stream(UInt32)
    }

    private static let streamLimit = 64
    private static let streamIdle: Int64 = 10_000_000_000
    private static let lookEvery: Int64 = 1_000_000_000

    private let loop: EventLoop
    private let logger: Logger
    private var forwarder: Forwarder
    private var upstreams: DNSUpstreams!
    private var timer: DeadlineTimer!
    private var box: UnsafeMutablePointer<Unmanaged<NameService>?>
    /// Who waits for an answer, by the number that the forwarder knows them by; nil is a free number.
    private var clients: [Client?] = []
    private var freeClients: [Int] = []
    private var streams: [UInt32: DNSStream] = [:]
    private var nextStream: UInt32 = 1
    private var answers = AnswerBatch()
    private var pace = AnswerPace()
    /// Nil: answers are never held.
    private var holdTimer: FineTimer?
    private let joinsDatagrams: Bool
    private var resolvConf: HostFile?
    private var hosts = HostFile(path: "/etc/hosts", limit: HostsTable.maximumBytes)
    private var lookedAt = Int64.min

    init(loop: EventLoop, configuration: NetworkConfiguration, logger: Logger) {
        self.loop = loop
        self.logger = logger
        joinsDatagrams = configuration.joinsDatagrams
        let families = [configuration.core.v4, configuration.core.v6].compactMap { $0 }
        var random = SystemRandomNumberGenerator()
        let resolvers = configuration.resolvers.map { ResolverConfiguration.Upstream(endpoint: $0) }
        forwarder = Forwarder(
            configuration: ResolverConfiguration(upstreams: resolvers),
            names: LocalNames(gateway: families.map(\.gateway), host: families.map(\.hostAlias)),
            generator: KeyedGenerator(key: (random.next(), random.next())))
        if resolvers.isEmpty {
            resolvConf = HostFile(path: "/etc/resolv.conf", limit: ResolverConfiguration.maximumBytes)
        }
        unsafe box = .allocate(capacity: 1)
        unsafe box.initialize(to: nil)
        let context = unsafe UnsafeMutableRawPointer(box)
        upstreams = unsafe DNSUpstreams(loop: loop, context: context, callback: onUpstream)
        upstreams.configure(resolvers)
        unsafe holdTimer = FineTimer(loop: loop, context: context, callback: onHold)
        timer = unsafe DeadlineTimer(Timer(loop: loop, context: context, token: 0, callback: onTimer))
        unsafe box.pointee = Unmanaged.passUnretained(self)
    }

    deinit { unsafe box.deallocate() }

    /// Closes every socket, for the end of the network.
    func close() {
        upstreams.closeAll()
        for stream in streams.values { stream.close() }
        streams = [:]
        timer.close()
        holdTimer?.close()
    }

    /// The names of machines; nil when they have none.
    var machines: MachineNames? {
        get { forwarder.names.machines }
        _modify { yield &forwarder.names.machines }
    }

    // MARK: From the guest

    /// A query that the guest sent over UDP. The bytes are only read during the call.
    func query(_ bytes: RawSpan, from client: GuestPort) {
        let now = monotonicNanoseconds()
        look(now)
        forwarder.query(bytes, client: register(.datagram(client)), transport: .udp, now: now)
        act(now)
    }

    /// A guest's connection to port 53: our end of a socket pair. The descriptor is ours now.
    func serve(stream fd: Int32) {
        let now = monotonicNanoseconds()
        guard streams.count < Self.streamLimit else {
            Glibc.close(fd)
            return
        }
        let number = nextStream
        nextStream &+= 1
        guard
            let stream = unsafe DNSStream(
                loop: loop, fd: fd, isConnecting: false, context: UnsafeMutableRawPointer(box), token: UInt64(number),
                callback: onStream, now: now)
        else { return }
        streams[number] = stream
        arm(now)
    }

    /// Sends the queries of this turn, and exchanges the answers to UDP queries that are to be given now for an empty batch.
    func endTurn(_ ready: inout AnswerBatch, now: Int64) {
        if upstreams.hasWaiting { flush(now) }
        guard !answers.isEmpty else { return }
        if let holdTimer {
            switch pace.verdict(inFlight: forwarder.inFlight, now: now) {
            case .give(let stopsTimer): if stopsTimer { holdTimer.stop() }
            case .hold: return holdTimer.start(nanoseconds: AnswerPace.hold)
            case .wait: return
            }
        }
        swap(&ready, &answers)
    }

    private func register(_ client: Client) -> UInt64 {
        if let free = freeClients.popLast() {
            clients[free] = client
            return UInt64(free)
        }
        clients.append(client)
        return UInt64(clients.count - 1)
    }

    private func release(_ token: UInt64) {
        clients[Int(token)] = nil
        freeClients.append(Int(token))
    }

    // MARK: Events

    fileprivate func streamReady(_ number: UInt32, status: Int32) {
        guard let stream = streams[number] else { return }
        let now = monotonicNanoseconds()
        look(now)
        var queries: [[UInt8]] = []
        let alive = stream.ready(status: status, now: now) { queries.append($0) }
        for query in queries {
            let bytes = unsafe query.span.bytes
            stream.pending += 1
            forwarder.query(bytes, client: register(.stream(number)), transport: .tcp, now: now)
        }
        act(now)
        if alive { endIfDone(number) } else { end(number) }
    }

    /// Closes a stream whose guest has sent its FIN once it has all its answers (RFC 7766 section 6.2.3).
    private func endIfDone(_ number: UInt32) {
        if let stream = streams[number], stream.hasEnded, stream.isIdle { end(number) }
    }

    private func end(_ number: UInt32) {
        guard let stream = streams.removeValue(forKey: number) else { return }
        stream.close()
        for (token, client) in clients.enumerated() {
            if case .stream(number) = client {
                forwarder.cancel(client: UInt64(token))
                release(UInt64(token))
            }
        }
    }

    fileprivate func upstreamReady(_ channel: UInt32, status: Int32) {
        let now = monotonicNanoseconds()
        let failed = upstreams.ready(channel, status: status, now: now) { upstream, transport, bytes in
            forwarder.response(bytes, from: upstream, transport: transport, via: channel, now: now)
        }
        if let failed {
            forwarder.upstreamFailed(
                failed.upstream, transport: failed.transport, via: failed.channel, failed.failure, now: now)
        }
        act(now)
    }

    fileprivate func timeCame() {
        timer.fired()
        let now = monotonicNanoseconds()
        forwarder.advance(to: now)
        for (number, stream) in streams where now - stream.lastUsed >= Self.streamIdle { end(number) }
        act(now)
    }

    fileprivate func holdEnds() {
        holdTimer?.stop()
        pace.timerFired()
    }

    // MARK: Actions

    private func act(_ now: Int64) {
        while let action = forwarder.nextAction() {
            switch action {
            case .answer(let token, let bytes, let isLast):
                guard let client = clients[Int(token)] else { continue }
                if isLast { release(token) }
                switch client {
                case .datagram(let port): answers.append(bytes, for: port, joins: joinsDatagrams)
                case .stream(let number):
                    if isLast { streams[number]?.pending -= 1 }
                    if streams[number]?.send(bytes, now: now) == false { end(number) } else { endIfDone(number) }
                }
            case .drop(let token):
                guard let client = clients[Int(token)] else { continue }
                release(token)
                if case .stream(let number) = client {
                    streams[number]?.pending -= 1
                    endIfDone(number)
                }
            case .send(let upstream, let transport, let bytes, let id):
                if let channel = upstreams.send(bytes, to: upstream, transport: transport, now: now) {
                    forwarder.sent(id: id, via: channel)
                } else {
                    forwarder.sendFailed(id: id, .unreachable, now: now)
                }
            }
        }
        arm(now)
    }

    /// Sends the queries that wait. Those that cannot be sent have failed, which may make new ones: as many as there are upstreams.
    private func flush(_ now: Int64) {
        while let failed = upstreams.flush() {
            forwarder.upstreamFailed(
                failed.upstream, transport: failed.transport, via: failed.channel, failed.failure, now: now)
            act(now)
        }
    }

    private func arm(_ now: Int64) {
        var due = forwarder.nextDeadline ?? .max
        for stream in streams.values { due = min(due, stream.lastUsed + Self.streamIdle) }
        timer.arm(for: due, now: now)
    }

    /// Looks whether the host's files have changed.
    private func look(_ now: Int64) {
        guard lookedAt == .min || now - lookedAt >= Self.lookEvery else { return }
        lookedAt = now
        if let text = resolvConf?.changed() {
            let configuration = ResolverConfiguration(parsing: text)
            logger.debug("names are asked of \(configuration.upstreams.map(\.description).joined(separator: ", "))")
            upstreams.configure(configuration.upstreams)
            forwarder.configure(configuration, now: now)
        }
        if let text = hosts.changed() { forwarder.names.hosts = HostsTable(parsing: text) }
    }
}

// MARK: Callbacks from libuv

private func service(_ context: UnsafeMutableRawPointer) -> NameService? {
    unsafe context.assumingMemoryBound(to: Unmanaged<NameService>?.self).pointee?.takeUnretainedValue()
}

private let onStream: PollCallback = { context, token, _, status in
    unsafe service(context)?.streamReady(UInt32(truncatingIfNeeded: token), status: status)
}
private let onUpstream: PollCallback = { context, token, _, status in
    unsafe service(context)?.upstreamReady(UInt32(truncatingIfNeeded: token), status: status)
}
private let onHold: PollCallback = { context, _, _, _ in unsafe service(context)?.holdEnds() }
private let onTimer: TimerCallback = { context, _ in unsafe service(context)?.timeCame() }
