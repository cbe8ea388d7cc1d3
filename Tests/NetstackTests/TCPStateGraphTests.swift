@testable import Netstack
import Simnet
import Testing
import Wire

#if canImport(Glibc)
    import Glibc
#endif

// Every state against every kind of input: where it leads and what is answered, as one page of text that is committed
// (states.txt). UPDATE_STATES=1 writes it anew.

@Suite struct TCPStateGraphTests {
    static let key = FlowKey(
        guest: Endpoint(address: IPAddress(v4: 0x0a00_0202), port: 40_000),
        remote: Endpoint(address: IPAddress(v4: 0xc633_6401), port: 80))
    static let flow = FlowID(.tcp, index: 0, generation: 1)
    static let now = Instant(nanoseconds: .seconds(100))
    static let iss = SequenceNumber(rawValue: 1_000)
    static let irs = SequenceNumber(rawValue: 5_000)

    enum Input: String, CaseIterable {
        case syn = "SYN"
        case synAck = "SYN,ACK"
        case oldSyn = "the first SYN again"
        case ack = "ACK of nothing new"
        case ackOfAll = "ACK of all"
        case ackBeyond = "ACK of what was not sent"
        case text = "text"
        case early = "text beyond a gap"
        case fin = "FIN"
        case finAckOfAll = "FIN, ACK of all"
        case reset = "RST, exact"
        case resetInWindow = "RST in the window"
        case hostEnds = "the host's stream ends"
        case hostFails = "the host's socket fails"
        case timeout = "retransmission timeout"
    }

    /// A connection in a state that it got to in the ordinary way, with nothing in flight but what the state implies.
    static func connection(_ state: Connection.State) -> Connection {
        var connection = Connection(key: key, guestMAC: MACAddress(rawValue: 2))
        connection.state = state
        connection.snd.iss = iss
        connection.snd.una = iss
        connection.snd.nxt = iss + 1
        connection.rcv.irs = irs
        connection.rcv.nxt = irs + 1
        connection.rcv.edge = irs + 10_001
        connection.rcv.acked = irs + 1
        connection.snd.wnd = 60_000
        connection.snd.maxWindow = 60_000
        connection.snd.mss = 1460
        connection.ceiling = 1460
        connection.cwnd = 14_600
        connection.snd.wl1 = irs
        connection.keepAliveAt = now + TCPLimits.keepAliveIdle
        connection.flags.insert(.sackPermitted)
        switch state {
        case .connecting, .resolving, .synSent, .synReceived: break
        case .established, .closeWait: connection.snd.una = iss + 1
        case .finWait1, .closing, .lastAck:
            connection.snd.una = iss + 1
            connection.snd.nxt = iss + 2
        case .finWait2:
            connection.snd.una = iss + 2
            connection.snd.nxt = iss + 2
        }
        switch state {
        case .finWait1, .closing, .lastAck, .finWait2: connection.flags.formUnion([.finSent, .hostEnded])
        default: break
        }
        switch state {
        case .closeWait, .closing, .lastAck:
            connection.rcv.nxt += 1
            connection.rcv.acked = connection.rcv.nxt
            connection.flags.formUnion([.guestEnded, .hostShutdown])
        default: break
        }
        connection.queuedEnd = connection.flags.contains(.finSent) ? connection.snd.nxt + -1 : connection.snd.nxt
        if connection.snd.una != connection.snd.nxt { connection.retransmitAt = now }
        return connection
    }

    static func names(_ host: ScriptedHost) -> String {
        host.outbox.map { frame in
            guard let view = try? TCPView(frame.bytes.raw.extracting(34..<frame.bytes.count)) else { return "?" }
            return view.flags.description
        }.joined(separator: " ")
    }

    /// The state that `input` leads to from `state`, and what goes out.
    static func outcome(_ state: Connection.State, _ input: Input) -> (state: String, sends: String) {
        var connection = connection(state)
        var shared = TCPShared(Simulation.configuration(), secret: 1)
        var host = ScriptedHost()
        host.script.ends = input == .hostEnds
        host.script.connectDelay = 0
        _ = host.connect(flow, to: .endpoint(key.remote))
        let beyond = connection.snd.nxt + 1
        let all = connection.snd.nxt
        let una = connection.snd.una
        let next = connection.rcv.nxt
        var segment = Segment(
            seq: next, ack: una, flags: .ack, window: 60_000, length: 0, options: TCPOptions())
        var text: [UInt8] = []
        var fate = Connection.Fate.lives
        switch input {
        case .syn: (segment.flags, segment.seq) = (.syn, next + 10)
        case .synAck: (segment.flags, segment.ack, segment.seq) = (.synAck, all, irs)
        case .oldSyn: (segment.flags, segment.seq) = (.syn, irs)
        case .ack: break
        case .ackOfAll: segment.ack = all
        case .ackBeyond: segment.ack = beyond
        case .text: (text, segment.ack) = ([UInt8](repeating: 1, count: 10), all)
        case .early: (text, segment.seq, segment.ack) = ([UInt8](repeating: 1, count: 10), next + 100, all)
        case .fin: segment.flags = .finAck
        case .finAckOfAll: (segment.flags, segment.ack) = (.finAck, all)
        case .reset: (segment.flags, segment.ack) = (state == .synSent ? .rstAck : .rst, all)
        case .resetInWindow: (segment.flags, segment.seq) = (.rst, next + 1)
        case .hostEnds: connection.flags.insert(.hostReadable)
        case .hostFails:
            host.sockets[0].script.receiveError = .reset
            connection.flags.insert(.hostReadable)
        case .timeout:
            connection.retransmitAt = now
            fate = connection.advance(to: now, shared: &shared, outside: &host)
        }
        switch input {
        case .hostEnds, .hostFails, .timeout: break
        default:
            segment.length = text.count
            if state == .synSent || connection.isAnswerToCrossed(segment) {
                fate = connection.openingArrives(
                    segment, text.raw, id: flow, now: now, shared: &shared, outside: &host)
            } else {
                fate = connection.segmentArrives(
                    segment, text.raw, id: flow, now: now, shared: &shared, outside: &host)
            }
        }
        switch fate {
        case .lives:
            if case .failed = connection.output(id: flow, now: now, shared: &shared, outside: &host) {
                return ("CLOSED", names(host))
            }
            return ("\(connection.state)", names(host))
        case .dead: return ("CLOSED", names(host))
        case .timeWait:
            if connection.flags.contains(.ackNow) { connection.sendAck(now: now, shared: &shared, outside: &host) }
            return ("TIME-WAIT", names(host))
        }
    }

    @Test func theGraphIsAsCommitted() {
        func padded(_ text: String, _ width: Int) -> String {
            text + String(repeating: " ", count: max(1, width - text.count))
        }
        var lines = ["state        input                     then         answer"]
        let states: [Connection.State] = [
            .synSent, .synReceived, .established, .finWait1, .finWait2, .closing, .closeWait, .lastAck,
        ]
        for state in states {
            for input in Input.allCases {
                let (then, sends) = Self.outcome(state, input)
                let line =
                    padded("\(state)", 13) + padded(input.rawValue, 26) + padded(then == "\(state)" ? "." : then, 13)
                    + sends
                lines.append(String(line.reversed().drop { $0 == " " }.reversed()))
            }
        }
        let table = lines.joined(separator: "\n") + "\n"
        let path = String(#filePath.dropLast("TCPStateGraphTests.swift".count)) + "states.txt"
        guard let committed = TCPGoodputTests.read(path), unsafe getenv("UPDATE_STATES") == nil else {
            TCPGoodputTests.write(path, table)
            return
        }
        let then = committed.split(separator: "\n").map { String($0) }
        #expect(lines.count == then.count)
        for (new, old) in zip(lines, then) where new != old { Issue.record("now \(new), was \(old)") }
    }
}

/// TIME-WAIT: who may reopen (RFC 1122 section 4.2.2.13, RFC 6191 section 2).
@Suite struct TimeWaitReuseTests {
    struct Row: CustomTestStringConvertible, Sendable {
        var name: String
        var had: UInt32?
        var has: UInt32?
        var seq: UInt32
        var reopens: Bool
        var testDescription: String { name }
        static let rows: [Row] = [
            .init(name: "no timestamps, beyond", seq: 101, reopens: true),
            .init(name: "no timestamps, at the end", seq: 100, reopens: false),
            .init(name: "no timestamps, old", seq: 50, reopens: false),
            .init(name: "newer timestamp, old number", had: 10, has: 11, seq: 50, reopens: true),
            .init(name: "same timestamp, beyond", had: 10, has: 10, seq: 101, reopens: true),
            .init(name: "same timestamp, old number", had: 10, has: 10, seq: 50, reopens: false),
            .init(name: "older timestamp, beyond", had: 10, has: 9, seq: 101, reopens: false),
            .init(name: "timestamps no more, beyond", had: 10, seq: 101, reopens: true),
            .init(name: "timestamps only now, beyond", has: 5, seq: 101, reopens: true),
            .init(name: "timestamps only now, old", has: 5, seq: 50, reopens: false),
        ]
    }

    @Test(arguments: Row.rows)
    func reuse(row: Row) {
        let record = TimeWaitRecord(
            key: TCPStateGraphTests.key, hash: 0, mac: MACAddress(rawValue: 2), sndNxt: SequenceNumber(rawValue: 1),
            rcvNxt: SequenceNumber(rawValue: 100), window: 0, timestamps: row.had != nil, tsRecent: row.had ?? 0,
            stampOrigin: 0, expires: .never)
        var options = TCPOptions()
        if let has = row.has { options.timestamps = (value: has, echoReply: 0) }
        let syn = Segment(
            seq: SequenceNumber(rawValue: row.seq), ack: SequenceNumber(rawValue: 0), flags: .syn, window: 0, length: 0,
            options: options)
        #expect(record.reopens(syn) == row.reopens)
    }

    @Test func theNextNumbersBeginBeyondTheLast() {
        // 2 MB in a moment: more numbers than the clock of 4 microseconds has gone on.
        var simulation = Simulation()
        simulation.host.script.stream = TCPScenarioTests.bytes(2_000_000)
        var options = GuestTCP.Options()
        options.closesAfterPeer = true
        options.receiveBuffer = 1 << 20
        simulation.connect(options)
        simulation.run(for: .seconds(2)) { $0.core.timeWaitCount == 1 }
        let end = simulation.guests[0].peerNext
        simulation.checker.forget()
        simulation.guests.removeAll()
        options.iss = 500_000
        simulation.connect(options)
        simulation.run(for: .milliseconds(50)) { $0.guests[0].state == .open }
        #expect(simulation.guests[0].peerNext - end > 65_535)
    }
}
