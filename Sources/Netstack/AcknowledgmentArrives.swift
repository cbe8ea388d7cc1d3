import Wire

// The sender's side of an arriving ACK: RFC 9293 section 3.10.7.4 step five, round-trip time (RFC 6298), congestion
// window (RFC 5681), and loss recovery with SACK (RFC 6675) or without (RFC 6582).
//
// Bytes between `snd.una` and `snd.nxt` are in one of four conditions:
//
//      una ........... rxt ............ lossEdge .............. nxt
//       | sent again,   | lost, not yet   | in flight, or        |
//       | in flight     | sent again      | reported by SACK     |
//
// `pipe` counts what is in flight: unreported bytes outside [rxt, lossEdge). Outside recovery rxt = lossEdge = una. In
// fast recovery the loss edge is where three segments' worth of reported bytes begin (RFC 6675's IsLost); after a
// timeout everything sent before it is lost.

extension Connection {
    /// The ACK, window and SACK fields.
    mutating func acknowledgmentArrives(_ segment: Segment, now: Instant, shared: inout TCPShared) {
        // RFC 7323 section 2.2: the window in a SYN is never scaled.
        let window = Int(segment.window) << (segment.flags.contains(.syn) ? 0 : Int(snd.shift))
        let reported = flags.contains(.sackPermitted) && recordBlocks(segment)
        let isDuplicate =
            segment.ack == snd.una && segment.length == 0 && window == snd.wnd && snd.nxt != snd.una
            && !segment.flags.contains(.fin)

        let advances = segment.ack > snd.una
        if advances {
            advance(to: segment.ack, now: now, shared: &shared)
        } else if isDuplicate || reported {
            // RFC 6675 section 2: with SACK every segment with news counts, whatever its text and window.
            duplicateArrives(reported: reported)
        }
        updateWindow(segment, window, advances: advances, now: now)

        if state == .finWait1, finAcknowledged { state = .finWait2 }
    }

    /// The guest has our FIN.
    var finAcknowledged: Bool { flags.contains(.finSent) && snd.una == snd.nxt }

    /// Where the connection stands once an event is through: the RFC's TIME-WAIT or CLOSED when both FINs are
    /// exchanged and the host has everything that came before the guest's.
    var fate: Fate {
        guard finAcknowledged, flags.contains(.hostShutdown) else { return .lives }
        return state == .lastAck ? .dead(reset: false) : .timeWait
    }

    /// RFC 9293: the window is taken from the newest segment (SND.WL1, SND.WL2). One that acknowledges new data is newer
    /// whatever its sequence number: the old window counted from the new `snd.una` would reach beyond the guest's edge.
    private mutating func updateWindow(_ segment: Segment, _ window: Int, advances: Bool, now: Instant) {
        guard
            segment.ack >= snd.una,
            advances || snd.wl1 < segment.seq || snd.wl1 == segment.seq && snd.wl2 <= segment.ack
        else { return }
        let opened = window > snd.wnd
        snd.wnd = window
        if snd.wl1 < segment.seq { snd.wl1 = segment.seq }
        snd.wl2 = segment.ack
        if window > snd.maxWindow { snd.maxWindow = window }
        if opened, flags.contains(.persisting) {
            flags.remove(.persisting)
            expiries = 0
            armRetransmission(at: now)
        }
    }

    // MARK: New data acknowledged

    private mutating func advance(to ack: SequenceNumber, now: Instant, shared: inout TCPShared) {
        let acked = ack - snd.una
        if flags.contains(.timing), ack > timedSequence {
            flags.remove(.timing)
            sample(now - timedAt)
        }
        snd.una = ack
        expiries = 0
        dupAcks = 0
        flags.remove(.persisting)
        scoreboard.acknowledge(ack)
        if rxt < ack { rxt = ack }
        releaseAcknowledged(&shared)

        switch recovery {
        case .none:
            grow(by: acked)
        case .fast, .loss:
            if ack >= recover {
                let was = recovery
                recovery = .none
                // RFC 6675 section 5, step A; RFC 6582 section 3.2, step 3: fast recovery ends with the window halved. After
                // a timeout the window has grown from one segment and stays where it is.
                if was == .fast { cwnd = max(ssthresh, 2 * snd.mss) }
            } else if recovery == .loss {
                // Slow start again while the lost bytes are resent (RFC 5681 section 3.1).
                grow(by: acked)
            } else if !flags.contains(.sackPermitted) {
                // RFC 6582: a partial ACK means the next hole is lost as well; resend it and deflate.
                rxt = ack
                cwnd = max(snd.mss, cwnd - acked + snd.mss)
            }
        }
        // RFC 6298 (5.2), (5.3).
        armRetransmission(at: now)
    }

    /// RFC 5681 section 3.1, with byte counting (RFC 3465) that takes a super-frame's ACK as what it is.
    private mutating func grow(by acked: Int) {
        guard cwnd < TCPLimits.sendLimit else { return }
        if cwnd < ssthresh {
            cwnd += acked
        } else {
            cwnd += max(1, snd.mss * min(acked, cwnd) / cwnd)
        }
    }

    /// RFC 6298 section 2.
    private mutating func sample(_ rtt: Int64) {
        let rtt = max(rtt, 1000)
        if srtt == 0 {
            srtt = rtt
            rttvar = rtt / 2
        } else {
            rttvar += (abs(srtt - rtt) - rttvar) / 4
            srtt += (rtt - srtt) / 8
        }
        rto = min(max(srtt + max(4 * rttvar, 1_000_000), TCPLimits.minimumRTO), TCPLimits.maximumRTO)
    }

    // MARK: Loss

    /// Notes SACK blocks. Whether they said anything new.
    private mutating func recordBlocks(_ segment: Segment) -> Bool {
        var new = false
        for i in 0..<segment.options.sackCount {
            let block = segment.options.sackBlock(at: i)
            // Only what was sent and is not acknowledged; a D-SACK (RFC 2883) falls out here.
            guard block.left < block.right, block.left > snd.una, block.right <= snd.nxt else { continue }
            if scoreboard.add(block.left, block.right) { new = true }
        }
        return new
    }

    private mutating func duplicateArrives(reported: Bool) {
        if flags.contains(.sackPermitted) && !reported { return }
        if dupAcks < 255 { dupAcks += 1 }
        switch recovery {
        case .none:
            // RFC 6675 section 5, step 4; RFC 5681 section 3.2: three duplicates, or as much reported.
            guard dupAcks >= 3 || scoreboard.lossEdge(threshold: 3 * snd.mss) != nil else { return }
            recovery = .fast
            recover = snd.nxt
            rxt = snd.una
            ssthresh = max(pipe / 2, 2 * snd.mss)
            cwnd = ssthresh + (flags.contains(.sackPermitted) ? 0 : 3 * snd.mss)
            flags.remove(.timing)
        case .fast:
            // RFC 6582 step 2: each duplicate means that a segment has left the network.
            if !flags.contains(.sackPermitted) { cwnd = min(cwnd + snd.mss, TCPLimits.sendLimit) }
        case .loss:
            break
        }
    }

    /// Everything unreported below this is taken for lost.
    var lossEdge: SequenceNumber {
        switch recovery {
        case .none:
            return snd.una
        case .loss:
            return recover
        case .fast:
            if let edge = scoreboard.lossEdge(threshold: 3 * snd.mss) { return edge < recover ? edge : recover }
            // Entered by counting, or without SACK: the first segment is lost.
            let first = snd.una + snd.mss
            return first < recover ? first : recover
        }
    }

    /// Bytes in flight (RFC 6675 section 4, SetPipe).
    var pipe: Int {
        let edge = lossEdge
        let resent = scoreboard.missing(from: snd.una, to: rxt)
        let later = edge > rxt ? edge : rxt
        return (rxt > snd.una ? resent : 0) + scoreboard.missing(from: later, to: snd.nxt)
    }

    /// RFC 6928: ten segments, or what fits in about 14,600 bytes. A guest's link is memory, so the larger of both.
    mutating func openCongestionWindow() {
        cwnd = max(10 * snd.mss, 14_600)
    }
}
