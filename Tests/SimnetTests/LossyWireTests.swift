import Netstack
import Simnet
import Testing

// What the wires do to frames is what the tests above them believe of the network.

@Suite struct LossyWireTests {
    static let frame = Frame([UInt8](repeating: 0, count: 1000))
    static let start = Instant(nanoseconds: 1)

    /// Sends `count` frames a millisecond apart; which of them arrive.
    static func arrivals(_ faults: WireFaults, count: Int, seed: UInt64 = 7) -> [Bool] {
        var wire = LossyWire(faults, seed: seed)
        return (0..<count).map { i in
            let now = start + .milliseconds(Int64(i))
            wire.send(frame, at: now)
            return wire.arrival(until: now + .milliseconds(1)) != nil
        }
    }

    @Test func singleLossHasItsShare() {
        var faults = WireFaults()
        faults.loss = 0.03
        let lost = Self.arrivals(faults, count: 20_000).filter { !$0 }.count
        #expect((500...700).contains(lost))
    }

    @Test func burstsHaveTheirShareAndLength() {
        var faults = WireFaults()
        faults.bursts = GilbertElliott(share: 0.02, length: 8)
        let arrived = Self.arrivals(faults, count: 100_000)
        let lost = arrived.filter { !$0 }.count
        let bursts = zip(arrived, arrived.dropFirst()).filter { $0 && !$1 }.count
        #expect((1500...2500).contains(lost))
        #expect((6.5...9.5).contains(Double(lost) / Double(bursts)))
    }

    @Test func aBottleneckSpacesFramesAndDropsAtItsTail() {
        var faults = WireFaults()
        faults.delay = 0
        faults.bandwidth = 1_000_000
        faults.queue = 4000
        var wire = LossyWire(faults, seed: 1)
        for _ in 0..<10 { wire.send(Self.frame, at: Self.start) }
        // The one on its way, and those that found at most 4000 bytes waiting.
        #expect(wire.lost == 5)
        for i in 1...5 {
            #expect(wire.next == Self.start + .milliseconds(Int64(i)))
            #expect(wire.arrival(until: wire.next) != nil)
        }
        #expect(wire.next == .never)
    }

    @Test(arguments: [(0x08, 0x00), (0x86, 0xdd)] as [(UInt8, UInt8)], [0, 1, 2] as [UInt8])
    func aFullQueueMarksWhatCanBeMarked(_ type: (UInt8, UInt8), _ ecn: UInt8) throws {
        var bytes = [UInt8](repeating: 0, count: 1000)
        (bytes[12], bytes[13]) = type
        let isV4 = type.0 == 0x08
        bytes[14] = isV4 ? 0x45 : 0x60
        bytes[15] = isV4 ? ecn : ecn << 4
        var faults = WireFaults()
        faults.bandwidth = 1_000_000
        faults.marksFrom = 1500
        var wire = LossyWire(faults, seed: 1)
        for _ in 0..<4 { wire.send(Frame(bytes), at: Self.start) }
        #expect(wire.marked == (ecn == 0 ? 0 : 2))
        var seen: [UInt8] = []
        while let frame = wire.arrival(until: .never) {
            seen.append(isV4 ? frame.bytes[15] & 3 : frame.bytes[15] >> 4 & 3)
        }
        #expect(seen == (ecn == 0 ? [0, 0, 0, 0] : [ecn, ecn, 3, 3]))
    }

    @Test func jitterLetsFramesOvertake() {
        var faults = WireFaults()
        faults.jitter = .milliseconds(5)
        var wire = LossyWire(faults, seed: 3)
        for i in 0..<100 {
            var bytes = Self.frame.bytes
            bytes[0] = UInt8(i)
            wire.send(Frame(bytes), at: Self.start + .milliseconds(Int64(i)))
        }
        var order: [UInt8] = []
        while let frame = wire.arrival(until: .never) { order.append(frame.bytes[0]) }
        #expect(order.count == 100)
        #expect(order != order.sorted())
    }
}
