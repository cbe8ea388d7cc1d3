@testable import Netstack
import Simnet
import Testing
import Wire

// A guest in which somebody floods: what the flood leaves behind is capped, and good connections go on.

@Suite struct FloodTests {
    /// SYNs whose answers nobody acknowledges. `delay`: when the host's connect ends; nil: never.
    @Test(arguments: [0, nil] as [Int64?]) func synsThatNobodyFollowsUp(delay: Int64?) {
        let cap = 32
        var still = WireFaults()
        still.delay = 0
        var simulation = Simulation(
            Simulation.configuration {
                $0.handshakes = cap
                $0.connections = 4096
            }, up: still)
        simulation.host.script.ends = false
        func good(_ number: Int) -> Int {
            simulation.host.script.connectDelay = 0
            var options = GuestTCP.Options()
            options.sourcePort = UInt16(10_000 + number)
            options.closes = false
            let guest = simulation.connect(options, stream: TCPScenarioTests.bytes(20_000))
            simulation.settle()
            return guest
        }
        var goods: [Int] = []
        for wave in 0..<20 {
            goods.append(good(wave))
            // Fewer than the cap arrive between a good SYN and its ACK.
            for i in 0..<cap - 2 {
                simulation.host.script.connectDelay = delay
                var options = GuestTCP.Options()
                options.sourcePort = UInt16(20_000 + wave * 100 + i)
                let flood = simulation.connect(options)
                simulation.settle()
                simulation.guests[flood].isAlive = false
            }
            simulation.run(for: .milliseconds(100))
            let open = simulation.host.sockets.filter { !$0.closed }.count
            #expect(open <= cap + goods.count)
            #expect(simulation.core.connectionCount <= cap + goods.count)
        }
        #expect(simulation.core.counters.count(.handshakesFull) > 400)
        for guest in goods {
            #expect(simulation.guests[guest].state == .open)
            let port = simulation.guests[guest].options.sourcePort
            #expect(simulation.guests[guest].una == 20_001, "port \(port)")
        }
        // What the flood left is gone when its time is up.
        simulation.run(for: .seconds(200))
        if delay == nil {
            #expect(simulation.core.connectionCount <= goods.count + cap)
        } else {
            #expect(simulation.core.connectionCount == goods.count)
        }
        #expect(simulation.core.chunksInUse == 0)
    }

    /// Machines share a network: the one that floods pushes out its own, not its neighbour's that wait for a slow server.
    @Test func aNeighboursFloodPaysForItself() {
        var simulation = Simulation(Simulation.configuration { $0.handshakes = 8 })
        simulation.host.script.connectDelay = .milliseconds(500)
        simulation.host.script.ends = false
        for i in 0..<3 {
            var options = GuestTCP.Options()
            options.sourcePort = UInt16(10_000 + i)
            options.closes = false
            simulation.connect(options)
        }
        simulation.run(for: .milliseconds(10))
        for i in 0..<50 {
            var options = GuestTCP.Options()
            options.sourcePort = UInt16(20_000 + i)
            let flood = simulation.connect(options, mac: MACAddress(rawValue: 0x0200_0000_0099))
            simulation.run(for: .milliseconds(2))
            simulation.guests[flood].isAlive = false
        }
        simulation.run(for: .seconds(1))
        #expect(simulation.guests[0..<3].allSatisfy { $0.state == .open })
        #expect(simulation.core.counters.count(.handshakesFull) == 45)
    }

    /// A connection that was half open frees its place for the next, however it went on.
    @Test func placesAreGivenBack() {
        var simulation = Simulation(Simulation.configuration { $0.handshakes = 2 })
        for i in 0..<40 {
            simulation.host.script.connectDelay = .milliseconds(1)
            simulation.host.script.connectError = i % 4 == 0 ? .refused : i % 4 == 1 ? .hostUnreachable : nil
            var options = GuestTCP.Options()
            options.sourcePort = UInt16(30_000 + i)
            let guest = simulation.connect(options)
            simulation.settle()
            if i % 4 == 2 { simulation.guests[guest].abort(at: simulation.now) }
            simulation.run(for: .seconds(1))
        }
        #expect(simulation.core.counters.count(.handshakesFull) == 0)
        #expect(simulation.core.connectionCount == 0)
    }
}
