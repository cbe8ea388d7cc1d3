@testable import Netstack
import Simnet
import Testing
import Wire

// Segments of any content into a live connection with text in both directions: nothing traps, no emitted frame is wrong
// (the checker sees windows and ACKs go back), memory stays within its caps, and an end of everything leaves nothing.

@Suite struct TCPPropertyTests {
    @Test(arguments: 1...150)
    func anySegmentIsSurvived(seed: Int) {
        var random = SeededRandom(UInt64(seed) &* 7919)
        var faults = WireFaults()
        faults.loss = random.chance(0.5) ? 0.02 : 0
        var simulation = Simulation(
            Simulation.configuration { $0.chunks = 24 }, up: faults, down: faults, seed: UInt64(seed))
        simulation.host.script.stream = random.bytes(100_000)
        simulation.host.script.sendBuffer = 10_000
        simulation.host.script.readSize = 2_000
        var options = GuestTCP.Options()
        options.iss = random.chance(0.5) ? UInt32.max - 5_000 : 77
        options.sack = random.chance(0.7)
        options.timestamps = random.chance(0.5)
        options.windowScale = random.chance(0.7) ? 7 : nil
        let stream = random.bytes(100_000)
        simulation.connect(options, stream: stream)
        simulation.trace = []
        for _ in 0..<150 {
            simulation.run(for: Int64(random.below(2_000_000)))
            // Aim near the numbers in use.
            var theirs = UInt32(0)
            if let last = simulation.trace?.last(where: {
                $0.bytes.count >= 54 && $0.bytes[12] == 8 && $0.bytes[23] == 6
            }) {
                theirs = last.bytes.raw.u32(at: 38)
            }
            simulation.trace = []
            let spread = [1, 10, 2_000, 100_000, 1 << 31][random.below(5)]
            func near(_ value: UInt32, _ random: inout SeededRandom) -> SequenceNumber {
                SequenceNumber(rawValue: value) + (random.below(2 * spread) - spread)
            }
            let ours = options.iss &+ UInt32(simulation.guests[0].nxt)
            var parsed = TCPOptions()
            if options.timestamps, random.chance(0.8) {
                parsed.timestamps = (
                    value: UInt32(truncatingIfNeeded: simulation.now.nanoseconds / 1_000_000) &+ options.iss
                        &+ (random.chance(0.2) ? UInt32(truncatingIfNeeded: random.next()) : 0),
                    echoReply: UInt32(truncatingIfNeeded: random.next())
                )
            }
            for _ in 0..<random.below(4) {
                parsed.appendSack(left: near(theirs, &random), right: near(theirs, &random))
            }
            var flags = TCPFlags(rawValue: UInt8(truncatingIfNeeded: random.next()))
            // Most must get past the first checks.
            if random.chance(0.8) { flags.subtract([.rst, .syn]) }
            if random.chance(0.9) { flags.insert(.ack) }
            if random.chance(0.9) { flags.remove(.fin) }
            let length = random.chance(0.5) ? 0 : random.below(3_000)
            simulation.guests[0].frame(
                flags, near(ours, &random), near(theirs, &random), UInt16(truncatingIfNeeded: random.next()), parsed,
                0..<length)
            #expect(simulation.core.chunksInUse <= 24)
            #expect(simulation.core.connectionCount <= 1)
        }
        #expect(simulation.checker.violations.isEmpty, "seed \(seed): \(simulation.checker.violations.prefix(3))")
        // The guest falls silent: timers end what is left.
        simulation.guests[0].isAlive = false
        simulation.run(for: .seconds(4 * 7200))
        #expect(simulation.core.connectionCount == 0, "seed \(seed)")
        #expect(simulation.core.chunksInUse == 0, "seed \(seed)")
        #expect(simulation.core.timeWaitCount == 0, "seed \(seed)")
    }
}
