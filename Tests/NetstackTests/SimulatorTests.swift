import Netstack
import Simnet
import Testing
import Wire

/// Transfers over a wire that loses, duplicates and reorders: every byte arrives once and in order, in both directions,
/// and nothing is left behind. A failing row names its seed.
@Suite struct SimulatorTests {
    /// One transfer under a seed; the seed also picks the options of both ends.
    static func transfer(seed: UInt64, bytes: Int, loss: Double, counters: inout TCPCounters) -> String? {
        var random = SeededGenerator(seed: seed &* 77)
        var guest = GuestTCP.Options()
        guest.sack = random.chance(0.7)
        guest.timestamps = random.chance(0.6)
        guest.windowScale = random.chance(0.8) ? 7 : nil
        guest.mss = [536, 1460, 1460, 88, 8960].randomElement(using: &random)!
        guest.outgoing = Int.random(in: 0...bytes, using: &random)
        guest.window = [8192, 65_535, 1 << 18].randomElement(using: &random)!
        // Around the wrap in a third of the runs.
        guest.iss = random.chance(0.3) ? 0xffff_f000 : UInt32.random(in: 0...UInt32.max, using: &random)
        var host = ScriptedHost.Script()
        host.outgoing = Int.random(in: 0...bytes, using: &random)
        host.blockChance = random.chance(0.5) ? 0.2 : 0
        host.callLimit = random.chance(0.3) ? 1000 : Int.max
        host.connectDelay = Int64.random(in: 0...20_000_000, using: &random)
        var faults = WireFaults()
        faults.loss = loss
        faults.duplication = loss / 2
        faults.reordering = loss > 0 ? 0.1 : 0
        let simulation = Simulation(seed: seed, guest: guest, host: host, faults: faults, isV4: random.chance(0.5))
        simulation.guest.open(at: simulation.now)
        let finished = simulation.run(for: .seconds(3600)) { simulation in
            simulation.guest.isDone && simulation.host.sockets.values.allSatisfy { $0.closed }
                || simulation.guest.state == .reset
        }
        let seen = simulation.core.tcpCounters
        counters.retransmitted += seen.retransmitted
        counters.outOfOrder += seen.outOfOrder
        counters.timeouts += seen.timeouts
        let socket = simulation.host.sockets.values.first
        if let mismatch = simulation.guest.mismatch { return "byte \(mismatch) to the guest is wrong" }
        if let mismatch = socket?.mismatch { return "byte \(mismatch) to the host is wrong" }
        if simulation.guest.state == .reset { return "reset" }
        if !finished {
            return
                "stuck: guest has \(simulation.guest.received) of \(host.outgoing), host \(socket?.received ?? -1) of \(guest.outgoing), FIN \(simulation.guest.sawFin), acknowledged \(simulation.guest.acknowledged), closed \(socket?.closed ?? false)"
        }
        if simulation.guest.received != host.outgoing {
            return "guest got \(simulation.guest.received) of \(host.outgoing)"
        }
        if socket?.received != guest.outgoing { return "host got \(socket?.received ?? -1) of \(guest.outgoing)" }
        if socket?.sawEnd != true || socket?.wasReset == true { return "the host's socket did not end cleanly" }
        if let first = (simulation.complaints + simulation.guest.complaints).first { return first }
        if simulation.core.chunksInUse != 0 { return "\(simulation.core.chunksInUse) chunks left" }
        if simulation.core.connectionCount != 0 { return "\(simulation.core.connectionCount) connections left" }
        return nil
    }

    @Test(arguments: [("clean", 0.0), ("1 % loss", 0.01), ("5 % loss", 0.05), ("20 % loss", 0.2)])
    func everyByteArrivesOnce(name: String, loss: Double) {
        var counters = TCPCounters()
        for seed in UInt64(1)...100 {
            let failure = Self.transfer(seed: seed, bytes: 40_000, loss: loss, counters: &counters)
            #expect(failure == nil, "seed \(seed), \(name): \(failure ?? "")")
        }
        // The wire did what it was told, so these runs went through recovery, or had none to go through.
        #expect((counters.outOfOrder > 100) == (loss > 0), "\(counters.outOfOrder) early segments")
        #expect((counters.retransmitted > 50) == (loss > 0), "\(counters.retransmitted) retransmissions")
        #expect((counters.timeouts > 0) == (loss > 0), "\(counters.timeouts) timeouts")
    }

    @Test func largerTransfersToo() {
        var counters = TCPCounters()
        for seed in UInt64(1000)...1010 {
            let failure = Self.transfer(seed: seed, bytes: 1_000_000, loss: 0.01, counters: &counters)
            #expect(failure == nil, "seed \(seed): \(failure ?? "")")
        }
    }
}
