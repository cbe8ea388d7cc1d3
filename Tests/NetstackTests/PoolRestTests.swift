@testable import Netstack
import Simnet
import Testing
import Wire

// The memory of chunks that nobody uses goes back, some seconds later, and nothing that is needed goes with it: the simulated host spoils
// what it is given.

@Suite struct PoolRestTests {
    /// A host that has stopped: what the guest has sent waits in chunks.
    static func stopped(_ stream: [UInt8]) -> Simulation {
        var simulation = Simulation(Simulation.configuration { $0.chunks = 256 })
        simulation.host.script.ends = false
        simulation.host.script.readSize = 0
        var options = GuestTCP.Options()
        options.superSegments = 44
        options.closes = false
        simulation.connect(options, stream: stream)
        simulation.run(for: .seconds(1)) { $0.core.chunksInUse > 20 }
        return simulation
    }

    static func resume(_ simulation: inout Simulation, _ socket: Int) {
        simulation.host.sockets[socket].script.readSize = nil
        simulation.host.sockets[socket].read = simulation.host.sockets[socket].received.count
    }

    @Test func itGoesBackWhenNothingIsInUse() {
        let stream = (0..<4_000_000).map { UInt8(truncatingIfNeeded: $0 / 1000) }
        var simulation = Self.stopped(stream)
        #expect(simulation.core.chunksInUse > 20)
        simulation.run(for: .seconds(30))
        #expect(simulation.host.discarded == 0, "in use")
        Self.resume(&simulation, 0)
        simulation.run(for: .seconds(60)) { $0.host.sockets[0].received.count == stream.count }
        #expect(simulation.host.sockets[0].received == stream)
        #expect(simulation.host.discarded == 0, "in use just now")
        simulation.run(for: .seconds(11))
        let once = simulation.host.discarded
        #expect(once > 4 * ChunkPool.chunkSize)
        #expect(simulation.core.nextDeadline - simulation.now > .seconds(60), "nothing more to look for")

        // The same chunks again.
        simulation.host.script.readSize = nil
        var options = GuestTCP.Options()
        options.superSegments = 44
        options.closes = false
        options.sourcePort += 1
        simulation.connect(options, stream: stream)
        simulation.run(for: .seconds(60)) { $0.host.sockets.last?.received.count == stream.count }
        #expect(simulation.host.sockets.last?.received == stream)
        #expect(simulation.violations.isEmpty)
    }
}
