import Wire

// RFC 9293 section 3.10.7.4, steps one to five, in the RFC's order: may this segment touch the connection, and if not,
// what is the answer? Pure: the connection is not changed, the decision is a value that a table test compares.
//
// Blind attacks (RFC 5961): a RST counts only at exactly rcv.nxt, a SYN never; whatever else is in the window gets a
// challenge ACK. Old duplicates (RFC 7323 section 5): PAWS.

/// What is to be done with a segment.
enum Disposition: Equatable {
    /// Nothing.
    case discard
    /// Answer with an ACK of the current state, and drop.
    case acknowledge
    /// The same under the challenge rate limit.
    case challenge
    /// Our SYN-ACK was lost: send it again.
    case repeatSynAck
    /// <SEQ=SEG.ACK><CTL=RST>: a wrong ACK while in SYN-RECEIVED.
    case reset
    /// The guest aborted.
    case aborted
    /// Fine: go on with ACK, text and FIN.
    case process
}

extension Connection {
    /// Bytes between `rcv.nxt` and the edge we advertised.
    var receiveWindow: Int { max(0, rcv.edge - rcv.nxt) }

    func admit(_ segment: Segment) -> Disposition {
        // SYN-RECEIVED: the guest's SYN again, so our answer did not arrive.
        if state == .synReceived, segment.flags.contains(.syn), !segment.flags.contains(.ack), segment.seq == rcv.irs {
            return .repeatSynAck
        }

        // RFC 7323 section 5.3, R1: PAWS comes before the sequence check. Section 3.2: once negotiated, timestamps are on
        // every segment but RSTs.
        if flags.contains(.timestamps), !segment.flags.contains(.rst) {
            guard let value = segment.options.timestamps?.value else { return .discard }
            if Int32(bitPattern: value &- rcv.tsRecent) < 0 { return .acknowledge }
        }

        // First, check the sequence number.
        if !isAcceptable(segment) { return segment.flags.contains(.rst) ? .discard : .acknowledge }

        // Second, check the RST bit (RFC 5961 section 3.2).
        if segment.flags.contains(.rst) { return segment.seq == rcv.nxt ? .aborted : .challenge }

        // Fourth, check the SYN bit (RFC 5961 section 4.2).
        if segment.flags.contains(.syn) { return .challenge }

        // Fifth, check the ACK field.
        guard segment.flags.contains(.ack) else { return .discard }
        if state == .synReceived {
            return segment.ack > snd.una && segment.ack <= snd.nxt ? .process : .reset
        }
        // RFC 5961 section 5.2: (SND.UNA - MAX.SND.WND) <= SEG.ACK <= SND.NXT.
        if segment.ack > snd.nxt { return .challenge }
        if segment.ack < snd.una, snd.una - segment.ack > snd.maxWindow { return .challenge }
        return .process
    }

    /// The four rows of RFC 9293 section 3.10.7.4, table 6.
    private func isAcceptable(_ segment: Segment) -> Bool {
        let window = receiveWindow
        let first = segment.seq - rcv.nxt
        let length = segment.span
        // A pure ACK may stand at the window's very end: its sender has used the window up.
        if length == 0 { return first >= 0 && first <= window }
        if window == 0 { return false }
        let last = first + length - 1
        return first >= 0 && first < window || last >= 0 && last < window
    }
}
