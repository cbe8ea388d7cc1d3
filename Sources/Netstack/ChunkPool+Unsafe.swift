// The shared memory for payload: chunks of 64 KiB on a last-in first-out free list.
//
// Two things need bytes to stay somewhere: data sent to the guest and not yet acknowledged, and data from the guest
// that came out of order or that the host's socket would not take. Both live in chunks of this pool, for as long as they must,
// so an idle connection holds none. The free list is a stack: the chunk used next is the one whose cache lines are
// warm. Memory is reserved at once and resident where touched; after some seconds without use it goes back (`reclaim`).
//
// One chunk carries one super-frame: a single read fills it and a single write sends it.

/// Fixed-size buffers by index, linked into lists by their owners.
@safe
package struct ChunkPool: ~Copyable {
    /// Bytes in a chunk: no IP packet carries more.
    package static let chunkSize = 65_536
    package static let none = UInt32.max

    package let capacity: Int
    package private(set) var inUse = 0
    private let memory: UnsafeMutableRawPointer
    private let links: UnsafeMutablePointer<UInt32>
    private let fills: UnsafeMutablePointer<UInt32>
    private var firstFree = ChunkPool.none
    private var fresh: UInt32 = 0
    /// Counts what is taken, for `isIdle`.
    private var taken = 0
    private var takenBefore = 0
    /// Chunks that stay resident.
    private static let kept: UInt32 = 16

    package init(capacity: Int) {
        self.capacity = capacity
        unsafe memory = .allocate(byteCount: capacity * Self.chunkSize, alignment: Self.chunkSize)
        unsafe links = .allocate(capacity: capacity)
        unsafe fills = .allocate(capacity: capacity)
    }

    deinit {
        unsafe memory.deallocate()
        unsafe links.deallocate()
        unsafe fills.deallocate()
    }

    package var free: Int { capacity - inUse }

    /// An empty chunk, or nil when all are in use.
    package mutating func take() -> UInt32? {
        let chunk: UInt32
        if firstFree != Self.none {
            chunk = firstFree
            unsafe firstFree = links[Int(chunk)]
        } else if fresh < UInt32(capacity) {
            chunk = fresh
            fresh += 1
        } else {
            return nil
        }
        unsafe links[Int(chunk)] = Self.none
        unsafe fills[Int(chunk)] = 0
        inUse += 1
        taken &+= 1
        return chunk
    }

    /// More of its memory is resident than stays so.
    package var holdsRest: Bool { fresh > Self.kept }

    /// Nothing is in use, nor was since the last call.
    package mutating func isIdle() -> Bool {
        defer { takenBefore = taken }
        return inUse == 0 && taken == takenBefore
    }

    /// What has been touched beyond a few chunks. Nothing may be in use: its bytes are forgotten.
    @_lifetime(&self)
    package mutating func reclaim() -> MutableRawSpan {
        precondition(inUse == 0)
        let rest = Int(Self.kept)..<max(Int(Self.kept), Int(fresh))
        firstFree = Self.none
        fresh = 0
        let span = unsafe MutableRawSpan(
            _unsafeStart: memory + rest.lowerBound * Self.chunkSize, byteCount: rest.count * Self.chunkSize)
        return unsafe _overrideLifetime(span, mutating: &self)
    }

    package mutating func give(_ chunk: UInt32) {
        precondition(chunk < fresh)
        unsafe links[Int(chunk)] = firstFree
        firstFree = chunk
        inUse -= 1
    }

    /// The chunk after this one in its owner's list.
    package subscript(next chunk: UInt32) -> UInt32 {
        get {
            precondition(chunk < fresh)
            return unsafe links[Int(chunk)]
        }
        set {
            precondition(chunk < fresh)
            unsafe links[Int(chunk)] = newValue
        }
    }

    /// Bytes filled, counted by the owner.
    package subscript(fill chunk: UInt32) -> Int {
        get {
            precondition(chunk < fresh)
            return unsafe Int(fills[Int(chunk)])
        }
        set {
            precondition(chunk < fresh && newValue <= Self.chunkSize)
            unsafe fills[Int(chunk)] = UInt32(newValue)
        }
    }

    /// Bytes `range` of a chunk.
    @_lifetime(borrow self)
    package func bytes(_ chunk: UInt32, _ range: Range<Int>) -> RawSpan {
        precondition(chunk < fresh && range.upperBound <= Self.chunkSize)
        let start = unsafe memory + Int(chunk) * Self.chunkSize + range.lowerBound
        let span = unsafe RawSpan(_unsafeStart: start, byteCount: range.count)
        return unsafe _overrideLifetime(span, borrowing: self)
    }

    /// The first of `count` chunks from `offset` on, `firstLength` bytes, and `length` bytes of each of the others, to be read into.
    @_lifetime(&self)
    package mutating func spaces(
        _ chunks: InlineArray<4, UInt32>, count: Int, offset: Int, firstLength: Int, length: Int
    ) -> ChunkSpaces {
        for index in 0..<count { precondition(chunks[index] < fresh) }
        let memory = unsafe self.memory
        return unsafe ChunkSpaces(
            &self, memory: memory, chunks, count: count, offset: offset, firstLength: firstLength, length: length)
    }

    /// Bytes `range` of a chunk, to be written.
    @_lifetime(&self)
    package mutating func space(_ chunk: UInt32, _ range: Range<Int>) -> MutableRawSpan {
        precondition(chunk < fresh && range.upperBound <= Self.chunkSize)
        let start = unsafe memory + Int(chunk) * Self.chunkSize + range.lowerBound
        let span = unsafe MutableRawSpan(_unsafeStart: start, byteCount: range.count)
        return unsafe _overrideLifetime(span, mutating: &self)
    }
}
