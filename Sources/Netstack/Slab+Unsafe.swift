// A capped slab of plain records with generations.
//
// Memory for all `capacity` records is reserved at once but only touched as the slab grows: the free list hands out
// the lowest fresh index when no used one is free, so resident memory follows the high-water mark. A record is
// reached by index; the generation in a `FlowID` tells a live record from a later tenant of the same slot.

/// Records of `T`, by index. Not a collection: nothing iterates a slab on the packet path.
@safe
package struct Slab<T: BitwiseCopyable>: ~Copyable {
    package let capacity: Int
    /// Records in use.
    package private(set) var count = 0
    private let records: UnsafeMutablePointer<T>
    private let generations: UnsafeMutablePointer<UInt32>
    /// Odd generation: in use. A free slot's link to the next free one is kept in `links`.
    private let links: UnsafeMutablePointer<UInt32>
    private var firstFree = UInt32.max
    private var fresh: UInt32 = 0

    package init(capacity: Int) {
        precondition(capacity > 0 && capacity < 0x0fff_ffff)
        self.capacity = capacity
        // malloc of this size is mmap: untouched pages cost nothing.
        unsafe records = .allocate(capacity: capacity)
        unsafe generations = .allocate(capacity: capacity)
        unsafe links = .allocate(capacity: capacity)
    }

    deinit {
        unsafe records.deallocate()
        unsafe generations.deallocate()
        unsafe links.deallocate()
    }

    /// Puts `value` into a free slot. nil when the slab is full.
    package mutating func insert(_ value: T) -> UInt32? {
        guard let (index, _) = take() else { return nil }
        unsafe records.advanced(by: Int(index)).initialize(to: value)
        return index
    }

    /// Takes a slot for a large record that its owner resets in place: it has what the last tenant left, or `first` when there was none.
    package mutating func reserve(_ first: () -> T) -> UInt32? {
        guard let (index, isFresh) = take() else { return nil }
        if isFresh { unsafe records.advanced(by: Int(index)).initialize(to: first()) }
        return index
    }

    private mutating func take() -> (index: UInt32, isFresh: Bool)? {
        let index: UInt32
        var isFresh = false
        if firstFree != .max {
            index = firstFree
            unsafe firstFree = links[Int(index)]
            unsafe generations[Int(index)] &+= 1
        } else if fresh < UInt32(capacity) {
            index = fresh
            fresh += 1
            unsafe generations[Int(index)] = 1
            isFresh = true
        } else {
            return nil
        }
        count += 1
        return (index, isFresh)
    }

    package mutating func remove(_ index: UInt32) {
        precondition(isLive(index), "slab slot freed twice")
        unsafe generations[Int(index)] &+= 1
        unsafe links[Int(index)] = firstFree
        firstFree = index
        count -= 1
    }

    package func isLive(_ index: UInt32) -> Bool {
        unsafe index < fresh && generations[Int(index)] & 1 == 1
    }

    package func generation(of index: UInt32) -> UInt32 {
        unsafe index < fresh ? generations[Int(index)] : 0
    }

    /// The index that `id` names, if its record still lives.
    package func find(_ id: FlowID) -> UInt32? {
        let index = id.index
        guard isLive(index), generation(of: index) == id.generation else { return nil }
        return index
    }

    /// The record at a live index.
    package subscript(_ index: UInt32) -> T {
        @_transparent unsafeAddress {
            precondition(index < fresh)
            return unsafe UnsafePointer(records + Int(index))
        }
        @_transparent unsafeMutableAddress {
            precondition(index < fresh)
            return unsafe records + Int(index)
        }
    }

    /// One past the highest index ever used, for the rare walks (tests, shutdown).
    package var highWater: UInt32 { fresh }
}
