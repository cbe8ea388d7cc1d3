package import Netstack
package import Wire

// A guest's TCP for the simulator, written apart from the core's engine and in another way: sequence numbers are
// absolute integers (SYN 0, first byte 1), streams are arrays, loss recovery is the plainest that works (SACK or
// NewReno for the first hole, go-back-N after a timeout). It checks as it receives: text beyond the window it offered and
// segments larger than its MSS are noted as violations of the core.
//
// GuestTCP+Handshake opens, +Sending and +Receiving are the two halves, +Frames writes what goes out; here is what they share, and
// who is called when something arrives or is due.
//
// It plays either side of one connection, or both sides' SYNs cross. RFC 9293, RFC 2018, RFC 7323.

/// One end of a TCP connection inside the guest.
package struct GuestTCP {
    package struct Options: Sendable {
        package var isV4 = true
        package var mss = 1460
        package var windowScale: UInt8? = 7
        package var sack = true
        /// Sends D-SACKs (RFC 2883).
        package var reportsDuplicates = true
        package var timestamps = true
        /// Offers ECN (RFC 3168); `echoesMark` says when it claims to have seen marks.
        package var ecn = false
        package var receiveBuffer = 256 * 1024
        /// Bytes that the application reads per `readInterval`; nil: everything at once; 0: nothing.
        package var readSize: Int?
        package var readInterval = Int64.milliseconds(1)
        package var iss: UInt32 = 1_000
        /// Segments in one super-frame.
        package var superSegments = 1
        package var sourcePort: UInt16 = 40_000
        package var remote = Endpoint(address: IPAddress(v4: 0xc633_6401), port: 80)
        /// How it meets a SYN while it listens.
        package var welcome = Welcome.accepts
        /// Closes its half when everything is sent.
        package var closes = true
        /// ... only after the peer's end.
        package var closesAfterPeer = false
        package init() {}
    }

    package enum State: Sendable { case idle, listening, synSent, synReceived, open, reset, failed }
    package enum Welcome: Sendable { case accepts, refuses, ignores }

    package let options: Options
    package internal(set) var state = State.idle
    package var outbox: [Frame] = []
    package internal(set) var violations: [String] = []
    /// What arrived in order.
    package internal(set) var received: [UInt8] = []
    package internal(set) var peerEnded = false
    /// Our FIN is acknowledged.
    package internal(set) var endAcknowledged = false
    package internal(set) var retransmissions = 0
    package private(set) var windowProbes = 0
    /// Segments that arrived, for tests that count.
    package private(set) var segmentsReceived = 0
    package private(set) var synAcksReceived = 0
    package private(set) var pureAcksReceived = 0
    package internal(set) var synsReceived = 0
    /// The options of the peer's SYN or SYN-ACK.
    package internal(set) var answer: TCPOptions?
    /// When false nothing is answered and no timer runs: the guest is gone.
    package var isAlive = true
    package var closes: Bool
    package var echoesMark = false

    let address: IPAddress
    let mac: MACAddress
    let gatewayMAC: MACAddress

    // Sending; absolute numbers.
    package internal(set) var stream: [UInt8]
    package internal(set) var una = 0
    package internal(set) var nxt = 0
    var highest = 0
    package internal(set) var peerWindow = 0
    var peerShift = 0
    var peerMSS = 536
    var cwnd = 0
    var ssthresh = Int.max
    var duplicates = 0
    var recover = 0
    var recovering = false
    var resendNext = 0
    var sacked: [Range<Int>] = []
    var rto = Int64.seconds(1)
    var srtt: Int64 = 0
    var rttvar: Int64 = 0
    var timed: (number: Int, at: Instant)?
    var timerAt = Instant.never
    var backoff = 0

    // Receiving; absolute numbers, 0 is the peer's SYN.
    var irs: UInt32 = 0
    package internal(set) var rcvNxt = 0
    var early: [(start: Int, bytes: [UInt8])] = []
    var newestEarly: Int?
    /// What came twice and was not reported yet (RFC 2883).
    var duplicate: Range<Int>?
    /// Text that came twice.
    package internal(set) var duplicateBytes = 0
    var peerFin: Int?
    var unread = 0
    var readAt = Instant.never
    /// Highest right edge ever offered.
    var offeredEdge = 0
    var ackAt = Instant.never
    var sinceAck = 0
    var tsRecent: UInt32 = 0
    var usesTimestamps = false
    var usesSack = false
    var usesScale = false

    package init(
        _ options: Options, stream: [UInt8], address: IPAddress, mac: MACAddress, gatewayMAC: MACAddress
    ) {
        self.options = options
        self.stream = stream
        self.address = address
        self.mac = mac
        self.gatewayMAC = gatewayMAC
        closes = options.closes
    }

    /// What this end acknowledges.
    package var peerNext: SequenceNumber {
        SequenceNumber(rawValue: irs &+ UInt32(truncatingIfNeeded: rcvNxt))
    }
    var dataEnd: Int { 1 + stream.count }
    var finNumber: Int? { closes && (!options.closesAfterPeer || peerEnded) ? dataEnd : nil }
    package var isFinished: Bool { endAcknowledged && peerEnded }
    var myWindow: Int { max(0, options.receiveBuffer - unread) }
    /// Payload of a full segment: the announced MSS is without options.
    var segmentSize: Int { min(peerMSS, options.mss) - (usesTimestamps ? 12 : 0) }

    package var next: Instant { isAlive ? min(timerAt, min(ackAt, readAt)) : .never }

    /// More for the peer.
    package mutating func write(_ bytes: [UInt8], at now: Instant, silently: Bool = false) {
        stream += bytes
        if !silently { pump(now) }
    }

    // MARK: Events

    package mutating func advance(to now: Instant) {
        guard isAlive else { return }
        if readAt <= now {
            readAt = .never
            let before = myWindow
            unread = max(0, unread - (options.readSize ?? unread))
            if unread > 0 { armReading(now) }
            // Tell of a window that reopened.
            if state == .open, before < segmentSize * 2, myWindow >= segmentSize * 2 { sendAck(now) }
        }
        if ackAt <= now { sendAck(now) }
        if timerAt <= now { timeout(now) }
        pump(now)
    }

    private mutating func timeout(_ now: Instant) {
        timerAt = .never
        backoff += 1
        if state == .synSent || state == .synReceived {
            if backoff > 6 {
                state = .failed
            } else if state == .synSent {
                sendSyn(now)
            } else {
                sendSynAck(now)
            }
            return
        }
        guard state == .open else { return }
        if nxt == una {
            guard waiting else { return }
            // A probe as Linux sends it: what a small window takes, or a number left of a closed one.
            windowProbes += 1
            let size = min(peerWindow, dataEnd - nxt, segmentSize)
            if size > 0 { return sendNew(size, now) }
            emit([.ack], number: una - 1, 0..<0, TCPOptions(), now)
            timerAt = now + min(rto << Int64(min(backoff, 8)), .seconds(60))
            return
        }
        ssthresh = max((nxt - una) / 2, 2 * segmentSize)
        cwnd = segmentSize
        nxt = una
        sacked = []
        recovering = false
        duplicates = 0
        timed = nil
        retransmissions += 1
        timerAt = now + min(rto << Int64(min(backoff, 8)), .seconds(60))
        sendFrom(una, limit: segmentSize, now)
        nxt = max(nxt, min(una + segmentSize, highest))
    }

    var waiting: Bool { nxt < dataEnd || finNumber == nxt }

    package mutating func receive(_ frame: Frame, at now: Instant) {
        guard isAlive, state != .idle, state != .reset, state != .failed else { return }
        let transport = options.isV4 ? 34 : 54
        let bytes = frame.bytes.raw
        guard let tcp = try? TCPView(bytes.extracting(transport..<bytes.byteCount)),
            tcp.destinationPort == options.sourcePort, tcp.sourcePort == options.remote.port
        else { return }
        segmentsReceived += 1
        let flags = tcp.flags
        let parsed = TCPOptions(parsing: tcp.options)
        if state == .synSent {
            if flags.contains(.rst) {
                if flags.contains(.ack), tcp.acknowledgment.rawValue == options.iss &+ 1 { state = .reset }
                return
            }
            if flags.contains(.syn), !flags.contains(.ack) {
                synsReceived += 1
                take(tcp.sequence.rawValue, parsed, Int(tcp.window))
                return sendSynAck(now)
            }
            guard flags.contains(.syn), flags.contains(.ack), tcp.acknowledgment.rawValue == options.iss &+ 1 else {
                return
            }
            synAcksReceived += 1
            take(tcp.sequence.rawValue, parsed, Int(tcp.window))
            opened()
            sendAck(now)
            return pump(now)
        }
        if state == .listening {
            guard flags.contains(.syn), !flags.contains(.ack), !flags.contains(.rst) else { return }
            return welcome(tcp.sequence.rawValue, parsed, Int(tcp.window), now)
        }
        if state == .synReceived {
            if flags.contains(.syn), !flags.contains(.ack) {
                synsReceived += 1
                return sendSynAck(now)
            }
            if flags.contains(.rst) {
                state = .reset
                timerAt = .never
                return
            }
            guard flags.contains(.ack), tcp.acknowledgment.rawValue == options.iss &+ 1 else { return }
            opened()
            // The window of a SYN-ACK, after two SYNs have crossed, is not scaled.
            if !flags.contains(.syn) { peerWindow = Int(tcp.window) << peerShift }
        }
        let number =
            rcvNxt + Int(Int32(bitPattern: tcp.sequence.rawValue &- (irs &+ UInt32(truncatingIfNeeded: rcvNxt))))
        if flags.contains(.rst) {
            if number == rcvNxt {
                state = .reset
                timerAt = .never
                ackAt = .never
            } else if number > rcvNxt, number <= offeredEdge {
                sendAck(now)
            }
            return
        }
        if flags.contains(.syn) {
            synAcksReceived += 1
            sendAck(now)
            return
        }
        guard flags.contains(.ack) else { return }
        if usesTimestamps {
            guard let stamp = parsed.timestamps else {
                violations.append("a segment without timestamps")
                return
            }
            if number <= rcvNxt, Int32(bitPattern: stamp.value &- tsRecent) >= 0 { tsRecent = stamp.value }
        }
        let length = tcp.payload.byteCount
        if frame.offload.segmentation == .none, 20 + tcp.options.byteCount + length > options.mss + 20 {
            violations.append(
                "a segment of \(length) bytes with \(tcp.options.byteCount) of options beyond an MSS of \(options.mss)")
        }
        if length > 0, number + length > offeredEdge {
            violations.append("text up to \(number + length) beyond the window's edge \(offeredEdge)")
        }
        let ack =
            una
            + Int(Int32(bitPattern: tcp.acknowledgment.rawValue &- (options.iss &+ UInt32(truncatingIfNeeded: una))))
        if ack > highest { violations.append("an ACK of \(ack), sent was \(highest)") }
        let window = Int(tcp.window) << peerShift
        acknowledged(ack, window, parsed, isPure: length == 0 && !flags.contains(.fin), now)
        if length == 0, !flags.contains(.fin) {
            pureAcksReceived += 1
            // A keep-alive or window probe.
            if number < rcvNxt { sendAck(now) }
        } else {
            text(tcp.payload.array, at: number, fin: flags.contains(.fin), now)
        }
        pump(now)
    }
}
