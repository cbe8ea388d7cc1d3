import Wire

/// What came early, beyond a gap, as at most twelve disjoint ranges in order: what our SACK blocks are taken from (RFC 2018).
///
/// A range that finds no place is not held: the guest sends it again.
struct Scoreboard: BitwiseCopyable {
    static let capacity = 12
    private var ranges = InlineArray<12, SequenceRange>(
        repeating: SequenceRange(left: SequenceNumber(rawValue: 0), right: SequenceNumber(rawValue: 0)))
    private(set) var count = 0

    subscript(index: Int) -> SequenceRange { ranges[index] }

    var isEmpty: Bool { count == 0 }

    /// Adds a range beyond `rcv.nxt`. Whether any of it is new.
    mutating func add(_ left: SequenceNumber, _ right: SequenceNumber) -> Bool {
        var merged = SequenceRange(left: left, right: right)
        var first = 0
        while first < count, ranges[first].right < left { first += 1 }
        var last = first
        while last < count, ranges[last].left <= right {
            if ranges[last].left <= left && ranges[last].right >= right { return false }
            if ranges[last].left < merged.left { merged.left = ranges[last].left }
            if ranges[last].right > merged.right { merged.right = ranges[last].right }
            last += 1
        }
        if last == first {
            if count == Self.capacity {
                // Full: keep the lower ranges, which say what to resend first.
                guard first < count else { return false }
                count -= 1
            }
            var i = count
            while i > first {
                ranges[i] = ranges[i - 1]
                i -= 1
            }
            count += 1
        } else if last - first > 1 {
            let gap = last - first - 1
            for i in last..<max(last, count) { ranges[i - gap] = ranges[i] }
            count -= gap
        }
        ranges[first] = merged
        return true
    }

    /// Forgets everything below the cumulative ACK.
    mutating func acknowledge(_ una: SequenceNumber) {
        var gone = 0
        while gone < count, ranges[gone].right <= una { gone += 1 }
        if gone > 0 {
            for i in gone..<max(gone, count) { ranges[i - gone] = ranges[i] }
            count -= gone
        }
        if count > 0, ranges[0].left < una { ranges[0].left = una }
    }
}
