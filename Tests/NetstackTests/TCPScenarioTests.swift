@testable import Netstack
import Simnet
import Testing
import Wire

// The classic scenarios of a TCP connection's life, each one guest, one core and one host on a virtual clock.

@Suite struct TCPScenarioTests {
    static func bytes(_ count: Int) -> [UInt8] {
        var random = SeededRandom(9)
        return random.bytes(count)
    }

    /// An open, idle connection whose ends stay silent.
    static func idle(
        _ configuration: Configuration = Simulation.configuration(),
        _ adjust: (inout GuestTCP.Options) -> Void = { _ in },
        script adjustScript: (inout HostScript) -> Void = { _ in }
    ) -> Simulation {
        var simulation = Simulation(configuration)
        simulation.host.script.ends = false
        adjustScript(&simulation.host.script)
        var options = GuestTCP.Options()
        options.closes = false
        adjust(&options)
        simulation.connect(options)
        simulation.run(for: .seconds(1))
        return simulation
    }

    // MARK: Opening

    @Test(arguments: [false, true], [false, true])
    func aHandshakeGrantsWhatWasOffered(sack: Bool, timestamps: Bool) throws {
        for scale in [nil, 0, 7, 14] as [UInt8?] {
            for isV4 in [true, false] {
                let simulation = Self.idle(adjust: {
                    $0.sack = sack
                    $0.timestamps = timestamps
                    $0.windowScale = scale
                    $0.isV4 = isV4
                    if !isV4 { $0.remote.address = IPAddress("2001:db8::7")! }
                })
                let guest = simulation.guests[0]
                #expect(guest.state == .open)
                let answer = try #require(guest.answer)
                #expect(answer.sackPermitted == sack)
                #expect((answer.timestamps != nil) == timestamps)
                #expect((answer.windowScale != nil) == (scale != nil))
                #expect(answer.maximumSegmentSize == (isV4 ? 1460 : 1440))
                #expect(simulation.violations.isEmpty)
            }
        }
    }

    static func idle(adjust: (inout GuestTCP.Options) -> Void) -> Simulation {
        idle(Simulation.configuration(), adjust)
    }

    @Test func theAnswerWaitsForTheHost() {
        var simulation = Simulation()
        simulation.host.script.connectDelay = .milliseconds(500)
        simulation.connect()
        simulation.run(for: .milliseconds(490))
        #expect(simulation.checker.frames == 0)
        simulation.run(for: .milliseconds(20))
        #expect(simulation.guests[0].state == .open)
    }

    @Test(arguments: [0, Int64.milliseconds(20)])
    func aRefusedConnectIsAReset(delay: Int64) {
        var simulation = Simulation()
        simulation.host.script.connectDelay = delay
        simulation.host.script.connectError = .refused
        simulation.connect()
        simulation.run(for: .milliseconds(50))
        #expect(simulation.guests[0].state == .reset)
        #expect(simulation.core.connectionCount == 0)
    }

    @Test(arguments: [HostError.networkUnreachable, .hostUnreachable, .prohibited])
    func anUnreachableHostIsAnICMPError(error: HostError) {
        var simulation = Simulation()
        simulation.host.script.connectError = error
        simulation.connect()
        simulation.run(for: .milliseconds(50))
        #expect(simulation.checker.icmpErrors == 1)
        #expect(simulation.checker.resets == 0)
        #expect(simulation.core.connectionCount == 0)
    }

    @Test func aTimedOutConnectIsSilence() {
        var simulation = Simulation()
        simulation.host.script.connectError = .timedOut
        simulation.connect()
        simulation.run(for: .milliseconds(50))
        #expect(simulation.checker.frames == 0)
        #expect(simulation.core.connectionCount == 0)
    }

    @Test func aSynAckIsRepeatedAndGivenUp() {
        var simulation = Simulation()
        simulation.down.faults.loss = 1
        simulation.connect()
        simulation.run(for: .milliseconds(5))
        simulation.guests[0].isAlive = false
        simulation.run(for: .seconds(200))
        #expect(simulation.checker.frames == 6)
        #expect(simulation.core.connectionCount == 0)
        #expect(simulation.host.sockets[0].closed && simulation.host.sockets[0].reset)
    }

    @Test func aFullHandshakeTableForgetsTheOldest() {
        var simulation = Simulation(Simulation.configuration { $0.handshakes = 3 })
        simulation.host.script.connectDelay = nil
        for i in 0..<5 {
            var options = GuestTCP.Options()
            options.sourcePort = UInt16(50_000 + i)
            simulation.connect(options)
        }
        simulation.run(for: .milliseconds(10))
        #expect(simulation.host.sockets.map(\.closed) == [true, true, false, false, false])
        #expect(simulation.core.connectionCount == 3)
        #expect(simulation.core.counters.count(.handshakesFull) == 2)
        #expect(simulation.host.notices.contains(.tableFull(.handshakes)))
        #expect(simulation.checker.frames == 0)
    }

    @Test func aFullConnectionTableDropsSyns() {
        var simulation = Simulation(Simulation.configuration { $0.connections = 3 })
        for i in 0..<5 {
            var options = GuestTCP.Options()
            options.sourcePort = UInt16(50_000 + i)
            options.closes = false
            simulation.host.script.ends = false
            simulation.connect(options)
        }
        simulation.run(for: .milliseconds(10))
        #expect(simulation.core.connectionCount == 3)
        #expect(simulation.core.counters.count(.connectionsFull) == 2)
    }

    // MARK: Ends

    @Test func theGuestMayCloseFirst() {
        var simulation = Simulation()
        simulation.host.script.endsAfterGuest = true
        simulation.host.script.stream = Self.bytes(10_000)
        simulation.connect(stream: Self.bytes(5_000))
        simulation.run(for: .seconds(5)) { $0.guests[0].isFinished }
        #expect(simulation.guests[0].received.count == 10_000)
        #expect(simulation.host.sockets[0].received.count == 5_000)
        // The guest closed first, so TIME-WAIT is the guest's.
        simulation.run(for: .milliseconds(100))
        #expect(simulation.core.connectionCount == 0)
        #expect(simulation.core.timeWaitCount == 0)
        #expect(simulation.host.sockets[0].closed && !simulation.host.sockets[0].reset)
    }

    @Test func theHostMayCloseFirst() {
        var simulation = Simulation()
        simulation.host.script.stream = Self.bytes(10_000)
        var options = GuestTCP.Options()
        options.closesAfterPeer = true
        simulation.connect(options, stream: Self.bytes(500_000))
        simulation.run(for: .seconds(5)) { $0.guests[0].isFinished }
        simulation.run(for: .milliseconds(100))
        #expect(simulation.host.sockets[0].received.count == 500_000)
        #expect(simulation.core.connectionCount == 0)
        #expect(simulation.core.timeWaitCount == 1)
        simulation.run(for: .seconds(70))
        #expect(simulation.core.timeWaitCount == 0)
    }

    @Test func bothMayCloseAtOnce() {
        var simulation = Self.idle()
        simulation.guests[0].closes = true
        simulation.host.sockets[0].script.ends = true
        simulation.guests[0].write([], at: simulation.now)
        simulation.run(for: .seconds(5)) { $0.guests[0].isFinished }
        simulation.run(for: .seconds(1))
        #expect(simulation.guests[0].isFinished)
        #expect(simulation.core.connectionCount == 0)
        #expect(simulation.core.timeWaitCount == 1)
    }

    @Test func aResetFromTheGuestAbortsTheSocket() {
        var simulation = Self.idle()
        simulation.guests[0].abort(at: simulation.now)
        simulation.run(for: .milliseconds(10))
        #expect(simulation.host.sockets[0].closed && simulation.host.sockets[0].reset)
        #expect(simulation.core.connectionCount == 0)
    }

    @Test func aResetFromTheHostAbortsTheGuest() {
        var simulation = Self.idle()
        simulation.host.sockets[0].script.receiveError = .reset
        simulation.failSocket(0, .reset)
        simulation.run(for: .milliseconds(10))
        #expect(simulation.guests[0].state == .reset)
        #expect(simulation.core.connectionCount == 0)
    }

    @Test func aResetInTheMiddleOfATransferLeavesNothing() {
        for part in stride(from: 1, to: 60, by: 3) {
            var simulation = Simulation()
            simulation.host.script.stream = Self.bytes(300_000)
            simulation.host.script.sendBuffer = 20_000
            simulation.host.script.readSize = 10_000
            simulation.connect(stream: Self.bytes(300_000))
            simulation.run(for: .milliseconds(Int64(part)))
            simulation.guests[0].abort(at: simulation.now)
            simulation.run(for: .seconds(5))
            #expect(simulation.core.connectionCount == 0)
            #expect(simulation.core.chunksInUse == 0)
        }
    }

    @Test func aSocketThatFailsToSendResetsTheGuest() {
        var simulation = Simulation()
        simulation.host.script.failsAfter = 50_000
        simulation.connect(stream: Self.bytes(300_000))
        simulation.run(for: .seconds(5))
        #expect(simulation.guests[0].state == .reset)
        #expect(simulation.core.connectionCount == 0)
        #expect(simulation.core.chunksInUse == 0)
    }

    @Test func aSocketThatFailsToReceiveResetsTheGuest() {
        var simulation = Simulation()
        simulation.host.script.stream = Self.bytes(50_000)
        simulation.host.script.receiveError = .reset
        simulation.connect(stream: Self.bytes(30_000))
        simulation.run(for: .seconds(5))
        #expect(simulation.guests[0].state == .reset)
        #expect(simulation.core.connectionCount == 0)
        #expect(simulation.core.chunksInUse == 0)
    }

    // MARK: TIME-WAIT

    /// Closed by the host first, so that the core is the one that waits.
    static func waiting() -> Simulation {
        var simulation = Simulation()
        var options = GuestTCP.Options()
        options.closesAfterPeer = true
        simulation.connect(options)
        simulation.run(for: .milliseconds(500))
        return simulation
    }

    @Test func timeWaitAnswersAFinButNotAnAck() {
        var simulation = Self.waiting()
        #expect(simulation.core.timeWaitCount == 1)
        let before = simulation.checker.frames
        // An exact, empty ACK needs no answer: two ends in TIME-WAIT would answer each other for ever.
        simulation.guests[0].sendAck(simulation.now)
        simulation.run(for: .milliseconds(10))
        #expect(simulation.checker.frames == before)
        // A repeated FIN does.
        let guest = simulation.guests[0]
        simulation.guests[0].frame(
            [.fin, .ack], SequenceNumber(rawValue: guest.options.iss &+ UInt32(guest.nxt - 1)),
            SequenceNumber(rawValue: 0), 1000, TCPOptions(), 0..<0)
        simulation.run(for: .milliseconds(10))
        #expect(simulation.checker.frames == before + 1)
    }

    @Test func timeWaitIsReopenedByANewerSyn() {
        var simulation = Self.waiting()
        simulation.checker.forget()
        var options = GuestTCP.Options()
        options.iss = 500_000
        simulation.guests.removeAll()
        simulation.connect(options, stream: Self.bytes(1_000))
        simulation.run(for: .milliseconds(500))
        #expect(simulation.host.sockets.count == 2)
        #expect(simulation.guests[0].isFinished)
    }

    @Test func aFullTimeWaitTableForgetsTheOldest() {
        var simulation = Simulation(Simulation.configuration { $0.timeWaits = 4 })
        for i in 0..<10 {
            var options = GuestTCP.Options()
            options.closesAfterPeer = true
            options.sourcePort = UInt16(50_000 + i)
            simulation.connect(options)
            simulation.run(for: .milliseconds(100))
        }
        #expect(simulation.core.timeWaitCount == 4)
    }

    // MARK: Windows

    @Test func aSlowHostReaderGetsEverythingAndHoldsAtMostTheWindow() {
        var simulation = Simulation()
        let stream = Self.bytes(3_000_000)
        simulation.host.script.sendBuffer = 20_000
        simulation.host.script.readSize = 8_000
        simulation.connect(stream: stream)
        var most = 0
        while !simulation.run(for: .milliseconds(1), until: { $0.host.sockets.first?.closed == true }),
            simulation.now.nanoseconds < .seconds(60)
        {
            most = max(most, simulation.core.chunksInUse)
        }
        let isSame = simulation.host.sockets[0].received == stream
        #expect(isSame, "\(simulation.host.sockets[0].received.count)")
        #expect(most > 4 && most <= HoldBuffer.slots)
        #expect(simulation.violations.isEmpty)
    }

    @Test(arguments: [1500, 9000, 65_520])
    func aHostThatStopsAndGoesNeverLeavesTheGuestToItsProbe(mtu: Int) {
        // The host reads in lumps, so its socket fills and the window shrinks again and again. A window below one segment of
        // the guest is as good as closed; it must hear of the room without having to ask (200 ms a time).
        var simulation = Simulation(Simulation.configuration(mtu: mtu) { _ in })
        simulation.host.script.sendBuffer = 2_500_000
        simulation.host.script.readSize = 700_000
        simulation.host.script.readInterval = .milliseconds(5)
        var options = GuestTCP.Options()
        options.mss = mtu - 40
        options.superSegments = 44
        let count = 20_000_000
        simulation.connect(options, stream: Self.bytes(count))
        simulation.run(for: .seconds(60)) { $0.host.sockets.first?.closed == true }
        #expect(simulation.host.sockets[0].received.count == count)
        #expect(simulation.guests[0].windowProbes == 0)
        #expect(simulation.core.tcpCounters.timeouts == 0)
    }

    @Test func aClosedGuestWindowIsProbedAndReopens() {
        var simulation = Simulation()
        simulation.host.script.stream = Self.bytes(200_000)
        var options = GuestTCP.Options()
        options.receiveBuffer = 30_000
        options.readSize = 0
        simulation.connect(options)
        simulation.run(for: .seconds(5))
        let received = simulation.guests[0].received.count
        #expect(received <= 30_000 && received > 25_000)
        let probes = simulation.guests[0].segmentsReceived
        simulation.run(for: .seconds(100))
        #expect(simulation.guests[0].segmentsReceived > probes)
        #expect(simulation.violations.isEmpty)
    }

    @Test func aClosedWindowThatIsAnsweredLastsForHours() {
        var simulation = Simulation()
        simulation.host.script.stream = Self.bytes(100_000)
        var options = GuestTCP.Options()
        options.receiveBuffer = 30_000
        options.readSize = 0
        simulation.connect(options)
        simulation.run(for: .seconds(3 * 3600))
        #expect(simulation.core.connectionCount == 1)
        #expect(simulation.guests[0].state == .open)
    }

    @Test func aGuestWithoutScalingGetsNoNeedlessAcks() {
        var options = GuestTCP.Options()
        options.windowScale = nil
        var simulation = Simulation()
        simulation.host.script.stream = Self.bytes(2_000_000)
        simulation.connect(options)
        simulation.run(for: .seconds(5)) { $0.guests[0].isFinished }
        #expect(simulation.guests[0].isFinished)
        #expect(simulation.guests[0].pureAcksReceived < 10, "\(simulation.guests[0].pureAcksReceived)")
    }

    @Test func anOpeningCostsOneFrame() {
        let simulation = Self.idle()
        #expect(simulation.checker.frames == 1)
    }

    @Test func aGuestsClosedWindowOpensAgainAfterAHostStall() {
        var simulation = Self.idle(script: {
            $0.sendBuffer = 100_000; $0.readSize = 0
        })
        simulation.guests[0].write(Self.bytes(2_000_000), at: simulation.now)
        simulation.run(for: .seconds(30))
        #expect(simulation.host.sockets[0].received.count == 100_000)
        #expect(simulation.core.chunksInUse <= HoldBuffer.slots)
        simulation.host.sockets[0].script.readSize = nil
        simulation.host.sockets[0].read = 100_000
        simulation.run(for: .seconds(60)) { $0.host.sockets[0].received.count == 2_000_000 }
        #expect(simulation.host.sockets[0].received.count == 2_000_000)
        #expect(simulation.violations.isEmpty)
    }

    static func idle(script: (inout HostScript) -> Void) -> Simulation {
        idle(Simulation.configuration(), { _ in }, script: script)
    }

    // MARK: Timers

    @Test func textWithoutAnAnswerBacksOffAndGivesUp() {
        var simulation = Self.idle()
        simulation.guests[0].isAlive = false
        simulation.host.sockets[0].script.stream = Self.bytes(1_000)
        let before = simulation.checker.frames
        simulation.run(for: .seconds(2_000))
        // The first, fifteen again, and the RST.
        #expect(simulation.checker.frames == before + 17)
        #expect(simulation.core.connectionCount == 0)
        #expect(simulation.core.chunksInUse == 0)
    }

    @Test(arguments: [false, true])
    func aLongRoundTripIsLearnt(timestamps: Bool) {
        // 3 s there and back, longer than the first RTO: without RFC 6298 (5.5) every flight would be sent twice.
        var simulation = Simulation()
        simulation.up.faults.delay = .milliseconds(1_500)
        simulation.down.faults.delay = .milliseconds(1_500)
        simulation.host.script.stream = Self.bytes(500_000)
        simulation.host.script.largestReceive = 20_000
        var options = GuestTCP.Options()
        options.timestamps = timestamps
        simulation.connect(options)
        simulation.run(for: .seconds(600)) { $0.guests[0].peerEnded }
        #expect(simulation.core.tcpCounters.timeouts <= 4, "\(simulation.core.tcpCounters.timeouts)")
    }

    @Test func keepAliveSparesAConnectionThatAnswers() {
        var simulation = Self.idle()
        simulation.run(for: .seconds(5 * 7200))
        #expect(simulation.core.connectionCount == 1)
        #expect(simulation.guests[0].state == .open)
        #expect(simulation.guests[0].pureAcksReceived >= 4)
    }

    @Test func keepAliveEndsOneThatDoesNot() {
        var simulation = Self.idle()
        simulation.guests[0].isAlive = false
        let before = simulation.checker.frames
        simulation.run(for: .seconds(7200 + 9 * 75 + 10))
        // Nine probes and a RST.
        #expect(simulation.checker.frames == before + 10)
        #expect(simulation.core.connectionCount == 0)
        #expect(simulation.host.sockets[0].closed && simulation.host.sockets[0].reset)
    }

    @Test func aSingleSmallSegmentIsAcknowledgedLate() {
        var simulation = Self.idle()
        simulation.guests[0].write([1, 2, 3], at: simulation.now)
        let before = simulation.guests[0].una
        simulation.run(for: .milliseconds(8))
        #expect(simulation.guests[0].una == before)
        simulation.run(for: .milliseconds(8))
        #expect(simulation.guests[0].una == before + 3)
    }

    // MARK: Loss

    @Test(arguments: [false, true])
    func lossWhileBothSendNeedsNoTimeout(sack: Bool) {
        // One loss in the middle of a transfer, with text in both directions: with SACK fast recovery must start although
        // no ACK is a duplicate in the sense of RFC 5681.
        var total: UInt64 = 0
        for seed in 1...10 {
            var down = WireFaults()
            down.loss = 0.003
            var simulation = Simulation(down: down, seed: UInt64(seed))
            var options = GuestTCP.Options()
            options.sack = true
            simulation.host.script.stream = Self.bytes(1_000_000)
            simulation.connect(options, stream: Self.bytes(sack ? 2_000_000 : 0))
            simulation.run(for: .seconds(60)) { $0.guests[0].isFinished }
            total += simulation.core.tcpCounters.timeouts
        }
        #expect(total <= 3, "\(total) timeouts")
    }

    // MARK: Memory

    @Test func aStarvedPoolRecovers() {
        var simulation = Simulation(Simulation.configuration { $0.chunks = 4 })
        simulation.host.script.stream = Self.bytes(100_000)
        for i in 0..<20 {
            var options = GuestTCP.Options()
            options.sourcePort = UInt16(50_000 + i)
            simulation.connect(options, stream: Self.bytes(20_000))
        }
        simulation.run(for: .seconds(300)) { $0.guests.allSatisfy { $0.isFinished } }
        for guest in simulation.guests { #expect(guest.received.count == 100_000 && guest.isFinished) }
        #expect(simulation.core.tcpCounters.starved > 0)
        simulation.run(for: .seconds(100))
        #expect(simulation.core.chunksInUse == 0)
        #expect(simulation.core.connectionCount == 0)
    }

    @Test func aLinkThatIsOftenFullLosesNothing() {
        for room in 1...6 {
            var simulation = Simulation()
            simulation.linkRoom = room
            simulation.host.script.stream = Self.bytes(300_000)
            simulation.connect(stream: Self.bytes(300_000))
            simulation.run(for: .seconds(60)) { $0.guests[0].isFinished }
            #expect(simulation.guests[0].received.count == 300_000)
            #expect(simulation.host.sockets[0].received.count == 300_000)
        }
    }
}
