import Wire

// RFC 9293 section 3.10.7.4 from the ACK on, for a segment that `admit` let in: the ACK moves the sending half, the
// text goes to the host's socket, the FIN ends the guest's half.
//
// Where the text goes:
//   in order, nothing held      straight from the frame to the host's socket; what it does not take is held
//   in order, something held    behind the held bytes; the socket is full anyway
//   early                       held, and reported by SACK (RFC 2018)
// What can be neither sent nor held is not acknowledged: the guest sends it again, and is told when (RefusedText).

extension Connection {
    /// What became of the connection in a call.
    enum Fate: Equatable {
        case lives
        /// Gone; `reset` aborts the host's socket.
        case dead(reset: Bool)
        /// Both halves have ended and the quiet time begins (RFC 9293 section 3.6.1).
        case timeWait
    }

    /// Processes a segment addressed to this connection.
    mutating func segmentArrives<O: Outside & ~Copyable>(
        _ segment: Segment, _ payload: RawSpan, id: FlowID, now: Instant, shared: inout TCPShared, outside: inout O
    ) -> Fate {
        switch admit(segment) {
        case .discard:
            return .lives
        case .acknowledge:
            sendAck(duplicate: repeated(segment), now: now, shared: &shared, outside: &outside)
            return .lives
        case .challenge:
            if shared.mayChallenge(at: now) { sendAck(now: now, shared: &shared, outside: &outside) }
            return .lives
        case .repeatSynAck:
            // A guest that gives up on ECN sends a plain SYN (RFC 3168 section 6.1.1.1).
            if !segment.isECNSetup { flags.remove(.ecn) }
            sendSynAck(now: now, shared: &shared, outside: &outside)
            return .lives
        case .reset:
            sendReset(seq: segment.ack, ack: nil, shared: &shared, outside: &outside)
            return .lives
        case .aborted:
            shared.counters.resetsReceived &+= 1
            return .dead(reset: true)
        case .process:
            break
        }

        restartKeepAlive(at: now)
        updateTimestamp(segment)
        if state == .synReceived {
            state = .established
            snd.wl1 = segment.seq
            snd.wl2 = segment.ack
            cwnd = initialWindow
        }
        acknowledgmentArrives(segment, now: now, shared: &shared)
        if flags.contains(.ecn) { markArrives(segment, shared: &shared) }
        if segment.flags.contains(.urg) { urgentArrives(segment) }
        return textArrives(segment, payload, id: id, now: now, shared: &shared, outside: &outside) ?? fate
    }

    /// RFC 3168 section 6.1: ECE says that what we sent met congestion; CE that what the guest sent did, which every ACK
    /// echoes until its CWR.
    private mutating func markArrives(_ segment: Segment, shared: inout TCPShared) {
        if segment.flags.contains(.ece), flight != .max { reduceForMark(&shared) }
        if segment.flags.contains(.cwr) { flags.remove(.echoesMark) }
        if segment.isMarked, segment.length > 0 {
            shared.counters.marked &+= 1
            flags.formUnion([.echoesMark, .ackNow])
        }
    }

    // MARK: Sixth, the URG bit

    /// The pointer counts to the byte after the urgent one (RFC 9293 section 3.8.5, RFC 6093 section 2.1; Linux without tcp_stdurg). Only
    /// the newest urgent byte is one; what was urgent before it stays in the stream as ordinary text, as on Linux.
    private mutating func urgentArrives(_ segment: Segment) {
        guard acceptsText, segment.urgentPointer > 0 else { return }
        let at = segment.seq + Int(segment.urgentPointer) - 1
        // Not what was delivered, not what is older than what is known.
        guard at >= rcv.nxt, !flags.contains(.guestUrgent) || at > urgentAt else { return }
        urgentAt = at
        flags.insert(.guestUrgent)
    }

    /// Gives text at `sequence` to the host's socket, the urgent byte as out-of-band data.
    private mutating func give<O: Outside & ~Copyable>(
        _ text: RawSpan, at sequence: SequenceNumber, id: FlowID, outside: inout O
    ) -> HostResult {
        guard flags.contains(.guestUrgent) else { return outside.send(id, text) }
        let before = urgentAt - sequence
        guard before >= 0 else {
            flags.remove(.guestUrgent)
            return outside.send(id, text)
        }
        guard before < text.byteCount else { return outside.send(id, text) }
        var sent = 0
        if before > 0 {
            let result = outside.send(id, text.extracting(0..<before))
            guard case .done(let count) = result, count >= before else { return result }
            sent = before
        }
        switch outside.sendUrgent(id, text.u8(at: before)) {
        case .done: sent += 1
        case .wouldBlock: return sent > 0 ? .done(sent) : .wouldBlock
        case .failed(let error): return .failed(error)
        }
        flags.remove(.guestUrgent)
        guard sent < text.byteCount else { return .done(sent) }
        switch outside.send(id, text.extracting(sent..<text.byteCount)) {
        case .done(let count): return .done(sent + count)
        case .wouldBlock: return .done(sent)
        case .failed(let error): return .failed(error)
        }
    }

    /// RFC 7323 section 4.3: TS.Recent follows the segment that spans the last ACK we sent.
    mutating func updateTimestamp(_ segment: Segment) {
        guard flags.contains(.timestamps), let value = segment.options.timestamps?.value else { return }
        if segment.seq <= rcv.acked, Int32(bitPattern: value &- rcv.tsRecent) >= 0 { rcv.tsRecent = value }
    }

    /// The text of a segment that lies below `rcv.nxt`: it came twice, and a D-SACK says so (RFC 2883 section 4.1). Nothing for numbers of
    /// another age.
    private func repeated(_ segment: Segment) -> SequenceRange? {
        guard flags.contains(.sackPermitted), segment.length > 0, segment.seq < rcv.nxt,
            rcv.nxt - segment.seq <= 2 * TCPLimits.receiveWindow
        else { return nil }
        let end = segment.seq + segment.length
        return SequenceRange(left: segment.seq, right: end < rcv.nxt ? end : rcv.nxt)
    }

    // MARK: Seventh, the segment text

    @inline(__always)
    private var acceptsText: Bool {
        switch state {
        case .established, .finWait1, .finWait2: return !flags.contains(.guestEnded)
        case .connecting, .resolving, .synSent, .synReceived, .closing, .closeWait, .lastAck: return false
        }
    }

    mutating func textArrives<O: Outside & ~Copyable>(
        _ segment: Segment, _ payload: RawSpan, id: FlowID, now: Instant, shared: inout TCPShared, outside: inout O
    ) -> Fate? {
        guard acceptsText, segment.span > 0 else { return nil }
        let duplicate = segment.seq < rcv.nxt ? repeated(segment) : nil
        defer {
            // What came twice wants an answer at once (RFC 5681 section 4.2), and only a bare ACK has room for the report.
            if let duplicate { sendAck(duplicate: duplicate, now: now, shared: &shared, outside: &outside) }
        }
        // Trim to the window: old bytes in front, bytes beyond the edge behind.
        let next = rcv.nxt + withheld(in: shared)
        let skip = max(0, next - segment.seq)
        let sequence = segment.seq + skip
        let room = rcv.edge - sequence
        var end = payload.byteCount
        var fin = segment.flags.contains(.fin)
        if end - skip > room {
            end = skip + max(0, room)
            fin = false
        }
        let text = payload.extracting(min(skip, end)..<end)

        if sequence != next {
            return earlyTextArrives(text, at: sequence, now: now, shared: &shared, outside: &outside)
        }

        if text.byteCount > 0 {
            let taken: Int
            switch deliver(text, at: next, id: id, shared: &shared, outside: &outside) {
            case .success(let count): taken = count
            case .failure: return .dead(reset: false)
            }
            if taken < text.byteCount { fin = false }
            let before = rcv.nxt
            rcv.nxt = next + taken
            if hold != .max {
                if fin {
                    shared.holds[hold].withheld = 0
                } else {
                    withhold(from: before, isRefused: taken < text.byteCount, shared: &shared)
                }
            }
            absorbEarly(shared: &shared)
            growReceiveWindow(segment, at: now)
            scheduleAck(bytes: taken, now: now)
            if hold != .max, let fate = drainHold(id: id, shared: &shared, outside: &outside) { return fate }
        } else if next != rcv.nxt {
            // The guest's timer has sent what we have: that we are here is all it may know.
            flags.insert(.ackNow)
        }

        // Eighth, the FIN bit. Early data beyond a FIN cannot exist; a FIN before held early data is taken in order only.
        if fin, segment.seq + segment.length == rcv.nxt + withheld(in: shared) {
            acknowledgeWithheld(&shared)
            guestEnds(id: id, shared: &shared, outside: &outside)
        }
        return nil
    }

    private enum Delivery {
        case success(Int)
        case failure(HostError)
    }

    /// Gives text at `sequence`, which is in order, to the host, or holds what it does not take. The count is what was taken.
    private mutating func deliver<O: Outside & ~Copyable>(
        _ text: RawSpan, at sequence: SequenceNumber, id: FlowID, shared: inout TCPShared, outside: inout O
    ) -> Delivery {
        var sent = 0
        let held = hold == .max ? 0 : sequence - shared.holds[hold].delivered
        if !flags.contains(.hostFull), held == 0 {
            switch give(text, at: sequence, id: id, outside: &outside) {
            case .done(let count): sent = min(count, text.byteCount)
            case .wouldBlock: break
            case .failed(let error):
                sendReset(seq: snd.nxt, ack: rcv.nxt, shared: &shared, outside: &outside)
                return .failure(error)
            }
            if hold != .max { shared.holds[hold].deliver(sent, to: &shared.pool) }
            if sent == text.byteCount { return .success(sent) }
            flags.insert(.hostFull)
        }
        // Whatever was offered once: with many hosts that stop reading the pool is short by then, and what is left of it is for those
        // that go on. The guest sends it again.
        let room = shared.room(held: held)
        let rest = text.extracting(sent..<min(text.byteCount, sent + room))
        guard rest.byteCount > 0 else { return .success(sent) }
        guard openHold(at: sequence + sent, shared: &shared) else { return .success(sent) }
        return .success(sent + shared.holds[hold].store(rest, at: sequence + sent, in: &shared.pool))
    }

    /// Holds text behind a gap and says so at once (RFC 5681 section 4.2).
    private mutating func earlyTextArrives<O: Outside & ~Copyable>(
        _ text: RawSpan, at sequence: SequenceNumber, now: Instant, shared: inout TCPShared, outside: inout O
    ) -> Fate? {
        shared.counters.outOfOrder &+= 1
        var duplicate: SequenceRange?
        if text.byteCount > 0, shared.pool.free * 8 >= shared.pool.capacity, openHold(at: rcv.nxt, shared: &shared) {
            let stored = shared.holds[hold].store(text, at: sequence, in: &shared.pool)
            if stored > 0 {
                let isNew = shared.holds[hold].early.add(sequence, sequence + stored)
                // RFC 2883 section 4.1.2: within what is held already; the block that contains it follows.
                if !isNew { duplicate = SequenceRange(left: sequence, right: sequence + stored) }
                shared.holds[hold].newest = sequence
            }
        }
        sendAck(duplicate: duplicate, now: now, shared: &shared, outside: &outside)
        return nil
    }

    /// After `rcv.nxt` moved: early ranges that now touch it are in order.
    mutating func absorbEarly(shared: inout TCPShared) {
        guard hold != .max, !shared.holds[hold].early.isEmpty else { return }
        var next = rcv.nxt
        for i in 0..<shared.holds[hold].early.count {
            let range = shared.holds[hold].early[i]
            if range.left > next { break }
            if range.right > next { next = range.right }
        }
        if next != rcv.nxt {
            rcv.nxt = next
            // The gap is filled: the sender wants to know at once (RFC 5681 section 4.2).
            flags.insert(.ackNow)
        }
        shared.holds[hold].early.acknowledge(next)
    }

    /// Makes sure that a hold buffer exists whose next undelivered byte is `next`.
    private mutating func openHold(at next: SequenceNumber, shared: inout TCPShared) -> Bool {
        if hold != .max { return true }
        guard let index = shared.holds.insert(HoldBuffer(from: next)) else { return false }
        hold = index
        return true
    }

    /// In-order bytes that the host has not been given.
    @inline(__always)
    func heldBytes(in shared: borrowing TCPShared) -> Int {
        hold == .max ? 0 : rcv.nxt - (flags.contains(.guestEnded) ? 1 : 0) - shared.holds[hold].delivered
    }

    /// Gives held bytes to the host while it takes them. A fate when the host's socket failed.
    mutating func drainHold<O: Outside & ~Copyable>(
        id: FlowID, shared: inout TCPShared, outside: inout O
    ) -> Fate? {
        guard hold != .max else { return nil }
        let end = flags.contains(.guestEnded) ? rcv.nxt + -1 : rcv.nxt
        while !flags.contains(.hostFull), let (chunk, range) = shared.holds[hold].piece(below: end) {
            let at = shared.holds[hold].delivered
            switch give(shared.pool.bytes(chunk, range), at: at, id: id, outside: &outside) {
            case .done(let count):
                shared.holds[hold].deliver(min(count, range.count), to: &shared.pool)
                if count < range.count { flags.insert(.hostFull) }
            case .wouldBlock:
                flags.insert(.hostFull)
            case .failed:
                sendReset(seq: snd.nxt, ack: rcv.nxt, shared: &shared, outside: &outside)
                return .dead(reset: false)
            }
        }
        if shared.holds[hold].delivered == end, shared.holds[hold].early.isEmpty, shared.holds[hold].withheld == 0 {
            releaseHold(&shared)
        }
        passEndToHost(id: id, shared: &shared, outside: &outside)
        return nil
    }

    mutating func releaseHold(_ shared: inout TCPShared) {
        guard hold != .max else { return }
        shared.holds[hold].release(to: &shared.pool)
        shared.holds.remove(hold)
        hold = .max
    }

    // MARK: Eighth, the FIN bit

    private mutating func guestEnds<O: Outside & ~Copyable>(
        id: FlowID, shared: inout TCPShared, outside: inout O
    ) {
        rcv.nxt += 1
        flags.formUnion([.guestEnded, .ackNow])
        switch state {
        case .established: state = .closeWait
        // Our FIN is not acknowledged yet, else `acknowledgmentArrives` had moved on to FIN-WAIT-2.
        case .finWait1: state = .closing
        // FIN-WAIT-2: both halves have ended, which `fate` sees.
        default: break
        }
        passEndToHost(id: id, shared: &shared, outside: &outside)
    }

    /// Once every byte before the guest's FIN is with the host, its half of the stream ends there too.
    mutating func passEndToHost<O: Outside & ~Copyable>(
        id: FlowID, shared: inout TCPShared, outside: inout O
    ) {
        guard flags.contains(.guestEnded), !flags.contains(.hostShutdown), heldBytes(in: shared) == 0 else { return }
        flags.insert(.hostShutdown)
        outside.shutdownWrite(id)
    }
}
