import Testing
import Wire

@testable import Resolver

/// A forwarder with scripted upstreams on virtual time. The channel of every try is 100 + its upstream.
final class Bench {
    struct Sent: Equatable {
        var upstream: Int
        var transport: Forwarder.Transport
        var bytes: [UInt8]
        var id: UInt16
    }

    var forwarder: Forwarder
    var now: Int64 = 1_000_000_000
    var answers: [(client: UInt64, bytes: [UInt8], isLast: Bool)] = []
    var dropped: [UInt64] = []
    var sent: [Sent] = []

    init(
        upstreams: Int = 1, options: String = "", hosts: String = "", key: (UInt64, UInt64) = (1, 2),
        limits: Forwarder.Limits = .init()
    ) {
        let text = (0..<upstreams).map { "nameserver 192.0.2.\($0 + 1)\n" }.joined() + options
        var configuration = ResolverConfiguration(parsing: Array(text.utf8))
        if upstreams == 0 { configuration.upstreams = [] }
        forwarder = Forwarder(
            configuration: configuration,
            names: LocalNames(
                gateway: [address("10.0.2.1"), address("fd00::1")], host: [address("10.0.2.254"), address("fd00::fe")],
                hosts: HostsTable(parsing: Array(hosts.utf8))),
            generator: KeyedGenerator(key: key), limits: limits)
    }

    func query(_ bytes: [UInt8], client: UInt64 = 1, _ transport: Forwarder.Transport = .udp) {
        unsafe forwarder.query(bytes.span.bytes, client: client, transport: transport, now: now)
        drain()
    }

    func respond(
        _ bytes: [UInt8], from upstream: Int = 0, _ transport: Forwarder.Transport = .udp, via channel: UInt32? = nil
    ) {
        unsafe forwarder.response(
            bytes.span.bytes, from: upstream, transport: transport, via: channel ?? 100 + UInt32(upstream), now: now)
        drain()
    }

    func fail(_ upstream: Int, _ failure: Forwarder.Failure = .unreachable, _ transport: Forwarder.Transport = .udp) {
        forwarder.upstreamFailed(upstream, transport: transport, via: 100 + UInt32(upstream), failure, now: now)
        drain()
    }

    /// Moves the clock to each deadline on the way.
    func advance(milliseconds: Int64) {
        let end = now + milliseconds * 1_000_000
        while let deadline = forwarder.nextDeadline, deadline <= end {
            now = max(now, deadline)
            forwarder.advance(to: now)
            drain()
        }
        now = end
    }

    func drain() {
        while let action = forwarder.nextAction() {
            switch action {
            case .answer(let client, let bytes, let isLast): answers.append((client, bytes, isLast))
            case .drop(let client): dropped.append(client)
            case .send(let upstream, let transport, let bytes, let id):
                sent.append(Sent(upstream: upstream, transport: transport, bytes: bytes, id: id))
                forwarder.sent(id: id, via: 100 + UInt32(upstream))
            }
        }
    }
}

func address(_ text: String) -> IPAddress { IPAddress(text) ?? IPAddress(v4: 0) }
