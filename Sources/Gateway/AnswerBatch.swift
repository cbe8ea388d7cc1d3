internal import Netstack

/// DNS answers on their way to the guest, in order. Neighbours that go to one client and have one size (the last may be shorter) are
/// one run, which leaves as one super-frame and wakes the client once: a resolver with many names in flight asks in bursts.
struct AnswerBatch {
    struct Run {
        let client: GuestPort
        var range: Range<Int>
        /// Of each answer; nil when there is one.
        var size: Int?
    }

    private static let longestRun = 60_000
    private static let keptCapacity = 64 << 10

    private(set) var bytes: [UInt8] = []
    private(set) var runs: [Run] = []

    var isEmpty: Bool { runs.isEmpty }

    /// - Parameter joins: the link cuts super-frames into datagrams.
    mutating func append(_ answer: [UInt8], for client: GuestPort, joins: Bool) {
        let start = bytes.count
        bytes += answer
        if joins, let last = runs.last, last.client == client, !answer.isEmpty {
            let size = last.size ?? last.range.count
            if answer.count <= size, last.range.count % size == 0, last.range.count + answer.count <= Self.longestRun {
                runs[runs.count - 1].size = size
                runs[runs.count - 1].range = last.range.lowerBound..<bytes.count
                return
            }
        }
        runs.append(Run(client: client, range: start..<bytes.count))
    }

    mutating func removeAll() {
        bytes.removeAll(keepingCapacity: bytes.capacity <= Self.keptCapacity)
        runs.removeAll(keepingCapacity: runs.capacity <= 1024)
    }
}
