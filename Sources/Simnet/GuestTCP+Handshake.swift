package import Netstack
import Wire

// How a GuestTCP comes to be open: its SYN or the peer's first, or both at once (RFC 9293 section 3.5), and what is agreed on.

extension GuestTCP {
    package mutating func connect(at now: Instant) {
        state = .synSent
        sendSyn(now)
    }

    /// Waits for the peer's SYN.
    package mutating func listen() { state = .listening }

    mutating func sendSyn(_ now: Instant) {
        var syn = TCPOptions(
            maximumSegmentSize: UInt16(options.mss), windowScale: options.windowScale, sackPermitted: options.sack)
        if options.timestamps { syn.timestamps = (value: clock(now), echoReply: 0) }
        emit(options.ecn ? [.syn, .ece, .cwr] : [.syn], number: 0, 0..<0, syn, now)
        nxt = 1
        highest = 1
        timerAt = now + (rto << Int64(min(backoff, 6)))
    }

    mutating func welcome(_ peerISS: UInt32, _ parsed: TCPOptions, _ window: Int, _ now: Instant) {
        synsReceived += 1
        switch options.welcome {
        case .ignores: return
        case .refuses:
            frame(
                .rstAck, SequenceNumber(rawValue: 0), SequenceNumber(rawValue: peerISS &+ 1), 0, TCPOptions(), 0..<0)
        case .accepts:
            take(peerISS, parsed, window)
            sendSynAck(now)
        }
    }

    mutating func sendSynAck(_ now: Instant) {
        state = .synReceived
        emit(
            .synAck, number: 0, 0..<0,
            TCPOptions(
                maximumSegmentSize: UInt16(options.mss), windowScale: usesScale ? options.windowScale : nil,
                sackPermitted: usesSack), now)
        nxt = 1
        highest = 1
        timerAt = now + (rto << Int64(min(backoff, 6)))
    }

    mutating func opened() {
        una = 1
        nxt = 1
        state = .open
        backoff = 0
        timerAt = .never
        cwnd = 10 * segmentSize
    }

    /// What the peer's SYN or SYN-ACK says.
    mutating func take(_ peerISS: UInt32, _ parsed: TCPOptions, _ window: Int) {
        answer = parsed
        irs = peerISS
        rcvNxt = 1
        peerWindow = window
        peerMSS = Int(parsed.maximumSegmentSize ?? 536)
        usesSack = options.sack && parsed.sackPermitted
        usesTimestamps = options.timestamps && parsed.timestamps != nil
        usesScale = options.windowScale != nil && parsed.windowScale != nil
        // Only an answer is bound by what we have said.
        let isAnswer = state == .synSent
        if isAnswer, !options.sack, parsed.sackPermitted { violations.append("SACK permitted without an offer") }
        if isAnswer, !options.timestamps, parsed.timestamps != nil { violations.append("timestamps without an offer") }
        if isAnswer, options.windowScale == nil, parsed.windowScale != nil {
            violations.append("a window scale without an offer")
        }
        peerShift = usesScale ? Int(parsed.windowScale ?? 0) : 0
        tsRecent = parsed.timestamps?.value ?? 0
    }
}
