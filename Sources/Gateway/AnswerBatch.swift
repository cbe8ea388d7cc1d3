internal import Netstack

/// DNS answers on their way to the guest, in order. Neighbours that go to one client and have one size (the last may be shorter) are
/// one run, which leaves as one super-frame and wakes the client once: a resolver with many names in flight asks in bursts.
struct AnswerBatch {
    struct Run {
        let client: GuestPort
        let start: Int
        fileprivate(set) var form = DatagramRun()

        var range: Range<Int> { start..<start + form.bytes }
        /// Of each answer; nil when there is one.
        var size: Int? { form.bytes > form.size ? form.size : nil }
    }

    private static let keptCapacity = 64 << 10

    private(set) var bytes: [UInt8] = []
    private(set) var runs: [Run] = []

    var isEmpty: Bool { runs.isEmpty }

    /// - Parameter joins: the link cuts super-frames into datagrams.
    mutating func append(_ answer: [UInt8], for client: GuestPort, joins: Bool) {
        let last = runs.last
        let follows = joins && !answer.isEmpty && last?.client == client && last?.form.bytes != 0
        if !follows || last?.form.takes(answer.count) != true {
            runs.append(Run(client: client, start: bytes.count))
        }
        runs[runs.count - 1].form.add(answer.count)
        bytes += answer
    }

    mutating func removeAll() {
        bytes.removeAll(keepingCapacity: bytes.capacity <= Self.keptCapacity)
        runs.removeAll(keepingCapacity: runs.capacity <= 1024)
    }
}
