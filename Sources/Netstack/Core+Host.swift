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

    // MARK: Time and output

    /// Runs every timer that is due.
    package mutating func advance<O: Outside & ~Copyable>(to now: Instant, outside: inout O) {
        tcp.advance(to: now, outside: &outside)
    }

    /// Sends what the events of this turn gave rise to. Call once at the end of a turn, and again when a full link has room.
    package mutating func flush<O: Outside & ~Copyable>(at now: Instant, outside: inout O) {
        tcp.flush(now: now, outside: &outside)
    }

    /// There is more to send as soon as the shell has had its other business: do not sleep.
    package var hasPendingOutput: Bool { tcp.hasQueued }

    /// When `advance` must be called next; may be early, never late.
    package var nextDeadline: Instant { tcp.nextDeadline }

    // MARK: Refusals

    mutating func tell<O: Outside & ~Copyable>(_ refusal: TCPTranslator.Refusal, _ now: Instant, _ outside: inout O) {}
    mutating func unreachable<O: Outside & ~Copyable>(
        _ error: HostError, _ packet: PacketInfo, _ original: RawSpan, _ now: Instant, _ outside: inout O
    ) {}
    mutating func timeExceeded<O: Outside & ~Copyable>(
        _ packet: PacketInfo, _ original: RawSpan, _ now: Instant, _ outside: inout O
    ) {}
}
