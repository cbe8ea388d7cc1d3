import Wire

/// What all TCP connections of a core share: memory for payload, a place to compose headers, and the few settings that
/// the engine needs. Passed `inout` down the engine, so that a connection's methods touch nothing else.
struct TCPShared: ~Copyable {
    var pool: ChunkPool
    var holds: Slab<HoldBuffer>
    var flights: Slab<Flight>
    /// Ethernet (14), IPv6 (40), TCP (20), options (40).
    var scratch = InlineArray<128, UInt8>(repeating: 0)
    var counters = TCPCounters()
    let gatewayMAC: MACAddress
    let mtu: Int
    let congestion: CongestionControl
    let secret: UInt64
    /// Challenge ACKs left in the current second (RFC 5961 section 7).
    private var challenges = TCPLimits.challengeAcks
    private var challengeSecond: Int64 = 0
    private var identification: UInt16 = 0

    init(_ configuration: Configuration, secret: UInt64) {
        pool = ChunkPool(capacity: configuration.limits.chunks)
        holds = Slab(capacity: configuration.limits.chunks)
        flights = Slab(capacity: configuration.limits.chunks)
        gatewayMAC = configuration.gatewayMAC
        mtu = configuration.mtu
        congestion = configuration.congestion
        self.secret = secret
    }

    /// Whether a challenge ACK may go out now.
    mutating func mayChallenge(at now: Instant) -> Bool {
        let second = now.nanoseconds / 1_000_000_000
        if second != challengeSecond {
            challengeSecond = second
            challenges = TCPLimits.challengeAcks
        }
        guard challenges > 0 else { return false }
        challenges -= 1
        counters.challengeAcks &+= 1
        return true
    }

    mutating func nextIdentification() -> UInt16 {
        identification &+= 1
        return identification
    }
}

/// What the engine counts.
package struct TCPCounters: Sendable, Equatable {
    package var opened: UInt64 = 0
    package var refused: UInt64 = 0
    package var retransmitted: UInt64 = 0
    package var timeouts: UInt64 = 0
    package var recoveries: UInt64 = 0
    /// Recoveries taken back as needless.
    package var undone: UInt64 = 0
    /// D-SACKs from the guest.
    package var duplicatesReported: UInt64 = 0
    /// Tail loss probes.
    package var probes: UInt64 = 0
    package var outOfOrder: UInt64 = 0
    package var challengeAcks: UInt64 = 0
    /// Segments of the guest that a router had marked (CE).
    package var marked: UInt64 = 0
    package var resetsReceived: UInt64 = 0
    package var resetsSent: UInt64 = 0
    package var starved: UInt64 = 0
    /// TIME-WAITs that ended early for want of room.
    package var timeWaitsFull: UInt64 = 0
    /// Connections that the host had no socket for.
    package var exhausted: UInt64 = 0
    package init() {}
}
