import Wire

// The record of one TCP connection between the guest and us, and the states of RFC 9293 that it passes through.
//
// Mostly we are the passive side: the guest's SYN opens a host socket, and only when that is connected does our SYN-ACK
// go out. So LISTEN has no record, and `connecting` comes before SYN-RECEIVED. For a client of a forwarded port we are the
// active side, and `resolving` (whose station is the guest's address?) comes before SYN-SENT; see TCPActiveOpen.swift.
//
//     SYN -> connecting -> synReceived -> established -> finWait1 -> finWait2 -> (TIME-WAIT, a smaller record)
//     client -> resolving -> synSent --------/       \
//                                                     \                \-> closing -> (TIME-WAIT)
//                                                      \-> closeWait -> lastAck -> gone
//
// "Our" half is what the host's socket delivers: its end of stream becomes our FIN. The guest's FIN becomes a shutdown
// of the host's socket. The two halves end independently.
//
// A plain value without references: it lives in a slab and is reached by index. It holds only what an idle connection must
// remember; what sending needs besides is a `Flight`, what a full host socket needs is a `HoldBuffer`, and payload lies in chunks
// (ChunkPool). So fields are 32 bits wide where the value fits, behind wrappers that the code does not see.

/// One TCP connection. Field names are RFC 9293's (section 3.3.1) and RFC 7323's.
package struct Connection: BitwiseCopyable {
    package enum State: UInt8, Sendable, CaseIterable, BitwiseCopyable {
        case connecting, resolving, synSent, synReceived, established, finWait1, finWait2, closing, closeWait, lastAck
    }

    struct Flags: OptionSet, BitwiseCopyable {
        let rawValue: UInt32
        /// Negotiated (RFC 2018, RFC 7323).
        static let sackPermitted = Flags(rawValue: 1 << 0)
        static let timestamps = Flags(rawValue: 1 << 1)
        /// In the list of connections with something to send.
        static let queued = Flags(rawValue: 1 << 2)
        /// An ACK must go out at the end of this batch.
        static let ackNow = Flags(rawValue: 1 << 3)
        /// The host's socket may have bytes: the last read did not say EAGAIN.
        static let hostReadable = Flags(rawValue: 1 << 4)
        /// The host's socket gave the end of its stream.
        static let hostEnded = Flags(rawValue: 1 << 5)
        /// The host's socket said EAGAIN to a write; wait for writability.
        static let hostFull = Flags(rawValue: 1 << 6)
        /// The guest's FIN is in `rcv.nxt`.
        static let guestEnded = Flags(rawValue: 1 << 7)
        /// The guest's FIN was passed to the host's socket.
        static let hostShutdown = Flags(rawValue: 1 << 8)
        /// Our FIN occupies `snd.nxt - 1`.
        static let finSent = Flags(rawValue: 1 << 9)
        /// What `Outside.watch` was last told.
        static let watchesRead = Flags(rawValue: 1 << 10)
        static let watchesWrite = Flags(rawValue: 1 << 11)
        /// Segments were seen to arrive in another order than they left (RFC 8985 section 6.2, step 3).
        static let reorders = Flags(rawValue: 1 << 12)
        /// Waiting for a chunk of the pool.
        static let starved = Flags(rawValue: 1 << 13)
        /// The peer's window is closed and data waits: the persist timer runs (RFC 9293 section 3.8.6.1).
        static let persisting = Flags(rawValue: 1 << 14)
        /// The guest has sent a SYN and not yet acknowledged ours: counted under `Limits.handshakes`.
        static let halfOpen = Flags(rawValue: 1 << 15)
        /// ECN was agreed on (RFC 3168 section 6.1.1).
        static let ecn = Flags(rawValue: 1 << 16)
        /// A marked packet came: ECE on every ACK until the guest's CWR.
        static let echoesMark = Flags(rawValue: 1 << 17)
        /// Our window has shrunk: CWR on the next new text.
        static let windowReduced = Flags(rawValue: 1 << 18)
        /// `urgentAt` is a byte that the host has not been given.
        static let guestUrgent = Flags(rawValue: 1 << 19)
        /// The host's socket has an urgent byte in what it received.
        static let hostUrgent = Flags(rawValue: 1 << 20)
        static let watchesUrgent = Flags(rawValue: 1 << 21)
        /// A round trip of less than a millisecond was seen: the receive window stays.
        static let nextDoor = Flags(rawValue: 1 << 22)
        /// The last read filled all the room that it was given: more waits.
        static let hostFlows = Flags(rawValue: 1 << 23)
    }

    /// The sending half (RFC 9293 section 3.3.1).
    struct Send: BitwiseCopyable {
        var una = SequenceNumber(rawValue: 0)
        var nxt = SequenceNumber(rawValue: 0)
        /// Window the guest offers, in bytes, unscaled.
        @Word var wnd = 0
        var wl1 = SequenceNumber(rawValue: 0)
        var wl2 = SequenceNumber(rawValue: 0)
        var iss = SequenceNumber(rawValue: 0)
        /// Largest window the guest ever offered (RFC 5961 section 5.2).
        @Word var maxWindow = 0
        /// Payload bytes a segment may carry, options taken off.
        @Short var mss = 536
        /// Shift for the guest's window field (RFC 7323 section 2).
        var shift: UInt8 = 0
    }

    /// The receiving half.
    struct Receive: BitwiseCopyable {
        var nxt = SequenceNumber(rawValue: 0)
        var irs = SequenceNumber(rawValue: 0)
        /// Right edge of the window we advertised; never moves left.
        var edge = SequenceNumber(rawValue: 0)
        /// Where the last ACK we sent stood (RFC 7323's Last.ACK.sent).
        var acked = SequenceNumber(rawValue: 0)
        var tsRecent: UInt32 = 0
        /// Where the current measurement of what comes in a round trip began, and when, in milliseconds modulo 2^32.
        var markedAt: UInt32 = 0
        var mark = SequenceNumber(rawValue: 0)
        var shift: UInt8 = 0
        /// The window is `TCPLimits.receiveWindow` doubled so often (WindowGrowth.swift).
        var grade: UInt8 = 0
    }

    package let key: FlowKey
    // Bytes here, words behind them: the order keeps the record without gaps.
    package internal(set) var state: State = .connecting
    /// Consecutive expiries of the retransmission or persist timer.
    var expiries: UInt8 = 0
    /// RACK's reordering window in quarters of the smallest round trip, less one; and recoveries until it is reset (RFC 8985 section 6.2,
    /// step 4).
    var reorderingSteps: UInt8 = 0
    var reorderingPersists: UInt8 = 0
    /// The largest segment that guest and link take, and below, the smallest known to be too big for the path (PathProbes.swift).
    @Short var ceiling = 0
    var guestMAC: MACAddress
    var flags: Flags = []
    var snd = Send()
    var rcv = Receive()
    @Short var tooBig = 0

    // Round-trip time (RFC 6298), nanoseconds.
    @Microseconds var srtt: Int64 = 0
    @Microseconds var rttvar: Int64 = 0
    @Microseconds var rto: Int64 = TCPLimits.initialRTO
    @Microseconds var minRTT: Int64 = 0

    // Congestion (RFC 5681), bytes.
    @Word var cwnd = 0
    @Word var ssthresh = Int.max
    /// The window before the last reduction (RFC 9438 section 4.1.2, W_max).
    @Word var maxCwnd = 0
    /// Added to the timestamps' clock (RFC 7323 section 5.4).
    var stampOrigin: UInt32 = 0
    /// The guest's urgent byte.
    var urgentAt = SequenceNumber(rawValue: 0)
    /// When the path may be probed again, in milliseconds modulo 2^32.
    var probePathAt: UInt32 = 0
    /// When text last left, in milliseconds modulo 2^32 (RFC 5681 section 4.1).
    var lastSent: UInt32 = 0

    /// One past the last byte read from the host.
    var queuedEnd = SequenceNumber(rawValue: 0)
    /// Bytes for the guest that wait or are on their way: an index of `Flight`.
    var flight = UInt32.max
    /// Bytes from the guest that the host has not taken or that came early: an index of `HoldBuffer`.
    var hold = UInt32.max

    // Deadlines; the earliest one is in the timer heap.
    var retransmitAt = Instant.never
    var ackAt = Instant.never
    var keepAliveAt = Instant.never

    init(key: FlowKey, guestMAC: MACAddress) {
        self.key = key
        self.guestMAC = guestMAC
    }
}

/// A count of bytes in 32 bits; larger ones saturate.
@propertyWrapper
struct Word: BitwiseCopyable {
    private var stored: UInt32
    init(wrappedValue: Int) { stored = UInt32(clamping: wrappedValue) }
    var wrappedValue: Int {
        get { Int(stored) }
        set { stored = UInt32(clamping: newValue) }
    }
}

/// A count of bytes within a packet, in 16 bits.
@propertyWrapper
struct Short: BitwiseCopyable {
    private var stored: UInt16
    init(wrappedValue: Int) { stored = UInt16(clamping: wrappedValue) }
    var wrappedValue: Int {
        get { Int(stored) }
        set { stored = UInt16(clamping: newValue) }
    }
}

/// A duration in nanoseconds, kept in 32 bits of microseconds: up to 71 minutes, longer ones saturate.
@propertyWrapper
struct Microseconds: BitwiseCopyable {
    private var stored: UInt32
    init(wrappedValue: Int64) { stored = UInt32(clamping: wrappedValue / 1000) }
    var wrappedValue: Int64 {
        get { Int64(stored) * 1000 }
        set { stored = UInt32(clamping: newValue / 1000) }
    }
}

/// The constants of the engine, each with its source.
enum TCPLimits {
    /// Without use for so long, or twice as long, the pool's memory goes back.
    static let poolRest = Int64.seconds(5)
    /// RFC 6298 (2.1).
    static let initialRTO = Int64.seconds(1)
    /// Linux' TCP_RTO_MIN; RFC 6298 (2.4) says 1 s, which no deployed stack keeps.
    static let minimumRTO = Int64.milliseconds(200)
    /// The shortest tail loss probe: a guest that is busy for a moment must not be taken for lossy (Linux' TCP_TIMEOUT_MIN is of
    /// this order).
    static let minimumProbe = Int64.milliseconds(10)
    /// RFC 8985 section 7.2, WCDelAckT: what a lone segment's ACK may be late.
    static let latestAck = Int64.milliseconds(200)
    /// RFC 6298 (2.5) allows a maximum of at least 60 s.
    static let maximumRTO = Int64.seconds(60)
    /// Retransmissions of data before we give up, about 15 minutes (RFC 1122 4.2.3.5, R2; Linux tcp_retries2).
    static let retries: UInt8 = 15
    /// Retransmissions of our SYN, about a minute (RFC 1122 4.2.3.5 asks for three for an interactive peer; the guest is next door).
    static let synRetries: UInt8 = 5
    /// Retransmissions of our SYN-ACK (Linux tcp_synack_retries).
    static let synAckRetries: UInt8 = 5
    /// RFC 9293 section 3.8.6.3 allows 0.5 s; a short wait lets an answer carry the ACK.
    static let delayedAck = Int64.milliseconds(10)
    /// Bytes that are acknowledged at once, however few segments they are.
    static let promptAck = 16 << 10
    /// RFC 1122 4.2.3.6.
    static let keepAliveIdle = Int64.seconds(7200)
    static let keepAliveInterval = Int64.seconds(75)
    static let keepAliveProbes: UInt8 = 9
    /// Twice a maximum segment lifetime of 30 s.
    static let timeWait = Int64.seconds(60)
    /// Bytes we accept ahead of the host's socket at first. Most guests are microseconds away, and this fills their path; for one
    /// that is far the window grows (WindowGrowth.swift). The path beyond the host's socket is the host's affair.
    static let receiveWindow = 1 << 20
    /// What it grows to, and the cap of data in flight to one guest connection: 1 Gbit/s over 100 ms is 12.5 MB.
    static let largestWindow = 16 << 20
    /// Shift we announce (RFC 7323 section 2.2): 16 MiB less 256 bytes is 16 bits shifted by 8.
    static let windowShift: UInt8 = 8
    static let sendLimit = largestWindow
    /// Super-frames one connection may send before the next one's turn.
    static let burst = 16
    /// RFC 5961 section 7: challenge ACKs a second.
    static let challengeAcks = 1000
}
