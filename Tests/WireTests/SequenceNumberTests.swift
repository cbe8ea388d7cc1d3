import Testing
import Wire

@Suite struct SequenceNumberTests {
    @Test(
        arguments: [
            (0, 1, -1), (1, 0, 1), (0, 0xffff_ffff, 1), (0xffff_ffff, 0, -1), (0x7fff_ffff, 0xffff_ffff, -0x8000_0000),
            (0x10, 0xffff_fff0, 0x20), (0x8000_0000, 1, 0x7fff_ffff), (5, 5, 0), (0x8000_0001, 1, -0x8000_0000),
        ] as [(UInt32, UInt32, Int)])
    func measures(_ a: UInt32, _ b: UInt32, _ distance: Int) {
        let (a, b) = (SequenceNumber(rawValue: a), SequenceNumber(rawValue: b))
        #expect(a - b == distance)
        #expect(b + distance == a)
        #expect((a < b) == (distance < 0) && (a <= b) == (distance <= 0))
        #expect((a > b) == (distance > 0) && (a >= b) == (distance >= 0))
    }

    @Test func wraps() {
        var number = SequenceNumber(rawValue: 0xffff_fffe)
        number += 3
        #expect(number.rawValue == 1)
        number -= 2
        #expect(number.rawValue == 0xffff_ffff)
        #expect((number + Int.max).rawValue == 0xffff_fffe)
        #expect((number - Int.min).rawValue == 0xffff_ffff)
    }

    @Test func ordersAroundEveryPoint() {
        let seed = newSeed("SequenceNumber")
        var random = SplitMix64(seed: seed)
        for _ in 0..<10_000 {
            let base = SequenceNumber(rawValue: UInt32(truncatingIfNeeded: random.next()))
            let step = Int(random.next() >> 33)
            let ahead = base + step
            #expect(ahead - base == step && base - ahead == -step, "seed \(seed)")
            #expect(step == 0 || base < ahead && ahead > base && !(ahead <= base), "seed \(seed)")
        }
    }
}
