package import Wire

/// A TCP segment's header as values: what the state machine decides on. The payload stays in the frame.
package struct Segment: BitwiseCopyable {
    package var seq: SequenceNumber
    package var ack: SequenceNumber
    package var flags: TCPFlags
    /// As in the header, not scaled.
    package var window: UInt16
    /// Payload bytes.
    package var length: Int
    /// Counts only with URG.
    package var urgentPointer: UInt16
    /// A router on the way has marked the packet (CE, RFC 3168 section 5).
    package var isMarked: Bool
    package var options: TCPOptions

    package init(
        seq: SequenceNumber, ack: SequenceNumber, flags: TCPFlags, window: UInt16, length: Int, options: TCPOptions,
        urgentPointer: UInt16 = 0, isMarked: Bool = false
    ) {
        self.urgentPointer = urgentPointer
        self.isMarked = isMarked
        self.seq = seq
        self.ack = ack
        self.flags = flags
        self.window = window
        self.length = length
        self.options = options
    }

    /// SEG.LEN of RFC 9293: SYN and FIN count.
    var span: Int { length + (flags.contains(.syn) ? 1 : 0) + (flags.contains(.fin) ? 1 : 0) }
}
