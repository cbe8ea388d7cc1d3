import Wire

// Three deadlines a connection, the earliest of which stands in the heap: retransmission (or SYN-ACK, window probe, tail
// loss probe, RACK's reordering timer: never two at a time), delayed ACK, keep-alive.

extension Connection {
    @inline(__always)
    var deadline: Instant { min(retransmitAt, ackAt, keepAliveAt) }

    /// RFC 6298 (5.1) to (5.3): runs while anything is unacknowledged. Where a tail loss probe may go first, its timer stands in.
    mutating func armRetransmission(at now: Instant, shared: inout TCPShared) {
        guard snd.nxt != snd.una else {
            retransmitAt = .never
            return
        }
        var wait = rto
        if flight != .max {
            shared.flights[flight].timer = .retransmission
            if mayProbe(shared) {
                let probe = probeTimeout(shared)
                if probe < wait {
                    wait = probe
                    shared.flights[flight].timer = .probe
                }
            }
        }
        retransmitAt = now + wait
    }

    /// The expiry from which on the pace of repetition does not change.
    private static var slowest: UInt8 { 9 }

    /// RFC 6298 (5.5): doubled by each expiry. For what has no round trip to learn from: SYN-ACKs and probes.
    private var backedOff: Int64 { min(rto << Int64(min(expiries, Self.slowest)), TCPLimits.maximumRTO) }

    /// RFC 9293 section 3.8.6.3: at least every second full segment at once; less waits for company.
    mutating func scheduleAck(bytes: Int, now: Instant) {
        // With segments of 64 KiB a second one may be long in coming: the sender's window holds only a few.
        if rcv.nxt - rcv.acked >= min(2 * snd.mss, TCPLimits.promptAck) || bytes == 0 {
            flags.insert(.ackNow)
        } else if ackAt == .never {
            ackAt = now + TCPLimits.delayedAck
        }
    }

    mutating func restartKeepAlive(at now: Instant) {
        keepAliveAt = now + TCPLimits.keepAliveIdle
        if snd.wnd == 0 {
            // The guest answers but its window stays closed: that may last for ever (RFC 1122 4.2.2.17), at the slowest pace.
            expiries = min(expiries, Self.slowest)
        } else if snd.nxt == snd.una {
            expiries = 0
        }
    }

    /// Runs what is due. The caller calls `output` afterwards.
    mutating func advance<O: Outside & ~Copyable>(to now: Instant, shared: inout TCPShared, outside: inout O) -> Fate {
        if ackAt <= now {
            ackAt = .never
            flags.insert(.ackNow)
        }
        if retransmitAt <= now, let fate = retransmissionExpires(at: now, shared: &shared, outside: &outside) {
            return fate
        }
        if keepAliveAt <= now, let fate = keepAliveExpires(at: now, shared: &shared, outside: &outside) { return fate }
        return .lives
    }

    private mutating func retransmissionExpires<O: Outside & ~Copyable>(
        at now: Instant, shared: inout TCPShared, outside: inout O
    ) -> Fate? {
        if flight != .max, snd.nxt != snd.una {
            switch shared.flights[flight].timer {
            case .retransmission: break
            case .probe:
                sendTailProbe(now: now, shared: &shared, outside: &outside)
                return nil
            case .reordering:
                reorderingExpires(at: now, shared: &shared)
                return nil
            }
        }
        if expiries < 255 { expiries += 1 }
        if state == .synSent {
            guard expiries <= TCPLimits.synRetries else { return .dead(reset: true) }
            sendSyn(now: now, shared: &shared, outside: &outside)
            retransmitAt = now + backedOff
            return nil
        }
        if state == .synReceived {
            guard expiries <= TCPLimits.synAckRetries else { return .dead(reset: true) }
            sendSynAck(now: now, shared: &shared, outside: &outside)
            retransmitAt = now + backedOff
            return nil
        }
        if flags.contains(.persisting) {
            // For as long as the guest answers (RFC 1122 4.2.2.17); `expiries` starts again with every answer.
            guard expiries <= TCPLimits.retries else { return abandon(shared: &shared, outside: &outside) }
            sendProbe(now: now, shared: &shared, outside: &outside)
            retransmitAt = now + backedOff
            return nil
        }
        guard snd.nxt != snd.una else {
            retransmitAt = .never
            return nil
        }
        guard expiries <= TCPLimits.retries else { return abandon(shared: &shared, outside: &outside) }
        shared.counters.timeouts &+= 1
        if flight != .max {
            beginLossRecovery(at: now, shared: &shared)
        } else {
            sendFinAgain(now: now, shared: &shared, outside: &outside)
        }
        // (5.5), kept until a round trip is measured (Karn): else a path slower than the RTO is never learnt.
        rto = min(rto * 2, TCPLimits.maximumRTO)
        retransmitAt = now + rto
        return nil
    }

    private mutating func keepAliveExpires<O: Outside & ~Copyable>(
        at now: Instant, shared: inout TCPShared, outside: inout O
    ) -> Fate? {
        // Data in flight has its own timer.
        if snd.nxt == snd.una, !flags.contains(.persisting), state != .synReceived {
            guard expiries < TCPLimits.keepAliveProbes else { return abandon(shared: &shared, outside: &outside) }
            expiries += 1
            sendProbe(now: now, shared: &shared, outside: &outside)
        }
        keepAliveAt = now + TCPLimits.keepAliveInterval
        return nil
    }

    private mutating func abandon<O: Outside & ~Copyable>(shared: inout TCPShared, outside: inout O) -> Fate {
        sendReset(seq: snd.nxt, ack: rcv.nxt, shared: &shared, outside: &outside)
        return .dead(reset: true)
    }
}
