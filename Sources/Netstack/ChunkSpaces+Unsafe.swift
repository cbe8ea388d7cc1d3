import Wire

// Room in several chunks of the pool, for one read of a host's socket.
//
// A read of a TCP socket makes the host's kernel send an ACK, run the sender's softirq in our time and wake it. For 64 KiB at a time that costs
// more than the copy: 25 us a read. Four chunks a read are enough: eight were no faster, and what is read has to be in the cache when it is
// sent (docs/decisions/003).

/// Space in chunks, to be filled in their order. Valid during the call that it is given to.
@safe
package struct ChunkSpaces: ~Copyable, ~Escapable {
    /// Chunks of one read: 256 KiB.
    package static var most: Int { 4 }

    private let memory: UnsafeMutableRawPointer
    private let chunks: InlineArray<4, UInt32>
    package let count: Int
    /// Where the first chunk's space begins; the others' begin at 0.
    private let offset: Int
    /// Bytes of the first chunk's space.
    package let firstLength: Int
    /// Bytes of each other's.
    package let length: Int

    /// - Parameter memory: the pool's, of which the chunks are and which outlives this value.
    @_lifetime(&pool)
    init(
        _ pool: inout ChunkPool, memory: UnsafeMutableRawPointer, _ chunks: InlineArray<4, UInt32>, count: Int,
        offset: Int, firstLength: Int, length: Int
    ) {
        precondition(
            (1...Self.most).contains(count) && offset >= 0 && offset + firstLength <= ChunkPool.chunkSize
                && length <= ChunkPool.chunkSize)
        unsafe self.memory = unsafe memory
        self.chunks = chunks
        self.count = count
        self.offset = offset
        self.firstLength = firstLength
        self.length = length
    }

    /// Bytes of all together.
    package var byteCount: Int { firstLength + (count - 1) * length }

    /// Where the space of chunk number `index` begins. It has `firstLength` or `length` bytes.
    @unsafe
    package func start(_ index: Int) -> UnsafeMutableRawPointer {
        unsafe memory + Int(chunks[index]) * ChunkPool.chunkSize + (index == 0 ? offset : 0)
    }

    /// Fills from the start. Traps when it does not fit.
    package mutating func copy(from bytes: RawSpan) {
        precondition(bytes.byteCount <= byteCount)
        var at = 0
        var index = 0
        while at < bytes.byteCount {
            let size = min(bytes.byteCount - at, index == 0 ? firstLength : length)
            var space = unsafe MutableRawSpan(_unsafeStart: start(index), byteCount: size)
            space.copy(from: bytes.extracting(at..<at + size), at: 0)
            at += size
            index += 1
        }
    }
}
