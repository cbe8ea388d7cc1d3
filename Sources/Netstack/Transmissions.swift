import Wire

// What was sent to the guest and is not acknowledged: when each byte left last, and what is known of it.
//
//      una                                                                      nxt
//       |  lost   | in flight, sent again | reported | in flight | reported | in flight |
//       '---------'-----------------------'----------'-----------'----------'-----------'
//        ranges[0]        [1]                 [2]         [3]         [4]         [5]
//
// One list serves as scoreboard (RFC 6675 section 4) and as RACK's per-segment times (RFC 8985 section 5.2). A range is what left
// in one turn: a super-frame, or several, is one transmission. Ranges are contiguous, so each stores only its end.
//
// Limit: `capacity` ranges. When they run out, two neighbours become one: the later time and the more pessimistic mark stay. That
// is always safe: what is forgotten is that the guest has a byte, and it is sent again. So hostile SACK blocks cost
// the guest bandwidth and us nothing.
//
// Times are microseconds modulo 2^32. Compared as signed differences: right for anything in flight less than 35 minutes,
// and the connection is given up long before.

/// Ranges of sequence space from `snd.una` to `snd.nxt`, with times and marks.
struct Transmissions: BitwiseCopyable {
    struct Marks: OptionSet, BitwiseCopyable {
        let rawValue: UInt8
        /// The guest reported it (RFC 2018).
        static let sacked = Marks(rawValue: 1)
        /// Taken for lost and not sent again yet.
        static let lost = Marks(rawValue: 2)
        /// Sent more than once.
        static let resent = Marks(rawValue: 4)
    }

    /// What one ACK newly delivered: the transmissions that RACK and the round-trip time learn from.
    struct Delivery: BitwiseCopyable {
        /// Bytes that were neither acknowledged nor reported before.
        var bytes = 0
        /// The transmission that was sent last of all delivered (RFC 8985 section 6.2, step 2).
        var latest: (stamp: UInt32, end: SequenceNumber, resent: Bool)?
        /// When the latest acknowledged byte that was sent only once was sent (Karn's rule; RFC 6298 section 3).
        var timed: UInt32?
        /// One past the highest byte that was delivered before.
        let highest: SequenceNumber
        /// Something that was sent only once was delivered below that (RFC 8985 section 6.2, step 3).
        var reordered = false

        init(after highest: SequenceNumber) { self.highest = highest }
    }

    static let capacity = 64
    private static let mask = capacity - 1

    private var ends = InlineArray<64, SequenceNumber>(repeating: SequenceNumber(rawValue: 0))
    private var stamps = InlineArray<64, UInt32>(repeating: 0)
    private var marks = InlineArray<64, Marks>(repeating: [])
    /// Where the first range is in the ring.
    private var head = 0
    private(set) var count = 0
    /// The first range's left end: `snd.una`.
    private(set) var start = SequenceNumber(rawValue: 0)
    /// The last range's right end: `snd.nxt`. Kept apart so that looking at it does not touch the list.
    private(set) var end = SequenceNumber(rawValue: 0)
    /// Bytes with the mark.
    private(set) var sacked = 0
    private(set) var lost = 0
    /// One past the highest byte that was ever delivered (RFC 8985's RACK.fack).
    private(set) var highest = SequenceNumber(rawValue: 0)

    /// Empties the list; what is sent next begins at `sequence`.
    mutating func reset(at sequence: SequenceNumber) {
        head = 0
        count = 0
        start = sequence
        end = sequence
        highest = sequence
        sacked = 0
        lost = 0
    }

    // MARK: Look

    @inline(__always)
    private func slot(_ i: Int) -> Int { (head &+ i) & Self.mask }

    @inline(__always)
    func left(_ i: Int) -> SequenceNumber { i == 0 ? start : ends[slot(i - 1)] }
    @inline(__always)
    func right(_ i: Int) -> SequenceNumber { ends[slot(i)] }
    @inline(__always)
    func mark(_ i: Int) -> Marks { marks[slot(i)] }
    @inline(__always)
    func stamp(_ i: Int) -> UInt32 { stamps[slot(i)] }
    @inline(__always)
    private func length(_ i: Int) -> Int { right(i) - left(i) }

    /// Bytes in flight (RFC 6675 section 4, SetPipe).
    @inline(__always)
    var pipe: Int { end - start - sacked - lost }

    /// The first range that is lost and not sent again.
    var firstLost: SequenceRange? {
        guard lost > 0 else { return nil }
        for i in 0..<count where marks[slot(i)].contains(.lost) { return SequenceRange(left: left(i), right: right(i)) }
        return nil
    }

    // MARK: Sending

    /// New bytes up to `end` left. Joins the last range if that left less than `grain` microseconds ago.
    mutating func append(to end: SequenceNumber, at stamp: UInt32, grain: UInt32) {
        self.end = end
        if count > 0 {
            let last = slot(count - 1)
            if marks[last] == [], stamp &- stamps[last] <= grain {
                ends[last] = end
                stamps[last] = stamp
                return
            }
            if count == Self.capacity { joinClosest() }
        }
        let fresh = slot(count)
        ends[fresh] = end
        stamps[fresh] = stamp
        marks[fresh] = []
        count += 1
    }

    /// A lost range was sent again, up to `right`.
    mutating func resend(_ range: SequenceRange, at stamp: UInt32) {
        makeRoom(2)
        var i = split(at: range.left)
        let end = split(at: range.right)
        while i < end {
            let at = slot(i)
            if marks[at].contains(.lost) { lost -= length(i) }
            if !marks[at].contains(.sacked) {
                marks[at] = .resent
                stamps[at] = stamp
            }
            i += 1
        }
        joinAlike(around: end - 1)
    }

    // MARK: Delivered

    // An element read by its index is read from a copy of the array, 256 bytes (Swift 6.3); one of a mutable span is not.
    @inline(__always)
    private mutating func endOf(_ slot: Int) -> SequenceNumber { ends.mutableSpan[slot] }
    @inline(__always)
    private mutating func stampOf(_ slot: Int) -> UInt32 { stamps.mutableSpan[slot] }

    /// Everything below `una` is acknowledged.
    mutating func acknowledge(_ una: SequenceNumber, _ delivery: inout Delivery) {
        while count > 0 {
            let at = slot(0)
            let right = endOf(at)
            let part = right <= una ? right : una
            let bytes = part - start
            guard bytes > 0 else { break }
            if marks[at].contains(.sacked) {
                sacked -= bytes
            } else {
                if marks[at].contains(.lost) { lost -= bytes }
                note(at, part, bytes, &delivery)
                if !marks[at].contains(.resent) { delivery.timed = stampOf(at) }
            }
            start = part
            guard right <= una else { break }
            head = (head + 1) & Self.mask
            count -= 1
        }
        if highest < una { highest = una }
    }

    /// The guest reported a block that the caller has checked to lie in (snd.una, snd.nxt]. Whether it said anything new.
    mutating func report(_ left: SequenceNumber, _ right: SequenceNumber, _ delivery: inout Delivery) -> Bool {
        // Most blocks repeat what is known: look before splitting.
        var first = 0
        while first < count, self.right(first) <= left { first += 1 }
        while first < count, self.left(first) < right, marks[slot(first)].contains(.sacked) { first += 1 }
        guard first < count, self.left(first) < right else { return false }
        makeRoom(2)
        var i = split(at: left)
        let end = split(at: right)
        while i < end {
            let at = slot(i)
            if !marks[at].contains(.sacked) {
                let bytes = length(i)
                if marks[at].contains(.lost) { lost -= bytes }
                note(at, self.right(i), bytes, &delivery)
                marks[at] = .sacked
                sacked += bytes
            }
            i += 1
        }
        if highest < right { highest = right }
        joinAlike(around: end - 1)
        return true
    }

    private mutating func note(_ at: Int, _ end: SequenceNumber, _ bytes: Int, _ delivery: inout Delivery) {
        delivery.bytes += bytes
        let resent = marks[at].contains(.resent)
        if end < delivery.highest, !resent { delivery.reordered = true }
        if let latest = delivery.latest {
            let later = Int32(bitPattern: stampOf(at) &- latest.stamp)
            guard later > 0 || later == 0 && end > latest.end else { return }
        }
        delivery.latest = (stampOf(at), end, resent)
    }

    // MARK: Lost

    /// RFC 8985 section 6.2, step 5: what left before the transmission (`stamp`, `end`) that was delivered, and at least `wait`
    /// microseconds ago, is lost. The microseconds until the next such loss; nil when none is in sight.
    mutating func detectLoss(stamp: UInt32, end: SequenceNumber, wait: UInt32, at now: UInt32) -> UInt32? {
        var soonest: UInt32?
        for i in 0..<count {
            let at = slot(i)
            guard marks[at].isDisjoint(with: [.sacked, .lost]) else { continue }
            let later = Int32(bitPattern: stamp &- stamps[at])
            guard later > 0 || later == 0 && end > ends[at] else { continue }
            let remaining = Int32(bitPattern: stamps[at] &+ wait &- now)
            if remaining <= 0 {
                marks[at].insert(.lost)
                lost += length(i)
            } else if UInt32(remaining) < soonest ?? .max {
                soonest = UInt32(remaining)
            }
        }
        return soonest
    }

    /// The first `size` bytes are lost, if the guest has not reported them.
    mutating func loseFirst(_ size: Int) {
        guard count > 0, mark(0).isDisjoint(with: [.sacked, .lost]) else { return }
        makeRoom(1)
        if length(0) > size { _ = split(at: start + size) }
        marks[slot(0)].insert(.lost)
        lost += length(0)
    }

    /// Everything that the guest has not reported and that left `wait` microseconds ago or earlier is lost (RFC 8985 section 6.3).
    mutating func loseAll(sentBefore now: UInt32, wait: UInt32) {
        for i in 0..<count where mark(i).isDisjoint(with: [.sacked, .lost]) {
            guard Int32(bitPattern: stamp(i) &+ wait &- now) <= 0 else { continue }
            marks[slot(i)].insert(.lost)
            lost += length(i)
        }
    }

    /// What was taken for lost is in flight after all: the loss was none.
    mutating func forgetLosses() {
        for i in 0..<count { marks[slot(i)].remove(.lost) }
        lost = 0
    }

    /// The guest may have dropped what it reported (RFC 2018 section 8).
    mutating func forgetReports() {
        for i in 0..<count { marks[slot(i)].remove(.sacked) }
        sacked = 0
    }

    // MARK: Form

    /// The range that begins at `sequence`, cut if need be; `count` at the end. There is room.
    private mutating func split(at sequence: SequenceNumber) -> Int {
        var i = 0
        while i < count, right(i) <= sequence { i += 1 }
        guard i < count, left(i) < sequence else { return i }
        var j = count
        while j > i {
            let (to, from) = (slot(j), slot(j - 1))
            ends[to] = ends[from]
            stamps[to] = stamps[from]
            marks[to] = marks[from]
            j -= 1
        }
        ends[slot(i)] = sequence
        count += 1
        return i + 1
    }

    private mutating func makeRoom(_ room: Int) {
        while count > Self.capacity - room { joinClosest() }
    }

    /// Joins a range with neighbours of which the same is known.
    private mutating func joinAlike(around i: Int) {
        for at in [i + 1, i] where at > 0 && at < count {
            let (a, b) = (slot(at - 1), slot(at))
            guard marks[a] == marks[b], marks[a].contains(.sacked) || stamps[a] == stamps[b] else { continue }
            join(at)
        }
    }

    /// Joins the two neighbours whose difference matters least: alike and sent closest together, else the last two.
    private mutating func joinClosest() {
        var best = count - 1
        var least = UInt32.max
        for i in 1..<count {
            let (a, b) = (slot(i - 1), slot(i))
            guard marks[a] == marks[b] else { continue }
            let apart = Int32(bitPattern: stamps[b] &- stamps[a]).magnitude
            if apart < least { (best, least) = (i, apart) }
        }
        join(best)
    }

    /// Range `i` becomes part of the one before.
    private mutating func join(_ i: Int) {
        let (a, b) = (slot(i - 1), slot(i))
        if marks[a] != marks[b] {
            for (at, k) in [(a, i - 1), (b, i)] {
                if marks[at].contains(.sacked) { sacked -= length(k) }
                if marks[at].contains(.lost) { lost -= length(k) }
            }
            var joint = marks[a].union(marks[b]).subtracting(.sacked)
            // What is lost on one side is sent again as a whole.
            if joint.contains(.lost) { lost += right(i) - left(i - 1) }
            if marks[a].contains(.sacked) || marks[b].contains(.sacked) { joint.insert(.resent) }
            marks[a] = joint
        }
        if Int32(bitPattern: stamps[b] &- stamps[a]) > 0 { stamps[a] = stamps[b] }
        ends[a] = ends[b]
        var j = i
        while j < count - 1 {
            let (to, from) = (slot(j), slot(j + 1))
            ends[to] = ends[from]
            stamps[to] = stamps[from]
            marks[to] = marks[from]
            j += 1
        }
        count -= 1
    }
}
