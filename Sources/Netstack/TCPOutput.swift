import Wire

// Sending to the guest. Every frame is composed in the shared scratch and handed to the link with its payload as a
// second piece, straight from a chunk; state moves only after the link took it, so a full link loses nothing.
//
// `output` is called once per batch of events for every connection that has something to say. In order:
//   1. resend what is lost, as far as the congestion window allows
//   2. send what is queued and new
//   3. read more from the host's socket, straight into a chunk, and send that: one read, one super-frame
//   4. send FIN when the host's stream has ended
//   5. if none of that carried an ACK that is due, send a bare one
//
// A super-frame holds up to 65,483 bytes in multiples of the guest's MSS; the link or the guest's kernel cuts it. Reading
// waits while the room is smaller than a useful burst and something is still in flight: its ACK will open more.

extension Connection {
    enum Progress {
        /// Nothing more to do until an event.
        case idle
        /// The burst is used up; there is more.
        case more
        /// The link is full.
        case blocked
        /// The host's socket failed; the guest was sent a RST.
        case failed
    }

    /// Payload of one super-frame: a multiple of the MSS below IP's 65,535 less headers with timestamps.
    @inline(__always)
    private var superSize: Int { max(1, 65_483 / snd.mss) * snd.mss }

    /// Bytes that may be sent now under both windows.
    @inline(__always)
    private func usable(_ shared: borrowing TCPShared) -> Int {
        min(snd.wnd - (snd.nxt - snd.una), min(cwnd, TCPLimits.sendLimit) - pipe(shared))
    }

    mutating func output<O: Outside & ~Copyable>(
        id: FlowID, now: Instant, shared: inout TCPShared, outside: inout O
    ) -> Progress {
        // Nothing is read from a client before the guest has answered.
        if state.isOpening { return .idle }
        var frames = 0
        if state != .connecting, state != .synReceived {
            guard resendLost(&frames, now: now, shared: &shared, outside: &outside) else { return .blocked }
            var more = true
            while more {
                guard frames < TCPLimits.burst else { return .more }
                switch sendNew(&frames, now: now, shared: &shared, outside: &outside) {
                case .blocked: return .blocked
                case .sent: continue
                case .nothing: break
                }
                switch fill(id: id, shared: &shared, outside: &outside) {
                case .filled: continue
                case .failed:
                    sendReset(seq: snd.nxt, ack: rcv.nxt, shared: &shared, outside: &outside)
                    return .failed
                case .nothing: more = false
                }
            }
            guard sendFin(now: now, shared: &shared, outside: &outside) else { return .blocked }
            persistIfClosed(at: now)
        }
        if flags.contains(.ackNow) || windowReopened(shared) {
            guard sendAck(now: now, shared: &shared, outside: &outside) else { return .blocked }
        }
        updateWatch(id: id, outside: &outside)
        return .idle
    }

    // MARK: Steps

    private mutating func resendLost<O: Outside & ~Copyable>(
        _ frames: inout Int, now: Instant, shared: inout TCPShared, outside: inout O
    ) -> Bool {
        guard flight != .max, shared.flights[flight].transmissions.lost > 0 else { return true }
        while frames < TCPLimits.burst, let range = shared.flights[flight].transmissions.firstLost {
            let room = min(cwnd, TCPLimits.sendLimit) - pipe(shared)
            // The first lost segment goes out whatever the window says (RFC 6675 section 5, step 4.3).
            guard room >= snd.mss || range.left == snd.una else { return true }
            let finAt = flags.contains(.finSent) ? snd.nxt + -1 : snd.nxt
            let count: Int
            if range.left == finAt {
                guard
                    sendSegment(flags: .finAck, seq: range.left, nil, now: now, shared: &shared, outside: &outside)
                else { return false }
                count = 1
            } else {
                var want = min(range.right - range.left, max(room, snd.mss))
                if shared.flights[flight].urgentEnd > range.left { want = min(want, snd.mss) }
                guard let piece = piece(at: range.left, length: min(want, finAt - range.left), in: shared) else {
                    return true
                }
                guard sendData(piece, seq: range.left, now: now, shared: &shared, outside: &outside) else {
                    return false
                }
                count = piece.count
            }
            noteResent(SequenceRange(left: range.left, right: range.left + count), now: now, shared: &shared)
            frames += 1
        }
        return true
    }

    private mutating func noteResent(_ range: SequenceRange, now: Instant, shared: inout TCPShared) {
        let count = range.right - range.left
        shared.counters.retransmitted &+= 1
        shared.flights[flight].transmissions.resend(range, at: now.stamp)
        shared.flights[flight].undoResent += count
        shared.flights[flight].prrOut += count
        lastSent = now.millisecondStamp
    }

    /// RFC 8985 section 7.3, TLP_send_probe: one segment of new text, or else the last one again.
    mutating func sendTailProbe<O: Outside & ~Copyable>(now: Instant, shared: inout TCPShared, outside: inout O) {
        shared.flights[flight].timer = .retransmission
        retransmitAt = now + rto
        guard mayProbe(shared) else { return }
        shared.counters.probes &+= 1
        shared.flights[flight].isProbing = true
        shared.flights[flight].probeWasResend = false
        let room = min(snd.mss, snd.wnd - (snd.nxt - snd.una))
        let waiting = flags.contains(.finSent) ? 0 : queuedEnd - snd.nxt
        if waiting > 0, room > 0, let piece = nextPiece(length: min(waiting, room), in: &shared) {
            if sendData(piece, seq: snd.nxt, now: now, shared: &shared, outside: &outside) {
                noteSent(piece.count, now: now, shared: &shared)
            }
        } else {
            resendTail(now: now, shared: &shared, outside: &outside)
        }
        shared.flights[flight].probeEnd = snd.nxt
    }

    private mutating func resendTail<O: Outside & ~Copyable>(now: Instant, shared: inout TCPShared, outside: inout O) {
        shared.flights[flight].probeWasResend = true
        if shared.flights[flight].undoWindow == 0 { shared.flights[flight].undoTimestamp = timestamp(at: now) }
        if flags.contains(.finSent) {
            guard sendSegment(flags: .finAck, seq: snd.nxt + -1, nil, now: now, shared: &shared, outside: &outside)
            else { return }
            return noteResent(
                SequenceRange(left: snd.nxt + -1, right: snd.nxt), now: now, shared: &shared)
        }
        let left = snd.nxt - snd.una > snd.mss ? snd.nxt - snd.mss : snd.una
        // A segment may lie in two chunks: the last piece is enough of a probe.
        var at = left
        while let piece = piece(at: at, length: snd.nxt - at, in: shared) {
            guard at + piece.count == snd.nxt else {
                at += piece.count
                continue
            }
            guard sendData(piece, seq: at, now: now, shared: &shared, outside: &outside) else { return }
            return noteResent(SequenceRange(left: at, right: snd.nxt), now: now, shared: &shared)
        }
    }

    /// Our FIN, alone in flight, again.
    mutating func sendFinAgain<O: Outside & ~Copyable>(now: Instant, shared: inout TCPShared, outside: inout O) {
        shared.counters.retransmitted &+= 1
        _ = sendSegment(flags: .finAck, seq: snd.una, nil, now: now, shared: &shared, outside: &outside)
    }

    private enum Sent { case sent, nothing, blocked }

    private mutating func sendNew<O: Outside & ~Copyable>(
        _ frames: inout Int, now: Instant, shared: inout TCPShared, outside: inout O
    ) -> Sent {
        let waiting = queuedEnd - snd.nxt
        guard waiting > 0, !flags.contains(.finSent) else { return .nothing }
        // RFC 5681 section 4.1.
        if snd.nxt == snd.una { restartAfterIdle(at: now) }
        let room = usable(shared)
        guard room > 0 else { return .nothing }
        let length = min(waiting, room)
        // Sender's silly window avoidance (RFC 9293 section 3.8.6.2.1): a runt only when it is all there is.
        if length < snd.mss, length < waiting, snd.nxt != snd.una, length * 2 < snd.maxWindow { return .nothing }
        if snd.mss < ceiling, let size = pathProbe(waiting: waiting, room: room, at: now, shared: shared),
            let piece = nextPiece(length: size, in: &shared), piece.count == size
        {
            guard sendData(piece, seq: snd.nxt, mss: size, now: now, shared: &shared, outside: &outside) else {
                return .blocked
            }
            noteSent(size, now: now, shared: &shared)
            shared.flights[flight].pathProbe = size
            shared.flights[flight].pathProbeEnd = snd.nxt
            frames += 1
            return .sent
        }
        // URG and CWR are of one segment: cut by the link they would be on each.
        let isWhole = flags.contains(.windowReduced) || shared.flights[flight].urgentEnd > snd.nxt
        guard let piece = nextPiece(length: isWhole ? min(length, snd.mss) : length, in: &shared) else {
            return .nothing
        }
        guard sendData(piece, seq: snd.nxt, now: now, shared: &shared, outside: &outside) else { return .blocked }
        noteSent(piece.count, now: now, shared: &shared)
        frames += 1
        return .sent
    }

    /// `count` bytes at `snd.nxt` left.
    private mutating func noteSent(_ count: Int, now: Instant, shared: inout TCPShared) {
        let wasIdle = snd.nxt == snd.una
        snd.nxt += count
        // What leaves within a sixteenth of a round trip is one transmission.
        shared.flights[flight].transmissions.append(
            to: snd.nxt, at: now.stamp, grain: UInt32(clamping: srtt / 16_000))
        shared.flights[flight].prrOut += count
        lastSent = now.millisecondStamp
        // RFC 6298 (5.1); the probe's timer starts again with every text (RFC 8985 section 7.2).
        if wasIdle || retransmitAt == .never || shared.flights[flight].timer == .probe {
            armRetransmission(at: now, shared: &shared)
        }
    }

    private enum Filled { case filled, nothing, failed }

    /// Reads from the host's socket, into a chunk, or into several while it is in bulk.
    private mutating func fill<O: Outside & ~Copyable>(
        id: FlowID, shared: inout TCPShared, outside: inout O
    ) -> Filled {
        guard flags.contains(.hostReadable), !flags.contains(.hostEnded), queuedEnd == snd.nxt else { return .nothing }
        let room = usable(shared)
        let inFlight = snd.nxt - snd.una
        let burst = min(superSize, max(snd.mss, min(cwnd, snd.maxWindow) / 4))
        guard room > 0, inFlight == 0 || room >= burst && inFlight < shared.share else { return .nothing }

        guard openFlight(&shared) else {
            shared.counters.starved &+= 1
            flags.insert(.starved)
            return .nothing
        }
        let tail = shared.flights[flight].sendTail
        let tailFill = tail == ChunkPool.none ? 0 : shared.pool[fill: tail]
        let chunk: UInt32
        if tail != ChunkPool.none, tailFill + min(room, snd.mss) <= superSize {
            chunk = tail
        } else {
            guard let fresh = shared.pool.take() else {
                shared.counters.starved &+= 1
                flags.insert(.starved)
                if tail == ChunkPool.none { closeFlight(&shared) }
                return .nothing
            }
            chunk = fresh
        }
        let at = chunk == tail ? tailFill : 0
        if flags.contains(.hostUrgent) {
            switch outside.receiveUrgent(id) {
            case .here(let byte):
                var space = shared.pool.space(chunk, at..<at + 1)
                space.store(u8: byte, at: 0)
                append(chunk, at + 1, shared: &shared)
                queuedEnd += 1
                shared.flights[flight].urgentEnd = queuedEnd
                flags.remove(.hostUrgent)
                return .filled
            case .ahead: break
            case .none: flags.remove(.hostUrgent)
            }
        }
        let size = superSize
        let length = min(room, size - at)
        var chunks = InlineArray<4, UInt32>(repeating: chunk)
        var count = 1
        if flags.contains(.hostFlows), at == 0 {
            let most = min(ChunkSpaces.most, room / size, (shared.share - inFlight) / ChunkPool.chunkSize)
            while count < most, let fresh = shared.pool.take() {
                chunks[count] = fresh
                count += 1
            }
        }
        var spaces = shared.pool.spaces(chunks, count: count, offset: at, firstLength: length, length: size)
        let whole = spaces.byteCount
        let result = outside.receive(id, into: &spaces)
        var left = 0
        if case .done(let given) = result { left = min(given, whole) }
        let got = left
        let used = min(left, length)
        if used > 0 {
            append(chunk, at + used, shared: &shared)
            queuedEnd += used
            left -= used
        } else {
            if chunk != tail { shared.pool.give(chunk) }
            if tail == ChunkPool.none { closeFlight(&shared) }
        }
        for index in 1..<max(1, count) {
            let used = min(left, size)
            guard used > 0 else {
                shared.pool.give(chunks[index])
                continue
            }
            append(chunks[index], used, shared: &shared)
            queuedEnd += used
            left -= used
        }
        switch result {
        case .done(0):
            flags.insert(.hostEnded)
            flags.remove(.hostReadable)
        case .done:
            if got == whole {
                flags.insert(.hostFlows)
            } else {
                flags.remove(.hostFlows)
                // A short read has emptied the socket, so the next one would only say EAGAIN; readiness is level-triggered and tells
                // of what comes, the end included. A read stops at an urgent byte, too.
                if !flags.contains(.hostUrgent) { flags.remove(.hostReadable) }
            }
            return .filled
        case .wouldBlock: flags.remove(.hostReadable)
        case .failed: return .failed
        }
        return .nothing
    }

    private mutating func sendFin<O: Outside & ~Copyable>(
        now: Instant, shared: inout TCPShared, outside: inout O
    ) -> Bool {
        guard flags.contains(.hostEnded), !flags.contains(.finSent), queuedEnd == snd.nxt else { return true }
        guard sendSegment(flags: .finAck, seq: snd.nxt, nil, now: now, shared: &shared, outside: &outside) else {
            return false
        }
        flags.insert(.finSent)
        snd.nxt += 1
        if flight != .max { shared.flights[flight].transmissions.append(to: snd.nxt, at: now.stamp, grain: 0) }
        // RFC 9293 section 3.10.4, CLOSE.
        state = state == .closeWait ? .lastAck : .finWait1
        armRetransmission(at: now, shared: &shared)
        return true
    }

    /// The window is closed (or too small to use) and nothing is in flight whose ACK would tell: probe.
    private mutating func persistIfClosed(at now: Instant) {
        guard snd.nxt == snd.una, !flags.contains(.persisting), !flags.contains(.finSent) else { return }
        let waits = queuedEnd != snd.nxt || flags.contains(.hostReadable) && !flags.contains(.starved)
        guard waits, snd.wnd < snd.mss else { return }
        flags.insert(.persisting)
        expiries = 0
        retransmitAt = now + rto
    }

    /// RFC 9293 section 3.8.6.2.2: tell of a window that has opened, when the guest may be waiting for that: it has less
    /// room than one of its segments (Linux then waits 200 ms and probes) or than half a super-frame.
    @inline(__always)
    private func windowReopened(_ shared: borrowing TCPShared) -> Bool {
        guard state == .established || state == .finWait1 || state == .finWait2, !flags.contains(.guestEnded) else {
            return false
        }
        let segment = shared.mtu - key.headersLength
        // A guest with room to go on learns of more with the next ACK.
        guard receiveWindow < max(segment, ChunkPool.chunkSize / 2) else { return false }
        // What the field can say, and nothing before the guest's first byte: it cannot have used what it was granted.
        guard rcv.nxt - rcv.irs > 1 else { return false }
        let edge =
            rcv.nxt + min(shared.window(held: heldBytes(in: shared), wanted: wantedWindow), 65_535 << Int(rcv.shift))
        return edge - rcv.edge >= (receiveWindow < segment ? segment : 2 * ChunkPool.chunkSize)
    }

    private mutating func updateWatch<O: Outside & ~Copyable>(id: FlowID, outside: inout O) {
        // Nothing to read for until the window opens when the socket is known to be readable.
        let read = !flags.contains(.hostReadable) && !flags.contains(.hostEnded)
        let write = flags.contains(.hostFull)
        // Readiness is level-triggered: an urgent byte that is known of would wake us until it is read.
        let urgent = !flags.contains(.hostUrgent) && !flags.contains(.hostEnded)
        guard
            read != flags.contains(.watchesRead) || write != flags.contains(.watchesWrite)
                || urgent != flags.contains(.watchesUrgent)
        else { return }
        if urgent { flags.insert(.watchesUrgent) } else { flags.remove(.watchesUrgent) }
        if read { flags.insert(.watchesRead) } else { flags.remove(.watchesRead) }
        if write { flags.insert(.watchesWrite) } else { flags.remove(.watchesWrite) }
        outside.watch(id, read: read, write: write, urgent: urgent)
    }
}
