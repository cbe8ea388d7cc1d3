internal import Resolver
internal import Wire

// The DNS forwarder under arbitrary queries, and answers that are almost right. The input is a list of operations:
//
//     0   a query of these bytes                 3   an upstream fails
//     1   a query for one of a few names         4   time passes
//     2   an answer to one of the last queries   5   other upstreams
//         that were sent on, bent                6   a client goes away
//
// What must hold: every client hears one last word, and no more than one.

package enum FuzzResolver {
    private struct Sent {
        var upstream: Int
        var transport: Forwarder.Transport
        var bytes: [UInt8]
    }

    /// Runs an input. What was violated; empty is good.
    package static func run(_ bytes: [UInt8]) -> [String] {
        var input = FuzzInput(bytes)
        var limits = Forwarder.Limits()
        limits.inFlight = 8
        limits.cacheEntries = 4
        limits.cacheBytes = 2000
        var forwarder = Forwarder(
            configuration: configuration(2), names: LocalNames(gateway: [IPAddress(v4: 0x0a00_0201)], host: []),
            generator: KeyedGenerator(key: (1, 2)), limits: limits)
        var now: Int64 = 0
        var sent: [Sent] = []
        var waiting: Set<UInt64> = []
        var found: [String] = []
        var next: UInt64 = 0

        func drain() {
            while let action = forwarder.nextAction() {
                switch action {
                case .answer(let client, let bytes, let isLast):
                    if !waiting.contains(client) { found.append("client \(client) hears more than its last word") }
                    if isLast { waiting.remove(client) }
                    if bytes.count < 12 { found.append("an answer of \(bytes.count) bytes") }
                case .drop(let client):
                    if waiting.remove(client) == nil { found.append("client \(client) is dropped twice") }
                case .send(let upstream, let transport, let bytes, let id):
                    sent.append(Sent(upstream: upstream, transport: transport, bytes: bytes))
                    if sent.count > 8 { sent.removeFirst() }
                    forwarder.sent(id: id, via: UInt32(upstream))
                }
            }
        }
        while !input.isEmpty, found.isEmpty {
            let transport: Forwarder.Transport = input.byte() & 1 == 0 ? .udp : .tcp
            switch input.byte() % 7 {
            case 0, 1:
                var query: [UInt8]
                if input.byte() & 1 == 0 {
                    query = input.take(Int(input.byte()))
                } else {
                    query = [0, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]
                    query += DNSName(input.choice(["a.test", "B.test", "gateway.internal", "localhost"]))?.octets ?? []
                    query += [0, input.choice([1, 28, 6, 255, 252]), 0, 1]
                }
                next += 1
                waiting.insert(next)
                forwarder.query(query.raw, client: next, transport: transport, now: now)
            case 2:
                guard let last = sent.last else { break }
                var answer = last.bytes
                answer[2] |= 0x80
                answer[3] = input.byte()
                let records = input.take(Int(input.byte()))
                if !records.isEmpty { answer[7] = input.byte() & 3 }
                answer += records
                if input.byte() & 3 == 0 { answer[Int(input.byte()) % answer.count] = input.byte() }
                forwarder.response(
                    answer.raw, from: last.upstream, transport: last.transport, via: UInt32(last.upstream), now: now)
            case 3:
                let upstream = Int(input.byte() & 3)
                forwarder.upstreamFailed(
                    upstream, transport: transport, via: UInt32(upstream),
                    input.byte() & 1 == 0 ? .unreachable : .closed, now: now)
            case 4:
                now += input.choice([1_000_000, 1_500_000_000, 10_000_000_000, 400_000_000_000])
                forwarder.advance(to: now)
            case 5: forwarder.configure(configuration(Int(input.byte() & 3)), now: now)
            default:
                let client = next &- UInt64(input.byte() & 7)
                forwarder.cancel(client: client)
                drain()
                waiting.remove(client)
            }
            drain()
        }
        for _ in 0..<100 where forwarder.inFlight > 0 {
            now += 1_000_000_000
            forwarder.advance(to: now)
            drain()
        }
        if !waiting.isEmpty { found.append("\(waiting.count) clients wait for ever") }
        if forwarder.cacheBytes > limits.cacheBytes { found.append("the cache holds \(forwarder.cacheBytes) bytes") }
        return found
    }

    private static func configuration(_ count: Int) -> ResolverConfiguration {
        ResolverConfiguration(
            upstreams: (0..<count).map {
                ResolverConfiguration.Upstream(
                    endpoint: Endpoint(address: IPAddress(v4: 0xc000_0200 + UInt32($0)), port: 53))
            })
    }
}
