package import Wire

// What the shell tells the core about host sockets, time, and its readiness to send. None of it fails: a late event for a
// flow that is gone meets nobody.

extension Core {
    /// The connect that `Outside.connect` began has ended; nil is success.
    package mutating func hostConnected<O: Outside & ~Copyable>(
        _ flow: FlowID, _ error: HostError?, at now: Instant, outside: inout O
    ) {
        if let refusal = tcp.hostConnected(flow, error, now: now, outside: &outside) { tell(refusal, now, &outside) }
    }

    /// A stream socket has bytes or its end. The core reads at the next `flush`.
    package mutating func hostReadable(_ flow: FlowID) { tcp.hostReadable(flow) }

    /// A stream socket has received an urgent byte (tcp(7), SIOCATMARK) that is not read yet.
    package mutating func hostUrgent(_ flow: FlowID) { tcp.hostUrgent(flow) }

    /// A stream socket takes bytes again.
    package mutating func hostWritable<O: Outside & ~Copyable>(_ flow: FlowID, at now: Instant, outside: inout O) {
        tcp.hostWritable(flow, now: now, outside: &outside)
    }

    /// A stream socket has failed outside of a read or write.
    package mutating func hostFailed<O: Outside & ~Copyable>(
        _ flow: FlowID, _ error: HostError, at now: Instant, outside: inout O
    ) {
        tcp.hostFailed(flow, error, now: now, outside: &outside)
    }

    /// Datagrams for the guest arrived on the socket of one of its UDP endpoints: one, or several from one source, each of `size` bytes
    /// but for a shorter last one, one behind the other.
    package mutating func hostDatagrams<O: Outside & ~Copyable>(
        _ flow: FlowID, from source: Endpoint, _ bytes: RawSpan, size: Int? = nil, trafficClass: UInt8, at now: Instant,
        outside: inout O
    ) {
        udp.hostDatagrams(
            flow, from: source, bytes, size: size, trafficClass: trafficClass, at: now, configuration: configuration,
            egress: &egress, counters: &counters, outside: &outside)
    }

    /// An echo reply: `message` is from the ICMP header on, as an unprivileged echo socket delivers it.
    package mutating func hostEcho<O: Outside & ~Copyable>(
        _ flow: FlowID, from source: IPAddress, _ message: RawSpan, hopLimit: UInt8, at now: Instant, outside: inout O
    ) {
        guard let reply = try? ICMPView(message) else { return }
        icmp.echo.hostEcho(
            flow, from: source, sequence: reply.sequence, reply.payload, hopLimit: hopLimit, at: now,
            configuration: configuration, egress: &egress, counters: &counters, outside: &outside)
    }

    /// The error queue of a datagram or echo socket had an ICMP error. For an echo, `destination.port` is the request's
    /// sequence number.
    package mutating func hostDatagramError<O: Outside & ~Copyable>(
        _ flow: FlowID, _ error: DatagramError, at now: Instant, outside: inout O
    ) {
        switch flow.kind {
        case .udp:
            udp.hostDatagramError(
                flow, error, at: now, configuration: configuration, errors: &errors, egress: &egress,
                counters: &counters, outside: &outside)
        case .echo:
            icmp.echo.hostEchoError(
                flow, error, at: now, configuration: configuration, errors: &errors, egress: &egress,
                counters: &counters, outside: &outside)
        case .tcp: break
        }
    }

    /// The resolver's answer to `Outside.dnsQuery`: one, or several of `size` bytes each but for a shorter last one.
    package mutating func dnsAnswer<O: Outside & ~Copyable>(
        to client: GuestPort, _ bytes: RawSpan, size: Int? = nil, at now: Instant, outside: inout O
    ) {
        egress.sendDatagrams(
            bytes, from: client.local, to: client.guest, mac: client.mac, size: size, counters: &counters,
            outside: &outside)
    }

    // MARK: Time and output

    /// Runs every timer that is due.
    package mutating func advance<O: Outside & ~Copyable>(to now: Instant, outside: inout O) {
        tcp.advance(to: now, outside: &outside)
        udp.advance(to: now, outside: &outside)
        icmp.advance(
            to: now, configuration: configuration, egress: &egress, counters: &counters, outside: &outside)
        reassembler.advance(
            to: now, configuration: configuration, errors: &errors, egress: &egress, counters: &counters,
            outside: &outside)
        egress.pathMTUs.advance(to: now)
        advanceNeighbours(now, &outside)
    }

    /// Sends what the events of this turn gave rise to. Call once at the end of a turn, and again when a full link has room.
    package mutating func flush<O: Outside & ~Copyable>(at now: Instant, outside: inout O) {
        tcp.flush(now: now, outside: &outside)
    }

    /// What the shell has to do before its next turn.
    package struct TurnEnd {
        /// When `advance` must be called; may be early, never late.
        package var nextDeadline: Instant
        /// There is more to send as soon as the shell has had its other business: do not sleep.
        package var hasPendingOutput: Bool
        /// There is more to send when the link has room: tell by `linkHasRoom`.
        package var waitsForLink: Bool
    }

    /// `advance` if a deadline has come, and `flush`: the usual end of a turn. One call, since each look at a computed property of
    /// the core from another module copies the core (2 KiB).
    package mutating func endTurn<O: Outside & ~Copyable>(at now: Instant, outside: inout O) -> TurnEnd {
        if nextDeadline <= now { advance(to: now, outside: &outside) }
        flush(at: now, outside: &outside)
        return TurnEnd(nextDeadline: nextDeadline, hasPendingOutput: hasPendingOutput, waitsForLink: waitsForLink)
    }

    /// There is more to send as soon as the shell has had its other business: do not sleep.
    @inline(__always)
    package var hasPendingOutput: Bool { tcp.hasQueued }

    /// There is more to send when the link has room.
    @inline(__always)
    package var waitsForLink: Bool { tcp.isStalled }

    /// The link, or one of those behind it, takes frames again.
    package mutating func linkHasRoom() { tcp.linkHasRoom() }

    /// When `advance` must be called next; may be early, never late.
    @inline(__always)
    package var nextDeadline: Instant {
        min(
            min(tcp.nextDeadline, udp.nextDeadline),
            min(
                min(icmp.nextDeadline, neighbours.nextDeadline),
                min(reassembler.nextDeadline, egress.pathMTUs.nextDeadline)))
    }

    // MARK: Look

    /// TCP connections in any state but TIME-WAIT.
    package var connectionCount: Int { tcp.count }
    package var timeWaitCount: Int { tcp.timeWaitCount }
    /// UDP and echo flows.
    package var flowCount: Int { udp.flows.count + udp.served.flows.count + icmp.echo.flows.count }
    package var tcpCounters: TCPCounters { tcp.counters }
    /// Payload buffers in use.
    package var chunksInUse: Int { tcp.chunksInUse }
    /// Connections with text for the guest queued or in flight.
    package var flightsInUse: Int { tcp.flightsInUse }

    // MARK: What the guest is told

    /// An ICMP error about a packet in hand.
    mutating func tell<O: Outside & ~Copyable>(
        _ error: ICMPError, _ packet: PacketInfo, _ original: RawSpan, _ now: Instant, _ outside: inout O
    ) {
        errors.send(
            error, about: packet, original: original, at: now, configuration: configuration, egress: &egress,
            counters: &counters, outside: &outside)
    }

    /// The host could not connect for a reason that has an ICMP error.
    mutating func tell<O: Outside & ~Copyable>(
        _ refusal: TCPTranslator.Refusal, _ now: Instant, _ outside: inout O
    ) {
        guard case .icmp(let key, let mac, let sequence, let cause) = refusal, let error = ICMPError(cause) else {
            return
        }
        errors.send(
            error, about: .tcp(key, sequence: sequence), mac: mac, at: now, configuration: configuration,
            egress: &egress, counters: &counters, outside: &outside)
    }
}
