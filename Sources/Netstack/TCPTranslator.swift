import Wire

// TCP between the guest and the host: which segment belongs to which connection, and how a connection begins and ends. Who gets a turn to
// send is in TCPTurns.swift.
//
// A SYN opens a host socket first (`Outside.connect`). The SYN-ACK leaves when that has connected; what the host met
// otherwise is what the guest meets: refused becomes RST, unreachable the ICMP error, silence stays silence.
//
// A client of a forwarded port is the other way round: see TCPActiveOpen.swift.
//
//   tables      connections (with those still connecting and those still opening, which have caps of their own), TIME-WAITs
//   when full   half open: the one that has waited longest gives way, silently, as a flood's SYN would have gone unanswered anyway;
//               connections: the SYN is dropped, its sender tries again; TIME-WAITs: the oldest goes
//
// A segment for no connection gets a RST (RFC 9293 section 3.10.7.1), except a RST.

package struct TCPTranslator: ~Copyable {
    var connections: Slab<Connection>
    var table = FlowTable()
    var timers: TimerHeap
    var timeWaits: TimeWaitTable
    var shared: TCPShared
    /// Connections with something to send, each once (Flags.queued).
    var queue: [UInt32] = []
    var nextQueue: [UInt32] = []
    /// Connections whose frame the link did not take; they have `Flags.queued` too.
    var stalled = WaitingList()
    /// When to look whether the pool has been idle; never while little of it is resident.
    var poolRestsAt = Instant.never
    /// Connections that found no chunk free.
    var starving = WaitingList()
    private var halfOpen = 0
    /// Connections that were half open, oldest first; those that are no more are skipped when they surface.
    private var halfOpenOrder: [FlowID] = []
    private var halfOpenFirst = 0
    /// Connections whose SYN the guest has not answered.
    var opening: [UInt32] = []
    let limits: Configuration.Limits
    let secret: UInt64
    /// Key of `setInitialNumbers`.
    private let numbersKey: (UInt64, UInt64)

    init(_ configuration: Configuration, secret: UInt64) {
        limits = configuration.limits
        self.secret = secret
        // Apart from the tables' secret, of which collisions tell.
        var derived = SipHash(key: (secret, 0x6973_6e73))
        var other = derived
        numbersKey = (derived.finish(1, length: 1), other.finish(2, length: 1))
        connections = Slab(capacity: limits.connections)
        timers = TimerHeap(capacity: limits.connections)
        timeWaits = TimeWaitTable(capacity: limits.timeWaits)
        shared = TCPShared(configuration, secret: secret)
        queue.reserveCapacity(1024)
        nextQueue.reserveCapacity(1024)
    }

    package var count: Int { connections.count }
    package var counters: TCPCounters { shared.counters }
    package var chunksInUse: Int { shared.pool.inUse }
    package var flightsInUse: Int { shared.flights.count }
    package var timeWaitCount: Int { timeWaits.count }
    var nextDeadline: Instant { min(min(timers.next, timeWaits.nextDeadline), poolRestsAt) }
    var hasQueued: Bool { !queue.isEmpty }
    var isStalled: Bool { !stalled.isEmpty }

    // MARK: From the guest

    /// Why a SYN was not accepted, for the caller to tell the guest.
    enum Refusal { case icmp(FlowKey, MACAddress, SequenceNumber, HostError) }

    /// A segment from the guest, its checksum verified.
    mutating func receive<O: Outside & ~Copyable>(
        _ segment: Segment, _ payload: RawSpan, key: FlowKey, target: HostTarget?, mac: MACAddress, now: Instant,
        counters: inout Counters, outside: inout O
    ) -> Refusal? {
        let hash = key.hash(secret: secret)
        if let index = find(key, hash) {
            let id = identity(index)
            if connections[index].state == .connecting {
                // The SYN again, or the guest giving up.
                if segment.flags.contains(.rst) { drop(index, reset: true, outside: &outside) }
                return nil
            }
            if connections[index].state.isOpening || connections[index].isAnswerToCrossed(segment) {
                openingArrives(index, segment, payload, now: now, outside: &outside)
                return nil
            }
            let fate = connections[index].segmentArrives(
                segment, payload, id: id, now: now, shared: &shared, outside: &outside)
            if connections[index].flags.contains(.halfOpen), connections[index].state != .synReceived {
                connections[index].flags.remove(.halfOpen)
                halfOpen -= 1
            }
            settle(index, fate, now: now, outside: &outside)
            return nil
        }
        var former: SequenceNumber?
        switch timeWaits.receive(segment, key: key, hash: hash, now: now, shared: &shared, outside: &outside) {
        case .absent: break
        case .reopened(let end): former = end
        case .answered: return nil
        }
        guard segment.flags.contains(.syn), !segment.flags.contains(.ack), !segment.flags.contains(.rst),
            !segment.flags.contains(.fin), let target
        else {
            refuse(segment, key: key, mac: mac, outside: &outside)
            return nil
        }
        return open(
            segment, key: key, hash: hash, target: target, mac: mac, after: former, now: now, counters: &counters,
            outside: &outside)
    }

    /// RFC 9293 section 3.10.7.1: the answer to a segment for a connection that does not exist.
    mutating func refuse<O: Outside & ~Copyable>(
        _ segment: Segment, key: FlowKey, mac: MACAddress, outside: inout O
    ) {
        guard !segment.flags.contains(.rst) else { return }
        if segment.flags.contains(.ack) {
            emitReset(key: key, mac: mac, seq: segment.ack, ack: nil, shared: &shared, outside: &outside)
        } else {
            emitReset(
                key: key, mac: mac, seq: SequenceNumber(rawValue: 0), ack: segment.seq + segment.span, shared: &shared,
                outside: &outside)
        }
    }

    private mutating func open<O: Outside & ~Copyable>(
        _ segment: Segment, key: FlowKey, hash: UInt64, target: HostTarget, mac: MACAddress,
        after former: SequenceNumber?,
        now: Instant, counters: inout Counters, outside: inout O
    ) -> Refusal? {
        if halfOpen >= limits.handshakes {
            counters.drop(.handshakesFull)
            outside.note(.tableFull(.handshakes))
            dropOldestHalfOpen(for: mac, outside: &outside)
        }
        var connection = Connection(key: key, guestMAC: mac)
        connection.negotiate(segment, mtu: shared.mtu)
        setInitialNumbers(of: &connection, now: now)
        // RFC 1122 4.2.2.13 (1): a fast connection may have used up more numbers than the clock has gone on; a window beyond it, as Linux.
        if let former, connection.snd.iss <= former + 65_536 { connection.snd.iss = former + 65_537 }
        guard let index = connections.insert(connection) else {
            counters.drop(.connectionsFull)
            outside.note(.tableFull(.connections))
            return nil
        }
        table.insert(hash, index)
        connections[index].flags.insert(.halfOpen)
        halfOpen += 1
        noteHalfOpen(identity(index))
        switch outside.connect(identity(index), to: target) {
        case .done:
            return hostConnected(index, nil, now: now, outside: &outside)
        case .wouldBlock:
            return nil
        case .failed(let error):
            return hostConnected(index, error, now: now, outside: &outside)
        }
    }

    private mutating func noteHalfOpen(_ id: FlowID) {
        // Twice the cap is enough for all that are half open and as many that are no more.
        if halfOpenOrder.count >= 2 * limits.handshakes {
            let live = halfOpenOrder[halfOpenFirst...].filter { isHalfOpen($0) }
            halfOpenOrder = Array(live)
            halfOpenFirst = 0
        }
        halfOpenOrder.append(id)
    }

    private func isHalfOpen(_ id: FlowID) -> Bool {
        guard let index = connections.find(id) else { return false }
        return connections[index].flags.contains(.halfOpen)
    }

    /// Makes room for a SYN: a guest that scans, whose peers are dead, or in which somebody floods must still reach those that live. The
    /// newcomer's own station pays first, so that a machine that floods does not push out its neighbours on the same network.
    private mutating func dropOldestHalfOpen<O: Outside & ~Copyable>(for mac: MACAddress, outside: inout O) {
        var victim: UInt32?
        var at = halfOpenFirst
        while at < halfOpenOrder.count {
            if let index = connections.find(halfOpenOrder[at]), connections[index].flags.contains(.halfOpen) {
                if victim == nil { victim = index }
                if connections[index].guestMAC == mac {
                    victim = index
                    break
                }
            } else if at == halfOpenFirst {
                halfOpenFirst += 1
            }
            at += 1
        }
        if let victim { drop(victim, reset: true, outside: &outside) }
    }

    /// RFC 6528: a clock of 4 microseconds plus a pseudorandom function of the endpoints. Its other half sets the timestamps'
    /// origin (RFC 7323 section 5.4): one for each pair of endpoints, so that they grow from one connection to the next.
    func setInitialNumbers(of connection: inout Connection, now: Instant) {
        let random = connection.key.pseudorandom(key: numbersKey)
        connection.snd.iss = SequenceNumber(
            rawValue: UInt32(truncatingIfNeeded: random) &+ UInt32(truncatingIfNeeded: now.nanoseconds / 4000))
        connection.stampOrigin = UInt32(truncatingIfNeeded: random >> 32)
    }

    // MARK: From the host

    /// The host's connect has ended. A refusal is for the caller to send.
    mutating func hostConnected<O: Outside & ~Copyable>(
        _ id: FlowID, _ error: HostError?, now: Instant, outside: inout O
    ) -> Refusal? {
        guard let index = connections.find(id), connections[index].state == .connecting else { return nil }
        return hostConnected(index, error, now: now, outside: &outside)
    }

    private mutating func hostConnected<O: Outside & ~Copyable>(
        _ index: UInt32, _ error: HostError?, now: Instant, outside: inout O
    ) -> Refusal? {
        guard let error else {
            shared.counters.opened &+= 1
            connections[index].answer(now: now, shared: &shared, outside: &outside)
            timers.set(index, connections[index].deadline)
            return nil
        }
        shared.counters.refused &+= 1
        let connection = connections[index]
        drop(index, reset: false, outside: &outside)
        switch error {
        case .refused, .reset, .other:
            emitReset(
                key: connection.key, mac: connection.guestMAC, seq: SequenceNumber(rawValue: 0),
                ack: connection.rcv.nxt, shared: &shared, outside: &outside)
            return nil
        case .exhausted:
            shared.counters.exhausted &+= 1
            outside.note(.tableFull(.openFiles))
            return nil
        case .timedOut, .messageTooBig:
            // Silence: the guest's SYN is tried again or times out, as it would have outside.
            return nil
        case .networkUnreachable, .hostUnreachable, .prohibited:
            return .icmp(connection.key, connection.guestMAC, connection.rcv.irs, error)
        }
    }

    mutating func hostReadable(_ id: FlowID) {
        guard let index = connections.find(id) else { return }
        connections[index].flags.insert(.hostReadable)
        enqueue(index)
    }

    /// The socket has an urgent byte somewhere in what it received.
    mutating func hostUrgent(_ id: FlowID) {
        guard let index = connections.find(id) else { return }
        connections[index].flags.formUnion([.hostUrgent, .hostReadable])
        enqueue(index)
    }

    mutating func hostWritable<O: Outside & ~Copyable>(_ id: FlowID, now: Instant, outside: inout O) {
        guard let index = connections.find(id) else { return }
        let fate = connections[index].hostGoesOn(id: id, shared: &shared, outside: &outside) ?? connections[index].fate
        settle(index, fate, now: now, outside: &outside)
    }

    /// The socket reported an error. What it received before can still be read, and the read after that says what happened; only when
    /// the stream has already ended is there nothing left to read.
    mutating func hostFailed<O: Outside & ~Copyable>(_ id: FlowID, _ error: HostError, now: Instant, outside: inout O) {
        guard let index = connections.find(id), connections[index].state != .connecting else { return }
        if connections[index].state.isOpening { return drop(index, reset: false, outside: &outside) }
        guard connections[index].flags.contains(.hostEnded) else { return hostReadable(id) }
        let connection = connections[index]
        emitReset(
            key: connection.key, mac: connection.guestMAC, seq: connection.snd.nxt, ack: connection.rcv.nxt,
            shared: &shared, outside: &outside)
        drop(index, reset: false, outside: &outside)
    }

    /// Changes a connection, which then gets a turn to send. False when there is none, or `change` says that it did nothing.
    mutating func withConnection(_ key: FlowKey, _ change: (inout Connection, inout TCPShared) -> Bool) -> Bool {
        guard let index = find(key, key.hash(secret: secret)), connections[index].state != .connecting,
            !connections[index].state.isOpening, change(&connections[index], &shared)
        else { return false }
        enqueue(index)
        timers.set(index, connections[index].deadline)
        return true
    }

    // MARK: Ends

    mutating func settle<O: Outside & ~Copyable>(
        _ index: UInt32, _ fate: Connection.Fate, now: Instant, outside: inout O
    ) {
        switch fate {
        case .lives:
            enqueue(index)
            timers.set(index, connections[index].deadline)
        case .dead(let reset):
            drop(index, reset: reset, outside: &outside)
        case .timeWait:
            // Of the guest's FIN, if that is what ended it; from CLOSING an ACK has (RFC 9293 section 3.10.7.4).
            if connections[index].flags.contains(.ackNow) {
                connections[index].sendAck(now: now, shared: &shared, outside: &outside)
            }
            timeWaits.insert(
                connections[index], hash: connections[index].key.hash(secret: secret), now: now,
                counters: &shared.counters)
            drop(index, reset: false, outside: &outside)
        }
    }

    mutating func drop<O: Outside & ~Copyable>(_ index: UInt32, reset: Bool, outside: inout O) {
        outside.close(identity(index), reset: reset)
        if connections[index].flags.contains(.halfOpen) { halfOpen -= 1 }
        if connections[index].state.isOpening { endOpening(index) }
        connections[index].releaseHold(&shared)
        connections[index].releaseSendQueue(&shared)
        connections[index].flags = []
        table.remove(connections[index].key.hash(secret: secret), index)
        timers.clear(index)
        connections.remove(index)
    }

    // Inlined: called as functions they would be lent a copy of the translator.
    @inline(__always)
    func identity(_ index: UInt32) -> FlowID {
        FlowID(.tcp, index: index, generation: connections.generation(of: index))
    }

    @inline(__always)
    func find(_ key: FlowKey, _ hash: UInt64) -> UInt32? {
        table.find(hash) { connections[$0].key == key }
    }
}
