import Wire

// What the sender makes of an ACK: which transmissions are lost, how fast to go on, whether a recovery was needless.
//
//                     RACK or three duplicates                 una >= recover
//          none ────────────────────────────────▶ fast ──────────────────────▶ none, cwnd = ssthresh
//           │  ╲ ECE                               │
//           │   ╲────▶ reduced ── una >= recover ──┼──▶ none
//           │ timeout                              │ timeout
//           └──────────────────▶ loss ◀────────────┘   una >= recover ──▶ none, cwnd as it has grown
//
//   detection   with SACK: RACK (RFC 8985 section 6): what left a reordering window before something that was delivered is
//               lost; a timer catches what no ACK does. Without: three duplicates, then each partial ACK (RFC 6582)
//   the tail    a probe after two round trips, instead of a timeout (RFC 8985 section 7)
//   pace        with SACK: proportional rate reduction (RFC 9937): what is sent follows what is delivered, towards ssthresh
//               without: RFC 6582's inflated window
//   undo        all that was sent again is reported as come twice (RFC 3708), or the ACK echoes a timestamp from before
//               the first retransmission (RFC 3522): the loss was none, window and threshold are put back (RFC 4015)

/// One ACK, as far as it concerns loss.
struct Evidence {
    var segment: Segment
    /// `snd.una` moved.
    var advances: Bool
    /// A duplicate in the sense of RFC 5681 section 2.
    var isDuplicate: Bool
    /// SACK blocks said something new.
    var reported: Bool
    /// What came twice (RFC 2883).
    var duplicate: SequenceRange?
    var delivery: Transmissions.Delivery
    /// Bytes in flight before it.
    var inFlight: Int
}

extension Connection {
    private var usesSack: Bool { flags.contains(.sackPermitted) }

    /// Judges an ACK for a flight.
    mutating func judge(_ evidence: Evidence, now: Instant, shared: inout TCPShared) {
        if evidence.advances { shared.flights[flight].dupAcks = 0 }
        updateRACK(evidence, now: now, shared: &shared)
        if shared.flights[flight].pathProbe > 0, snd.una >= shared.flights[flight].pathProbeEnd {
            pathProbeArrived(at: now, shared: &shared)
        }
        let recovery = shared.flights[flight].recovery
        // The usual case: all in order, nothing amiss.
        if recovery == .none, evidence.advances, shared.flights[flight].transmissions.sacked == 0,
            !shared.flights[flight].isProbing, evidence.duplicate == nil
        {
            growWindow(by: evidence.delivery.bytes, inFlight: evidence.inFlight, now: now, shared: &shared)
            armRetransmission(at: now, shared: &shared)
            return
        }

        judgeProbe(evidence, shared: &shared)
        if undoIfNeedless(evidence, shared: &shared) {
            armRetransmission(at: now, shared: &shared)
            return
        }
        let late = detectLoss(evidence, now: now, shared: &shared)
        goOn(evidence, now: now, shared: &shared)
        if let late {
            shared.flights[flight].timer = .reordering
            retransmitAt = now + Int64(late) * 1000
        } else if evidence.advances || shared.flights[flight].timer == .reordering {
            armRetransmission(at: now, shared: &shared)
        }
    }

    // MARK: Detection

    /// RFC 8985 section 6.2, steps 1 to 3.
    private mutating func updateRACK(_ evidence: Evidence, now: Instant, shared: inout TCPShared) {
        if evidence.delivery.reordered { flags.insert(.reorders) }
        guard let latest = evidence.delivery.latest else { return }
        let rtt = now.stamp &- latest.stamp
        if latest.resent {
            // The ACK may be the original's: then it came too soon, or echoes too old a timestamp. With a gap in front the echo is
            // always old (RFC 7323 section 4.3).
            if Int64(rtt) * 1000 < minRTT { return }
            if evidence.advances, !evidence.reported, let echo = evidence.segment.options.timestamps?.echoReply,
                Int32(bitPattern: echo &- shared.flights[flight].undoTimestamp) < 0
            {
                return
            }
        }
        shared.flights[flight].rackRTT = rtt
        let later = Int32(bitPattern: latest.stamp &- shared.flights[flight].rackStamp)
        if later > 0 || later == 0 && latest.end > shared.flights[flight].rackEnd || !shared.flights[flight].hasRACK {
            shared.flights[flight].hasRACK = true
            shared.flights[flight].rackStamp = latest.stamp
            shared.flights[flight].rackEnd = latest.end
        }
    }

    /// RFC 8985 section 6.2, step 4, in microseconds.
    @inline(__always)
    private func reorderingWindow(_ shared: borrowing TCPShared) -> UInt32 {
        if !flags.contains(.reorders), reorderingSteps == 0 {
            let recovering = shared.flights[flight].recovery == .fast || shared.flights[flight].recovery == .loss
            // DupThresh, in segments or in their bytes (RFC 6675 section 4, IsLost).
            if recovering || shared.flights[flight].dupAcks >= 3
                || shared.flights[flight].transmissions.sacked > 2 * snd.mss
            {
                return 0
            }
        }
        return UInt32(clamping: min(minRTT / 4 * Int64(reorderingSteps + 1), srtt) / 1000)
    }

    /// Marks what is lost. Microseconds until more may be.
    private mutating func detectLoss(_ evidence: Evidence, now: Instant, shared: inout TCPShared) -> UInt32? {
        if evidence.reported || evidence.isDuplicate, shared.flights[flight].dupAcks < 255 {
            shared.flights[flight].dupAcks += 1
        }
        var late: UInt32?
        if usesSack {
            guard evidence.reported || evidence.advances else { return nil }
            late = runRACK(at: now, shared: &shared)
        } else {
            switch shared.flights[flight].recovery {
            case .none, .reduced:
                // RFC 6582 section 3.2, step 2: not for what an earlier recovery has sent twice.
                if shared.flights[flight].dupAcks >= 3, snd.una > shared.flights[flight].recover {
                    let isProbe = shared.flights[flight].pathProbe > 0
                    shared.flights[flight].transmissions.loseFirst(
                        isProbe ? max(shared.flights[flight].pathProbe, snd.mss) : snd.mss)
                }
            case .fast where evidence.advances && evidence.segment.ack < shared.flights[flight].recover:
                // RFC 6582 section 3.2, step 3: a partial ACK means that the next hole is lost as well.
                shared.flights[flight].transmissions.loseFirst(snd.mss)
            case .fast, .loss: break
            }
        }
        return late
    }

    /// RFC 8985 section 6.2, step 5.
    private mutating func runRACK(at now: Instant, shared: inout TCPShared) -> UInt32? {
        guard shared.flights[flight].hasRACK else { return nil }
        let wait = shared.flights[flight].rackRTT &+ reorderingWindow(shared)
        return shared.flights[flight].transmissions.detectLoss(
            stamp: shared.flights[flight].rackStamp, end: shared.flights[flight].rackEnd, wait: wait, at: now.stamp)
    }

    /// RACK's timer: what was late is lost now.
    mutating func reorderingExpires(at now: Instant, shared: inout TCPShared) {
        let late = runRACK(at: now, shared: &shared)
        answerLoss(at: now, shared: &shared)
        if let late {
            retransmitAt = now + Int64(late) * 1000
        } else {
            shared.flights[flight].timer = .retransmission
            retransmitAt = now + rto
        }
    }

    // MARK: Recovery

    private mutating func goOn(_ evidence: Evidence, now: Instant, shared: inout TCPShared) {
        let una = snd.una
        if shared.flights[flight].recovery != .none, evidence.advances, una >= shared.flights[flight].recover {
            endRecovery(&shared)
        }
        let goesOn = shared.flights[flight].recovery == .fast
        answerLoss(at: now, shared: &shared)
        switch shared.flights[flight].recovery {
        case .none, .loss:
            // After a timeout: slow start again while the lost bytes are sent again (RFC 5681 section 3.1).
            if evidence.advances || usesSack && shared.flights[flight].recovery == .loss {
                growWindow(by: evidence.delivery.bytes, inFlight: evidence.inFlight, now: now, shared: &shared)
            }
        case .reduced: break
        case .fast where usesSack: reduceInProportion(evidence, shared: &shared)
        case .fast:
            // RFC 6582 section 3.2, steps 2 and 3: each duplicate means that a segment has left; a partial ACK deflates.
            if evidence.advances {
                cwnd = max(snd.mss, cwnd - evidence.delivery.bytes + snd.mss)
            } else if evidence.isDuplicate, goesOn {
                cwnd = min(cwnd + snd.mss, TCPLimits.sendLimit)
            }
        }
    }

    /// What is lost is sent again; unless it was only a probe of the path, more slowly.
    private mutating func answerLoss(at now: Instant, shared: inout TCPShared) {
        guard shared.flights[flight].transmissions.lost > 0 else { return }
        if pathProbeIsLost(at: now, shared: &shared) {
            shared.flights[flight].lostProbeEnd = shared.flights[flight].pathProbeEnd
            shared.flights[flight].dupAcks = 0
        }
        // Pieces of a lost probe that are not sent again yet are no news.
        if shared.flights[flight].recovery == .none, snd.una < shared.flights[flight].lostProbeEnd,
            let lost = shared.flights[flight].transmissions.firstLost, lost.left < shared.flights[flight].lostProbeEnd
        {
            return
        }
        beginFastRecovery(at: now, shared: &shared)
    }

    private mutating func beginFastRecovery(at now: Instant, shared: inout TCPShared) {
        let recovery = shared.flights[flight].recovery
        guard recovery == .none || recovery == .reduced else { return }
        shared.counters.recoveries &+= 1
        rememberForUndo(at: now, shared: &shared)
        // A reduction for ECE in this round trip was the reduction (RFC 3168 section 6.1.2).
        if recovery == .none { reduceThreshold(&shared) }
        let inFlight = shared.flights[flight].transmissions.pipe + shared.flights[flight].transmissions.lost
        shared.flights[flight].recovery = .fast
        shared.flights[flight].recover = snd.nxt
        shared.flights[flight].recoveryFlightSize = max(inFlight, snd.mss)
        shared.flights[flight].prrDelivered = 0
        shared.flights[flight].prrOut = 0
        // RFC 6582 section 3.2, step 2: three segments have left the network.
        if !usesSack { cwnd = ssthresh + 3 * snd.mss }
        // RFC 8985 section 6.2, step 4: the window goes back to a quarter after sixteen recoveries without a D-SACK.
        if reorderingPersists > 0 {
            reorderingPersists -= 1
            if reorderingPersists == 0 { reorderingSteps = 0 }
        }
    }

    /// RFC 9937 section 6: on each ACK in fast recovery.
    private mutating func reduceInProportion(_ evidence: Evidence, shared: inout TCPShared) {
        let delivered = evidence.delivery.bytes
        guard delivered > 0 || shared.flights[flight].prrOut == 0 else { return }
        shared.flights[flight].prrDelivered += delivered
        let pipe = shared.flights[flight].transmissions.pipe
        let out = shared.flights[flight].prrOut
        let total = shared.flights[flight].prrDelivered
        var send: Int
        if pipe > ssthresh {
            let size = shared.flights[flight].recoveryFlightSize
            send = (total * ssthresh + size - 1) / size - out
        } else {
            send = max(total - out, delivered)
            // A safe ACK repairs without news of more loss: catch up faster (slow start's bound).
            if evidence.advances, shared.flights[flight].transmissions.lost == 0 { send += snd.mss }
            send = min(ssthresh - pipe, send)
        }
        // The first retransmission goes out whatever was delivered.
        if out == 0 { send = max(send, snd.mss) }
        cwnd = pipe + max(0, send)
    }

    private mutating func endRecovery(_ shared: inout TCPShared) {
        // RFC 9937 section 6, RFC 6582 section 3.2 step 3: the window halved; after a timeout it stays where it has grown to.
        if shared.flights[flight].recovery == .fast { cwnd = max(ssthresh, 2 * snd.mss) }
        shared.flights[flight].recovery = .none
        shared.flights[flight].dupAcks = 0
    }

    /// RFC 6298 (5.4) to (5.6), RFC 5681 section 3.1: a timeout.
    mutating func beginLossRecovery(at now: Instant, shared: inout TCPShared) {
        let recovery = shared.flights[flight].recovery
        if recovery != .loss {
            rememberForUndo(at: now, shared: &shared)
            // Once per loss event.
            if recovery != .fast { reduceThreshold(&shared) }
        }
        narrowAfterTimeout(at: now)
        // RFC 2018 section 8: the guest may have reneged, so after a second timeout its reports are not trusted.
        if expiries > 1 { shared.flights[flight].transmissions.forgetReports() }
        let wait = usesSack && expiries <= 1 ? shared.flights[flight].rackRTT &+ reorderingWindow(shared) : 0
        shared.flights[flight].transmissions.loseFirst(snd.mss)
        shared.flights[flight].transmissions.loseAll(sentBefore: now.stamp, wait: wait)
        shared.flights[flight].recovery = .loss
        shared.flights[flight].recover = snd.nxt
        shared.flights[flight].dupAcks = 0
        shared.flights[flight].isProbing = false
        cwnd = snd.mss
        if shared.flights[flight].pathProbe > 0 { _ = pathProbeIsLost(at: now, shared: &shared) }
        shared.flights[flight].pathProbe = 0
    }

    /// The guest reports congestion (RFC 3168 section 6.1.2): once a round trip the window shrinks as if by a loss.
    mutating func reduceForMark(_ shared: inout TCPShared) {
        guard shared.flights[flight].recovery == .none else { return }
        reduceThreshold(&shared)
        cwnd = ssthresh
        shared.flights[flight].recovery = .reduced
        shared.flights[flight].recover = snd.nxt
    }

    // MARK: Undo

    private func rememberForUndo(at now: Instant, shared: inout TCPShared) {
        shared.flights[flight].undoWindow = cwnd
        shared.flights[flight].undoThreshold = ssthresh
        shared.flights[flight].undoResent = 0
        shared.flights[flight].undoTimestamp = timestamp(at: now)
    }

    /// Takes a recovery back when this ACK shows that nothing was lost.
    private mutating func undoIfNeedless(_ evidence: Evidence, shared: inout TCPShared) -> Bool {
        guard shared.flights[flight].undoWindow > 0, shared.flights[flight].undoResent > 0 else { return false }
        let recovery = shared.flights[flight].recovery
        var needless = false
        if let duplicate = evidence.duplicate {
            shared.flights[flight].undoResent -= min(
                duplicate.right - duplicate.left, shared.flights[flight].undoResent)
            needless = shared.flights[flight].undoResent == 0
        }
        if !needless, evidence.advances, recovery == .fast || recovery == .loss, flags.contains(.timestamps),
            let echo = evidence.segment.options.timestamps?.echoReply, echo != 0
        {
            needless = Int32(bitPattern: echo &- shared.flights[flight].undoTimestamp) < 0
        }
        guard needless else { return false }
        shared.counters.undone &+= 1
        cwnd = max(cwnd, shared.flights[flight].undoWindow)
        ssthresh = max(ssthresh, shared.flights[flight].undoThreshold)
        maxCwnd = max(maxCwnd, cwnd)
        shared.flights[flight].undoWindow = 0
        if recovery == .fast || recovery == .loss {
            shared.flights[flight].recovery = .none
            shared.flights[flight].dupAcks = 0
            shared.flights[flight].transmissions.forgetLosses()
        }
        return true
    }

    // MARK: Tail loss probe

    /// Nothing is known to be lost and the last probe is answered (RFC 8985 section 7.2).
    @inline(__always)
    func mayProbe(_ shared: borrowing TCPShared) -> Bool {
        usesSack && flight != .max && shared.flights[flight].recovery == .none && !shared.flights[flight].isProbing
            && shared.flights[flight].transmissions.sacked == 0 && srtt > 0
    }

    /// RFC 8985 section 7.2, TLP_calc_PTO.
    @inline(__always)
    func probeTimeout(_ shared: borrowing TCPShared) -> Int64 {
        var timeout = max(2 * srtt, TCPLimits.minimumProbe)
        if shared.flights[flight].transmissions.pipe <= snd.mss { timeout += TCPLimits.latestAck }
        return min(timeout, rto)
    }

    /// RFC 8985 section 7.4.2, TLP_process_ack.
    private mutating func judgeProbe(_ evidence: Evidence, shared: inout TCPShared) {
        let end = shared.flights[flight].probeEnd
        guard shared.flights[flight].isProbing, evidence.segment.ack >= end else { return }
        if shared.flights[flight].probeWasResend {
            if evidence.segment.ack > end, evidence.duplicate?.right != end {
                // The probe has repaired a loss that nobody saw: react as to one.
                reduceThreshold(&shared)
                cwnd = ssthresh
            } else if evidence.duplicate?.right != end,
                !evidence.isDuplicate || evidence.segment.options.sackCount > 0
            {
                // It may have been the original: what comes next tells.
                return
            }
        }
        shared.flights[flight].isProbing = false
    }
}
