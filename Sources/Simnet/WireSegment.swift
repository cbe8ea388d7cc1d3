package import Netstack
package import Wire

/// One TCP segment as it crosses the simulated wire towards the guest: a frame of the core, or a piece of a super-frame.
package struct WireSegment: Sendable {
    package var sequence: SequenceNumber
    package var acknowledgment: SequenceNumber
    package var flags: TCPFlags
    package var window: UInt16
    package var options: TCPOptions
    package var payload: [UInt8]

    /// Cuts a frame of the core into segments, as a link without offloads would. A complaint when the frame is not what
    /// a guest's kernel would take.
    package static func cut(_ frame: [UInt8], _ offload: OffloadHeader) -> (segments: [WireSegment], complaint: String?)
    {
        let bytes = unsafe frame.span.bytes
        guard let ethernet = try? EthernetView(bytes) else { return ([], "no Ethernet header") }
        let source: IPAddress
        let destination: IPAddress
        let payload: RawSpan
        if ethernet.etherType == EtherType.ipv4 {
            guard let ip = try? IPv4View(ethernet.payload), ip.protocol == IPProtocol.tcp else { return ([], nil) }
            guard ip.verifyChecksum() else { return ([], "bad IPv4 checksum") }
            (source, destination, payload) = (ip.source, ip.destination, ip.payload)
        } else {
            guard let ip = try? IPv6View(ethernet.payload), ip.nextHeader == IPProtocol.tcp else { return ([], nil) }
            (source, destination, payload) = (ip.source, ip.destination, ip.payload)
        }
        guard let tcp = try? TCPView(payload) else { return ([], "no TCP header") }
        guard offload.needsChecksum, Int(offload.checksumOffset) == 16 else {
            return ([], "no partial checksum asked for")
        }
        let pseudo = Checksum.fold(
            Checksum.pseudoHeader(
                source: source, destination: destination, protocol: IPProtocol.tcp, length: payload.byteCount))
        guard tcp.checksum == pseudo else { return ([], "the partial checksum is wrong") }
        let text = tcp.payload
        let size = offload.segmentation == .none ? max(1, text.byteCount) : Int(offload.segmentSize)
        guard size > 0 else { return ([], "a super-frame without a segment size") }
        var segments: [WireSegment] = []
        var at = 0
        repeat {
            let end = min(at + size, text.byteCount)
            var piece: [UInt8] = []
            for i in at..<end { piece.append(text.u8(at: i)) }
            var flags = tcp.flags
            if end < text.byteCount { flags.subtract([.fin, .psh]) }
            segments.append(
                WireSegment(
                    sequence: tcp.sequence + at, acknowledgment: tcp.acknowledgment, flags: flags, window: tcp.window,
                    options: TCPOptions(parsing: tcp.options), payload: piece))
            at = end
        } while at < text.byteCount
        return (segments, nil)
    }
}
