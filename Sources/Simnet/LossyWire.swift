package import Netstack
import Wire

// One direction of a link with the faults of a network: loss (single, and in bursts by the model of Gilbert and Elliott), duplication,
// jitter and reordering, and a bottleneck: a rate with a queue that drops at its tail and may mark before (ECN). Super-frames are
// cut first, so that loss hits single segments.
//
//   send ─▶ cut ─▶ lost? ─▶ queue, at a rate ─▶ delay + jitter ─▶ twice? ─▶ arrival

/// Loss in bursts: a channel that is good or bad, and changes from frame to frame (Gilbert 1960, Elliott 1963).
package struct GilbertElliott: Sendable, Equatable {
    /// Chance that a good channel turns bad, and a bad one good, before a frame.
    package var worsens: Double
    package var recovers: Double
    /// Chance that a bad channel loses a frame. A good one loses by `WireFaults.loss`.
    package var loss = 1.0

    /// Bursts of `length` frames on average that take `share` of all frames.
    package init(share: Double, length: Double) {
        recovers = 1 / length
        worsens = share * recovers / max(1e-9, 1 - share)
    }
}

/// What a wire does to frames. Probabilities 0...1, times in nanoseconds.
package struct WireFaults: Sendable {
    package var loss = 0.0
    package var bursts: GilbertElliott?
    package var duplication = 0.0
    package var reordering = 0.0
    /// Extra delay of a reordered frame, at most.
    package var reorderDelay = Int64.milliseconds(5)
    package var delay = Int64.milliseconds(1)
    /// Extra delay of every frame, at most; frames overtake each other by it.
    package var jitter: Int64 = 0
    /// Bytes a second; 0 is without limit.
    package var bandwidth = 0
    /// Bytes that may wait for the bandwidth.
    package var queue = 256 * 1024
    /// Bytes waiting from which on frames of ECN-capable transports are marked (RFC 3168 section 5). nil: never.
    package var marksFrom: Int?
    /// Super-frames stay whole (a tap with offloads).
    package var keepsSuperFrames = false
    package init() {}
}

/// One direction. `send` puts frames on, `arrival(until:)` takes them off in order of arrival.
package struct LossyWire {
    package var faults: WireFaults
    private var random: SeededRandom
    private var isBad = false
    private var usedAt = Instant(nanoseconds: 0)
    private var freeAt = Instant(nanoseconds: 0)
    private var heap: [(at: Instant, order: Int, frame: Frame)] = []
    private var order = 0
    package private(set) var lost = 0
    package private(set) var marked = 0
    package private(set) var carried = 0

    /// Loses everything after this many more frames, until set again; once: a frame that is sent at a later moment arrives.
    package var losesFrom: Int?
    private var losesAt: Instant?

    package init(_ faults: WireFaults, seed: UInt64) {
        self.faults = faults
        random = SeededRandom(seed)
    }

    package var next: Instant { heap.first?.at ?? .never }

    package mutating func send(_ frame: Frame, at now: Instant) {
        for segment in faults.keepsSuperFrames ? [frame] : frame.segments { sendOne(segment, at: now) }
    }

    private mutating func sendOne(_ frame: Frame, at now: Instant) {
        if let count = losesFrom {
            if losesAt == nil, count == 0 { losesAt = now }
            if losesAt == now {
                lost += 1
                return
            }
            losesFrom = losesAt == nil ? count - 1 : nil
        }
        if losesOne(at: now) {
            lost += 1
            return
        }
        var frame = frame
        var leaves = now
        if faults.bandwidth > 0 {
            let start = freeAt > now ? freeAt : now
            let waiting = Int((start - now) * Int64(faults.bandwidth) / 1_000_000_000)
            guard waiting <= faults.queue else {
                lost += 1
                return
            }
            if let threshold = faults.marksFrom, waiting >= threshold, frame.markCongestion() { marked += 1 }
            leaves = start + Int64(frame.bytes.count) * 1_000_000_000 / Int64(faults.bandwidth)
            freeAt = leaves
        }
        var arrives = leaves + faults.delay
        if faults.jitter > 0 { arrives = arrives + Int64(random.below(Int(faults.jitter) + 1)) }
        if random.chance(faults.reordering) { arrives = arrives + Int64(random.below(Int(faults.reorderDelay) + 1)) }
        push(frame, arrives)
        if random.chance(faults.duplication) { push(frame, arrives + Int64(random.below(1_000_000))) }
    }

    private mutating func losesOne(at now: Instant) -> Bool {
        guard let bursts = faults.bursts else { return random.chance(faults.loss) }
        // A channel that was left alone has become good: a burst is a matter of time, not only of frames.
        if now - usedAt > .milliseconds(50) { isBad = false }
        usedAt = now
        if random.chance(isBad ? bursts.recovers : bursts.worsens) { isBad.toggle() }
        return random.chance(isBad ? bursts.loss : faults.loss)
    }

    package mutating func arrival(until now: Instant) -> Frame? {
        guard let first = heap.first, first.at <= now else { return nil }
        carried += 1
        return pop()
    }

    // A binary heap by (time, order).

    private func before(_ a: Int, _ b: Int) -> Bool {
        heap[a].at == heap[b].at ? heap[a].order < heap[b].order : heap[a].at < heap[b].at
    }

    private mutating func push(_ frame: Frame, _ at: Instant) {
        order += 1
        heap.append((at, order, frame))
        var child = heap.count - 1
        while child > 0, before(child, (child - 1) / 2) {
            heap.swapAt(child, (child - 1) / 2)
            child = (child - 1) / 2
        }
    }

    private mutating func pop() -> Frame {
        heap.swapAt(0, heap.count - 1)
        let frame = heap.removeLast().frame
        var parent = 0
        while true {
            var child = 2 * parent + 1
            guard child < heap.count else { break }
            if child + 1 < heap.count, before(child + 1, child) { child += 1 }
            guard before(child, parent) else { break }
            heap.swapAt(child, parent)
            parent = child
        }
        return frame
    }
}
