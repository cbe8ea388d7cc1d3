import Wire

// Opening towards the guest, for a client that has connected to a forwarded port of the host.
//
//   client ── connected ──▶ host's socket, accepted     resolving ─▶ synSent ─▶ established        (SYN-ACK)
//                                                           │           ├─▶ synReceived ─▶ ...     (SYN: crossed)
//                                                           │           └─▶ gone, client reset     (RST, ICMP, silence)
//                                                           └─▶ gone, client reset                 (no such station)
//
// The host's kernel completes its own handshake with the client before anybody is asked, so a refusal inside can only be a
// reset after the connect outside. Until the guest has answered, nothing is read from the client's socket: its bytes and
// its end wait in the kernel, whose window then holds it back. A client that gives up meanwhile is forgotten here; the
// guest's late SYN-ACK meets no connection and gets a RST.
//
// Caps: `Limits.handshakes` connections in these states; a newcomer beyond is refused (counted as `handshakesFull`).

extension Connection.State {
    /// The guest has not answered our SYN yet.
    var isOpening: Bool { self == .resolving || self == .synSent }
}

/// What a segment means to a connection in SYN-SENT.
enum OpeningDisposition: Equatable {
    case discard
    /// <SEQ=SEG.ACK><CTL=RST>
    case reset
    /// The guest's RST, or none of its business.
    case refused
    /// SYN-ACK.
    case established
    /// A SYN: both have opened at once (RFC 9293 section 3.5, figure 7).
    case crossed
}

extension Connection {
    /// RFC 9293 section 3.10.7.3, in its order. Pure, as `admit` is.
    func admitOpening(_ segment: Segment) -> OpeningDisposition {
        // First, check the ACK bit. Before our SYN has gone out nothing can acknowledge it.
        let acknowledges = segment.flags.contains(.ack)
        if acknowledges, segment.ack <= snd.iss || segment.ack > snd.nxt {
            return segment.flags.contains(.rst) ? .discard : .reset
        }
        // Second, check the RST bit: it counts only with an acceptable ACK (RFC 5961 section 3.2).
        if segment.flags.contains(.rst) { return acknowledges ? .refused : .discard }
        // Third, security: none. Fourth, check the SYN bit. Fifth: neither SYN nor RST.
        guard segment.flags.contains(.syn) else { return .discard }
        if acknowledges { return .established }
        // A SYN with FIN is no opening that a stack would make.
        return segment.flags.contains(.fin) ? .discard : .crossed
    }

    /// The guest's SYN-ACK after two SYNs have crossed: its sequence number is the SYN's, left of the window, so that the
    /// rules of SYN-RECEIVED alone would only acknowledge it (RFC 9293 section 3.5, figure 7, line 6).
    func isAnswerToCrossed(_ segment: Segment) -> Bool {
        state == .synReceived && segment.flags.isSuperset(of: .synAck) && segment.flags.isDisjoint(with: .rst)
            && segment.seq == rcv.irs && segment.ack == snd.nxt
    }

    /// Sends the first SYN. It offers everything.
    mutating func beginOpening<O: Outside & ~Copyable>(now: Instant, shared: inout TCPShared, outside: inout O) {
        state = .synSent
        flags.formUnion([.sackPermitted, .timestamps])
        rcv.shift = TCPLimits.windowShift
        snd.una = snd.iss
        snd.nxt = snd.iss + 1
        queuedEnd = snd.nxt
        sendSyn(now: now, shared: &shared, outside: &outside)
        retransmitAt = now + rto
    }

    /// Processes a segment in SYN-SENT, or the SYN-ACK that ends a crossed opening.
    mutating func openingArrives<O: Outside & ~Copyable>(
        _ segment: Segment, _ payload: RawSpan, id: FlowID, now: Instant, shared: inout TCPShared, outside: inout O
    ) -> Fate {
        switch admitOpening(segment) {
        case .discard:
            return .lives
        case .reset:
            sendReset(seq: segment.ack, ack: nil, shared: &shared, outside: &outside)
            return .lives
        case .refused:
            shared.counters.resetsReceived &+= 1
            return .dead(reset: true)
        case .crossed:
            negotiateOffered(segment, mtu: shared.mtu)
            state = .synReceived
            // Karn: two SYNs of ours are on their way, and the ACK may be of either.
            expiries = max(expiries, 1)
            sendSynAck(now: now, shared: &shared, outside: &outside)
            return .lives
        case .established:
            if state == .synSent { negotiateOffered(segment, mtu: shared.mtu) } else { updateTimestamp(segment) }
            state = .established
            cwnd = initialWindow
            acknowledgmentArrives(segment, now: now, shared: &shared)
            restartKeepAlive(at: now)
            // The client has often said something by now.
            flags.formUnion([.ackNow, .hostReadable])
            // Text and FIN behind the SYN go on at the sixth step.
            var rest = segment
            rest.seq += 1
            rest.flags.remove(.syn)
            return textArrives(rest, payload, id: id, now: now, shared: &shared, outside: &outside) ?? fate
        }
    }

    /// Takes what the guest's SYN or SYN-ACK grants of our offer. The window that our SYN offered stands.
    private mutating func negotiateOffered(_ syn: Segment, mtu: Int) {
        let offered = rcv.edge - rcv.nxt
        flags.subtract([.sackPermitted, .timestamps])
        rcv.shift = 0
        negotiate(syn, mtu: mtu)
        rcv.edge = rcv.nxt + offered
    }
}

extension TCPTranslator {
    /// Begins to open `key` towards the guest, whose station is `mac` or still being asked for. The caller gives the client's
    /// socket to the flow that is returned; nil when there is no room for it.
    mutating func accept<O: Outside & ~Copyable>(
        _ key: FlowKey, mac: MACAddress?, now: Instant, counters: inout Counters, outside: inout O
    ) -> FlowID? {
        guard opening.count < limits.handshakes else {
            counters.drop(.handshakesFull)
            outside.note(.tableFull(.handshakes))
            return nil
        }
        let hash = key.hash(secret: secret)
        var connection = Connection(key: key, guestMAC: mac ?? .zero)
        connection.state = .resolving
        setInitialNumbers(of: &connection, now: now)
        guard let index = connections.insert(connection) else {
            counters.drop(.connectionsFull)
            outside.note(.tableFull(.connections))
            return nil
        }
        table.insert(hash, index)
        opening.append(index)
        if mac != nil { beginOpening(index, now: now, outside: &outside) }
        return identity(index)
    }

    /// Whether a connection has this pair of endpoints, or had it a moment ago.
    func isTaken(_ key: FlowKey) -> Bool {
        let hash = key.hash(secret: secret)
        return find(key, hash) != nil || timeWaits.holds(key, hash: hash)
    }

    private mutating func beginOpening<O: Outside & ~Copyable>(
        _ index: UInt32, now: Instant, outside: inout O
    ) {
        connections[index].beginOpening(now: now, shared: &shared, outside: &outside)
        timers.set(index, connections[index].deadline)
    }

    mutating func openingArrives<O: Outside & ~Copyable>(
        _ index: UInt32, _ segment: Segment, _ payload: RawSpan, now: Instant, outside: inout O
    ) {
        // Before our SYN: the guest opens the same pair itself; it will say so again.
        guard connections[index].state != .resolving else { return }
        let fate = connections[index].openingArrives(
            segment, payload, id: identity(index), now: now, shared: &shared, outside: &outside)
        switch connections[index].state {
        case .synReceived: endOpening(index)
        case .established:
            endOpening(index)
            shared.counters.opened &+= 1
        default: break
        }
        if case .dead = fate { shared.counters.refused &+= 1 }
        settle(index, fate, now: now, outside: &outside)
    }

    /// The connection is not, or no more, one of those that open.
    mutating func endOpening(_ index: UInt32) {
        guard let i = opening.firstIndex(of: index) else { return }
        opening.swapAt(i, opening.count - 1)
        opening.removeLast()
    }

    /// Those that waited for this station send their SYN; those whose SYN is on its way to another one send it there next time.
    mutating func stationHeard<O: Outside & ~Copyable>(
        _ neighbour: Neighbour, now: Instant, outside: inout O
    ) {
        for index in opening where connections[index].key.guest.address == neighbour.address {
            connections[index].guestMAC = neighbour.mac
            if connections[index].state == .resolving { beginOpening(index, now: now, outside: &outside) }
        }
    }

    /// Nobody has the address: whoever waits for it is refused.
    mutating func stationAbsent<O: Outside & ~Copyable>(_ address: IPAddress, outside: inout O) {
        for index in opening
        where connections[index].state == .resolving && connections[index].key.guest.address == address {
            shared.counters.refused &+= 1
            drop(index, reset: true, outside: &outside)
        }
    }

    /// The guest, or a router behind it, cannot take our SYN (RFC 5461 section 4: an error while opening ends it). False when
    /// it is about no SYN of ours.
    mutating func openingUnreachable<O: Outside & ~Copyable>(
        _ key: FlowKey, sequence: SequenceNumber, outside: inout O
    ) -> Bool {
        guard let index = find(key, key.hash(secret: secret)), connections[index].state == .synSent,
            connections[index].snd.iss == sequence
        else { return false }
        shared.counters.refused &+= 1
        drop(index, reset: true, outside: &outside)
        return true
    }
}
