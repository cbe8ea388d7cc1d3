import Netstack
import Simnet
import Testing

/// The timer heap against a dictionary.
@Suite struct TimerHeapTests {
    @Test(arguments: 1...40)
    func agreesWithADictionary(seed: Int) {
        var random = SeededRandom(UInt64(seed))
        var heap = TimerHeap(capacity: 50)
        var model: [UInt32: Instant] = [:]
        var now = Instant(nanoseconds: 0)
        for _ in 0..<600 {
            let slot = UInt32(random.below(50))
            switch random.below(4) {
            case 0, 1:
                let due = random.chance(0.1) ? Instant.never : now + Int64(1 + random.below(100))
                heap.set(slot, due)
                model[slot] = due == .never ? nil : due
            case 2:
                heap.clear(slot)
                model[slot] = nil
            default:
                now = now + Int64(random.below(30))
                while let due = heap.popDue(at: now) {
                    #expect(model[due].map { $0 <= now } == true, "seed \(seed)")
                    model[due] = nil
                }
                #expect(model.values.allSatisfy { $0 > now }, "seed \(seed)")
            }
            // May be early, never late.
            #expect(heap.next <= (model.values.min() ?? .never), "seed \(seed)")
        }
    }
}
