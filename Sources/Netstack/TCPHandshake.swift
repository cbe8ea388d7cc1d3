import Wire

// The two ends of the opening: what the guest's SYN offers, and our SYN-ACK.

extension Connection {
    /// Takes the guest's SYN: sequence numbers, MSS (RFC 9293 section 3.7.1), window scale (RFC 7323 section 2), SACK
    /// (RFC 2018 section 2), timestamps (RFC 7323 section 3).
    mutating func negotiate(_ syn: Segment, mtu: Int) {
        rcv.irs = syn.seq
        rcv.nxt = syn.seq + 1
        rcv.edge = rcv.nxt
        rcv.acked = rcv.nxt
        snd.wnd = Int(syn.window)
        snd.maxWindow = snd.wnd
        snd.wl1 = syn.seq

        if let shift = syn.options.windowScale {
            // RFC 7323 section 2.3: more than 14 is taken for 14.
            snd.shift = min(shift, 14)
            rcv.shift = TCPLimits.windowShift
        }
        // RFC 3168 section 6.1.1: an ECN-setup SYN has both bits.
        if syn.isECNSetup { flags.insert(.ecn) }
        if syn.options.sackPermitted { flags.insert(.sackPermitted) }
        if let timestamps = syn.options.timestamps {
            flags.insert(.timestamps)
            rcv.tsRecent = timestamps.value
        }
        // Default 536 (IPv4) or 1220 (IPv6); never more than the link takes, never so little that headers dominate
        // without bound (Linux' floor of 48 serves against MSS attacks).
        let offered = Int(syn.options.maximumSegmentSize ?? (key.isV4 ? 536 : 1220))
        let link = mtu - key.headersLength
        snd.mss = max(48, min(offered, link)) - (flags.contains(.timestamps) ? 12 : 0)
        ceiling = snd.mss
    }

    /// The host's socket is connected: SYN-RECEIVED, and our SYN-ACK goes out.
    mutating func answer<O: Outside & ~Copyable>(now: Instant, shared: inout TCPShared, outside: inout O) {
        state = .synReceived
        flags.formUnion([.watchesRead, .watchesUrgent])
        snd.una = snd.iss
        snd.nxt = snd.iss + 1
        snd.wl2 = snd.iss
        queuedEnd = snd.nxt
        sendSynAck(now: now, shared: &shared, outside: &outside)
        retransmitAt = now + TCPLimits.initialRTO
        restartKeepAlive(at: now)
    }
}

extension Segment {
    /// An ECN-setup SYN (RFC 3168 section 6.1.1).
    var isECNSetup: Bool {
        flags.contains(.syn) && flags.contains(.ece) && flags.contains(.cwr) && !flags.contains(.ack)
    }
}
