internal import CHost

// A split virtqueue seen from the device (VIRTIO 1.2 section 2.7), in memory that the guest's driver writes at the same time.
//
//   descriptors   16 bytes each: address, length, flags (next 1, write 2, indirect 4), next
//   available     flags, index, ring of heads; used_event behind it       written by the driver
//   used          flags, index, ring of (head, length); avail_event       written by us
//
// Nothing that the driver writes is believed: an index, a length or an address is read once, into a local, and checked; a chain that
// has more than `mostPieces` pieces, leaves the memory, or loops is broken, and a broken ring is left alone for good (section 2.1.1,
// DEVICE_NEEDS_RESET is the monitor's to say). All numbers are little-endian, as on every machine that runs this.

/// One queue of a device.
@safe
struct SplitRing {
    /// Largest queue (section 2.7: 32768) that we take; QEMU's and Cloud Hypervisor's are 256 to 1024.
    static let mostEntries = 32_768
    /// Pieces of one chain.
    static let mostPieces = 1024

    private var size: UInt16 = 0
    private let descriptors: UnsafeMutableRawPointer
    private let available: UnsafeMutableRawPointer
    private let used: UnsafeMutableRawPointer
    /// Negotiated VIRTIO_F_EVENT_IDX: either side says at which index it wants to be told.
    private let tellsIndex: Bool
    private let takesIndirect: Bool
    /// The next head to take.
    private(set) var next: UInt16
    private var usedIndex: UInt16
    /// `usedIndex` when the driver was last told, or not told.
    private var toldIndex: UInt16
    private(set) var isBroken = false

    /// Addresses as the monitor gave them.
    struct Addresses: Equatable {
        var descriptors: UInt64 = 0
        var available: UInt64 = 0
        var used: UInt64 = 0
    }

    /// nil when the ring is not all in the guest's memory, not aligned (section 2.7), or of no size that there is.
    init?(
        _ addresses: Addresses, entries: Int, in memory: borrowing GuestMemory, next: UInt16, tellsIndex: Bool,
        takesIndirect: Bool
    ) {
        guard entries > 0, entries <= Self.mostEntries, entries & (entries - 1) == 0,
            let descriptors = unsafe memory.user(addresses.descriptors, 16 * entries),
            let available = unsafe memory.user(addresses.available, 6 + 2 * entries),
            let used = unsafe memory.user(addresses.used, 6 + 8 * entries),
            // Here, not where the monitor has them: a region may begin anywhere in its file.
            Int(bitPattern: descriptors) & 15 == 0, Int(bitPattern: available) & 1 == 0,
            Int(bitPattern: used) & 3 == 0
        else { return nil }
        size = UInt16(entries)
        unsafe self.descriptors = unsafe descriptors
        unsafe self.available = unsafe available
        unsafe self.used = unsafe used
        self.tellsIndex = tellsIndex
        self.takesIndirect = takesIndirect
        self.next = next
        usedIndex = unsafe host_ring_load(used + 2)
        toldIndex = usedIndex
    }

    /// Whether the driver has made more available.
    var hasMore: Bool {
        guard !isBroken else { return false }
        return unsafe host_ring_load(available + 2) != next
    }

    /// A stretch of memory that a descriptor names.
    @safe
    struct Piece {
        let start: UnsafeMutableRawPointer
        let length: Int
    }

    /// Takes the next chain: its head, and its pieces into `pieces`, all of which the driver wants to be read, or written (`isWritten`).
    /// nil when there is none, or the ring is broken.
    mutating func take(
        into pieces: UnsafeMutablePointer<Piece>, isWritten: Bool, in memory: borrowing GuestMemory
    ) -> (head: UInt16, count: Int)? {
        guard !isBroken else { return nil }
        let index = unsafe host_ring_load(available + 2)
        let waiting = index &- next
        if waiting == 0 { return nil }
        guard waiting <= size else { return fail() }
        let head = unsafe (available + 4 + 2 * Int(next & (size - 1))).loadUnaligned(as: UInt16.self)
        guard head < size else { return fail() }
        var table = unsafe descriptors
        var entries = Int(size)
        var at = Int(head)
        var isIndirect = false
        var steps = 0
        var count = 0
        while true {
            steps += 1
            guard at < entries, steps <= Self.mostPieces else { return fail() }
            let descriptor = unsafe table + 16 * at
            let address = unsafe descriptor.loadUnaligned(as: UInt64.self)
            let length = unsafe Int(descriptor.loadUnaligned(fromByteOffset: 8, as: UInt32.self))
            let flags = unsafe descriptor.loadUnaligned(fromByteOffset: 12, as: UInt16.self)
            let following = unsafe Int(descriptor.loadUnaligned(fromByteOffset: 14, as: UInt16.self))
            if flags & 4 != 0 {
                // Section 2.7.5.3: a table of descriptors, not within another, and the last of the chain.
                guard takesIndirect, !isIndirect, flags & 1 == 0, length > 0, length & 15 == 0,
                    let start = unsafe memory.guest(address, length)
                else { return fail() }
                isIndirect = true
                unsafe table = unsafe start
                entries = length / 16
                at = 0
                continue
            }
            guard (flags & 2 != 0) == isWritten else { return fail() }
            if length > 0 {
                guard let start = unsafe memory.guest(address, length) else { return fail() }
                unsafe pieces[count] = unsafe Piece(start: start, length: length)
                count += 1
            }
            guard flags & 1 != 0 else { break }
            at = following
        }
        next &+= 1
        return (head, count)
    }

    private mutating func fail() -> (head: UInt16, count: Int)? {
        isBroken = true
        return nil
    }

    /// Puts back the last `count` chains taken.
    mutating func putBack(_ count: Int) { next &-= UInt16(truncatingIfNeeded: count) }

    /// Hands a chain back, with `length` bytes written into it. Seen by the driver at `publish`.
    mutating func give(_ head: UInt16, length: Int) {
        let entry = unsafe used + 4 + 8 * Int(usedIndex & (size - 1))
        unsafe entry.storeBytes(of: UInt32(head), as: UInt32.self)
        unsafe entry.storeBytes(of: UInt32(clamping: length), toByteOffset: 4, as: UInt32.self)
        usedIndex &+= 1
    }

    /// Shows the driver what was handed back.
    func publish() { unsafe host_ring_store(used + 2, usedIndex) }

    /// Whether the driver wants to be told of what was published since the last call.
    mutating func shouldTell() -> Bool {
        let old = toldIndex
        guard usedIndex != old, !isBroken else { return false }
        toldIndex = usedIndex
        // What is published has to be seen before the driver's wish is read (section 2.7.7.2).
        host_ring_fence()
        guard tellsIndex else { return unsafe host_ring_load(available) & 1 == 0 }
        let event = unsafe host_ring_load(available + 4 + 2 * Int(size))
        return usedIndex &- event &- 1 < usedIndex &- old
    }

    /// Asks to be told when the driver makes more available than the next `count` chains, which are there.
    /// - Returns: whether it has done so meanwhile.
    func asksToBeTold(after count: Int = 0) -> Bool {
        guard !isBroken else { return false }
        let known = next &+ UInt16(truncatingIfNeeded: count)
        if tellsIndex {
            unsafe host_ring_store(used + 4 + 8 * Int(size), known)
            host_ring_fence()
        }
        return unsafe host_ring_load(available + 2) != known
    }
}
