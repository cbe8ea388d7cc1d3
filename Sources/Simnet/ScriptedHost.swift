package import Netstack
package import Wire

// The host's side of the simulator: sockets that exist in memory and are as awkward as asked. A socket gives the bytes of
// a `StreamPattern` up to a length and then its end; what is sent to it is compared with another pattern, byte for byte, and
// counted. "Would block" is answered at random or by a room that drains with time, and readiness follows later as an
// event, if the core still watches for it.

package struct ScriptedHost: Outside, ~Copyable {
    /// How a socket behaves.
    package struct Script: Sendable {
        /// What connect ends with; nil is success.
        package var refusal: HostError?
        package var connectDelay: Int64 = 0
        /// Bytes that the host sends before its end of stream.
        package var outgoing = 0
        /// Chance that a read or write says "would block" although it need not.
        package var blockChance = 0.0
        /// Bytes that one call moves at most.
        package var callLimit = Int.max
        /// Bytes a second that the host's application reads; 0 never reads.
        package var drainRate = Int.max
        /// The socket's send buffer.
        package var room = 1 << 20
        package init() {}
    }

    /// One socket's life so far.
    package struct Socket: Sendable {
        package var received = 0
        package var sent = 0
        package var mismatch: Int?
        package var sawEnd = false
        package var closed = false
        package var wasReset = false
        package var watchesRead = false
        package var watchesWrite = false
        var buffered = 0
        var drainedAt = Instant(nanoseconds: 0)
    }

    /// Something to be told to the core later.
    package enum Event: Sendable { case connected(FlowID, HostError?), readable(FlowID), writable(FlowID) }

    package var script: Script
    package let fromHost: StreamPattern
    package let fromGuest: StreamPattern
    package private(set) var sockets: [FlowID: Socket] = [:]
    package var frames: [(offload: OffloadHeader, bytes: [UInt8])] = []
    package var events: [(due: Instant, event: Event)] = []
    package var now = Instant(nanoseconds: 0)
    package private(set) var notices: [Notice] = []
    package var linkIsFull = false
    private var random: SeededGenerator

    package init(script: Script, seed: UInt64) {
        self.script = script
        fromHost = StreamPattern(seed: seed &* 3)
        fromGuest = StreamPattern(seed: seed &* 5)
        random = SeededGenerator(seed: seed ^ 0x5ca1_ab1e)
    }

    package mutating func transmit(_ offload: OffloadHeader, header: RawSpan, payload: RawSpan) -> Bool {
        if linkIsFull { return false }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(header.byteCount + payload.byteCount)
        for i in 0..<header.byteCount { bytes.append(header.u8(at: i)) }
        for i in 0..<payload.byteCount { bytes.append(payload.u8(at: i)) }
        frames.append((offload, bytes))
        return true
    }

    package mutating func connect(_ flow: FlowID, to target: HostTarget) -> HostResult {
        sockets[flow] = Socket()
        sockets[flow]?.drainedAt = now
        events.append((now + script.connectDelay, .connected(flow, script.refusal)))
        return .wouldBlock
    }

    package mutating func send(_ flow: FlowID, _ bytes: RawSpan) -> HostResult {
        guard var socket = sockets[flow], !socket.closed else { return .failed(.reset) }
        drain(&socket)
        defer { sockets[flow] = socket }
        let room = min(script.room - socket.buffered, script.callLimit, bytes.byteCount)
        if room <= 0 || random.chance(script.blockChance) {
            wake(flow, writable: true)
            return .wouldBlock
        }
        for i in 0..<room where bytes.u8(at: i) != fromGuest[socket.received + i] {
            socket.mismatch = socket.mismatch ?? socket.received + i
        }
        socket.received += room
        socket.buffered += room
        if room < bytes.byteCount { wake(flow, writable: true) }
        return .done(room)
    }

    package mutating func receive(_ flow: FlowID, into space: inout MutableRawSpan) -> HostResult {
        guard var socket = sockets[flow], !socket.closed else { return .failed(.reset) }
        if random.chance(script.blockChance) {
            wake(flow, writable: false)
            return .wouldBlock
        }
        let count = min(script.outgoing - socket.sent, space.byteCount, script.callLimit)
        for i in 0..<count { space.store(u8: fromHost[socket.sent + i], at: i) }
        socket.sent += count
        sockets[flow] = socket
        return .done(count)
    }

    package mutating func shutdownWrite(_ flow: FlowID) { sockets[flow]?.sawEnd = true }

    package mutating func close(_ flow: FlowID, reset: Bool) {
        sockets[flow]?.closed = true
        sockets[flow]?.wasReset = reset
    }

    package mutating func watch(_ flow: FlowID, read: Bool, write: Bool) {
        sockets[flow]?.watchesRead = read
        sockets[flow]?.watchesWrite = write
    }

    package mutating func openDatagram(_ flow: FlowID, isV4: Bool, preferredPort: UInt16) -> HostResult { .done(0) }
    package mutating func sendDatagram(
        _ flow: FlowID, to target: HostTarget, _ bytes: RawSpan, _ options: DatagramOptions
    ) -> HostResult { .done(bytes.byteCount) }
    package mutating func openEcho(_ flow: FlowID, isV4: Bool) -> HostResult { .done(0) }
    package mutating func sendEcho(
        _ flow: FlowID, to target: IPAddress, sequence: UInt16, _ payload: RawSpan, _ options: DatagramOptions
    ) -> HostResult { .done(payload.byteCount) }
    package mutating func dnsQuery(_ query: RawSpan, from client: GuestPort) {}
    package mutating func note(_ notice: Notice) { notices.append(notice) }

    /// Readiness is level-triggered: an event that comes before the core watches is not lost, it repeats.
    package func isWatched(_ event: Event) -> Bool {
        switch event {
        case .connected: return true
        case .readable(let flow): return sockets[flow]?.watchesRead == true
        case .writable(let flow): return sockets[flow]?.watchesWrite == true
        }
    }

    private mutating func wake(_ flow: FlowID, writable: Bool) {
        let delay = script.drainRate == Int.max ? Int64.random(in: 10_000...2_000_000, using: &random) : 1_000_000
        events.append((now + delay, writable ? .writable(flow) : .readable(flow)))
    }

    private func drain(_ socket: inout Socket) {
        if script.drainRate == Int.max {
            socket.buffered = 0
        } else {
            let elapsed = now - socket.drainedAt
            let drained = Int(Double(elapsed) * Double(script.drainRate) / 1e9)
            if drained > 0 {
                socket.buffered = max(0, socket.buffered - drained)
                socket.drainedAt = now
            }
        }
    }
}
