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
// Each socket is a channel with a number of its own that is never used again: the forwarder accepts an answer only by the
// channel its query took.

/// One socket or connection to an upstream.
private struct Channel {
    var upstream: Int
    var fd: Int32
    var poll: Poll?
    var stream: DNSStream?
    var uses = 0
}

@safe
final class DNSUpstreams {
    /// What came by a channel.
    enum Event {
        case message(upstream: Int, transport: Forwarder.Transport, channel: UInt32, bytes: [UInt8])
        case failed(upstream: Int, transport: Forwarder.Transport, channel: UInt32, Forwarder.Failure)
    }

    private static let usesPerSocket = 64
    private static let socketsKept = 32

    private let loop: EventLoop
    private let context: UnsafeMutableRawPointer
    private let callback: PollCallback
    private var channels: [UInt32: Channel] = [:]
    /// UDP channels, oldest first.
    private var sockets: [UInt32] = []
    private var next: UInt32 = 1
    private var targets: [ResolverConfiguration.Upstream] = []
    private var buffer = [UInt8](repeating: 0, count: 65_536)

    init(loop: EventLoop, context: UnsafeMutableRawPointer, callback: PollCallback) {
        self.loop = loop
        unsafe self.context = context
        unsafe self.callback = callback
    }

    /// Forgets all channels and goes to these upstreams from now on.
    func configure(_ upstreams: [ResolverConfiguration.Upstream]) {
        closeAll()
        targets = upstreams
    }

    func closeAll() {
        for channel in channels.keys { close(channel) }
    }

    /// Sends a query. The channel it took, or nil when the upstream cannot be reached.
    func send(_ bytes: [UInt8], to upstream: Int, transport: Forwarder.Transport, now: Int64) -> UInt32? {
        guard targets.indices.contains(upstream) else { return nil }
        switch transport {
        case .udp:
            guard let channel = socket(for: upstream), let fd = channels[channel]?.fd else { return nil }
            channels[channel]?.uses += 1
            var count = unsafe host_send(fd, bytes, bytes.count)
            // An ICMP error about an earlier query: the first call only reports it.
            if count == -Int(ECONNREFUSED) { count = unsafe host_send(fd, bytes, bytes.count) }
            return count == bytes.count ? channel : nil
        case .tcp:
            guard let channel = connection(to: upstream, now: now) else { return nil }
            guard channels[channel]?.stream?.send(bytes, now: now) == true else {
                close(channel)
                return nil
            }
            return channel
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

    private func socket(for upstream: Int) -> UInt32? {
        if let last = sockets.last(where: { channels[$0]?.upstream == upstream }),
            let channel = channels[last], channel.uses < Self.usesPerSocket
        {
            return last
        }
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
        channels[number] = Channel(upstream: upstream, fd: fd, poll: poll)
        sockets.append(number)
        if sockets.count > Self.socketsKept { close(sockets[0]) }
        return number
    }

    private func connection(to upstream: Int, now: Int64) -> UInt32? {
        if let open = channels.first(where: { $0.value.upstream == upstream && $0.value.stream != nil }) {
            return open.key
        }
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
        channels[number] = Channel(upstream: upstream, fd: fd, stream: stream)
        return number
    }

    private func close(_ number: UInt32) {
        guard let channel = channels.removeValue(forKey: number) else { return }
        sockets.removeAll { $0 == number }
        if let stream = channel.stream {
            stream.close()
        } else {
            channel.poll?.close()
            Glibc.close(channel.fd)
        }
    }

    /// A channel is ready: what came by it.
    func ready(_ number: UInt32, status: Int32, now: Int64) -> [Event] {
        guard let channel = channels[number] else { return [] }
        var events: [Event] = []
        if let stream = channel.stream {
            let wasConnecting = stream.isConnecting
            let alive = stream.ready(status: status, now: now) { bytes in
                events.append(.message(upstream: channel.upstream, transport: .tcp, channel: number, bytes: bytes))
            }
            if !alive || stream.hasEnded {
                close(number)
                events.append(
                    .failed(
                        upstream: channel.upstream, transport: .tcp, channel: number,
                        wasConnecting ? .unreachable : .closed))
            }
            return events
        }
        // Bounded, so that one upstream cannot hold the loop.
        for _ in 0..<64 {
            let count = unsafe host_receive(channel.fd, &buffer, buffer.count)
            if count >= 0 {
                events.append(
                    .message(
                        upstream: channel.upstream, transport: .udp, channel: number, bytes: Array(buffer[0..<count])))
            } else if count == -Int(EAGAIN) || count == -Int(EINTR) {
                break
            } else {
                events.append(.failed(upstream: channel.upstream, transport: .udp, channel: number, .unreachable))
                break
            }
        }
        // libuv stops a handle at an error; the error has been taken off by the read.
        if status < 0 { channel.poll?.start(.readable) }
        return events
    }
}
