import Simnet
import Netstack
import Wire

// A world that writes down what the core asks of it and answers from a script.
//
//     var outside = RecordingOutside()
//     outside.openDatagramResult = .failed(.exhausted)
//     core.receive(frame, ...)
//     #expect(outside.calls == [...]);  #expect(outside.frames.count == 1)
//
// Frames to the guest and calls on host sockets are kept in two lists; `takeFrames` and `takeCalls` empty them between
// the steps of a test.

/// A scripted `Outside`.
struct RecordingOutside: Outside {
    /// One frame to the guest: header and payload in one piece, as the link would send it.
    struct Frame: Equatable {
        var offload: OffloadHeader
        var bytes: [UInt8]
    }

    /// One request of the core, in the order of asking.
    enum Call: Equatable {
        case connect(FlowID, HostTarget)
        case send(FlowID, [UInt8])
        case receive(FlowID, Int)
        case shutdownWrite(FlowID)
        case close(FlowID, reset: Bool)
        case watch(FlowID, read: Bool, write: Bool)
        case sendUrgent(FlowID, UInt8)
        case openDatagram(FlowID, isV4: Bool, preferredPort: UInt16)
        case sendDatagram(FlowID, HostTarget, [UInt8], DatagramOptions)
        case sendServed(UInt32, DatagramPath, Endpoint, [UInt8], size: Int, DatagramOptions)
        case openEcho(FlowID, isV4: Bool)
        case sendEcho(FlowID, IPAddress, UInt16, [UInt8], DatagramOptions)
        case dnsQuery([UInt8], GuestPort)
        case note(Notice)
    }

    var frames: [Frame] = []
    var calls: [Call] = []
    var leaseChanges: [LeaseChange] = []

    // The script.
    /// How many more frames the link takes; nil is any number.
    var linkRoom: Int?
    var connectResult = HostResult.wouldBlock
    /// What `send` takes of each call at most; a failure instead if `sendFailure` is set.
    var sendRoom = Int.max
    var sendFailure: HostError?
    /// What the flow's socket has to read; nothing is `.wouldBlock` until `ended` has the flow.
    var incoming: [FlowID: [UInt8]] = [:]
    var ended: Set<FlowID> = []
    var receiveFailure: HostError?
    var openDatagramResult = HostResult.done(0)
    var sendDatagramFailure: HostResult?
    var openEchoResult = HostResult.done(0)
    var sendEchoFailure: HostResult?

    mutating func takeFrames() -> [Frame] {
        defer { frames = [] }
        return frames
    }

    mutating func takeCalls() -> [Call] {
        defer { calls = [] }
        return calls
    }

    /// Notices alone.
    var notices: [Notice] {
        calls.compactMap { if case .note(let notice) = $0 { notice } else { nil } }
    }

    /// The flow of the first call that opened or used one.
    var firstFlow: FlowID? {
        for call in calls {
            switch call {
            case .openDatagram(let flow, _, _), .openEcho(let flow, _), .sendDatagram(let flow, _, _, _),
                .sendEcho(let flow, _, _, _, _):
                return flow
            default: continue
            }
        }
        return nil
    }

    mutating func takeLeaseChanges() -> [LeaseChange] {
        defer { leaseChanges = [] }
        return leaseChanges
    }

    // MARK: Outside

    mutating func transmit(_ offload: OffloadHeader, header: RawSpan, payload: RawSpan) -> Bool {
        if let room = linkRoom {
            guard room > 0 else { return false }
            linkRoom = room - 1
        }
        frames.append(Frame(offload: offload, bytes: Array(copying: header) + Array(copying: payload)))
        return true
    }

    mutating func connect(_ flow: FlowID, to target: HostTarget) -> HostResult {
        calls.append(.connect(flow, target))
        return connectResult
    }

    mutating func send(_ flow: FlowID, _ bytes: RawSpan) -> HostResult {
        if let sendFailure { return .failed(sendFailure) }
        let count = min(sendRoom, bytes.byteCount)
        if count == 0 && bytes.byteCount > 0 { return .wouldBlock }
        calls.append(.send(flow, Array(copying: bytes.extracting(0..<count))))
        return .done(count)
    }

    mutating func receive(_ flow: FlowID, into spaces: inout ChunkSpaces) -> HostResult {
        if let receiveFailure { return .failed(receiveFailure) }
        guard let waiting = incoming[flow], !waiting.isEmpty else {
            return ended.contains(flow) ? .done(0) : .wouldBlock
        }
        let count = min(waiting.count, spaces.byteCount)
        spaces.copy(from: waiting.raw.extracting(0..<count))
        incoming[flow] = Array(waiting[count...])
        calls.append(.receive(flow, count))
        return .done(count)
    }

    mutating func sendUrgent(_ flow: FlowID, _ byte: UInt8) -> HostResult {
        calls.append(.sendUrgent(flow, byte))
        return .done(1)
    }

    mutating func receiveUrgent(_ flow: FlowID) -> UrgentByte { .none }

    mutating func shutdownWrite(_ flow: FlowID) { calls.append(.shutdownWrite(flow)) }

    mutating func close(_ flow: FlowID, reset: Bool) { calls.append(.close(flow, reset: reset)) }

    mutating func watch(_ flow: FlowID, read: Bool, write: Bool, urgent: Bool) {
        calls.append(.watch(flow, read: read, write: write))
    }

    mutating func openDatagram(_ flow: FlowID, isV4: Bool, preferredPort: UInt16) -> HostResult {
        calls.append(.openDatagram(flow, isV4: isV4, preferredPort: preferredPort))
        return openDatagramResult
    }

    mutating func sendDatagram(
        _ flow: FlowID, to target: HostTarget, _ bytes: RawSpan, _ options: DatagramOptions
    ) -> HostResult {
        calls.append(.sendDatagram(flow, target, Array(copying: bytes), options))
        return sendDatagramFailure ?? .done(bytes.byteCount)
    }

    mutating func sendServed(
        _ port: UInt32, path: DatagramPath, to client: Endpoint, _ bytes: RawSpan, size: Int, _ options: DatagramOptions
    ) -> HostResult {
        calls.append(.sendServed(port, path, client, Array(copying: bytes), size: size, options))
        return sendDatagramFailure ?? .done(bytes.byteCount)
    }

    mutating func openEcho(_ flow: FlowID, isV4: Bool) -> HostResult {
        calls.append(.openEcho(flow, isV4: isV4))
        return openEchoResult
    }

    mutating func sendEcho(
        _ flow: FlowID, to target: IPAddress, sequence: UInt16, _ payload: RawSpan, _ options: DatagramOptions
    ) -> HostResult {
        calls.append(.sendEcho(flow, target, sequence, Array(copying: payload), options))
        return sendEchoFailure ?? .done(payload.byteCount)
    }

    mutating func dnsQuery(_ query: RawSpan, from client: GuestPort) {
        calls.append(.dnsQuery(Array(copying: query), client))
    }

    mutating func leaseChanged(_ change: LeaseChange) { leaseChanges.append(change) }

    mutating func note(_ notice: Notice) { calls.append(.note(notice)) }
    mutating func discard(_ bytes: inout MutableRawSpan) {}
}

extension [UInt8] {
    init(copying span: RawSpan) {
        self = []
        reserveCapacity(span.byteCount)
        for i in 0..<span.byteCount { append(span.u8(at: i)) }
    }
}
