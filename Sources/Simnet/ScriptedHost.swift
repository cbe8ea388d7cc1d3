package import Netstack
package import Wire

// The core's outside in memory. A socket here is two byte streams and a list of behaviours: how its connect ends and
// when, how much its send buffer holds, how fast the peer reads, after how many bytes it fails, when its stream ends.

/// How a scripted socket behaves from its connect on.
package struct HostScript: Sendable {
    /// nil: connected.
    package var connectError: HostError?
    /// nil: never answers; 0: at once, inside `connect`.
    package var connectDelay: Int64? = .milliseconds(1)
    /// What the peer sends, and whether it ends its stream after that.
    package var stream: [UInt8] = []
    package var ends = true
    /// The end comes only after the guest's.
    package var endsAfterGuest = false
    /// Bytes the send buffer holds.
    package var sendBuffer = 256 * 1024
    /// Bytes the peer reads from it per `readInterval`; nil: all at once.
    package var readSize: Int?
    package var readInterval = Int64.milliseconds(1)
    /// A send never takes more than this.
    package var largestSend = Int.max
    /// A receive never gives more than this.
    package var largestReceive = Int.max
    /// Every so many sends, one says EAGAIN without reason.
    package var spuriousEvery = 0
    /// The socket fails to send after it took this many bytes.
    package var failsAfter: Int?
    /// The socket fails to receive once its stream is read to the end.
    package var receiveError: HostError?
    /// Which bytes of the stream are urgent.
    package var urgent: [Int] = []
    package init() {}
}

package struct HostSocket {
    package let flow: FlowID
    package let target: HostTarget
    package var script: HostScript
    package var connected = false
    package var connectAt = Instant.never
    /// What the core sent.
    package var received: [UInt8] = []
    /// Which of it was urgent.
    package var receivedUrgent: [Int] = []
    /// How much of it the peer has read.
    package var read = 0
    package var readAt = Instant.never
    /// How much of the stream the core has taken.
    package var given = 0
    package var sends = 0
    package var watchesRead = false
    package var watchesWrite = false
    package var watchesUrgent = true
    package var guestEnded = false
    package var endSeen = false
    package var closed = false
    package var reset = false

    package var room: Int { max(0, script.sendBuffer - (received.count - read)) }
    package var isReadable: Bool {
        guard connected, !closed, !endSeen else { return false }
        return given < script.stream.count || script.receiveError != nil || hasEnded
    }
    /// The next urgent byte that is not read.
    package var urgentNext: Int? {
        connected && !closed ? script.urgent.first { $0 >= given && $0 < script.stream.count } : nil
    }
    var hasEnded: Bool { script.ends && (!script.endsAfterGuest || guestEnded) }
    /// Like a real socket: writable when a third of the buffer is free.
    package var isWritable: Bool { connected && !closed && room * 3 >= script.sendBuffer }
}

/// An `Outside` without I/O.
package struct ScriptedHost: Outside {
    /// The script of the next socket that connects.
    package var script = HostScript()
    package var sockets: [HostSocket] = []
    private var index: [FlowID: Int] = [:]
    package var outbox: [Frame] = []
    /// Frames the link takes before it is full; the simulation refills it.
    package var linkRoom = Int.max
    package var notices: [Notice] = []
    /// Bytes that the core has given back.
    package private(set) var discarded = 0
    package var now = Instant(nanoseconds: 0)
    /// Bytes that one read took at most.
    package private(set) var largestRead = 0
    package init() {}

    package mutating func transmit(_ offload: OffloadHeader, header: RawSpan, payload: RawSpan) -> Bool {
        guard linkRoom > 0 else { return false }
        linkRoom -= 1
        var bytes: [UInt8] = []
        bytes.reserveCapacity(header.byteCount + payload.byteCount)
        bytes.append(header)
        bytes.append(payload)
        outbox.append(Frame(bytes, offload))
        return true
    }

    package mutating func connect(_ flow: FlowID, to target: HostTarget) -> HostResult {
        var socket = HostSocket(flow: flow, target: target, script: script)
        defer {
            index[flow] = sockets.count
            sockets.append(socket)
        }
        guard let delay = script.connectDelay else { return .wouldBlock }
        if delay == 0 {
            if let error = script.connectError { return .failed(error) }
            socket.connected = true
            socket.watchesRead = true
            return .done(0)
        }
        socket.connectAt = now + delay
        return .wouldBlock
    }

    /// A client's socket, already connected, for a flow that the core opens towards the guest.
    package mutating func adopt(_ flow: FlowID, from client: Endpoint) {
        var socket = HostSocket(flow: flow, target: .endpoint(client), script: script)
        socket.connected = true
        index[flow] = sockets.count
        sockets.append(socket)
    }

    package mutating func send(_ flow: FlowID, _ bytes: RawSpan) -> HostResult {
        guard let i = index[flow], !sockets[i].closed else { return .failed(.other(9)) }
        sockets[i].sends += 1
        let script = sockets[i].script
        if script.spuriousEvery > 0, sockets[i].sends % script.spuriousEvery == 0 { return .wouldBlock }
        if let limit = script.failsAfter, sockets[i].received.count >= limit { return .failed(.reset) }
        let count = min(bytes.byteCount, sockets[i].room, script.largestSend)
        guard count > 0 else { return .wouldBlock }
        sockets[i].received.append(bytes.extracting(0..<count))
        if script.readSize == nil {
            sockets[i].read = sockets[i].received.count
        } else if sockets[i].readAt == .never {
            sockets[i].readAt = now + script.readInterval
        }
        return .done(count)
    }

    package mutating func receive(_ flow: FlowID, into spaces: inout ChunkSpaces) -> HostResult {
        guard let i = index[flow], !sockets[i].closed else { return .failed(.other(9)) }
        let script = sockets[i].script
        var count = min(spaces.byteCount, script.stream.count - sockets[i].given, script.largestReceive)
        // A read stops at an urgent byte.
        if let urgent = sockets[i].urgentNext, urgent > sockets[i].given {
            count = min(count, urgent - sockets[i].given)
        }
        guard count > 0 else {
            if let error = script.receiveError { return .failed(error) }
            guard sockets[i].hasEnded else { return .wouldBlock }
            sockets[i].endSeen = true
            return .done(0)
        }
        let from = sockets[i].given
        let stream = script.stream
        spaces.copy(from: stream.raw.extracting(from..<from + count))
        sockets[i].given += count
        largestRead = max(largestRead, count)
        return .done(count)
    }

    package mutating func sendUrgent(_ flow: FlowID, _ byte: UInt8) -> HostResult {
        guard let i = index[flow], !sockets[i].closed else { return .failed(.other(9)) }
        let bytes = [byte]
        let result = send(flow, bytes.raw)
        if case .done = result { sockets[i].receivedUrgent.append(sockets[i].received.count - 1) }
        return result
    }

    package mutating func receiveUrgent(_ flow: FlowID) -> UrgentByte {
        guard let i = index[flow], let urgent = sockets[i].urgentNext else { return .none }
        guard urgent == sockets[i].given else { return .ahead }
        sockets[i].given += 1
        return .here(sockets[i].script.stream[urgent])
    }

    package mutating func shutdownWrite(_ flow: FlowID) {
        guard let i = index[flow] else { return }
        sockets[i].guestEnded = true
    }

    package mutating func close(_ flow: FlowID, reset: Bool) {
        guard let i = index[flow] else { return }
        sockets[i].closed = true
        sockets[i].reset = reset
        sockets[i].connectAt = .never
        index[flow] = nil
    }

    package mutating func watch(_ flow: FlowID, read: Bool, write: Bool, urgent: Bool) {
        guard let i = index[flow] else { return }
        sockets[i].watchesRead = read
        sockets[i].watchesWrite = write
        sockets[i].watchesUrgent = urgent
    }

    // Datagrams are another simulation's business.

    package mutating func openDatagram(_ flow: FlowID, isV4: Bool, preferredPort: UInt16) -> HostResult { .done(0) }
    package mutating func sendDatagram(
        _ flow: FlowID, to target: HostTarget, _ bytes: RawSpan, _ options: DatagramOptions
    ) -> HostResult { .done(bytes.byteCount) }
    package mutating func sendServed(
        _ port: UInt32, path: DatagramPath, to client: Endpoint, _ bytes: RawSpan, size: Int, _ options: DatagramOptions
    ) -> HostResult { .done(bytes.byteCount) }
    package mutating func openEcho(_ flow: FlowID, isV4: Bool) -> HostResult { .done(0) }
    package mutating func sendEcho(
        _ flow: FlowID, to target: IPAddress, sequence: UInt16, _ payload: RawSpan, _ options: DatagramOptions
    ) -> HostResult { .done(0) }
    package mutating func dnsQuery(_ query: RawSpan, from client: GuestPort) {}
    package mutating func note(_ notice: Notice) { notices.append(notice) }

    /// Spoils what nobody is said to need.
    package mutating func discard(_ bytes: inout MutableRawSpan) {
        discarded += bytes.byteCount
        for at in stride(from: 0, to: bytes.byteCount, by: 8) { bytes.store(u64: 0xdddd_dddd_dddd_dddd, at: at) }
    }

    /// Lets peers read what is due.
    mutating func advance(to time: Instant) {
        now = time
        for i in sockets.indices where sockets[i].readAt <= time {
            sockets[i].read = min(sockets[i].received.count, sockets[i].read + (sockets[i].script.readSize ?? .max / 2))
            // A peer that has stopped reading does not look again and again.
            let goesOn = sockets[i].read < sockets[i].received.count && sockets[i].script.readSize != 0
            sockets[i].readAt = goesOn ? time + sockets[i].script.readInterval : .never
        }
    }

    var next: Instant {
        var next = Instant.never
        for socket in sockets { next = min(next, min(socket.connectAt, socket.readAt)) }
        return next
    }
}
