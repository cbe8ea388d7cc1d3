@testable import Netstack
import Simnet
import Testing
import Wire

// RACK-TLP (RFC 8985), D-SACK (RFC 2883), undo (RFC 3708, RFC 3522), over a wire that loses exactly what a test says.

@Suite struct LossRecoveryTests {
    /// A transfer from host to guest during which `tamper` may change the faults; ends when the guest has everything.
    static func transfer(
        _ bytes: Int, seed: UInt64 = 1, up: WireFaults = WireFaults(), down: WireFaults = WireFaults(),
        congestion: CongestionControl = .cubic, _ adjust: (inout GuestTCP.Options) -> Void = { _ in }
    ) -> Simulation {
        var configuration = Simulation.configuration()
        configuration.congestion = congestion
        var simulation = Simulation(configuration, up: up, down: down, seed: seed)
        simulation.host.script.stream = TCPScenarioTests.bytes(bytes)
        var options = GuestTCP.Options()
        options.receiveBuffer = 2 << 20
        adjust(&options)
        simulation.connect(options)
        simulation.run(for: .seconds(300)) { $0.guests[0].isFinished }
        simulation.run(for: .seconds(100))
        #expect(simulation.guests[0].received.count == bytes, "seed \(seed)")
        #expect(simulation.violations.isEmpty, "seed \(seed): \(simulation.violations.prefix(3))")
        return simulation
    }

    @Test("the last segments are lost: a probe, no timeout", arguments: [1, 2, 3])
    func tailLossIsProbed(lost: Int) {
        var simulation = TCPScenarioTests.idle()
        let stream = TCPScenarioTests.bytes(14_480)
        simulation.down.losesFrom = 10 - lost
        simulation.host.sockets[0].script.stream = stream
        let start = simulation.now
        simulation.run(for: .seconds(5)) { $0.guests[0].received.count == stream.count }
        #expect(simulation.guests[0].received == stream)
        #expect(simulation.core.tcpCounters.probes == 1)
        #expect(simulation.core.tcpCounters.timeouts == 0)
        #expect(simulation.now - start < .milliseconds(60), "\(simulation.now - start)")
    }

    @Test("a retransmission that is lost again is noticed without a timeout", arguments: 1...20)
    func aLostRetransmissionIsNoticed(seed: Int) {
        var down = WireFaults()
        down.loss = 0.08
        down.delay = .milliseconds(10)
        let simulation = Self.transfer(400_000, seed: UInt64(seed), down: down)
        // RFC 6675 alone would need one for nearly every lost retransmission: eight in a hundred of what is sent again.
        #expect(simulation.core.tcpCounters.timeouts <= 5, "seed \(seed): \(simulation.core.tcpCounters.timeouts)")
    }

    @Test("reordering is learnt from D-SACKs", arguments: 1...10)
    func reorderingIsLearnt(seed: Int) {
        var down = WireFaults()
        down.delay = .milliseconds(10)
        down.reordering = 0.05
        down.reorderDelay = .milliseconds(8)
        let simulation = Self.transfer(3_000_000, seed: UInt64(seed), down: down)
        let counters = simulation.core.tcpCounters
        #expect(counters.timeouts == 0, "seed \(seed)")
        // Nothing is lost. A hundred reorderings would be as many needless recoveries.
        #expect(counters.recoveries <= 25, "seed \(seed): \(counters.recoveries)")
        #expect(counters.recoveries == 0 || counters.undone > 0, "seed \(seed): \(counters)")
        #expect(simulation.guests[0].duplicateBytes < 3_000_000 / 20, "seed \(seed)")
    }

    @Test("a needless recovery is taken back", arguments: [false, true], [false, true])
    func undo(timestamps: Bool, reports: Bool) {
        guard timestamps || reports else { return }
        // The way back becomes longer than a timeout in the middle: text is sent again, nothing was lost.
        var down = WireFaults()
        down.delay = .milliseconds(5)
        down.bandwidth = 2_000_000
        down.queue = 1 << 20
        var simulation = Simulation(down: down)
        simulation.host.script.stream = TCPScenarioTests.bytes(1_000_000)
        var options = GuestTCP.Options()
        options.receiveBuffer = 100_000
        options.timestamps = timestamps
        options.reportsDuplicates = reports
        simulation.connect(options)
        simulation.run(for: .milliseconds(200))
        simulation.up.faults.delay = .milliseconds(400)
        simulation.run(for: .seconds(60)) { $0.guests[0].isFinished }
        #expect(simulation.guests[0].received.count == 1_000_000)
        let counters = simulation.core.tcpCounters
        #expect(counters.timeouts > 0)
        #expect(counters.undone > 0, "\(counters)")
    }

    @Test("text that comes twice is reported", arguments: [false, true])
    func duplicatesAreReported(isEarly: Bool) throws {
        var simulation = TCPScenarioTests.idle()
        let iss = simulation.guests[0].options.iss
        simulation.guests[0].write(TCPScenarioTests.bytes(3_000), at: simulation.now)
        simulation.run(for: .milliseconds(100))
        simulation.trace = []
        // Old text again, or text beyond a gap twice.
        let from = isEarly ? 4_001 : 1
        var parsed = TCPOptions()
        parsed.timestamps = (
            value: UInt32(truncatingIfNeeded: simulation.now.nanoseconds / 1_000_000) &+ iss, echoReply: 0
        )
        let ack = simulation.guests[0].peerNext
        for _ in 0..<2 {
            simulation.guests[0].frame(
                [.ack], SequenceNumber(rawValue: iss &+ UInt32(from)), ack, 1000, parsed, 0..<1_000)
            simulation.run(for: .milliseconds(5))
        }
        let frame = try #require(simulation.trace?.last)
        let options = TCPOptions(parsing: try TCPView(frame.bytes.raw.extracting(34..<frame.bytes.count)).options)
        let block = options.sackBlock(at: 0)
        #expect(block.left.rawValue == iss &+ UInt32(from) && block.right.rawValue == iss &+ UInt32(from + 1_000))
        #expect(options.sackCount == (isEarly ? 2 : 1))
    }

    @Test("burst loss, long round trips, either congestion control", arguments: 1...40)
    func burstsAndLongPaths(seed: Int) {
        var random = SeededRandom(UInt64(seed))
        var faults = WireFaults()
        faults.bursts = GilbertElliott(share: [0.02, 0.1][random.below(2)], length: [5, 20, 60][random.below(3)])
        faults.delay = [Int64.milliseconds(1), .milliseconds(50), .milliseconds(300)][random.below(3)]
        if random.chance(0.5) {
            faults.bandwidth = 5_000_000
            faults.queue = 100_000
        }
        let algorithm = CongestionControl.allCases[random.below(2)]
        let sack = random.chance(0.7)
        let timestamps = random.chance(0.7)
        let simulation = Self.transfer(500_000, seed: UInt64(seed), up: faults, down: faults, congestion: algorithm) {
            $0.sack = sack
            $0.timestamps = timestamps
        }
        #expect(simulation.core.chunksInUse == 0)
        #expect(simulation.core.flightsInUse == 0)
    }

    @Test func aFlightIsGivenBackWhenIdle() {
        var simulation = TCPScenarioTests.idle()
        #expect(simulation.core.flightsInUse == 0)
        simulation.host.sockets[0].script.stream = TCPScenarioTests.bytes(5_000)
        simulation.run(for: .milliseconds(1)) { $0.core.flightsInUse == 1 }
        #expect(simulation.core.flightsInUse == 1)
        simulation.run(for: .seconds(1))
        #expect(simulation.core.flightsInUse == 0)
    }
}
