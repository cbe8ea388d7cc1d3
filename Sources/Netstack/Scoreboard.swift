import Wire

/// What the guest said it holds beyond the cumulative ACK (RFC 2018), as at most twelve disjoint ranges in order.
///
/// Forgetting a range is always safe: it is only sent again. So a guest that sends hostile blocks costs itself
/// bandwidth and us nothing.
struct Scoreboard: BitwiseCopyable {
    struct Range: BitwiseCopyable, Equatable {
        var left: SequenceNumber
        var right: SequenceNumber
    }

    static let capacity = 12
    private var ranges = InlineArray<12, Range>(
        repeating: Range(left: SequenceNumber(rawValue: 0), right: SequenceNumber(rawValue: 0)))
    private(set) var count = 0

    subscript(index: Int) -> Range { ranges[index] }

    var isEmpty: Bool { count == 0 }

    /// One past the highest byte reported; nil when none is.
    var highest: SequenceNumber? { count == 0 ? nil : ranges[count - 1].right }

    mutating func removeAll() { count = 0 }

    /// Adds a block that the caller has checked to lie in (snd.una, snd.nxt]. Returns whether it said anything new.
    mutating func add(_ left: SequenceNumber, _ right: SequenceNumber) -> Bool {
        var merged = Range(left: left, right: right)
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

    /// Bytes of [from, to) that the guest has not reported.
    func missing(from: SequenceNumber, to: SequenceNumber) -> Int {
        var total = to - from
        guard total > 0 else { return 0 }
        for i in 0..<count {
            let left = ranges[i].left > from ? ranges[i].left : from
            let right = ranges[i].right < to ? ranges[i].right : to
            if right > left { total -= right - left }
        }
        return total
    }

    /// The first hole at or after `from` and below `limit`.
    func hole(from: SequenceNumber, below limit: SequenceNumber) -> Range? {
        var left = from
        for i in 0..<count {
            if ranges[i].right <= left { continue }
            if ranges[i].left > left {
                return left < limit ? Range(left: left, right: least(ranges[i].left, limit)) : nil
            }
            left = ranges[i].right
        }
        return left < limit ? Range(left: left, right: limit) : nil
    }

    /// RFC 6675 section 4, IsLost: everything unreported below this has at least `threshold` reported bytes above it.
    func lossEdge(threshold: Int) -> SequenceNumber? {
        var above = 0
        var i = count - 1
        while i >= 0 {
            above += ranges[i].right - ranges[i].left
            if above >= threshold { return ranges[i].left }
            i -= 1
        }
        return nil
    }

    private func least(_ a: SequenceNumber, _ b: SequenceNumber) -> SequenceNumber { a < b ? a : b }
}
