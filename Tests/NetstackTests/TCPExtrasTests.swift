@testable import Netstack
import Simnet
import Testing
import Wire

/// ECN (RFC 3168): who says what, and on which segments.
@Suite struct TCPNotificationTests {
    struct Sent {
        var tcp: TCPFlags
        var codepoint: UInt8
        var length: Int
        var sequence: UInt32
        var urgentPointer: UInt16
    }

    /// The core's frames over IPv4 since the trace began.
    static func sent(_ simulation: borrowing Simulation) throws -> [Sent] {
        try (simulation.trace ?? []).filter { $0.bytes.raw.u16(at: 12) == EtherType.ipv4 }.map { frame in
            let ip = try IPv4View(frame.bytes.raw.extracting(14..<frame.bytes.count))
            let tcp = try TCPView(ip.payload)
            return Sent(
                tcp: tcp.flags, codepoint: ip.trafficClass & 3, length: tcp.payload.byteCount,
                sequence: tcp.sequence.rawValue, urgentPointer: tcp.urgentPointer)
        }
    }

    static func open(ecn: Bool) -> Simulation {
        TCPScenarioTests.idle(adjust: {
            $0.ecn = ecn; $0.timestamps = false
        })
    }

    @Test(arguments: [false, true])
    func itIsAgreedOnOnlyWhenOffered(ecn: Bool) throws {
        var simulation = Simulation()
        simulation.trace = []
        simulation.host.script.stream = TCPScenarioTests.bytes(5_000)
        var options = GuestTCP.Options()
        options.ecn = ecn
        simulation.connect(options)
        simulation.run(for: .milliseconds(200))
        let sent = try Self.sent(simulation)
        let answer = try #require(sent.first)
        #expect(answer.tcp == (ecn ? [.syn, .ack, .ece] : [.syn, .ack]))
        #expect(answer.codepoint == 0)
        for segment in sent.dropFirst() {
            #expect(segment.codepoint == (ecn && segment.length > 0 ? 2 : 0))
            #expect(segment.tcp.isDisjoint(with: [.ece, .cwr]))
        }
    }

    @Test func aMarkIsEchoedUntilTheGuestHasReduced() throws {
        var simulation = Self.open(ecn: true)
        let iss = simulation.guests[0].options.iss
        let ack = simulation.guests[0].peerNext
        func send(_ offset: UInt32, _ flags: TCPFlags, marked: Bool) throws -> TCPFlags {
            simulation.trace = []
            simulation.guests[0].frame(
                flags, SequenceNumber(rawValue: iss &+ 1 &+ offset), ack, 1000, TCPOptions(), 0..<100,
                trafficClass: marked ? 3 : 2)
            simulation.run(for: .milliseconds(20))
            return try #require(try Self.sent(simulation).last).tcp
        }
        simulation.guests[0].write([], at: simulation.now)
        #expect(try send(0, [.ack], marked: false) == [.ack])
        #expect(try send(100, [.ack], marked: true) == [.ack, .ece])
        #expect(try send(200, [.ack], marked: false) == [.ack, .ece])
        #expect(try send(300, [.ack, .cwr], marked: false) == [.ack])
        #expect(simulation.core.tcpCounters.marked == 1)
    }

    @Test func anEchoShrinksTheWindowOnceARoundTripAndIsAnswered() throws {
        var down = WireFaults()
        down.delay = .milliseconds(10)
        var simulation = Simulation(up: down, down: down)
        simulation.host.script.stream = TCPScenarioTests.bytes(600_000)
        var options = GuestTCP.Options()
        options.ecn = true
        options.receiveBuffer = 1 << 20
        simulation.connect(options)
        simulation.run(for: .milliseconds(85))
        simulation.trace = []
        // Every ACK of half a round trip carries it.
        simulation.guests[0].echoesMark = true
        simulation.run(for: .milliseconds(21))
        simulation.guests[0].echoesMark = false
        simulation.run(for: .seconds(5)) { $0.guests[0].isFinished }
        let reduced = try Self.sent(simulation).filter { $0.tcp.contains(.cwr) }
        #expect((1...2).contains(reduced.count), "\(reduced.count)")
        #expect(reduced.first.map { $0.length > 0 && $0.length <= 1460 && $0.codepoint == 2 } == true)
        #expect(simulation.core.tcpCounters.retransmitted == 0)
        #expect(simulation.guests[0].received.count == 600_000)
    }

    @Test func whatIsSentAgainIsNotMarkable() throws {
        var down = WireFaults()
        down.loss = 0.05
        var simulation = Simulation(down: down, seed: 3)
        simulation.host.script.stream = TCPScenarioTests.bytes(300_000)
        simulation.trace = []
        var options = GuestTCP.Options()
        options.ecn = true
        simulation.connect(options)
        simulation.run(for: .seconds(60)) { $0.guests[0].isFinished }
        var highest: UInt32?
        var resent = 0
        for segment in try Self.sent(simulation) where segment.length > 0 {
            let isNew = highest.map { Int32(bitPattern: segment.sequence &- $0) >= 0 } ?? true
            #expect(segment.codepoint == (isNew ? 2 : 0))
            if isNew { highest = segment.sequence &+ UInt32(segment.length) } else { resent += 1 }
            if segment.tcp.contains(.cwr) { #expect(isNew && segment.length <= 1460) }
        }
        #expect(resent > 0)
    }
}

/// Urgent data (RFC 9293 section 3.8.5, RFC 6093), both ways.
@Suite struct TCPUrgentTests {
    @Test(arguments: [0, 1, 700, 1_459, 3_000, 9_999], [0.0, 0.1])
    func theHostsUrgentByteIsPointedAt(at: Int, loss: Double) throws {
        var down = WireFaults()
        down.loss = loss
        var simulation = Simulation(down: down, seed: UInt64(at + 1))
        let stream = TCPScenarioTests.bytes(10_000)
        simulation.host.script.stream = stream
        simulation.host.script.urgent = [at]
        simulation.trace = []
        simulation.connect()
        simulation.run(for: .seconds(60)) { $0.guests[0].isFinished }
        #expect(simulation.guests[0].received == stream)
        let sent = try TCPNotificationTests.sent(simulation)
        let first = try #require(sent.first { $0.tcp.contains(.syn) }).sequence &+ 1
        let urgent = sent.filter { $0.tcp.contains(.urg) }
        #expect(urgent.contains { $0.length > 0 })
        // The pointer names the byte after it, whatever segment it is on.
        #expect(urgent.allSatisfy { $0.sequence &+ UInt32($0.urgentPointer) == first &+ UInt32(at) &+ 1 })
        #expect(urgent.allSatisfy { $0.length <= 1460 })
    }

    @Test("the guest's urgent byte, announced early or late, into a socket that is full or not", arguments: 1...60)
    func theGuestsUrgentByteIsOutOfBand(seed: Int) {
        var random = SeededRandom(UInt64(seed))
        var simulation = TCPScenarioTests.idle(script: {
            $0.sendBuffer = random.chance(0.5) ? 2_500 : 100_000
            $0.readSize = random.chance(0.5) ? 700 : nil
        })
        let iss = simulation.guests[0].options.iss
        let ack = simulation.guests[0].peerNext
        let stream = TCPScenarioTests.bytes(5_000)
        simulation.guests[0].write(stream, at: Instant(nanoseconds: 0), silently: true)
        // What it says is said for it.
        simulation.guests[0].isAlive = false
        let urgent = random.below(5_000)
        var order = Array(stride(from: 0, to: 5_000, by: 500))
        if random.chance(0.5) { order.swapAt(random.below(10), random.below(10)) }
        let window = UInt16(1000)
        for from in order {
            var parsed = TCPOptions()
            parsed.timestamps = (
                value: UInt32(truncatingIfNeeded: simulation.now.nanoseconds / 1_000_000) &+ iss, echoReply: 0
            )
            let pointer = urgent + 1 - from
            simulation.guests[0].frame(
                pointer > 0 ? [.ack, .urg] : [.ack], SequenceNumber(rawValue: iss &+ 1 &+ UInt32(from)), ack, window,
                parsed, from..<from + 500, urgentPointer: UInt16(max(0, pointer)))
            simulation.run(for: .milliseconds(3))
        }
        simulation.run(for: .seconds(2)) { $0.host.sockets[0].received.count == 5_000 }
        #expect(simulation.host.sockets[0].received == stream, "seed \(seed)")
        #expect(simulation.host.sockets[0].receivedUrgent == [urgent], "seed \(seed)")
    }
}

/// RFC 6528.
@Suite struct InitialSequenceTests {
    @Test func numbersDifferByEndpointsAndGrowWithTime() {
        func answer(port: UInt16, at delay: Int64, seed: UInt64 = 1) -> UInt32 {
            var simulation = Simulation(seed: seed)
            simulation.run(for: delay)
            var options = GuestTCP.Options()
            options.sourcePort = port
            simulation.connect(options)
            simulation.run(for: .milliseconds(100)) { $0.guests[0].state == .open }
            return simulation.guests[0].peerNext.rawValue &- 1
        }
        let first = answer(port: 1000, at: 0)
        // 250,000 a second.
        #expect(answer(port: 1000, at: .seconds(2)) &- first == 500_000)
        // Neighbouring ports and another key are unrelated: no small differences.
        for other in [answer(port: 1001, at: 0), answer(port: 1000, at: 0, seed: 2)] {
            #expect(Int32(bitPattern: other &- first).magnitude > 100_000)
        }
    }
}
