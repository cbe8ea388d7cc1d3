// TCP options (RFC 9293 section 3.2): maximum segment size, window scale and timestamps (RFC 7323), selective
// acknowledgment (RFC 2018).
//
//     kind 0 end | 1 no-operation | 2,4,mss | 3,3,shift | 4,2 SACK permitted | 5,2+8n SACK blocks | 8,10,value,echo
//
// Parsing never fails: unknown kinds are skipped by their length, an option of a known kind with the wrong length is
// skipped too, and from a length that cannot be (below 2, or beyond the end) on, all is ignored. The first of equal
// options counts, except that SACK blocks add up. Everything is inline: parsing allocates nothing.
//
// Written form: MSS; NOP, window scale; timestamps as NOP NOP TS (RFC 7323 appendix A) or, in a SYN, with SACK permitted
// in the place of the two NOPs; NOP NOP SACK. Always a multiple of 4 and at most 40: SACK blocks that do not fit are
// left out, the last first (RFC 2018 section 4: the first is the most recent).

package struct TCPOptions: Sendable, BitwiseCopyable {
    /// The most that fit into 40 bytes.
    @inlinable package static var maximumSackBlocks: Int { 4 }
    /// The largest shift; larger ones are read as this (RFC 7323 section 2.3).
    @inlinable package static var maximumWindowScale: UInt8 { 14 }

    /// Kind 2, only in SYN segments.
    package var maximumSegmentSize: UInt16?
    /// Kind 3, only in SYN segments: 0...14.
    package var windowScale: UInt8?
    /// Kind 4, only in SYN segments.
    package var sackPermitted: Bool
    /// Kind 8.
    package var timestamps: (value: UInt32, echoReply: UInt32)?
    /// How many SACK blocks there are: 0...4.
    package private(set) var sackCount: Int
    /// left << 32 | right.
    private var sackStorage: InlineArray<4, UInt64>

    /// No options.
    package init(
        maximumSegmentSize: UInt16? = nil, windowScale: UInt8? = nil, sackPermitted: Bool = false,
        timestamps: (value: UInt32, echoReply: UInt32)? = nil
    ) {
        self.maximumSegmentSize = maximumSegmentSize
        self.windowScale = windowScale
        self.sackPermitted = sackPermitted
        self.timestamps = timestamps
        sackCount = 0
        sackStorage = InlineArray(repeating: 0)
    }

    /// Reads the options of a header (`TCPView.options`).
    package init(parsing bytes: RawSpan) {
        self.init()
        let count = bytes.byteCount
        // What nearly every segment of a connection carries: NOP NOP TS and nothing else.
        if count == 12, bytes.field32(at: 0) == 0x0101_080a {
            timestamps = (value: bytes.field32(at: 4), echoReply: bytes.field32(at: 8))
            return
        }
        var offset = 0
        while offset < count {
            let kind = bytes.field8(at: offset)
            if kind == Kind.end { return }
            if kind == Kind.noOperation {
                offset += 1
                continue
            }
            guard count - offset >= 2 else { return }
            let length = Int(bytes.field8(at: offset + 1))
            guard length >= 2, length <= count - offset else { return }
            switch (kind, length) {
            case (Kind.maximumSegmentSize, 4) where maximumSegmentSize == nil:
                maximumSegmentSize = bytes.field16(at: offset + 2)
            case (Kind.windowScale, 3) where windowScale == nil:
                windowScale = min(bytes.field8(at: offset + 2), Self.maximumWindowScale)
            case (Kind.sackPermitted, 2):
                sackPermitted = true
            case (Kind.sack, _) where (length - 2) % 8 == 0:
                var block = offset + 2
                while block < offset + length {
                    appendSack(
                        left: SequenceNumber(rawValue: bytes.field32(at: block)),
                        right: SequenceNumber(rawValue: bytes.field32(at: block + 4)))
                    block += 8
                }
            case (Kind.timestamps, 10) where timestamps == nil:
                timestamps = (value: bytes.field32(at: offset + 2), echoReply: bytes.field32(at: offset + 6))
            default:
                break
            }
            offset += length
        }
    }

    /// The block at `index`, which must be below `sackCount`: bytes from `left` up to, not including, `right` arrived.
    /// As on the wire, so nothing is known of their order.
    package func sackBlock(at index: Int) -> (left: SequenceNumber, right: SequenceNumber) {
        precondition(index >= 0 && index < sackCount, "no such SACK block")
        let block = sackStorage[index]
        return (
            left: SequenceNumber(rawValue: UInt32(truncatingIfNeeded: block >> 32)),
            right: SequenceNumber(rawValue: UInt32(truncatingIfNeeded: block))
        )
    }

    /// Adds a SACK block; without effect when there are four.
    package mutating func appendSack(left: SequenceNumber, right: SequenceNumber) {
        guard sackCount < Self.maximumSackBlocks else { return }
        sackStorage[sackCount] = UInt64(left.rawValue) << 32 | UInt64(right.rawValue)
        sackCount += 1
    }

    /// What `write` writes: 0...40, a multiple of 4.
    package var length: Int {
        let fixed = fixedLength
        let blocks = fittingSackBlocks(after: fixed)
        return fixed + (blocks > 0 ? 4 + 8 * blocks : 0)
    }

    private var fixedLength: Int {
        (maximumSegmentSize != nil ? 4 : 0) + (windowScale != nil ? 4 : 0)
            + (timestamps != nil ? 12 : sackPermitted ? 4 : 0)
    }

    private func fittingSackBlocks(after fixed: Int) -> Int { max(0, min(sackCount, (40 - fixed - 4) / 8)) }

    /// Writes the options, padded to a multiple of 4. Traps when they do not fit in the span.
    /// - Returns: the bytes written: `length`.
    @discardableResult
    package func write(to span: inout MutableRawSpan, at offset: Int) -> Int {
        span.checkRoom(length, at: offset)
        var next = offset
        if let maximumSegmentSize {
            span.putField(u32: 0x0204_0000 | UInt32(maximumSegmentSize), at: next)
            next += 4
        }
        if let windowScale {
            span.putField(u32: 0x0103_0300 | UInt32(windowScale), at: next)
            next += 4
        }
        if let timestamps {
            span.putField(u32: sackPermitted ? 0x0402_080a : 0x0101_080a, at: next)
            span.putField(u32: timestamps.value, at: next + 4)
            span.putField(u32: timestamps.echoReply, at: next + 8)
            next += 12
        } else if sackPermitted {
            span.putField(u32: 0x0101_0402, at: next)
            next += 4
        }
        let blocks = fittingSackBlocks(after: next - offset)
        if blocks > 0 {
            span.putField(u32: 0x0101_0500 | UInt32(2 + 8 * blocks), at: next)
            next += 4
            for index in 0..<blocks {
                span.putField(u64: sackStorage[index], at: next)
                next += 8
            }
        }
        return next - offset
    }

    private enum Kind {
        static let end: UInt8 = 0
        static let noOperation: UInt8 = 1
        static let maximumSegmentSize: UInt8 = 2
        static let windowScale: UInt8 = 3
        static let sackPermitted: UInt8 = 4
        static let sack: UInt8 = 5
        static let timestamps: UInt8 = 8
    }
}

extension TCPOptions: Equatable {
    package static func == (a: TCPOptions, b: TCPOptions) -> Bool {
        guard
            a.maximumSegmentSize == b.maximumSegmentSize, a.windowScale == b.windowScale,
            a.sackPermitted == b.sackPermitted, a.timestamps?.value == b.timestamps?.value,
            a.timestamps?.echoReply == b.timestamps?.echoReply, a.sackCount == b.sackCount
        else { return false }
        for index in 0..<a.sackCount where a.sackStorage[index] != b.sackStorage[index] { return false }
        return true
    }
}
