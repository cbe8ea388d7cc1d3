import Netstack
import Wire

/// An outside that does nothing: every frame is taken, every byte is taken, and a host socket always has `readable` bytes. So what
/// is counted is the core alone.
struct NullOutside: Outside, ~Copyable {
    /// Bytes that a read gives; 0: nothing is there.
    var readable = 0
    /// Payload of the frames that the core sent.
    var sentPayload = 0
    var frames = 0
    var flow = FlowID(rawValue: 0)
    /// Our initial sequence number, from the SYN-ACK.
    var synAck = SequenceNumber(rawValue: 0)

    mutating func transmit(_ offload: OffloadHeader, header: RawSpan, payload: RawSpan) -> Bool {
        frames &+= 1
        sentPayload &+= payload.byteCount
        if frames == 1, header.byteCount > 54 { synAck = SequenceNumber(rawValue: header.u32(at: 38)) }
        return true
    }

    mutating func connect(_ flow: FlowID, to target: HostTarget) -> HostResult {
        self.flow = flow
        return .done(0)
    }

    mutating func send(_ flow: FlowID, _ bytes: RawSpan) -> HostResult { .done(bytes.byteCount) }

    mutating func receive(_ flow: FlowID, into spaces: inout ChunkSpaces) -> HostResult {
        guard readable > 0 else { return .wouldBlock }
        let count = min(readable, spaces.byteCount)
        readable = 0
        return .done(count)
    }

    mutating func openDatagram(_ flow: FlowID, isV4: Bool, preferredPort: UInt16) -> HostResult {
        self.flow = flow
        return .done(0)
    }

    mutating func sendDatagram(
        _ flow: FlowID, to target: HostTarget, _ bytes: RawSpan, _ options: DatagramOptions
    ) -> HostResult { .done(bytes.byteCount) }

    mutating func sendServed(
        _ port: UInt32, path: DatagramPath, to client: Endpoint, _ bytes: RawSpan, size: Int, _ options: DatagramOptions
    ) -> HostResult { .done(bytes.byteCount) }

    mutating func openEcho(_ flow: FlowID, isV4: Bool) -> HostResult { .done(0) }

    mutating func sendEcho(
        _ flow: FlowID, to target: IPAddress, sequence: UInt16, _ payload: RawSpan, _ options: DatagramOptions
    ) -> HostResult { .done(payload.byteCount) }

    mutating func shutdownWrite(_ flow: FlowID) {}
    mutating func close(_ flow: FlowID, reset: Bool) {}
    mutating func watch(_ flow: FlowID, read: Bool, write: Bool, urgent: Bool) {}
    mutating func sendUrgent(_ flow: FlowID, _ byte: UInt8) -> HostResult { .done(1) }
    mutating func receiveUrgent(_ flow: FlowID) -> UrgentByte { .none }
    mutating func dnsQuery(_ query: RawSpan, from client: GuestPort) {}
    mutating func note(_ notice: Notice) {}
    mutating func discard(_ bytes: inout MutableRawSpan) {}
}
