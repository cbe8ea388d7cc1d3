@testable import Netstack
import Simnet
import Testing
import Wire

/// Held payload comes out as it went in, whatever the order, and every chunk goes back.
@Suite struct HoldBufferTests {
    @Test(arguments: 1...20)
    func whatGoesInComesOut(seed: Int) {
        var random = SeededRandom(UInt64(seed))
        let stream = random.bytes(900_000)
        let base = SequenceNumber(rawValue: UInt32.max &- UInt32(random.below(500_000)))
        var pool = ChunkPool(capacity: 32)
        var hold = HoldBuffer(from: base)
        var delivered: [UInt8] = []
        var next = 0
        while next < stream.count {
            // Pieces of a stretch, the later ones first.
            let end = min(next + 1 + random.below(100_000), stream.count)
            var cuts = [next, end]
            for _ in 0..<5 { cuts.append(next + random.below(end - next + 1)) }
            cuts.sort()
            for (from, to) in zip(cuts, cuts.dropFirst()).reversed() where from < to {
                let piece = Array(stream[from..<to])
                let stored = hold.store(piece.raw, at: base + from, in: &pool)
                #expect(stored == to - from, "seed \(seed)")
            }
            next = end
            let leave = random.below(100_000)
            while let (chunk, range) = hold.piece(below: base + next), next - delivered.count > leave {
                let count = min(range.count, 1 + random.below(70_000))
                delivered.append(pool.bytes(chunk, range.lowerBound..<range.lowerBound + count))
                hold.deliver(count, to: &pool)
            }
        }
        while let (chunk, range) = hold.piece(below: base + next) {
            delivered.append(pool.bytes(chunk, range))
            hold.deliver(range.count, to: &pool)
        }
        let isSame = delivered == stream
        #expect(isSame, "seed \(seed)")
        hold.release(to: &pool)
        #expect(pool.inUse == 0, "seed \(seed)")
    }

    @Test func theRingOfChunksGoesRound() {
        var random = SeededRandom(5)
        let piece = random.bytes(50_000)
        var pool = ChunkPool(capacity: 8)
        let base = SequenceNumber(rawValue: 77)
        var hold = HoldBuffer(from: base)
        var at = 0
        while at < 2 * HoldBuffer.slots * ChunkPool.chunkSize {
            #expect(hold.store(piece.raw, at: base + at, in: &pool) == piece.count)
            at += piece.count
            var out: [UInt8] = []
            while let (chunk, range) = hold.piece(below: base + at) {
                out.append(pool.bytes(chunk, range))
                hold.deliver(range.count, to: &pool)
            }
            let isSame = out == piece
            #expect(isSame, "at \(at)")
        }
        hold.release(to: &pool)
        #expect(pool.inUse == 0)
    }

    @Test func anEmptyPoolStoresAPrefix() {
        var pool = ChunkPool(capacity: 1)
        var hold = HoldBuffer(from: SequenceNumber(rawValue: 0))
        let bytes = [UInt8](repeating: 1, count: 100_000)
        #expect(hold.store(bytes.raw, at: SequenceNumber(rawValue: 0), in: &pool) == ChunkPool.chunkSize)
        hold.release(to: &pool)
        #expect(pool.inUse == 0)
    }

    @Test func theWindowIsTheEnd() {
        var pool = ChunkPool(capacity: 32)
        var hold = HoldBuffer(from: SequenceNumber(rawValue: 0))
        let last = SequenceNumber(rawValue: UInt32(HoldBuffer.slots * ChunkPool.chunkSize - 10))
        #expect(hold.store([UInt8](repeating: 1, count: 100).raw, at: last, in: &pool) == 10)
        #expect(hold.store([1].raw, at: SequenceNumber(rawValue: 0) + -1, in: &pool) == 0)
        hold.release(to: &pool)
        #expect(pool.inUse == 0)
    }
}
