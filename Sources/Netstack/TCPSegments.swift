import Wire

// One segment of a connection: which flags, options, window and marks it carries. What it says is settled once the link has taken it.
// When to send what is decided in TCPOutput.swift, TCPTimers.swift and LossRecovery.swift; the frame itself is composed in TCPEmit.swift.

extension Connection {
    @discardableResult
    mutating func sendAck<O: Outside & ~Copyable>(
        duplicate: SequenceRange? = nil, now: Instant, shared: inout TCPShared, outside: inout O
    ) -> Bool {
        sendSegment(
            flags: .ack, seq: snd.nxt, nil, duplicate: duplicate, now: now, shared: &shared, outside: &outside)
    }

    /// One window probe or keep-alive: a sequence number just left of the window, which must be answered (RFC 1122 4.2.3.6).
    mutating func sendProbe<O: Outside & ~Copyable>(now: Instant, shared: inout TCPShared, outside: inout O) {
        _ = sendSegment(flags: .ack, seq: snd.una + -1, nil, now: now, shared: &shared, outside: &outside)
    }

    @discardableResult
    mutating func sendSyn<O: Outside & ~Copyable>(now: Instant, shared: inout TCPShared, outside: inout O) -> Bool {
        sendSegment(flags: .syn, seq: snd.iss, nil, now: now, shared: &shared, outside: &outside)
    }

    @discardableResult
    mutating func sendSynAck<O: Outside & ~Copyable>(now: Instant, shared: inout TCPShared, outside: inout O) -> Bool {
        sendSegment(flags: .synAck, seq: snd.iss, nil, now: now, shared: &shared, outside: &outside)
    }

    mutating func sendData<O: Outside & ~Copyable>(
        _ piece: Piece, seq: SequenceNumber, mss: Int? = nil, now: Instant, shared: inout TCPShared,
        outside: inout O
    ) -> Bool {
        let last = seq + piece.count == queuedEnd
        return sendSegment(
            flags: last ? .pshAck : .ack, seq: seq, piece, mss: mss, now: now, shared: &shared, outside: &outside)
    }

    /// Composes and sends one segment; on success every promise that an ACK fulfils is settled.
    mutating func sendSegment<O: Outside & ~Copyable>(
        flags control: TCPFlags, seq: SequenceNumber, _ piece: Piece?, duplicate: SequenceRange? = nil,
        mss: Int? = nil, now: Instant, shared: inout TCPShared, outside: inout O
    ) -> Bool {
        let isSyn = control.contains(.syn)
        var options = TCPOptions()
        if flags.contains(.timestamps) {
            options.timestamps = (value: timestamp(at: now), echoReply: rcv.tsRecent)
        }
        if isSyn {
            options.maximumSegmentSize = UInt16(clamping: shared.mtu - key.headersLength)
            if rcv.shift > 0 { options.windowScale = rcv.shift }
            options.sackPermitted = flags.contains(.sackPermitted)
        } else if piece == nil, flags.contains(.sackPermitted) {
            // Not beside text: `snd.mss` leaves no room for it (RFC 6691 section 3), and what came early was reported at
            // once by an ACK of its own.
            if let duplicate { options.appendSack(left: duplicate.left, right: duplicate.right) }
            if hold != .max, !shared.holds[hold].early.isEmpty {
                reportEarly(shared.holds[hold].early, newest: shared.holds[hold].newest, in: &options)
            }
        }

        var control = control
        var urgentPointer: UInt16 = 0
        var ecn: UInt8 = 0
        if flight != .max, !isSyn {
            // RFC 9293 section 3.8.5: from the moment that it is known until it is acknowledged.
            let urgent = shared.flights[flight].urgentEnd - seq
            if urgent > 0 {
                control = TCPFlags(rawValue: control.rawValue | TCPFlags.urg.rawValue)
                urgentPointer = UInt16(clamping: urgent)
            }
        }
        if flags.contains(.ecn) { markSegment(&control, &ecn, isNew: piece != nil && seq == snd.nxt) }

        let edge = rcv.nxt + shared.window(held: heldBytes(in: shared), wanted: wantedWindow)
        let newEdge = edge > rcv.edge ? edge : rcv.edge
        // RFC 7323 section 2.2: the window in a SYN is never scaled.
        let shift = isSyn ? 0 : Int(rcv.shift)
        let window = UInt16(clamping: max(0, newEdge - rcv.nxt) >> shift)
        let sent = emitTCP(
            key: key, mac: guestMAC, seq: seq, ack: rcv.nxt, flags: control, window: window, options: options,
            mss: mss ?? snd.mss, piece: piece, urgentPointer: urgentPointer, ecn: ecn, shared: &shared,
            outside: &outside)
        guard sent else { return false }
        if control.contains(.cwr) { flags.remove(.windowReduced) }
        // What the guest can know of the edge is what survived the shift.
        let told = rcv.nxt + (Int(window) << shift)
        if told > rcv.edge { rcv.edge = told }
        rcv.acked = rcv.nxt
        flags.remove(.ackNow)
        ackAt = .never
        return true
    }

    /// RFC 3168 section 6.1: ECE echoes a mark, on a SYN-ACK it agrees to ECN; CWR and ECT(0) are for new text only.
    @inline(__always)
    private func markSegment(_ control: inout TCPFlags, _ ecn: inout UInt8, isNew: Bool) {
        if control.contains(.syn) ? control.contains(.ack) : flags.contains(.echoesMark) {
            control = TCPFlags(rawValue: control.rawValue | TCPFlags.ece.rawValue)
        }
        guard isNew else { return }
        ecn = 2
        if flags.contains(.windowReduced) {
            control = TCPFlags(rawValue: control.rawValue | TCPFlags.cwr.rawValue)
        }
    }

    /// RFC 2018 section 4: the newest block first; three fit beside timestamps, four without. A D-SACK stands before them (RFC 2883
    /// section 4).
    private func reportEarly(_ early: Scoreboard, newest: SequenceNumber, in options: inout TCPOptions) {
        let room = flags.contains(.timestamps) ? 3 : 4
        var first = -1
        for i in 0..<early.count where early[i].left <= newest && newest < early[i].right {
            first = i
            options.appendSack(left: early[i].left, right: early[i].right)
        }
        for i in 0..<early.count where i != first && options.sackCount < room {
            options.appendSack(left: early[i].left, right: early[i].right)
        }
    }

    /// RFC 7323 section 4.1: a clock of milliseconds, offset per connection so that it tells nothing of the host.
    @inline(__always)
    func timestamp(at now: Instant) -> UInt32 {
        now.millisecondStamp &+ stampOrigin
    }

    mutating func sendReset<O: Outside & ~Copyable>(
        seq: SequenceNumber, ack: SequenceNumber?, shared: inout TCPShared, outside: inout O
    ) {
        emitReset(key: key, mac: guestMAC, seq: seq, ack: ack, shared: &shared, outside: &outside)
    }
}
