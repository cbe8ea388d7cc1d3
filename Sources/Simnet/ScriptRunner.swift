import Netstack
import Wire

// Runs a script against the core: the guest's segments go in as frames, the host's actions change a socket of ScriptedHost, and every
// frame that the core emits is held against the next `guest<` line, on the virtual clock of a Simulation.
//
// Times: a line's time counts from the line before. For an expectation that is the time at which its segment came, so that what
// follows a retransmission counts from the retransmission. A segment may be `tolerance` off.

package struct ScriptRunner: ~Copyable {
    static let tolerance = Int64.milliseconds(1)

    private let script: Script
    private var simulation: Simulation
    private var wire: ScriptWire
    /// What came and no line has taken.
    private var arrivals: [ScriptArrival] = []
    /// The time of the line before.
    private var base: Instant
    private var line = 0
    /// What lines have taken.
    private var taken: [ScriptArrival] = []

    /// Runs it to the end; the first thing that is not as the script says is thrown.
    package static func run(_ script: Script) throws(ScriptError) {
        var runner = ScriptRunner(script)
        for event in script.events {
            runner.line = event.line
            try runner.run(event)
        }
        try runner.nothingIsLeft()
        let violations = runner.simulation.violations
        if !violations.isEmpty { throw runner.error(violations.joined(separator: "; ")) }
    }

    private init(_ script: Script) {
        self.script = script
        let configuration = Simulation.configuration(mtu: script.mtu)
        var still = WireFaults()
        still.delay = 0
        simulation = Simulation(configuration, up: still, down: still)
        simulation.trace = []
        simulation.host.script.connectDelay = nil
        simulation.host.script.ends = false
        if let buffer = script.buffer { simulation.host.script.sendBuffer = buffer }
        wire = ScriptWire(script, script.isV4 ? configuration.v4! : configuration.v6!)
        base = simulation.now
    }

    private func error(_ message: String) -> ScriptError {
        ScriptError(file: script.name, line: line, message: message)
    }

    // MARK: Events

    private mutating func run(_ event: ScriptEvent) throws(ScriptError) {
        if case .expect(let segment) = event.action { return try expect(event.after) { $0.match(segment, $1) } }
        if case .expectICMP(let kind) = event.action { return try expect(event.after) { $0.match(kind, $1) } }
        if case .wait = event.action { try nothingIsLeft() }
        let at = base + event.after.lowerBound
        pass(until: at)
        base = max(base, at)
        switch event.action {
        case .expect, .expectICMP: break
        case .inject(let segment): inject(wire.frame(segment))
        case .injectTooBig(let mtu, let number):
            let sequence = number.resolved(next: wire.hostNext)
            guard let about = taken.last(where: { $0.segment?.sequence == sequence }),
                let frame = NarrowRouter(mtu: mtu).tooBig(about.frame, Simulation.guestMAC)
            else { throw error("no segment at \(sequence) has come") }
            inject(frame)
        case .wait: try nothingIsLeft()
        case .fill: try fill()
        case .window(let bound):
            if !bound.holds(wire.window) { throw error("the window is \(wire.window)") }
        case .host(let action): try host(action)
        }
    }

    private mutating func inject(_ frame: Frame) {
        simulation.up.send(frame, at: simulation.now)
        simulation.settle()
        collect()
    }

    /// Lets time pass, and stops early for a frame only if asked to.
    private mutating func pass(until end: Instant, stopsForFrames: Bool = false) {
        while simulation.now < end {
            simulation.run(for: end - simulation.now) { !($0.trace?.isEmpty ?? true) }
            let stop = stopsForFrames && !(simulation.trace?.isEmpty ?? true)
            collect()
            if stop { return }
        }
    }

    private mutating func collect() {
        for frame in simulation.trace ?? [] {
            for segment in frame.segments {
                guard let arrival = wire.arrival(segment, at: simulation.now) else { continue }
                arrivals.append(arrival)
            }
        }
        simulation.trace = []
    }

    private mutating func expect(
        _ after: ClosedRange<Int64>, _ match: (borrowing ScriptRunner, ScriptArrival) -> String?
    ) throws(ScriptError) {
        let last = base + (after.upperBound + Self.tolerance)
        while arrivals.isEmpty, simulation.now < last { pass(until: last, stopsForFrames: true) }
        guard let arrival = arrivals.first else { throw error("nothing came until \(clock(simulation.now - base))") }
        arrivals.removeFirst()
        if let difference = match(self, arrival) { throw error("\(wire.text(arrival)): \(difference) differs") }
        let delay = arrival.at - base
        if delay < after.lowerBound - Self.tolerance || delay > after.upperBound + Self.tolerance {
            throw error("\(wire.text(arrival)) came after \(clock(delay))")
        }
        if !wire.isPattern(arrival) { throw error("\(wire.text(arrival)): the payload is not the host's") }
        if let seen = arrival.segment { wire.took(seen) }
        taken.append(arrival)
        base = max(base, arrival.at)
    }

    private func match(_ line: ScriptSegment, _ arrival: ScriptArrival) -> String? {
        guard let seen = arrival.segment else { return "the protocol" }
        return wire.difference(line, seen)
    }

    private func match(_ kind: ScriptUnreachable, _ arrival: ScriptArrival) -> String? {
        let expected: (UInt8, UInt8) =
            switch kind {
            case .net: script.isV4 ? (3, 0) : (1, 0)
            case .host: script.isV4 ? (3, 1) : (1, 3)
            case .port: script.isV4 ? (3, 3) : (1, 4)
            case .prohibited: script.isV4 ? (3, 13) : (1, 1)
            }
        return arrival.segment == nil && arrival.icmp == expected ? nil : "the error"
    }

    private func nothingIsLeft() throws(ScriptError) {
        guard let first = arrivals.first else { return }
        throw error("\(wire.text(first)) came \(clock(first.at - base)) after the line before and was not expected")
    }

    private func clock(_ time: Int64) -> String { "\(Double(time / 1000) / 1000) ms" }

    /// Segments of full size while the window lasts, then what is left of it.
    private mutating func fill() throws(ScriptError) {
        try nothingIsLeft()
        while true {
            let room = wire.edge - wire.guestNext
            if room > 0 {
                let length = min(room, wire.mss)
                var segment = ScriptSegment(flags: .ack, sequence: ScriptNumber(isNext: true), length: length)
                segment.ack = ScriptNumber(isNext: true)
                inject(wire.frame(segment))
            } else {
                pass(until: simulation.now + .milliseconds(60), stopsForFrames: true)
                if arrivals.isEmpty { break }
            }
            for arrival in arrivals {
                guard let seen = arrival.segment, seen.flags == .ack, seen.length == 0, seen.options.sackCount == 0
                else { throw error("\(wire.text(arrival)) is no ACK") }
            }
            arrivals = []
        }
        base = simulation.now
    }

    // MARK: The host

    private mutating func host(_ action: ScriptHostAction) throws(ScriptError) {
        if action == .connects {
            let client = Endpoint(address: wire.remote, port: ScriptWire.remotePort)
            guard simulation.accept(from: client, toPort: ScriptWire.guestPort) != nil else {
                throw error("the client was refused at once")
            }
        }
        guard let i = simulation.host.sockets.indices.last else { throw error("there is no host socket") }
        let now = simulation.now
        switch action {
        case .connects: break
        case .connect(let how):
            guard !simulation.host.sockets[i].connected else { throw error("the socket is connected") }
            simulation.host.sockets[i].script.connectError =
                switch how {
                case .succeeds: nil
                case .refused: .refused
                case .unreachable: .hostUnreachable
                case .prohibited: .prohibited
                case .times: .timedOut
                }
            simulation.host.sockets[i].connectAt = now
        case .writes(let count, let urgent):
            let from = simulation.host.sockets[i].script.stream.count
            simulation.host.sockets[i].script.stream += ScriptWire.pattern(from..<from + count)
            if urgent { simulation.host.sockets[i].script.urgent.append(from + count - 1) }
        case .reads(nil):
            simulation.host.sockets[i].script.readSize = nil
            simulation.host.sockets[i].read = simulation.host.sockets[i].received.count
        case .reads(let count?):
            let left = simulation.host.sockets[i].received.count - simulation.host.sockets[i].read
            simulation.host.sockets[i].read += min(count, left)
        case .stopsReading: simulation.host.sockets[i].script.readSize = 0
        case .shutsDown: simulation.host.sockets[i].script.ends = true
        case .closes:
            simulation.host.sockets[i].script.ends = true
            simulation.host.sockets[i].script.failsAfter = 0
        case .resets:
            simulation.host.sockets[i].script.receiveError = .reset
            simulation.host.sockets[i].script.failsAfter = 0
        case .has(let count):
            let received = simulation.host.sockets[i].received
            if received.count != count { throw error("the host has \(received.count) bytes") }
            if received != ScriptWire.pattern(0..<count) { throw error("the host's bytes are not the guest's") }
        case .hasUrgent(let which):
            let urgent = simulation.host.sockets[i].receivedUrgent.map { $0 + 1 }
            if urgent != which { throw error("the host's urgent bytes are \(urgent)") }
        case .hasEnd:
            if !simulation.host.sockets[i].guestEnded { throw error("the host's stream has not ended") }
        case .hasReset:
            let socket = simulation.host.sockets[i]
            if !socket.closed || !socket.reset { throw error("the host's connection was not reset") }
        }
        simulation.settle()
        collect()
    }
}
