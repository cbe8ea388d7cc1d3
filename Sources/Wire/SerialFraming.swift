// Frames on a line that loses, garbles or invents bytes: a serial console has boot messages before us, an echo, a login prompt. A
// length prefix cannot find the next frame after those. So: HDLC-like framing (RFC 1662 sections 4 and appendix C.3).
//
//   7e | frame, then its FCS-32 little-endian, with 7e, 7d, 11 and 13 as 7d and the byte xor 20 | 7e
//
// - 7e stands only between frames: whoever starts to listen in the middle is right again at the next one, with no greeting.
// - The check sequence is that of Ethernet (CRC-32, reflected polynomial edb88320): noise between two flags is not a frame.
// - 11 and 13 are escaped since a terminal may take them for flow control (XON, XOFF).
// - 7d 7e aborts a frame. Two flags without anything in between are no frame.
//
// An escaped frame has at most 2 x (length + 4) + 2 bytes; on payload without pattern it is 1.6 % longer.

/// Byte-stuffed frames with a check sequence.
package enum SerialFraming {
    private static let flag: UInt8 = 0x7e
    private static let escape: UInt8 = 0x7d
    private static let mask: UInt8 = 0x20
    /// Bytes of the check sequence.
    private static let check = 4

    /// The most bytes that a frame of `length` takes.
    package static func room(_ length: Int) -> Int { 2 * (length + check) + 2 }

    package enum Next: Equatable {
        /// The frame, where it has been unescaped, and where to go on.
        case frame(Range<Int>, next: Int)
        /// Two flags in a row.
        case empty(next: Int)
        /// Anything else between two flags.
        case damaged(next: Int)
        /// No flag yet. Nothing has been changed.
        case more
    }

    /// Unescapes in place what lies before the next flag.
    @_lifetime(span: copy span)
    package static func next(in span: inout MutableRawSpan, from start: Int, to end: Int) -> Next {
        guard start < end, let stop = position(of: flag, in: span.bytes, from: start, to: end) else { return .more }
        if stop == start { return .empty(next: stop + 1) }
        var write = start
        var read = start
        while read < stop {
            var byte = span.bytes.u8(at: read)
            read += 1
            if byte == escape {
                guard read < stop else { return .damaged(next: stop + 1) }
                byte = span.bytes.u8(at: read) ^ mask
                read += 1
            }
            span.store(u8: byte, at: write)
            write += 1
        }
        let length = write - start - check
        guard length > 0,
            span.bytes.u32(at: start + length).byteSwapped == checkSequence(span.bytes, start, start + length)
        else { return .damaged(next: stop + 1) }
        return .frame(start..<start + length, next: stop + 1)
    }

    private static func position(of byte: UInt8, in bytes: RawSpan, from start: Int, to end: Int) -> Int? {
        var index = start
        while index < end {
            if bytes.u8(at: index) == byte { return index }
            index += 1
        }
        return nil
    }

    /// Writes a frame at `offset`, where `room` of its length must fit.
    /// - Returns: the bytes written.
    @_lifetime(span: copy span)
    package static func write(_ frame: RawSpan, to span: inout MutableRawSpan, at offset: Int) -> Int {
        var at = offset
        span.store(u8: flag, at: at)
        at += 1
        for index in 0..<frame.byteCount { put(frame.u8(at: index), &span, &at) }
        let sum = checkSequence(frame, 0, frame.byteCount)
        for shift in stride(from: UInt32(0), to: 32, by: 8) { put(UInt8(truncatingIfNeeded: sum >> shift), &span, &at) }
        span.store(u8: flag, at: at)
        return at + 1 - offset
    }

    @inline(__always)
    @_lifetime(span: copy span)
    private static func put(_ byte: UInt8, _ span: inout MutableRawSpan, _ at: inout Int) {
        if byte == flag || byte == escape || byte == 0x11 || byte == 0x13 {
            span.store(u8: escape, at: at)
            span.store(u8: byte ^ mask, at: at + 1)
            at += 2
        } else {
            span.store(u8: byte, at: at)
            at += 1
        }
    }

    // MARK: CRC-32

    private static let table: [UInt32] = (0..<256).map { index in
        (0..<8).reduce(UInt32(index)) { value, _ in value & 1 != 0 ? value >> 1 ^ 0xedb8_8320 : value >> 1 }
    }

    static func checkSequence(_ bytes: RawSpan, _ start: Int, _ end: Int) -> UInt32 {
        let table = Self.table
        var value = UInt32.max
        var index = start
        while index < end {
            value = value >> 8 ^ table[Int((value ^ UInt32(bytes.u8(at: index))) & 0xff)]
            index += 1
        }
        return ~value
    }
}
