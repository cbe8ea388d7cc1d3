internal import CHost
internal import Glibc
internal import Netstack
internal import Resolver
internal import Uv

// The sockets to the host's resolvers.
//
//   UDP    a connected socket for up to 64 queries, then a fresh one from another random port (RFC 5452 section 9.2); old ones
//          are kept until 32 newer ones exist, so that late answers are still heard
//   TCP    one connection per upstream, opened when needed, kept while the upstream keeps it
//
// UDP queries wait for the end of the turn: those of one size for one socket then leave in one system call (UDP_SEGMENT), which
// crosses the host's stack once for all of them. Where the kernel does not take that, one by one.
//
// Each socket is a channel with a number of its own that is never used again: the forwarder accepts an answer only by the
// channel its query took.

/// One socket or connection to an upstream.
private final class Channel {
    let number: UInt32
    let upstream: Int
    let fd: Int32
    let poll: Poll?
    let stream: DNSStream?
    var uses = 0

    init(_ number: UInt32, upstream: Int, fd: Int32, poll: Poll? = nil, stream: DNSStream? = nil) {
        self.number = number
        self.upstream = upstream
        self.fd = fd
        self.poll = poll
        self.stream = stream
    }
}

@safe
final class DNSUpstreams {
    /// A channel that has failed, and with it every query that went by it.
    struct Failed {
        var upstream: Int
        var transport: Forwarder.Transport
        var channel: UInt32
        var failure: Forwarder.Failure
    }

    private static let usesPerSocket = 64
    private static let socketsKept = 32
    private static let batch = 16
    private static let largestMessage = 65_536

    private let loop: EventLoop
    private let context: UnsafeMutableRawPointer
    private let callback: PollCallback
    private var channels: [UInt32: Channel] = [:]
    /// UDP channels, oldest first.
    private var sockets: [Channel] = []
    /// By upstream: the UDP channel that the next query takes.
    private var current: [Channel?] = []
    private var next: UInt32 = 1
    private var targets: [ResolverConfiguration.Upstream] = []
    /// Room for a batch of messages; pages that none reached are not resident.
    private let space = UnsafeMutablePointer<UInt8>.allocate(capacity: batch * largestMessage)
    private var lengths = [UInt32](repeating: 0, count: batch)
    /// Queries that wait for one channel, one behind the other.
    private var waiting: [UInt8] = []
    private var run = DatagramRun()
    private var waitingFor: Channel?
    private var failed: [Failed] = []

    init(loop: EventLoop, context: UnsafeMutableRawPointer, callback: PollCallback) {
        self.loop = loop
        unsafe self.context = context
        unsafe self.callback = callback
    }

    deinit { unsafe space.deallocate() }

    /// Forgets all channels and goes to these upstreams from now on.
    func configure(_ upstreams: [ResolverConfiguration.Upstream]) {
        closeAll()
        targets = upstreams
        current = targets.map { _ in nil }
    }

    func closeAll() {
        for channel in channels.values { close(channel) }
    }

    /// Sends a query, over UDP with the next `flush`. The channel it took, or nil when the upstream cannot be reached.
    func send(_ bytes: [UInt8], to upstream: Int, transport: Forwarder.Transport, now: Int64) -> UInt32? {
        guard targets.indices.contains(upstream) else { return nil }
        switch transport {
        case .udp:
            guard let channel = socket(for: upstream) else { return nil }
            channel.uses += 1
            if !canJoin(bytes, channel) { sendWaiting() }
            waitingFor = channel
            run.add(bytes.count)
            waiting += bytes
            return channel.number
        case .tcp:
            guard let channel = connection(to: upstream, now: now) else { return nil }
            guard channel.stream?.send(bytes, now: now) == true else {
                close(channel)
                return nil
            }
            return channel.number
        }
    }

    private func address(_ upstream: Int) -> host_address {
        let target = targets[upstream]
        var address = host_address(target.endpoint)
        if let scope = target.scope {
            address.scope = unsafe UInt32(scope) ?? if_nametoindex(scope)
        }
        return address
    }

    private func socket(for upstream: Int) -> Channel? {
        if let channel = current[upstream], channel.uses < Self.usesPerSocket { return channel }
        var address = address(upstream)
        let fd = unsafe host_udp_connect(&address)
        guard fd >= 0 else { return nil }
        let number = next
        guard
            let poll = unsafe try? Poll(
                loop: loop, fd: fd, context: context, token: UInt64(number), callback: callback)
        else {
            Glibc.close(fd)
            return nil
        }
        next &+= 1
        poll.start(.readable)
        let channel = Channel(number, upstream: upstream, fd: fd, poll: poll)
        channels[number] = channel
        sockets.append(channel)
        current[upstream] = channel
        if sockets.count > Self.socketsKept { close(sockets[0]) }
        return channel
    }

    private func connection(to upstream: Int, now: Int64) -> Channel? {
        if let open = channels.values.first(where: { $0.upstream == upstream && $0.stream != nil }) { return open }
        var address = address(upstream)
        var inProgress: Int32 = 0
        let fd = unsafe host_stream_connect(&address, &inProgress)
        guard fd >= 0 else { return nil }
        let number = next
        guard
            let stream = unsafe DNSStream(
                loop: loop, fd: fd, isConnecting: inProgress != 0, context: context, token: UInt64(number),
                callback: callback, now: now)
        else { return nil }
        next &+= 1
        let channel = Channel(number, upstream: upstream, fd: fd, stream: stream)
        channels[number] = channel
        return channel
    }

    private func close(_ channel: Channel) {
        channels[channel.number] = nil
        if waitingFor === channel { forgetWaiting() }
        if let stream = channel.stream { return stream.close() }
        sockets.removeAll { $0 === channel }
        if current[channel.upstream] === channel { current[channel.upstream] = nil }
        channel.poll?.close()
        Glibc.close(channel.fd)
    }

    // MARK: Queries that wait

    /// Whether `flush` has something to do.
    var hasWaiting: Bool { waitingFor != nil || !failed.isEmpty }

    /// Sends the queries that wait. A channel whose queries could not be sent; ask until there is none.
    func flush() -> Failed? {
        sendWaiting()
        return failed.popLast()
    }

    private func canJoin(_ bytes: [UInt8], _ channel: Channel) -> Bool {
        guard let waitingFor else { return true }
        return waitingFor === channel && run.size <= DatagramRun.largestPart && run.takes(bytes.count)
    }

    private func sendWaiting() {
        guard let channel = waitingFor else { return }
        if !sendTogether(channel.fd), !sendSingly(channel.fd) {
            failed.append(
                Failed(upstream: channel.upstream, transport: .udp, channel: channel.number, failure: .unreachable))
        }
        forgetWaiting()
    }

    private func forgetWaiting() {
        waiting.removeAll(keepingCapacity: true)
        run = DatagramRun()
        waitingFor = nil
    }

    private func sendTogether(_ fd: Int32) -> Bool {
        guard run.bytes > run.size else { return false }
        let count = unsafe host_udp_send_train(fd, nil, waiting, waiting.count, UInt16(run.size))
        return count == waiting.count
    }

    private func sendSingly(_ fd: Int32) -> Bool {
        var start = 0
        while start < waiting.count {
            let length = min(run.size, waiting.count - start)
            let count = unsafe waiting.withUnsafeBufferPointer { bytes in
                guard let first = bytes.baseAddress else { return length }
                let count = unsafe host_send(fd, first + start, length)
                // An ICMP error about an earlier query: the first call only reports it.
                return unsafe count == -Int(ECONNREFUSED) ? host_send(fd, first + start, length) : count
            }
            // A full socket loses it, as a wire may: silence makes the next try.
            if count < 0, count != -Int(EAGAIN), count != -Int(ENOBUFS) { return false }
            start += length
        }
        return true
    }

    // MARK: Answers

    /// A channel is ready: hands what came by it to `message`, whose bytes are only lent. How it failed, if it did.
    func ready(
        _ number: UInt32, status: Int32, now: Int64,
        message: (_ upstream: Int, _ transport: Forwarder.Transport, _ bytes: RawSpan) -> Void
    ) -> Failed? {
        guard let channel = channels[number] else { return nil }
        if let stream = channel.stream {
            let wasConnecting = stream.isConnecting
            let alive = stream.ready(status: status, now: now) { bytes in
                unsafe message(channel.upstream, .tcp, bytes.span.bytes)
            }
            guard !alive || stream.hasEnded else { return nil }
            close(channel)
            return Failed(
                upstream: channel.upstream, transport: .tcp, channel: number,
                failure: wasConnecting ? .unreachable : .closed)
        }
        // One batch, so that one upstream cannot hold the loop; what is left makes the socket ready again.
        let count = unsafe host_receive_many(
            channel.fd, space, Self.largestMessage, &lengths, UInt32(Self.batch), nil)
        // libuv stops a handle at an error; the error has been taken off by the call.
        if status < 0 { channel.poll?.start(.readable) }
        if count < 0, count != -EAGAIN, count != -EINTR {
            return Failed(upstream: channel.upstream, transport: .udp, channel: number, failure: .unreachable)
        }
        for i in 0..<max(0, Int(count)) {
            let bytes = unsafe RawSpan(
                _unsafeStart: space + i * Self.largestMessage, byteCount: Int(lengths[i]))
            message(channel.upstream, .udp, bytes)
        }
        return nil
    }
}
