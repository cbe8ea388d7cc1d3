package import Netstack

// One direction of a link with the faults of a network: loss (single and in bursts), duplication, reordering by extra
// delay, a bandwidth with a queue that drops at its tail. Super-frames are cut first, so that loss hits single segments.

/// What a wire does to frames. Probabilities 0...1, times in nanoseconds.
package struct WireFaults: Sendable {
    package var loss = 0.0
    /// A loss takes this many frames.
    package var burst = 1
    package var duplication = 0.0
    package var reordering = 0.0
    /// Extra delay of a reordered frame, at most.
    package var reorderDelay = Int64.milliseconds(5)
    package var delay = Int64.milliseconds(1)
    /// Bytes a second; 0 is without limit.
    package var bandwidth = 0
    /// Bytes that may wait for the bandwidth.
    package var queue = 256 * 1024
    /// Super-frames stay whole (a tap with offloads).
    package var keepsSuperFrames = false
    package init() {}
}

/// One direction. `send` puts frames on, `arrivals(until:)` takes them off in order of arrival.
package struct LossyWire {
    package var faults: WireFaults
    private var random: SeededRandom
    private var losing = 0
    private var lostAt = Instant(nanoseconds: 0)
    private var freeAt = Instant(nanoseconds: 0)
    private var heap: [(at: Instant, order: Int, frame: Frame)] = []
    private var order = 0
    package private(set) var lost = 0
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
        // A burst is over when the wire was quiet for a while.
        if now - lostAt > .milliseconds(50) { losing = 0 }
        if losing == 0, random.chance(faults.loss) { losing = faults.burst }
        if losing > 0 {
            losing -= 1
            lostAt = now
            lost += 1
            return
        }
        var leaves = now
        if faults.bandwidth > 0 {
            let start = freeAt > now ? freeAt : now
            let waiting = Int((start - now) * Int64(faults.bandwidth) / 1_000_000_000)
            guard waiting <= faults.queue else {
                lost += 1
                return
            }
            leaves = start + Int64(frame.bytes.count) * 1_000_000_000 / Int64(faults.bandwidth)
            freeAt = leaves
        }
        var arrives = leaves + faults.delay
        if random.chance(faults.reordering) { arrives = arrives + Int64(random.below(Int(faults.reorderDelay) + 1)) }
        push(frame, arrives)
        if random.chance(faults.duplication) { push(frame, arrives + Int64(random.below(1_000_000))) }
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
