import Wire

// What a connection needs only while bytes wait for the guest or are on their way to it: the queue of chunks, when what left, and
// what is believed about loss. Most connections are idle most of the time, so this lies in a slab of its own (TCPShared.flights):
// taken with the first chunk, given back when the guest has acknowledged the last byte of the queue. At most as many as chunks
// exist. A FIN or SYN-ACK alone is in flight without one: its timer is all it needs.

/// The busy half of a connection's sending side.
struct Flight: BitwiseCopyable {
    /// What the sender believes about loss.
    enum Recovery: UInt8 {
        /// No loss known.
        case none
        /// Fast recovery until `recover` is acknowledged (RFC 6675, RFC 6582).
        case fast
        /// After a retransmission timeout, until `recover` is acknowledged.
        case loss
        /// The guest reported congestion by ECE: the window shrinks, nothing is sent again (RFC 3168 section 6.1.2).
        case reduced
    }

    /// What the retransmission timer stands for; never two at a time (RFC 8985 section 8).
    enum Timer: UInt8 {
        /// RFC 6298.
        case retransmission
        /// The tail loss probe (RFC 8985 section 7).
        case probe
        /// Whether what is late is lost (RFC 8985 section 6.2, step 5).
        case reordering
    }

    // Chunks with unacknowledged and unsent bytes: a list; `headSequence` is the first byte of `sendHead`.
    var sendHead = ChunkPool.none
    var sendTail = ChunkPool.none
    var headSequence = SequenceNumber(rawValue: 0)
    /// The chunk that holds `snd.nxt`, and the sequence number of its first byte.
    var cursor = ChunkPool.none
    var cursorSequence = SequenceNumber(rawValue: 0)

    /// One past the last urgent byte of the host (RFC 9293 section 3.8.5, SND.UP); in force while it is beyond `snd.una`.
    var urgentEnd = SequenceNumber(rawValue: 0)

    var recovery = Recovery.none
    var timer = Timer.retransmission
    var dupAcks: UInt8 = 0
    var recover = SequenceNumber(rawValue: 0)

    /// RACK (RFC 8985 section 5.3): the latest transmission of those delivered, and its round trip in microseconds.
    var rackStamp: UInt32 = 0
    var rackEnd = SequenceNumber(rawValue: 0)
    var rackRTT: UInt32 = 0
    var hasRACK = false
    /// Tail loss probe (RFC 8985 section 7.1): what it ended at, while its fate is unknown.
    var probeEnd = SequenceNumber(rawValue: 0)
    var isProbing = false
    var probeWasResend = false
    /// The payload of a segment that tries the path, and its end (PathProbes.swift); 0 when none is on its way.
    var pathProbe = 0
    var pathProbeEnd = SequenceNumber(rawValue: 0)
    /// One past the last probe that was lost: its bytes are sent again without a recovery.
    var lostProbeEnd = SequenceNumber(rawValue: 0)
    /// The reordering window has grown in this round trip (RFC 8985 section 6.2, step 4).
    var reorderingEnd = SequenceNumber(rawValue: 0)

    /// Proportional rate reduction (RFC 9937 section 6), bytes.
    var recoveryFlightSize = 0
    var prrDelivered = 0
    var prrOut = 0

    /// To take a recovery back that was needless (RFC 3708, RFC 4015).
    var undoWindow = 0
    var undoThreshold = 0
    /// Bytes sent again whose originals are not known to have arrived.
    var undoResent = 0
    /// The timestamp of the first retransmission (RFC 3522).
    var undoTimestamp: UInt32 = 0

    /// The first slow start (RFC 9406).
    var hyStart = HyStart(at: SequenceNumber(rawValue: 0))
    /// CUBIC's epoch (RFC 9438 section 4.1.2).
    var cubic = Cubic.Epoch()

    var transmissions = Transmissions()

    init() {}

    /// Begins anew at `sequence`, in place: the record is large.
    mutating func reset(at sequence: SequenceNumber) {
        sendHead = ChunkPool.none
        sendTail = ChunkPool.none
        headSequence = sequence
        cursor = ChunkPool.none
        urgentEnd = sequence
        recovery = .none
        timer = .retransmission
        dupAcks = 0
        recover = sequence + -1
        rackStamp = 0
        rackEnd = sequence
        rackRTT = 0
        hasRACK = false
        isProbing = false
        pathProbe = 0
        lostProbeEnd = sequence
        reorderingEnd = sequence
        undoWindow = 0
        undoResent = 0
        hyStart = HyStart(at: sequence)
        cubic = Cubic.Epoch()
        transmissions.reset(at: sequence)
    }
}

extension Connection {
    /// Bytes in flight as far as is known.
    @inline(__always)
    func pipe(_ shared: borrowing TCPShared) -> Int {
        flight == .max ? snd.nxt - snd.una : shared.flights[flight].transmissions.pipe
    }

    /// Makes sure that there is a flight. False when all are in use.
    mutating func openFlight(_ shared: inout TCPShared) -> Bool {
        if flight != .max { return true }
        guard let index = shared.flights.reserve({ Flight() }) else { return false }
        flight = index
        shared.flights[index].reset(at: snd.nxt)
        return true
    }

    /// The queue is empty: the record goes back.
    mutating func closeFlight(_ shared: inout TCPShared) {
        guard flight != .max else { return }
        shared.flights.remove(flight)
        flight = .max
    }
}
