/// A query that an upstream has to answer.
struct InFlight {
    /// One message to one upstream.
    struct Try {
        var upstream: Int
        var id: UInt16
        var transport: Forwarder.Transport
        var sent: Int64
        /// Nil until the shell has said by which socket it went.
        var channel: UInt32?
    }

    var client: UInt64
    var transport: Forwarder.Transport
    /// As the client sent it.
    var message: Octets
    var query: Query
    var started: Int64

    /// Tries that are listened to, oldest first.
    var tries: [Try] = []
    var round = 0
    /// Bit n: upstream n was asked in this round.
    var asked = 0
    /// Bit n: upstream n is not to be asked again.
    var settled = 0
    /// No upstream is left to ask.
    var exhausted = false
    /// One try after a closed connection has been given.
    var forgaveClosing = false
    /// The first answer that said SERVFAIL or REFUSED.
    var failure: Octets?
    /// A zone transfer that has begun.
    var streaming = false

    init(client: UInt64, transport: Forwarder.Transport, message: Octets, query: Query, started: Int64) {
        self.client = client
        self.transport = transport
        self.message = message
        self.query = query
        self.started = started
    }

    /// Forgets every try and failure.
    mutating func startOver() {
        self = InFlight(client: client, transport: transport, message: message, query: query, started: started)
    }

    /// A zone transfer's answer is a sequence of messages (RFC 5936 section 2.2, RFC 1995).
    var isTransfer: Bool {
        transport == .tcp && (query.question.type == DNS.typeAXFR || query.question.type == DNS.typeIXFR)
    }
}

/// What is known of an upstream's health.
struct UpstreamState {
    var avoidUntil = Int64.min
    var lastHeard = Int64.min
    var failures = 0

    mutating func heard(_ now: Int64) {
        (avoidUntil, lastHeard, failures) = (.min, now, 0)
    }

    /// The upstream failed a message sent at `sent`. While it is avoided already, more failures add nothing.
    mutating func failed(sent: Int64, now: Int64) {
        if lastHeard > sent || now < avoidUntil { return }
        failures = min(failures + 1, 5)
        avoidUntil = now + min(5_000_000_000 << Int64(failures - 1), 60_000_000_000)
    }
}
