import Wire

// The sender's side of an arriving ACK: RFC 9293 section 3.10.7.4 step five, and what it tells of round-trip time (RFC 6298)
// and loss. In order:
//   1. the SACK blocks (RFC 2018), a D-SACK among them (RFC 2883)
//   2. what is acknowledged leaves the queue and the list of transmissions
//   3. both together are a `Delivery`: RTT, RACK's clock, PRR's count
//   4. recovery: begin, go on, end, or take back (LossRecovery)
//   5. the window; the timer
//
// With nothing queued there is no flight, and an ACK of our SYN or FIN is all that can be news.

extension Connection {
    /// The ACK, window and SACK fields.
    mutating func acknowledgmentArrives(_ segment: Segment, now: Instant, shared: inout TCPShared) {
        // RFC 7323 section 2.2: the window in a SYN is never scaled.
        let window = Int(segment.window) << (segment.flags.contains(.syn) ? 0 : Int(snd.shift))
        let advances = segment.ack > snd.una
        if flight != .max {
            flightIsAcknowledged(segment, window, now: now, shared: &shared)
        } else {
            if segment.options.sackCount > 0 { _ = duplicateReported(segment, shared: &shared) }
            if advances { advance(to: segment.ack, now: now) }
        }
        updateWindow(segment, window, advances: advances, now: now)
        if flight != .max, snd.una >= queuedEnd { closeFlight(&shared) }
        if state == .finWait1, finAcknowledged { state = .finWait2 }
    }

    /// The guest has our FIN.
    @inline(__always)
    var finAcknowledged: Bool { flags.contains(.finSent) && snd.una == snd.nxt }

    /// Where the connection stands once an event is through: the RFC's TIME-WAIT or CLOSED when both FINs are
    /// exchanged and the host has everything that came before the guest's.
    @inline(__always)
    var fate: Fate {
        guard finAcknowledged, flags.contains(.hostShutdown) else { return .lives }
        return state == .lastAck ? .dead(reset: false) : .timeWait
    }

    private mutating func flightIsAcknowledged(
        _ segment: Segment, _ window: Int, now: Instant, shared: inout TCPShared
    ) {
        let before = shared.flights[flight].transmissions.pipe
        var delivery = Transmissions.Delivery(after: shared.flights[flight].transmissions.highest)
        var reported = false
        var duplicate: SequenceRange?
        if segment.options.sackCount > 0, flags.contains(.sackPermitted) {
            duplicate = duplicateReported(segment, shared: &shared)
            reported = recordBlocks(segment, &delivery, shared: &shared)
        }
        let advances = segment.ack > snd.una
        // RFC 5681 section 2.
        let isDuplicate =
            !advances && segment.ack == snd.una && segment.length == 0 && window == snd.wnd && snd.nxt != snd.una
            && !segment.flags.contains(.fin)
        if advances {
            shared.flights[flight].transmissions.acknowledge(segment.ack, &delivery)
            advance(to: segment.ack, now: now)
            releaseAcknowledged(&shared)
        }
        if let timed = delivery.timed {
            let rtt = now.stamp &- timed
            sample(Int64(rtt) * 1000)
            watchSlowStart(rtt, shared: &shared)
        }
        let evidence = Evidence(
            segment: segment, advances: advances, isDuplicate: isDuplicate, reported: reported, duplicate: duplicate,
            delivery: delivery, inFlight: before)
        judge(evidence, now: now, shared: &shared)
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
            retransmitAt = snd.nxt == snd.una ? .never : now + rto
        }
    }

    /// `snd.una` moves.
    private mutating func advance(to ack: SequenceNumber, now: Instant) {
        if snd.una == snd.iss, expiries == 0, retransmitAt != .never {
            // The round trip of our SYN or SYN-ACK is the first one measured: its timer was set when it left.
            sample(TCPLimits.initialRTO - (retransmitAt - now))
        }
        snd.una = ack
        expiries = 0
        flags.remove(.persisting)
        // RFC 6298 (5.2), (5.3); with a flight, `judge` decides.
        if flight == .max { retransmitAt = snd.nxt == snd.una ? .never : now + rto }
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
        // RFC 8985 section 5.3 wants the minimum of recent ones: since the last pause.
        if minRTT == 0 || rtt < minRTT { minRTT = rtt }
        rto = min(max(srtt + max(4 * rttvar, 1_000_000), TCPLimits.minimumRTO), TCPLimits.maximumRTO)
    }

    // MARK: SACK

    /// Notes SACK blocks. Whether they said anything new.
    private mutating func recordBlocks(
        _ segment: Segment, _ delivery: inout Transmissions.Delivery, shared: inout TCPShared
    ) -> Bool {
        var new = false
        for i in 0..<segment.options.sackCount {
            let block = segment.options.sackBlock(at: i)
            // Only what was sent and is not acknowledged, by this segment either.
            guard block.left < block.right, block.left > snd.una, block.right <= snd.nxt, block.left >= segment.ack
            else { continue }
            if shared.flights[flight].transmissions.report(block.left, block.right, &delivery) { new = true }
        }
        return new
    }

    /// RFC 2883 section 4: a first block that lies below the acknowledgment, or within the second block, reports what came
    /// twice. RFC 8985 section 6.2, step 4: the reordering window was too small, and grows once a round trip.
    private mutating func duplicateReported(_ segment: Segment, shared: inout TCPShared) -> SequenceRange? {
        let first = segment.options.sackBlock(at: 0)
        // Nothing that was never sent, nothing of another age (RFC 2883 section 5 leaves the check to the sender).
        guard first.left < first.right, first.right <= snd.nxt, snd.nxt - first.left <= 2 * TCPLimits.sendLimit else {
            return nil
        }
        var isDuplicate = first.right <= segment.ack
        if !isDuplicate, segment.options.sackCount > 1 {
            let second = segment.options.sackBlock(at: 1)
            isDuplicate = second.left <= first.left && first.right <= second.right
        }
        guard isDuplicate else { return nil }
        shared.counters.duplicatesReported &+= 1
        if flight == .max || snd.una >= shared.flights[flight].reorderingEnd {
            if flight != .max { shared.flights[flight].reorderingEnd = snd.nxt }
            if reorderingSteps < 16 { reorderingSteps += 1 }
            reorderingPersists = 16
        }
        return SequenceRange(left: first.left, right: first.right)
    }
}
