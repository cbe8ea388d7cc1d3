@testable import Netstack
import Simnet
import Testing
import Wire

/// The list of transmissions against one record a byte.
@Suite struct TransmissionsTests {
    /// What is true of one byte in flight.
    struct Byte: Equatable {
        var stamp: UInt32
        var sacked = false
        var lost = false
        var resent = false
    }

    @Test("random operations", arguments: 1...200)
    func agreesWithBytes(seed: Int) {
        var random = SeededRandom(UInt64(seed))
        let base = SequenceNumber(rawValue: UInt32.max &- UInt32(random.below(1500)))
        var list = Transmissions()
        list.reset(at: base)
        var model: [Int: Byte] = [:]
        var (una, nxt) = (0, 0)
        var now = UInt32.max - 1_000
        // Few enough operations between acknowledgments that the list never has to forget.
        for _ in 0..<300 {
            now &+= UInt32(random.below(50))
            var delivery = Transmissions.Delivery(after: list.highest)
            switch random.below(list.count > 40 ? 2 : 7) {
            case 0:
                una += random.below(nxt - una + 1)
                let before = model.filter { $0.key < una && !$0.value.sacked }.count
                list.acknowledge(base + una, &delivery)
                #expect(delivery.bytes == before, "seed \(seed)")
                model = model.filter { $0.key >= una }
            case 1:
                list.loseAll(sentBefore: now, wait: 100)
                for (key, byte) in model where !byte.sacked && Int32(bitPattern: byte.stamp &+ 100 &- now) <= 0 {
                    model[key]?.lost = true
                }
            case 2, 3:
                let count = 1 + random.below(30)
                list.append(to: base + nxt + count, at: now, grain: 0)
                for i in nxt..<nxt + count { model[i] = Byte(stamp: now) }
                nxt += count
            case 4 where nxt - una > 2:
                let left = una + 1 + random.below(nxt - una - 1)
                let right = min(nxt, left + 1 + random.below(20))
                let news = (left..<right).filter { model[$0]?.sacked == false }
                let latest = news.compactMap { model[$0]?.stamp }.max { Int32(bitPattern: $0 &- $1) < 0 }
                let isNew = list.report(base + left, base + right, &delivery)
                #expect(isNew == !news.isEmpty, "seed \(seed)")
                #expect(delivery.bytes == news.count, "seed \(seed)")
                #expect(delivery.latest?.stamp == latest, "seed \(seed)")
                for i in news {
                    model[i]?.sacked = true
                    model[i]?.lost = false
                }
            case 5:
                guard let lost = list.firstLost else { continue }
                #expect(lost.left - base == model.filter(\.value.lost).map(\.key).min(), "seed \(seed)")
                let count = 1 + random.below(lost.right - lost.left)
                list.resend(SequenceRange(left: lost.left, right: lost.left + count), at: now)
                for i in (lost.left - base)..<(lost.left - base) + count {
                    model[i] = Byte(stamp: now, resent: true)
                }
            default:
                // As far as the first range goes.
                let first = list.count > 0 ? min(5, list.right(0) - list.left(0)) : 0
                list.loseFirst(5)
                for i in una..<una + first where model[i]?.sacked == false { model[i]?.lost = true }
            }
            #expect(list.start == base + una && list.end == base + nxt, "seed \(seed)")
            #expect(list.sacked == model.values.filter(\.sacked).count, "seed \(seed)")
            #expect(list.lost == model.values.filter(\.lost).count, "seed \(seed)")
            for i in 0..<list.count {
                #expect(list.left(i) < list.right(i), "seed \(seed)")
                for at in (list.left(i) - base)..<(list.right(i) - base) {
                    guard let byte = model[at] else {
                        Issue.record("seed \(seed): no byte \(at)")
                        continue
                    }
                    #expect(list.mark(i).contains(.sacked) == byte.sacked, "seed \(seed)")
                    #expect(list.mark(i).contains(.lost) == byte.lost, "seed \(seed)")
                    if !byte.sacked { #expect(list.stamp(i) == byte.stamp, "seed \(seed)") }
                }
            }
        }
    }

    @Test("a full list forgets reports, never losses, and counts right", arguments: 1...50)
    func fullListIsPessimistic(seed: Int) {
        var random = SeededRandom(UInt64(seed))
        let base = SequenceNumber(rawValue: 7)
        var list = Transmissions()
        list.reset(at: base)
        var reported: Set<Int> = []
        for i in 1...400 { list.append(to: base + i * 10, at: UInt32(i), grain: 0) }
        for _ in 0..<400 {
            var delivery = Transmissions.Delivery(after: list.highest)
            let left = 1 + random.below(3990)
            let right = left + 1 + random.below(9)
            _ = list.report(base + left, base + right, &delivery)
            reported.formUnion(left..<right)
            if random.chance(0.1) { list.loseAll(sentBefore: UInt32(random.below(600)), wait: 0) }
            if random.chance(0.2), let lost = list.firstLost { list.resend(lost, at: 1000) }
            #expect(list.count <= Transmissions.capacity, "seed \(seed)")
            var (sacked, lost) = (0, 0)
            for i in 0..<list.count {
                let length = list.right(i) - list.left(i)
                if list.mark(i).contains(.lost) { lost += length }
                guard list.mark(i).contains(.sacked) else { continue }
                sacked += length
                for at in (list.left(i) - base)..<(list.right(i) - base) {
                    #expect(reported.contains(at), "seed \(seed): byte \(at) was never reported")
                }
            }
            #expect(list.sacked == sacked && list.lost == lost, "seed \(seed)")
        }
    }

    @Test func whatLeftBeforeSomethingDeliveredIsLost() {
        // RFC 8985 section 6.2, step 5.
        let base = SequenceNumber(rawValue: 0)
        var list = Transmissions()
        list.reset(at: base)
        for i in 1...4 { list.append(to: base + 100 * i, at: UInt32(1000 * i), grain: 0) }
        var delivery = Transmissions.Delivery(after: list.highest)
        _ = list.report(base + 200, base + 300, &delivery)
        #expect(delivery.latest?.stamp == 3000)
        // A round trip of 2000: the first has waited 3990 - 1000, the second 3990 - 2000, which is 10 short of it.
        let late = list.detectLoss(stamp: 3000, end: base + 300, wait: 2000, at: 3990)
        #expect(late == 10)
        #expect(list.lost == 100)
        #expect(list.firstLost == SequenceRange(left: base, right: base + 100))
        // What left later is not judged.
        #expect(list.detectLoss(stamp: 3000, end: base + 300, wait: 2000, at: 9000) == nil)
        #expect(list.lost == 200)
    }
}
