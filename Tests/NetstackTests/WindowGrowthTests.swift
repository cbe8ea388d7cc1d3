@testable import Netstack
import Simnet
import Testing
import Wire

// Windows that follow the path, and what is left of them when many connections share the pool. That a long fat path fills is in
// TCPGoodputTests.

@Suite struct WindowGrowthTests {
    /// A guest that sends `size` bytes to a host that takes them at once, over a path of 10 Gbit/s and this round trip.
    static func sending(_ size: Int, roundTrip: Int64) -> Simulation {
        var wire = WireFaults()
        wire.delay = roundTrip / 2
        wire.bandwidth = 1_250_000_000
        wire.queue = 64 << 20
        wire.keepsSuperFrames = true
        var simulation = Simulation(Simulation.configuration { $0.chunks = 2048 }, up: wire, down: wire)
        simulation.host.script.ends = false
        var options = GuestTCP.Options()
        options.superSegments = 44
        options.closes = false
        simulation.connect(options, stream: [UInt8](repeating: 3, count: size))
        return simulation
    }

    /// The largest window that the guest was offered while it sent `size` bytes over a path of this round trip.
    static func largestOffer(roundTrip: Int64, size: Int) -> Int {
        var simulation = sending(size, roundTrip: roundTrip)
        var largest = 0
        simulation.run(for: .seconds(100)) {
            largest = max(largest, $0.guests[0].peerWindow)
            return $0.host.sockets.first?.received.count == size
        }
        #expect(simulation.host.sockets[0].received.count == size)
        #expect(simulation.violations.isEmpty)
        return largest
    }

    /// A busy machine: the guest next door was slow to answer the SYN-ACK, which is the only round trip that gets measured.
    @Test func aLateAnswerToTheSYNMakesNoGuestFarAway() {
        var simulation = Self.sending(40_000_000, roundTrip: .milliseconds(6))
        simulation.run(for: .seconds(1)) { !$0.host.sockets.isEmpty && $0.host.sockets[0].received.count > 0 }
        simulation.up.faults.delay = 25_000
        simulation.down.faults.delay = 25_000
        var largest = 0
        simulation.run(for: .seconds(100)) {
            largest = max(largest, $0.guests[0].peerWindow)
            return $0.host.sockets[0].received.count == 40_000_000
        }
        #expect(simulation.host.sockets[0].received.count == 40_000_000)
        #expect(largest <= TCPLimits.receiveWindow)
    }

    /// The host stops in the middle of a fat path: what was offered is held, else the guest would have to find out by time-outs.
    @Test func whatWasOfferedIsTaken() {
        let size = 200_000_000
        var simulation = Self.sending(size, roundTrip: .milliseconds(50))
        simulation.run(for: .seconds(60)) { ($0.host.sockets.first?.received.count ?? 0) > 100_000_000 }
        #expect(simulation.guests[0].peerWindow > 12 << 20)
        simulation.host.sockets[0].script.readSize = 0
        simulation.run(for: .seconds(20))
        #expect(simulation.core.chunksInUse > 128, "it was to hold more than 8 MiB")
        #expect(simulation.guests[0].retransmissions == 0)
        simulation.host.sockets[0].script.readSize = nil
        simulation.host.sockets[0].read = simulation.host.sockets[0].received.count
        simulation.run(for: .seconds(60)) { $0.host.sockets[0].received.count == size }
        #expect(simulation.host.sockets[0].received.count == size)
        #expect(simulation.guests[0].retransmissions == 0)
        #expect(simulation.violations.isEmpty)
    }

    @Test func aGuestNextDoorKeepsTheFirstWindow() {
        #expect(Self.largestOffer(roundTrip: 50_000, size: 40_000_000) <= TCPLimits.receiveWindow)
    }

    @Test func aGuestFarAwayGetsAWindowThatGrows() {
        #expect(Self.largestOffer(roundTrip: .milliseconds(50), size: 80_000_000) > 14_000_000)
    }

    @Test func aSlowGuestFarAwayDoesNot() {
        // 100 KB fit into a round trip: the first window is ten times what it needs.
        #expect(Self.largestOffer(roundTrip: .milliseconds(20), size: 100_000) <= TCPLimits.receiveWindow)
    }

    /// Sixteen guests send to hosts that do not read: more than the pool holds.
    static func stopped(_ stream: [UInt8], _ adjust: (inout GuestTCP.Options) -> Void) -> Simulation {
        var simulation = Simulation(Simulation.configuration { $0.chunks = 128 })
        simulation.host.script.ends = false
        simulation.host.script.readSize = 0
        simulation.host.script.sendBuffer = 10_000
        for i in 0..<16 {
            var options = GuestTCP.Options()
            options.sourcePort = UInt16(41_000 + i)
            adjust(&options)
            simulation.connect(options, stream: stream)
        }
        return simulation
    }

    /// Sixteen hosts stop reading; what their guests sent fills the pool, and yet a seventeenth connection works both ways.
    @Test func somethingIsLeftForAnother() {
        var simulation = Self.stopped([UInt8](repeating: 1, count: 4_000_000)) { $0.closes = false }
        simulation.run(for: .seconds(20))
        #expect(simulation.core.chunksInUse > 64)
        #expect(simulation.core.chunksInUse < 128)

        simulation.host.script = HostScript()
        simulation.host.script.ends = false
        simulation.host.script.stream = TCPScenarioTests.bytes(500_000)
        var options = GuestTCP.Options()
        options.sourcePort = 50_000
        options.closes = false
        let last = simulation.connect(options, stream: TCPScenarioTests.bytes(500_000))
        let done = simulation.run(for: .seconds(60)) {
            $0.guests[last].received.count == 500_000 && $0.host.sockets.last!.received.count == 500_000
        }
        #expect(done)
        #expect(simulation.violations.isEmpty)
    }

    /// Sixteen hosts that stopped for a minute, and took the pool with them, go on; what was refused meanwhile comes soon, not when
    /// the guest's retransmission timer, backed off by then, says so.
    @Test(arguments: [false, true]) func whatWasRefusedComesSoonAfterTheHostGoesOn(sack: Bool) {
        let bytes = TCPScenarioTests.bytes(4_000_000)
        var simulation = Self.stopped(bytes) {
            $0.superSegments = 44
            $0.sack = sack
        }
        simulation.run(for: .seconds(60))
        let resent = simulation.guests.map(\.retransmissions)
        #expect(resent.contains { $0 > 5 }, "nothing was refused: \(resent)")

        for i in 0..<16 {
            simulation.host.sockets[i].script.readSize = nil
            simulation.host.sockets[i].read = simulation.host.sockets[i].received.count
        }
        let done = simulation.run(for: .milliseconds(500)) { simulation in
            simulation.host.sockets.allSatisfy { $0.guestEnded && $0.received.count == bytes.count }
        }
        #expect(done, "\(simulation.host.sockets.map(\.received.count))")
        #expect(simulation.host.sockets.allSatisfy { $0.received == bytes })
        #expect(simulation.violations.isEmpty, "\(simulation.violations.prefix(3))")
    }
}
