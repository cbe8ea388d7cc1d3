@testable import Netstack
import Simnet
import Testing
import Wire

/// The scoreboard against a set of numbers, around the wrap of sequence space.
@Suite struct ScoreboardTests {
    @Test(arguments: 1...60)
    func agreesWithASet(seed: Int) {
        var random = SeededRandom(UInt64(seed))
        let base = SequenceNumber(rawValue: UInt32.max &- UInt32(random.below(150)))
        var board = Scoreboard()
        var model: Set<Int> = []
        var una = 0
        for _ in 0..<200 {
            if random.chance(0.1) {
                una = min(200, una + random.below(10))
                board.acknowledge(base + una)
                model = model.filter { $0 >= una }
            } else {
                let left = una + 1 + random.below(200)
                let right = left + 1 + random.below(12)
                let wasFull = board.count == Scoreboard.capacity
                let isNew = board.add(base + left, base + right)
                let added = Set(left..<right)
                if !wasFull {
                    #expect(isNew == !added.isSubset(of: model), "seed \(seed)")
                    model.formUnion(added)
                } else {
                    // A full board may forget; it may never invent.
                    let all = model.union(added)
                    model = []
                    for i in 0..<board.count { model.formUnion((board[i].left - base)..<(board[i].right - base)) }
                    #expect(model.isSubset(of: all), "seed \(seed)")
                }
            }
            // Ranges are in order, disjoint, apart from one another.
            for i in 0..<board.count {
                #expect(board[i].left < board[i].right, "seed \(seed)")
                if i > 0 { #expect(board[i - 1].right < board[i].left, "seed \(seed)") }
            }
        }
    }
}
