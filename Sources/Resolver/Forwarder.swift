// The DNS forwarder, without I/O: it is given queries, responses, failures and the time, and says what to send to whom.
//
// Purpose. The gateway's port 53. What the guest asks goes to the host's resolvers unchanged, and what they say comes back
// unchanged: every type, class, opcode-0 flag, EDNS option and rcode. Only the message id is replaced on the way out and
// restored on the way back.
//
//     query ──▶ nonsense? ──▶ our own name? ──▶ in the cache? ──▶ in flight: a try at one upstream, then the next
//                 │ FORMERR     │ answer          │ answer            │            ▲            │
//                 │ NOTIMP      ▼                 ▼                   ▼ .send      │ 1.5 s,     ▼
//                 └─────────▶ .answer to the client ◀────────── response ◀─────────┘ SERVFAIL, refused
//
// Life cycle of a query. `query` ends in an action at once, or makes an `InFlight` record. A record makes tries: each with a
// random id of its own at one upstream. Silence for `patience` makes the next try at the next upstream while all earlier
// ones are still listened to; SERVFAIL, REFUSED or an unreachable upstream does so at once. There are `attempts` rounds
// through the upstreams; one that has answered or refused is not asked again for the same query. Whatever comes first wins;
// when all have failed, the client gets the first failure an upstream sent, or SERVFAIL. Every query is finished by exactly
// one `.answer` with `isLast`, or one `.drop`.
//
// Transport. A query goes upstream over the transport it came by, so that truncation and the retry over TCP are between the
// client and the upstream (RFC 7766 section 5). `use-vc` asks over TCP always; what is then too long for a UDP client
// is cut and marked TC. Zone transfers over TCP are many messages: they flow until the upstream falls silent.
//
// Forged answers (RFC 5452). A response counts only from the upstream, the transport and the channel (the shell's socket, with a
// random source port) that the try went out by, with the try's id and the query's question. Ids are unique among all tries.
//
// Upstreams that fail are avoided for 5 seconds, doubling to 60: asked last, never not at all. A response ends that.
//
// Limits. `Limits.inFlight` records and `Limits.inFlightBytes` of queries: when full, the oldest is answered SERVFAIL and
// dropped. The cache has its own (AnswerCache). Identical queries are never merged.
//
// Timers. One deadline, `nextDeadline`; it may be early, never late. Time is nanoseconds of any monotonic clock.
//
// What it does not do: validate DNSSEC, iterate from the root, serve zones, append search domains.
package struct Forwarder: ~Copyable {
    package enum Transport: Sendable { case udp, tcp }

    package enum Action: Equatable, Sendable {
        /// Send `bytes` to the client. Only zone transfers have answers with `isLast` false.
        case answer(client: UInt64, bytes: [UInt8], isLast: Bool)
        /// Nothing (more) is to be said to this client.
        case drop(client: UInt64)
        /// Send `bytes` to the upstream, then tell `sent(id:via:)` which channel was taken.
        case send(upstream: Int, transport: Transport, bytes: [UInt8], id: UInt16)
    }

    /// Why an upstream could not be asked.
    package enum Failure: Sendable {
        /// ECONNREFUSED, EHOSTUNREACH and the like: this upstream is not there.
        case unreachable
        /// The connection was closed with queries in flight, as servers do with idle ones (RFC 7766 section 6.2.4): worth one more try.
        case closed
    }

    package struct Limits: Sendable {
        package var inFlight = 1024
        package var inFlightBytes = 4 << 20
        package var cacheEntries = 2048
        package var cacheBytes = 4 << 20
        package init() {}
    }

    package struct Statistics: Equatable, Sendable {
        package var queries = 0
        package var fromCache = 0
        package var local = 0
        package var malformed = 0
        package var forwarded = 0
        package var answered = 0
        /// Queries that no upstream answered.
        package var failed = 0
        /// Queries dropped because the table was full.
        package var overflowed = 0
        /// Responses that belong to no try: late, or forged.
        package var unexpected = 0
        package init() {}
    }

    /// Silence after which the next upstream is asked too.
    static let patience: Int64 = 1_500_000_000
    /// The longest a query lives, whatever resolv.conf says.
    static let longestLife: Int64 = 30_000_000_000

    /// The names answered here; the shell replaces `hosts` when the host's file has changed.
    package var names: LocalNames
    package private(set) var configuration: ResolverConfiguration
    package internal(set) var statistics = Statistics()

    let limits: Limits
    var generator: KeyedGenerator
    var cache: AnswerCache
    var upstreams: [UpstreamState]
    var rotation = 0

    /// Slab of queries in flight, with the next time each has to be looked at beside it (`Int64.max`: free).
    var slots: [InFlight] = []
    var due: [Int64] = []
    var freeSlots: [Int] = []
    var inFlightBytes = 0
    /// Lower bound of `due`.
    var earliest = Int64.max
    /// Slot of every try that is listened to.
    var slotByID: [UInt16: Int] = [:]

    private var actions: [Action] = []
    private var nextActionIndex = 0

    package init(
        configuration: ResolverConfiguration, names: LocalNames, generator: KeyedGenerator, limits: Limits = Limits()
    ) {
        self.configuration = configuration
        self.names = names
        self.generator = generator
        self.limits = limits
        cache = AnswerCache(maximumEntries: limits.cacheEntries, maximumBytes: limits.cacheBytes)
        upstreams = configuration.upstreams.map { _ in UpstreamState() }
    }

    // MARK: Feed

    /// A client's query. `client` comes back in the action that finishes it.
    package mutating func query(_ bytes: RawSpan, client: UInt64, transport: Transport, now: Int64) {
        statistics.queries += 1
        let message = Octets(copying: bytes)
        let query: Query
        switch message.count <= 65_535 ? Query.parse(message) : .ignore {
        case .ignore:
            statistics.malformed += 1
            return push(.drop(client: client))
        case .refuse(let rcode):
            statistics.malformed += 1
            let reply = Reply.bare(to: message, query: nil, rcode: rcode)
            return push(.answer(client: client, bytes: reply, isLast: true))
        case .query(let parsed):
            query = parsed
        }
        var ready: Octets?
        if let local = names.answer(query.question) {
            statistics.local += 1
            switch local {
            case .records(let records):
                ready = Reply.local(
                    to: message, query: query, rcode: DNS.noError, ttl: LocalNames.ttl, records: records)
            case .noSuchName:
                ready = Reply.local(to: message, query: query, rcode: DNS.nameError, ttl: 0, records: [])
            }
        } else if let cached = cache.answer(query, message, now: now) {
            statistics.fromCache += 1
            ready = cached
        } else if upstreams.isEmpty {
            statistics.failed += 1
            ready = Reply.bare(to: message, query: query, rcode: DNS.serverFailure)
        }
        if let ready {
            let reply = transport == .udp ? Reply.fitted(ready, to: message, query: query) : ready
            return push(.answer(client: client, bytes: reply, isLast: true))
        }
        forward(InFlight(client: client, transport: transport, message: message, query: query, started: now), now)
    }

    /// Says by which channel a `.send` went out: any number that names the socket, never reused for another socket while a try may
    /// be listened to. Until then a response to the try is not accepted.
    package mutating func sent(id: UInt16, via channel: UInt32) {
        guard let slot = slotByID[id], let index = slots[slot].tries.firstIndex(where: { $0.id == id }) else { return }
        slots[slot].tries[index].channel = channel
    }

    /// The client is gone: nothing more comes for any of its queries.
    package mutating func cancel(client: UInt64) {
        for slot in slots.indices where due[slot] != .max && slots[slot].client == client { release(slot) }
    }

    /// New upstreams or options: the cache is emptied, and what is in flight starts over with the new ones.
    package mutating func configure(_ new: ResolverConfiguration, now: Int64) {
        if new == configuration { return }
        configuration = new
        upstreams = new.upstreams.map { _ in UpstreamState() }
        cache.removeAll()
        slotByID = [:]
        for slot in slots.indices where due[slot] != .max {
            slots[slot].startOver()
            makeTry(slot, now: now)
        }
    }

    // MARK: Drain and ask

    /// What to do next, in order; nil when there is nothing left to do.
    package mutating func nextAction() -> Action? {
        if nextActionIndex == actions.count {
            if nextActionIndex > 0 {
                actions.removeAll(keepingCapacity: actions.capacity <= 4096)
                nextActionIndex = 0
            }
            return nil
        }
        nextActionIndex += 1
        return actions[nextActionIndex - 1]
    }

    /// When `advance` has to be called next. Nil: nothing is in flight.
    package var nextDeadline: Int64? { inFlight == 0 ? nil : earliest }

    /// Queries waiting for an upstream.
    package var inFlight: Int { slots.count - freeSlots.count }
    package var cacheCount: Int { cache.count }
    package var cacheBytes: Int { cache.bytes }

    mutating func push(_ action: Action) { actions.append(action) }
}
