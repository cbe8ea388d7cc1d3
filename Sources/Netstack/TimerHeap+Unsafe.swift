// Many deadlines behind one timer of the shell.
//
// A binary heap with one entry at most per slot, so its size is bounded by the slab it serves, whatever a guest does.
// Deadlines mostly move later (every ACK restarts a retransmission timer): such a move only rewrites the slot's wish.
// The heap entry stays where it is, early; when it surfaces and the wish is later, the entry is pushed down then. So
// the packet path pays a store, not a sift.

/// Deadlines by slot index.
@safe
package struct TimerHeap: ~Copyable {
    private let capacity: Int
    /// The heap, in two arrays because a pair of the two would be padded: deadlines, and whose they are.
    private let dues: UnsafeMutablePointer<Instant>
    private let slots: UnsafeMutablePointer<UInt32>
    /// Slot -> position in the heap plus one; 0 is absent.
    private let positions: UnsafeMutablePointer<UInt32>
    /// Slot -> the deadline that counts.
    private let wishes: UnsafeMutablePointer<Instant>
    private var count = 0
    /// Slots from here on have never been touched.
    private var fresh: UInt32 = 0

    package init(capacity: Int) {
        self.capacity = capacity
        unsafe dues = .allocate(capacity: capacity)
        unsafe slots = .allocate(capacity: capacity)
        unsafe positions = .allocate(capacity: capacity)
        unsafe wishes = .allocate(capacity: capacity)
    }

    deinit {
        unsafe dues.deallocate()
        unsafe slots.deallocate()
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
            place(due, slot, count)
            count += 1
            siftUp(count - 1)
        } else if unsafe due < dues[position - 1] {
            unsafe dues[position - 1] = due
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
        place(unsafe dues[count], unsafe slots[count], position - 1)
        siftDown(position - 1)
        siftUp(position - 1)
    }

    /// The next deadline. May be early, never late.
    package var next: Instant { unsafe count == 0 ? .never : dues[0] }

    /// A slot whose deadline has come, taken off the heap; nil when none is due.
    package mutating func popDue(at now: Instant) -> UInt32? {
        while count > 0, unsafe dues[0] <= now {
            let slot = unsafe slots[0]
            let wish = unsafe wishes[Int(slot)]
            if wish > now && wish != .never {
                unsafe dues[0] = wish
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
        let (due, slot) = unsafe (dues[child], slots[child])
        while child > 0 {
            let parent = (child - 1) / 2
            guard unsafe due < dues[parent] else { break }
            place(unsafe dues[parent], unsafe slots[parent], child)
            child = parent
        }
        place(due, slot, child)
    }

    private mutating func siftDown(_ start: Int) {
        var parent = start
        let (due, slot) = unsafe (dues[parent], slots[parent])
        while true {
            var child = 2 * parent + 1
            guard child < count else { break }
            if child + 1 < count, unsafe dues[child + 1] < dues[child] { child += 1 }
            guard unsafe dues[child] < due else { break }
            place(unsafe dues[child], unsafe slots[child], parent)
            parent = child
        }
        place(due, slot, parent)
    }

    private mutating func place(_ due: Instant, _ slot: UInt32, _ position: Int) {
        unsafe dues[position] = due
        unsafe slots[position] = slot
        unsafe positions[Int(slot)] = UInt32(position + 1)
    }
}
