// From a flow's key to its slot: open addressing with linear probing and backward-shift deletion, at most three
// quarters full.
//
// The table holds (hash, slot) pairs only; the keys themselves stay in the records they belong to, and the caller
// compares them. The hash is keyed (`FlowKey.hash`), so a guest cannot build long probe runs. The table grows by
// doubling up to the size its slab's capacity needs; after that nothing allocates.

/// A hash index of slots.
@safe
package struct FlowTable: ~Copyable {
    private struct Entry: BitwiseCopyable {
        /// The lower 32 bits of the hash. The lowest of them say where the entry would be if nobody were in its way; the others tell it
        /// from its neighbours.
        var tag: UInt32
        /// Slot plus one; 0 is empty.
        var slot: UInt32
    }

    private var entries: UnsafeMutablePointer<Entry>
    private var mask: Int
    package private(set) var count = 0

    package init() {
        mask = 63
        unsafe entries = .allocate(capacity: 64)
        unsafe entries.initialize(repeating: Entry(tag: 0, slot: 0), count: 64)
    }

    deinit { unsafe entries.deallocate() }

    /// The slot with this hash for which `matches` holds.
    @inline(__always)
    package func find(_ hash: UInt64, _ matches: (UInt32) -> Bool) -> UInt32? {
        var position = Int(truncatingIfNeeded: hash) & mask
        let tag = UInt32(truncatingIfNeeded: hash)
        while true {
            let entry = unsafe entries[position]
            if entry.slot == 0 { return nil }
            if entry.tag == tag, matches(entry.slot - 1) { return entry.slot - 1 }
            position = (position + 1) & mask
        }
    }

    package mutating func insert(_ hash: UInt64, _ slot: UInt32) {
        if (count + 1) * 4 > (mask + 1) * 3 { grow() }
        place(Entry(tag: UInt32(truncatingIfNeeded: hash), slot: slot + 1))
        count += 1
    }

    package mutating func remove(_ hash: UInt64, _ slot: UInt32) {
        var position = Int(truncatingIfNeeded: hash) & mask
        while unsafe entries[position].slot != slot + 1 {
            if unsafe entries[position].slot == 0 { return }
            position = (position + 1) & mask
        }
        // Close the gap: move back every later entry of the run that may move (Knuth 6.4, algorithm R).
        var gap = position
        var probe = position
        while true {
            probe = (probe + 1) & mask
            let entry = unsafe entries[probe]
            if entry.slot == 0 { break }
            let home = Int(entry.tag) & mask
            let distanceFromHome = (probe - home) & mask
            if distanceFromHome >= (probe - gap) & mask {
                unsafe entries[gap] = entry
                gap = probe
            }
        }
        unsafe entries[gap].slot = 0
        count -= 1
    }

    private mutating func place(_ entry: Entry) {
        var position = Int(entry.tag) & mask
        while unsafe entries[position].slot != 0 { position = (position + 1) & mask }
        unsafe entries[position] = entry
    }

    private mutating func grow() {
        let old = unsafe entries
        let oldCount = mask + 1
        mask = oldCount * 2 - 1
        unsafe entries = .allocate(capacity: mask + 1)
        unsafe entries.initialize(repeating: Entry(tag: 0, slot: 0), count: mask + 1)
        for i in 0..<oldCount where unsafe old[i].slot != 0 { place(unsafe old[i]) }
        unsafe old.deallocate()
    }
}
