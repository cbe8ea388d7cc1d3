@testable import Netstack
import Simnet
import Testing
import Wire

// Segments as SegmentCutter makes them (tested by itself), laid into a buffer with gaps as a link's framing leaves them.

@Suite struct SegmentJoinerTests {
    /// The pieces of one of the core's super-frames, as a guest without offloads would send them.
    static func pieces(isV4: Bool, count: Int, mss: Int = 1400) -> [[UInt8]] {
        let frames = SegmentCutterTests.frames(isV4: isV4, mss: mss, count: 400_000, mtu: 1500)
        let frame = frames.first { $0.offload.segmentation != .none && $0.bytes.count > count * mss }!
        return Array(SegmentCutterTests.cut(frame, headerLength: Int(frame.offload.headerLength)).prefix(count))
    }

    struct Joined {
        var frames: [[UInt8]] = []
        var offloads: [OffloadHeader] = []
    }

    /// What the switch does with the frames of a read.
    static func join(_ frames: [[UInt8]], gap: Int = 4, isTrusted: Bool = false) -> Joined {
        var ranges: [Range<Int>] = []
        var at = 0
        for frame in frames {
            ranges.append(at + gap..<at + gap + frame.count)
            at += gap + frame.count
        }
        var result = Joined()
        _ = [UInt8].written(at) { span in
            for (frame, range) in zip(frames, ranges) { span.copy(from: frame.raw, at: range.lowerBound) }
            var i = 0
            while i < ranges.count {
                guard var joiner = SegmentJoiner(ranges[i], in: span.bytes, isTrusted: isTrusted) else {
                    result.frames.append(span.bytes.extracting(ranges[i]).array)
                    result.offloads.append(OffloadHeader())
                    i += 1
                    continue
                }
                i += 1
                while i < ranges.count, joiner.join(ranges[i], in: &span) { i += 1 }
                result.offloads.append(joiner.finish(in: &span))
                result.frames.append(span.bytes.extracting(joiner.range).array)
            }
        }
        return result
    }

    private static func text(_ frame: [UInt8], isV4: Bool) -> [UInt8] {
        let transport = isV4 ? 34 : 54
        return Array(frame[(transport + Int(frame[transport + 12] >> 4) * 4)...])
    }

    private static func withSums(_ frame: [UInt8]) -> [UInt8] {
        let isV4 = frame[12] == 0x08
        let transport = isV4 ? 34 : 54
        var frame = frame
        func set(_ sum: UInt16, at offset: Int) {
            frame[offset] = UInt8(sum >> 8)
            frame[offset + 1] = UInt8(sum & 0xff)
        }
        if isV4 {
            set(0, at: 24)
            set(Checksum.finish(Checksum.sum(frame.raw.extracting(14..<34))), at: 24)
        }
        set(0, at: transport + 16)
        let summed = frame
        let bytes = summed.raw
        let pseudo =
            isV4
            ? Checksum.pseudoHeader(
                source: IPAddress(v4: bytes.u32(at: 26)), destination: IPAddress(v4: bytes.u32(at: 30)), protocol: 6,
                length: frame.count - transport)
            : Checksum.pseudoHeader(
                source: IPAddress(hi: bytes.u64(at: 22), lo: bytes.u64(at: 30)),
                destination: IPAddress(hi: bytes.u64(at: 38), lo: bytes.u64(at: 46)), protocol: 6,
                length: frame.count - transport)
        set(Checksum.finish(Checksum.sum(bytes.extracting(transport..<frame.count), pseudo)), at: transport + 16)
        return frame
    }

    @Test(arguments: [true, false], [0, 2, 4, 300])
    func whatWasCutIsJoined(isV4: Bool, gap: Int) throws {
        let pieces = Self.pieces(isV4: isV4, count: 12)
        let joined = Self.join(pieces, gap: gap)
        try #require(joined.frames.count == 1)
        let frame = joined.frames[0]
        let offload = joined.offloads[0]
        #expect(offload.segmentation == (isV4 ? .tcp4 : .tcp6))
        #expect(offload.segmentSize == UInt16(Self.text(pieces[0], isV4: isV4).count))
        #expect(offload.checksumValid && !offload.needsChecksum)
        #expect(Self.text(frame, isV4: isV4) == pieces.flatMap { Self.text($0, isV4: isV4) })
        if isV4 {
            let ip = try IPv4View(frame.raw.extracting(14..<frame.count))
            let isGood = ip.verifyChecksum() && ip.totalLength == frame.count - 14
            #expect(isGood)
        } else {
            let isGood = try IPv6View(frame.raw.extracting(14..<frame.count)).payloadLength == frame.count - 54
            #expect(isGood)
        }
        // Cut again, with the sums of whoever cuts, it is what it was.
        let transport = isV4 ? 34 : 54
        #expect(frame[transport + 4..<transport + 8] == pieces[0][transport + 4..<transport + 8])
    }

    @Test func aFrameHasAtMost64KiB() {
        let pieces = Self.pieces(isV4: true, count: 40)
        // The run again, where it left off: 80 segments of 1400 bytes and more.
        let length = UInt32(pieces.reduce(0) { $0 + Self.text($1, isV4: true).count })
        let more = pieces.map { piece in
            var piece = piece
            let next = piece.raw.u32(at: 38) &+ length
            for i in 0..<4 { piece[38 + i] = UInt8(truncatingIfNeeded: next >> (24 - 8 * i)) }
            return Self.withSums(piece)
        }
        let joined = Self.join(pieces + more)
        #expect(joined.frames.count == 2)
        #expect(joined.frames.allSatisfy { $0.count - 14 <= 65_535 })
        #expect(joined.frames.flatMap { Self.text($0, isV4: true) }.count == Int(length) * 2)
    }

    /// What is changed in the second of three segments, so that it does not join the first.
    static let differences: [(String, Bool, @Sendable (inout [UInt8]) -> Void)] = [
        ("another destination MAC address", true, { $0[5] ^= 1 }),
        ("another source MAC address", true, { $0[11] ^= 1 }),
        ("another traffic class", true, { $0[15] ^= 4 }),
        ("congestion marked", true, { $0[15] |= 3 }),
        ("another time to live", true, { $0[22] ^= 1 }),
        ("another source address", true, { $0[29] ^= 1 }),
        ("another destination address", true, { $0[33] ^= 1 }),
        ("may be fragmented", true, { $0[20] ^= 0x40 }),
        ("a fragment", true, { $0[20] |= 0x20 }),
        ("another port", true, { $0[35] ^= 1 }),
        ("a gap", true, { $0[41] &+= 1 }),
        ("another acknowledgment", true, { $0[45] ^= 1 }),
        ("another window", true, { $0[49] ^= 1 }),
        ("URG", true, { $0[47] |= 0x20 }),
        ("RST", true, { $0[47] |= 4 }),
        ("SYN", true, { $0[47] |= 2 }),
        ("ECE", true, { $0[47] |= 0x40 }),
        ("CWR", true, { $0[47] |= 0x80 }),
        ("no ACK", true, { $0[47] &= ~0x10 }),
        ("not TCP", true, { $0[23] = 17 }),
        ("no text", true, { $0.removeLast($0.count - 54) }),
        ("a wrong TCP checksum", false, { $0[50] ^= 1 }),
        ("wrong text", false, { $0[200] ^= 1 }),
        ("a wrong header checksum", false, { $0[24] ^= 1 }),
        ("a wrong length", false, { $0[17] ^= 1 }),
    ]

    @Test(arguments: differences.indices)
    func whatDiffersStaysApart(_ index: Int) {
        let (name, hasSums, change) = Self.differences[index]
        let pieces = Self.pieces(isV4: true, count: 3)
        // No options: the offsets above are those of a header of 20 bytes.
        var frames = pieces.map { piece -> [UInt8] in
            var bare = Array(piece[..<54]) + Self.text(piece, isV4: true)
            bare[46] = 0x50
            bare[16] = UInt8((bare.count - 14) >> 8)
            bare[17] = UInt8((bare.count - 14) & 0xff)
            bare[47] = 0x10
            return Self.withSums(bare)
        }
        #expect(Self.join(frames).frames.count == 1)
        change(&frames[1])
        if frames[1].count == 54 { frames[1][16...17] = [0, 40] }
        if hasSums { frames[1] = Self.withSums(frames[1]) }
        let joined = Self.join(frames)
        #expect(joined.frames.count == 3, "\(name)")
        #expect(joined.frames.contains(frames[1]), "\(name): it reaches the core as it is")
        #expect(joined.frames[0] == frames[0], "\(name)")
    }

    @Test func aFirstSegmentThatIsWrongTakesNobodyWithIt() {
        var pieces = Self.pieces(isV4: true, count: 3)
        pieces[0][100] ^= 1
        let joined = Self.join(pieces)
        #expect(joined.frames.count == 2)
        #expect(joined.frames[0] == pieces[0] && joined.offloads[0] == OffloadHeader())
    }

    @Test func pushIsKeptAndTheEndIsLast() {
        var pieces = Self.pieces(isV4: true, count: 4).map { piece in
            var piece = piece
            piece[47] = TCPFlags.ack.rawValue
            return Self.withSums(piece)
        }
        pieces[1][47] = TCPFlags.pshAck.rawValue
        pieces[1] = Self.withSums(pieces[1])
        pieces[2][47] = TCPFlags.finAck.rawValue
        pieces[2] = Self.withSums(pieces[2])
        let joined = Self.join(pieces)
        #expect(joined.frames.count == 2)
        #expect(joined.frames[0][47] == TCPFlags.pshAck.rawValue | TCPFlags.fin.rawValue)
    }

    @Test func aShortSegmentIsTheLast() {
        var pieces = Self.pieces(isV4: true, count: 3)
        pieces[1].removeLast(100)
        pieces[1][16] = UInt8((pieces[1].count - 14) >> 8)
        pieces[1][17] = UInt8((pieces[1].count - 14) & 0xff)
        pieces[1] = Self.withSums(pieces[1])
        #expect(Self.join(pieces).frames.count == 2)
    }

    @Test func whoIsTrustedNeedsNoChecksum() {
        var pieces = Self.pieces(isV4: true, count: 3)
        for i in pieces.indices { pieces[i][50] ^= 0xff }
        let joined = Self.join(pieces, isTrusted: true)
        #expect(joined.frames.count == 1 && joined.offloads[0].checksumValid)
        #expect(Self.join(pieces).frames == pieces)
    }

    /// Whatever lies in the buffer: no trap, and no byte of text that was not there is made or lost.
    @Test func anythingMayLieThere() {
        var random = SeededRandom(7)
        let pieces = Self.pieces(isV4: true, count: 6) + Self.pieces(isV4: false, count: 6)
        for _ in 0..<3000 {
            var frames = pieces
            for _ in 0..<Int(random.next() % 6) {
                let i = Int(random.next() % UInt64(frames.count))
                guard !frames[i].isEmpty else { continue }
                switch random.next() % 3 {
                case 0: frames[i].removeLast(Int(random.next() % UInt64(frames[i].count)))
                case 1:
                    frames[i][Int(random.next() % UInt64(min(80, frames[i].count)))] ^= UInt8(1 << (random.next() % 8))
                default: frames.swapAt(i, Int(random.next() % UInt64(frames.count)))
                }
            }
            let joined = Self.join(frames, isTrusted: random.next() % 2 == 0)
            let before = frames.reduce(0) { $0 + $1.count }
            let after = joined.frames.reduce(0) { $0 + $1.count }
            #expect(after <= before && joined.frames.count <= frames.count)
        }
    }
}
