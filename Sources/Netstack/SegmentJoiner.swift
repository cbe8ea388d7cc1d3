import Wire

// SegmentCutter the other way round: consecutive TCP segments of one connection, read from a link without offloads, become one
// super-frame before the core sees them. A system call into the host's socket for each 1460 bytes would cost more than all the rest.
//
//   header | piece 0 ░ header | piece 1 ░ header | piece 2      as they lie in the link's buffer, framing between them
//   header | piece 0   piece 1   piece 2                         the payloads moved down behind the first one's
//
// A segment joins when nothing but its text would be new: the same header but for sequence number, lengths, identification, checksums,
// PSH and FIN, the sequence number that follows, no more text than the first has. So what the core is told is what it would have
// learned from the segments one by one (the rules of Linux's tcp_gro_receive, but that PSH does not end a run: nothing here waits for more).
// A segment with less text, or a FIN, is the last. Both checksums of each are verified before it joins; one that is wrong, like anything
// else that does not fit, is left for the core to judge.
//
// It reads and moves within ranges that its caller gives, which must lie in the buffer, one behind the other. Nothing here can trap
// on what a guest has written.

/// A run of segments on its way to becoming one frame.
package struct SegmentJoiner {
    /// IPv4's total length and IPv6's payload length are 16 bits.
    private static let largest = 65_535

    /// Where the frame lies by now.
    package private(set) var range: Range<Int>
    private let isV4: Bool
    /// Of the transport header and of the payload, from the frame's start.
    private let transport: Int
    private let headers: Int
    /// Bytes of text in the first segment.
    private let size: Int
    private var expected: UInt32
    private var flags: UInt8
    private let isTrusted: Bool
    private var isVerified: Bool
    private var isClosed = false
    package private(set) var count = 1

    /// nil when nothing can join this frame: no TCP segment, none with text, one with a flag that has a meaning of its own.
    /// - Parameter isTrusted: the link's peer vouches for checksums, or leaves them undone.
    package init?(_ range: Range<Int>, in bytes: RawSpan, isTrusted: Bool) {
        let frame = bytes.extracting(range)
        guard let shape = Self.shape(frame), shape.flags & ~TCPFlags.psh.rawValue == TCPFlags.ack.rawValue else {
            return nil
        }
        self.range = range
        isV4 = shape.isV4
        transport = shape.transport
        headers = shape.headers
        size = frame.byteCount - headers
        expected = shape.sequence &+ UInt32(truncatingIfNeeded: size)
        flags = shape.flags
        self.isTrusted = isTrusted
        isVerified = isTrusted
    }

    private struct Shape {
        let isV4: Bool
        let transport: Int
        let headers: Int
        let sequence: UInt32
        let flags: UInt8
    }

    /// A TCP segment with text in an unfragmented packet without IP options that fills its frame.
    @inline(__always)
    private static func shape(_ frame: RawSpan) -> Shape? {
        guard frame.byteCount > EthernetHeader.length + 40 else { return nil }
        let packet = frame.byteCount - EthernetHeader.length
        let isV4: Bool
        switch frame.field16(at: 12) {
        case EtherType.ipv4:
            guard frame.field8(at: 14) == 0x45, frame.field8(at: 23) == IPProtocol.tcp,
                Int(frame.field16(at: 16)) == packet, frame.field16(at: 20) & 0x3fff == 0
            else { return nil }
            isV4 = true
        case EtherType.ipv6:
            guard frame.byteCount > EthernetHeader.length + 60, frame.field8(at: 14) >> 4 == 6,
                frame.field8(at: 20) == IPProtocol.tcp, Int(frame.field16(at: 18)) == packet - 40
            else { return nil }
            isV4 = false
        default: return nil
        }
        let transport = isV4 ? 34 : 54
        let words = Int(frame.field8(at: transport + 12) >> 4)
        let headers = transport + 4 * words
        guard words >= 5, headers < frame.byteCount else { return nil }
        return Shape(
            isV4: isV4, transport: transport, headers: headers, sequence: frame.field32(at: transport + 4),
            flags: frame.field8(at: transport + 13))
    }

    /// Joins the frame at `next`, which lies behind this one, if it continues it. The bytes at `next` are then of no more use.
    /// - Returns: whether it did.
    package mutating func join(_ next: Range<Int>, in bytes: inout MutableRawSpan) -> Bool {
        let more = next.count - headers
        guard !isClosed, more > 0, more <= size, range.count - EthernetHeader.length + more <= Self.largest,
            continues(bytes.bytes.extracting(next), bytes.bytes.extracting(range))
        else { return false }
        if !isVerified {
            guard verify(bytes.bytes.extracting(range)) else { return false }
            isVerified = true
        }
        guard isTrusted || verify(bytes.bytes.extracting(next)) else { return false }
        let added = bytes.bytes.u8(at: next.lowerBound + transport + 13)
        bytes.move(next.lowerBound + headers..<next.upperBound, to: range.upperBound)
        range = range.lowerBound..<range.upperBound + more
        expected &+= UInt32(truncatingIfNeeded: more)
        flags |= added
        isClosed = more < size || added & TCPFlags.fin.rawValue != 0
        count += 1
        return true
    }

    /// Whether `frame` is the segment after `first`, and its header says nothing else that is new.
    @inline(__always)
    private func continues(_ frame: RawSpan, _ first: RawSpan) -> Bool {
        guard let shape = Self.shape(frame), shape.isV4 == isV4, shape.headers == headers, shape.sequence == expected
        else { return false }
        func same(_ from: Int, _ to: Int) -> Bool {
            var at = from
            while at < to {
                if frame.field16(at: at) != first.field16(at: at) { return false }
                at += 2
            }
            return true
        }
        // PSH and FIN may be new. Byte 12 is the length, which is the same.
        let news = (shape.flags ^ TCPFlags.ack.rawValue) & ~(TCPFlags.psh.rawValue | TCPFlags.fin.rawValue)
        return news == 0 && same(0, 16)
            // IPv4: all but length, identification and checksum. IPv6: all but the length.
            && (isV4 ? same(20, 24) && same(26, transport + 4) : same(16, 18) && same(20, transport + 4))
            // Acknowledgment, window, options; without URG the pointer has no meaning (RFC 9293 section 3.1).
            && same(transport + 8, transport + 12) && same(transport + 14, transport + 16)
            && same(transport + 20, headers)
    }

    /// The checksums of IP and TCP.
    private func verify(_ frame: RawSpan) -> Bool {
        let packet = frame.part(from: EthernetHeader.length, to: frame.byteCount)
        let segment = frame.part(from: transport, to: frame.byteCount)
        if isV4 {
            guard let ip = try? IPv4View(packet), ip.verifyChecksum(), let tcp = try? TCPView(segment) else {
                return false
            }
            return tcp.verifyChecksum(source: ip.source, destination: ip.destination)
        }
        guard let ip = try? IPv6View(packet), let tcp = try? TCPView(segment) else { return false }
        return tcp.verifyChecksum(source: ip.source, destination: ip.destination)
    }

    /// Writes what the whole frame's header has to say. Call once, after the last `join`.
    /// - Returns: what goes with it: a super-frame, its checksum verified, or the one frame as it came.
    package func finish(in bytes: inout MutableRawSpan) -> OffloadHeader {
        var offload = OffloadHeader()
        offload.checksumValid = isTrusted
        guard count > 1 else { return offload }
        offload.checksumValid = true
        offload.segmentation = isV4 ? .tcp4 : .tcp6
        offload.segmentSize = UInt16(clamping: size)
        offload.headerLength = UInt16(headers)
        let start = range.lowerBound
        let packet = range.count - EthernetHeader.length
        bytes.store(u8: flags, at: start + transport + 13)
        if isV4 {
            bytes.store(u16: UInt16(truncatingIfNeeded: packet), at: start + 16)
            bytes.store(u16: 0, at: start + 24)
            let sum = Checksum.sum(bytes.bytes.extracting(start + EthernetHeader.length..<start + transport))
            bytes.store(u16: Checksum.finish(sum), at: start + 24)
        } else {
            bytes.store(u16: UInt16(truncatingIfNeeded: packet - 40), at: start + 18)
        }
        return offload
    }
}
