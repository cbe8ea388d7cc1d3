import Wire

// TIME-WAIT (RFC 9293 section 3.6.1): after the side that closed first has sent its last ACK, the pair of endpoints is kept
// for two segment lifetimes, to answer a repeated FIN and to keep old segments out of a new connection.
//
// The record holds no socket and no payload. When the table is full the oldest record goes: it has waited longest, and
// the guest is next door. A SYN beyond the old sequence numbers reopens at once (RFC 1122 4.2.2.13, RFC 6191).

struct TimeWaitRecord: BitwiseCopyable {
    let key: FlowKey
    let hash: UInt64
    let mac: MACAddress
    let sndNxt: SequenceNumber
    let rcvNxt: SequenceNumber
    /// As in the header: what was offered last.
    let window: UInt16
    let timestamps: Bool
    let tsRecent: UInt32
    let stampOrigin: UInt32
    var expires: Instant

    /// RFC 6191 section 2: whether a SYN can only be of a new connection.
    func reopens(_ syn: Segment) -> Bool {
        guard timestamps, let value = syn.options.timestamps?.value else { return syn.seq > rcvNxt }
        let newer = Int32(bitPattern: value &- tsRecent)
        return newer > 0 || newer == 0 && syn.seq > rcvNxt
    }
}

struct TimeWaitTable: ~Copyable {
    enum Answer {
        case absent, answered
        /// The last connection's sequence numbers ended here; the next one's begin beyond (RFC 1122 4.2.2.13 (1)).
        case reopened(after: SequenceNumber)
    }

    private var records: Slab<TimeWaitRecord>
    private var table = FlowTable()
    private var timers: TimerHeap
    let capacity: Int

    init(capacity: Int) {
        self.capacity = capacity
        records = Slab(capacity: capacity)
        timers = TimerHeap(capacity: capacity)
    }

    var count: Int { records.count }
    var nextDeadline: Instant { timers.next }

    mutating func insert(_ connection: Connection, hash: UInt64, now: Instant, counters: inout TCPCounters) {
        if records.count == capacity, let oldest = timers.popDue(at: .never) {
            counters.timeWaitsFull &+= 1
            remove(oldest)
        }
        let record = TimeWaitRecord(
            key: connection.key, hash: hash, mac: connection.guestMAC, sndNxt: connection.snd.nxt,
            rcvNxt: connection.rcv.nxt,
            window: UInt16(clamping: connection.receiveWindow >> Int(connection.rcv.shift)),
            timestamps: connection.flags.contains(.timestamps),
            tsRecent: connection.rcv.tsRecent, stampOrigin: connection.stampOrigin, expires: now + TCPLimits.timeWait)
        guard let index = records.insert(record) else { return }
        table.insert(record.hash, index)
        timers.set(index, record.expires)
    }

    func holds(_ key: FlowKey, hash: UInt64) -> Bool { table.find(hash) { records[$0].key == key } != nil }

    mutating func receive<O: Outside & ~Copyable>(
        _ segment: Segment, key: FlowKey, hash: UInt64, now: Instant, shared: inout TCPShared, outside: inout O
    ) -> Answer {
        guard let index = table.find(hash, { records[$0].key == key }) else { return .absent }
        let record = records[index]
        if segment.flags.contains(.rst) {
            // RFC 1337: a RST does not end the wait, unless it is exact.
            if segment.seq == record.rcvNxt { remove(index) }
            return .answered
        }
        if segment.flags.contains(.syn), !segment.flags.contains(.ack) {
            if record.reopens(segment) {
                remove(index)
                return .reopened(after: record.sndNxt)
            }
        }
        // RFC 9293 section 3.10.7.4: only a segment that is not exactly an empty ACK wants an answer. Two ends in TIME-WAIT
        // would otherwise acknowledge each other's acknowledgments without end.
        if segment.span == 0, segment.seq == record.rcvNxt { return .answered }
        var options = TCPOptions()
        if record.timestamps {
            options.timestamps = (
                value: now.millisecondStamp &+ record.stampOrigin, echoReply: record.tsRecent
            )
        }
        _ = emitTCP(
            key: record.key, mac: record.mac, seq: record.sndNxt, ack: record.rcvNxt, flags: .ack,
            window: record.window, options: options, mss: 1,
            piece: nil,
            shared: &shared, outside: &outside)
        if segment.flags.contains(.fin) {
            records[index].expires = now + TCPLimits.timeWait
            timers.set(index, records[index].expires)
        }
        return .answered
    }

    mutating func advance(to now: Instant) {
        while let index = timers.popDue(at: now) { remove(index) }
    }

    private mutating func remove(_ index: UInt32) {
        timers.clear(index)
        table.remove(records[index].hash, index)
        records.remove(index)
    }
}
