import Wire

// Bytes from the guest that cannot go to the host's socket yet.
//
// Two reasons: they are in order but the socket's send buffer is full, or they came early and a gap is in front of them. Both
// kinds sit at their place in sequence space, in chunks that stand for consecutive 64 KiB of it:
//
//       base        delivered        rcv.nxt              ranges[0]        edge
//        |..............|################|.....................|#######|......|
//        | given to the | in order, the  |   the gap           | came early   |
//        | host         | socket is full |
//
// A record exists only while there is something to hold; the connection then goes back to passing payload straight
// from the frame to the socket. Bounded by the window that we advertised: at most `slots` chunks a connection, in a ring whose first
// slot stands for `base`.

/// Held payload of one connection.
struct HoldBuffer: BitwiseCopyable {
    /// The window's chunks, one for a base in the middle of a chunk, and one for what an alignment costs.
    static let slots = TCPLimits.largestWindow / ChunkPool.chunkSize + 2

    private var base: SequenceNumber
    private var chunks = InlineArray<258, UInt32>(repeating: ChunkPool.none)
    private var first = 0
    /// The first byte that the host has not been given.
    private(set) var delivered: SequenceNumber
    /// Bytes from `rcv.nxt` on that are here and not acknowledged yet.
    var withheld = 0
    /// What came early, beyond `rcv.nxt`.
    var early = Scoreboard()
    /// Where the newest early segment starts: its range is reported first (RFC 2018 section 4).
    var newest: SequenceNumber

    init(from next: SequenceNumber) {
        base = next
        delivered = next
        newest = next
    }

    /// Stores payload at its place. Returns how many leading bytes found room: fewer than given when the pool is empty
    /// or the window's end is passed.
    mutating func store(_ payload: RawSpan, at sequence: SequenceNumber, in pool: inout ChunkPool) -> Int {
        let start = sequence - base
        guard start >= 0 else { return 0 }
        var stored = 0
        while stored < payload.byteCount {
            let ahead = (start + stored) / ChunkPool.chunkSize
            let at = (start + stored) % ChunkPool.chunkSize
            guard ahead < Self.slots else { break }
            let slot = self.slot(ahead)
            if chunks[slot] == ChunkPool.none {
                guard let chunk = pool.take() else { break }
                chunks[slot] = chunk
            }
            let count = min(payload.byteCount - stored, ChunkPool.chunkSize - at)
            var space = pool.space(chunks[slot], at..<at + count)
            space.copy(from: payload.extracting(stored..<stored + count), at: 0)
            stored += count
        }
        return stored
    }

    /// The next contiguous piece below `end`: chunk and range. nil when nothing is left. Mutating for the caller's sake: a method that is not would
    /// be called on a copy of the record, 1 KiB.
    mutating func piece(below end: SequenceNumber) -> (chunk: UInt32, range: Range<Int>)? {
        let left = end - delivered
        guard left > 0 else { return nil }
        let offset = delivered - base
        let ahead = offset / ChunkPool.chunkSize
        let at = offset % ChunkPool.chunkSize
        guard ahead < Self.slots else { return nil }
        let slot = self.slot(ahead)
        guard chunks[slot] != ChunkPool.none else { return nil }
        return (chunks[slot], at..<min(at + left, ChunkPool.chunkSize))
    }

    /// The host took `count` more bytes. Gives back chunks that are done.
    mutating func deliver(_ count: Int, to pool: inout ChunkPool) {
        delivered += count
        while delivered - base >= ChunkPool.chunkSize {
            if chunks[first] != ChunkPool.none { pool.give(chunks[first]) }
            chunks[first] = ChunkPool.none
            first = slot(1)
            base += ChunkPool.chunkSize
        }
    }

    /// The slot of the chunk that lies `ahead` (less than `slots`) chunks beyond `base`.
    private func slot(_ ahead: Int) -> Int {
        let slot = first + ahead
        return slot < Self.slots ? slot : slot - Self.slots
    }

    /// Gives every chunk back.
    mutating func release(to pool: inout ChunkPool) {
        for i in 0..<Self.slots where chunks[i] != ChunkPool.none {
            pool.give(chunks[i])
            chunks[i] = ChunkPool.none
        }
    }
}
