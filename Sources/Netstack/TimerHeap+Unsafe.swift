// Many deadlines behind one timer of the shell.
//
// A binary heap with one entry at most per slot, so its size is bounded by the slab it serves, whatever a guest does.
// Deadlines mostly move later (every ACK restarts a retransmission timer): such a move only rewrites the slot's wish.
// The heap entry stays where it is, early; when it surfaces and the wish is later, the entry is pushed down then. So
// the packet path pays a store, not a sift.

/// Deadlines by slot index.
@safe
package struct TimerHeap: ~Copyable {
    private struct Entry: BitwiseCopyable {
        var due: Instant
        var slot: UInt32
    }

    private let capacity: Int
    private let heap: UnsafeMutablePointer<Entry>
    /// Slot -> position in `heap` plus one; 0 is absent.
    private let positions: UnsafeMutablePointer<UInt32>
    /// Slot -> the deadline that counts.
    private let wishes: UnsafeMutablePointer<Instant>
    private var count = 0
    /// Slots from here on have never been touched.
    private var fresh: UInt32 = 0

    package init(capacity: Int) {
        self.capacity = capacity
        unsafe heap = .allocate(capacity: capacity)
        unsafe positions = .allocate(capacity: capacity)
        unsafe wishes = .allocate(capacity: capacity)
    }

    deinit {
        unsafe heap.deallocate()
        unsafe positions.deallocate()
        unsafe wishes.deallocate()
    }

    private mutating func touch(_ slot: UInt32) {
        precondition(slot < UInt32(capacity))
        while fresh <= slot {
            unsafe positions[Int(fresh)] = 0
            unsafe wishes[Int(fresh)] = .never
            fresh += 1
        }
    }

    /// Sets the slot's deadline; `.never` clears it.
    package mutating func set(_ slot: UInt32, _ due: Instant) {
        touch(slot)
        unsafe wishes[Int(slot)] = due
        let position = unsafe Int(positions[Int(slot)])
        if position == 0 {
            guard due != .never else { return }
            unsafe heap[count] = Entry(due: due, slot: slot)
            unsafe positions[Int(slot)] = UInt32(count + 1)
            count += 1
            siftUp(count - 1)
        } else if unsafe due < heap[position - 1].due {
            unsafe heap[position - 1].due = due
            siftUp(position - 1)
        }
    }

    /// Takes the slot out at once (its record is being freed).
    package mutating func clear(_ slot: UInt32) {
        guard slot < fresh else { return }
        unsafe wishes[Int(slot)] = .never
        let position = unsafe Int(positions[Int(slot)])
        guard position > 0 else { return }
        unsafe positions[Int(slot)] = 0
        count -= 1
        guard position - 1 < count else { return }
        unsafe heap[position - 1] = heap[count]
        unsafe positions[Int(heap[position - 1].slot)] = UInt32(position)
        siftDown(position - 1)
        siftUp(position - 1)
    }

    /// The next deadline. May be early, never late.
    package var next: Instant { unsafe count == 0 ? .never : heap[0].due }

    /// A slot whose deadline has come, taken off the heap; nil when none is due.
    package mutating func popDue(at now: Instant) -> UInt32? {
        while count > 0, unsafe heap[0].due <= now {
            let slot = unsafe heap[0].slot
            let wish = unsafe wishes[Int(slot)]
            if wish > now && wish != .never {
                unsafe heap[0].due = wish
                siftDown(0)
                continue
            }
            clear(slot)
            if wish != .never { return slot }
        }
        return nil
    }

    private mutating func siftUp(_ start: Int) {
        var child = start
        let entry = unsafe heap[child]
        while child > 0 {
            let parent = (child - 1) / 2
            guard unsafe entry.due < heap[parent].due else { break }
            place(unsafe heap[parent], child)
            child = parent
        }
        place(entry, child)
    }

    private mutating func siftDown(_ start: Int) {
        var parent = start
        let entry = unsafe heap[parent]
        while true {
            var child = 2 * parent + 1
            guard child < count else { break }
            if child + 1 < count, unsafe heap[child + 1].due < heap[child].due { child += 1 }
            guard unsafe heap[child].due < entry.due else { break }
            place(unsafe heap[child], parent)
            parent = child
        }
        place(entry, parent)
    }

    private mutating func place(_ entry: Entry, _ position: Int) {
        unsafe heap[position] = entry
        unsafe positions[Int(entry.slot)] = UInt32(position + 1)
    }
}
