import Netstack
import Resolver
import Simnet
import Wire

// Feeds a fixed sequence of frames through the core, for scripts/count-instructions: `instructions CASE COUNT`. Two runs with different
// counts under callgrind differ by what the frames cost; everything else, the program's start included, falls out.

/// A connection through a core, established, with the guest's next number 1 and ours in `ours`.
struct Established: ~Copyable {
    var core: Core
    var outside = NullOutside()
    var now = Instant(nanoseconds: 1_000_000_000)
    let frames: Frames
    var guest = SequenceNumber(rawValue: 2)
    var ours = SequenceNumber(rawValue: 0)

    init(connects: Bool = true) {
        let configuration = Simulation.configuration { $0.chunks = 2048 }
        frames = Frames(configuration)
        core = Core(configuration, seed: 1, at: now)
        guard connects else { return }
        receive(frames.tcp(.syn))
        turn()
        ours = outside.synAck + 1
        var ack = frames.tcp(.ack)
        ack.place(guest, ours)
        receive(ack)
        turn()
        outside.sentPayload = 0
    }

    mutating func receive(_ frame: Frame) {
        core.receive(frame.bytes.raw, offload: frame.offload, at: now, outside: &outside)
    }

    /// The end of the shell's turn.
    mutating func turn() {
        now = now + 20_000
        _ = core.endTurn(at: now, outside: &outside)
    }
}

func tcpIn(_ payload: Int, _ count: Int) -> Int {
    var rig = Established()
    var frame = rig.frames.tcp(.pshAck, payload: payload)
    for _ in 0..<count {
        frame.place(rig.guest, rig.ours)
        rig.receive(frame)
        rig.turn()
        rig.guest += payload
    }
    return rig.outside.frames
}

/// The host has `payload` bytes, they go to the guest, and its ACK comes.
func tcpOut(_ payload: Int, _ count: Int) -> Int {
    var rig = Established()
    var ack = rig.frames.tcp(.ack)
    for _ in 0..<count {
        rig.outside.readable = payload
        rig.core.hostReadable(rig.outside.flow)
        rig.turn()
        rig.ours += rig.outside.sentPayload
        rig.outside.sentPayload = 0
        ack.place(rig.guest, rig.ours)
        rig.receive(ack)
        rig.turn()
    }
    return rig.outside.frames
}

func acks(_ count: Int) -> Int {
    var rig = Established()
    var ack = rig.frames.tcp(.ack)
    ack.place(rig.guest, rig.ours)
    for _ in 0..<count {
        rig.receive(ack)
        rig.turn()
    }
    return rig.outside.frames
}

func fromGuest(_ make: (Frames) -> Frame, _ count: Int) -> Int {
    var rig = Established(connects: false)
    let frame = make(rig.frames)
    for _ in 0..<count {
        rig.receive(frame)
        rig.turn()
    }
    return rig.outside.frames
}

func udpOut(_ count: Int) -> Int {
    var rig = Established(connects: false)
    rig.receive(rig.frames.udp(port: 9, payload: 64))
    let source = Endpoint(address: Frames.remote, port: 9)
    let payload = [UInt8](repeating: 7, count: 64)
    for _ in 0..<count {
        rig.core.hostDatagrams(
            rig.outside.flow, from: source, payload.raw, trafficClass: 0, at: rig.now, outside: &rig.outside)
        rig.turn()
    }
    return rig.outside.frames
}

/// A query, to an upstream and back with one address; each of another name when `fresh`.
func dns(fresh: Bool, _ count: Int) -> Int {
    let upstream = ResolverConfiguration.Upstream(endpoint: Endpoint(address: Frames.remote, port: 53))
    var forwarder = Forwarder(
        configuration: ResolverConfiguration(upstreams: [upstream]), names: LocalNames(gateway: [], host: []),
        generator: KeyedGenerator(key: (1, 2)))
    var query: [UInt8] = [0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 8]
    query += [UInt8](repeating: UInt8(ascii: "a"), count: 8) + [4] + Array("test".utf8) + [0, 0, 1, 0, 1]
    let record: [UInt8] = [0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 1, 0x2c, 0, 4, 192, 0, 2, 1]
    var now: Int64 = 1_000_000_000
    var answers = 0
    for i in 0..<count {
        if fresh { for digit in 0..<8 { query[13 + digit] = UInt8(ascii: "a") + UInt8(i >> (4 * digit) & 15) } }
        forwarder.query(query.raw, client: 1, transport: .udp, now: now)
        while let action = forwarder.nextAction() {
            switch action {
            case .send(let upstream, let transport, let bytes, let id):
                forwarder.sent(id: id, via: 1)
                var response = bytes
                response[2] = 0x81
                response[3] = 0x80
                response[7] = 1
                // The question's end; an OPT record behind it would be the forwarder's own.
                response.removeLast(response.count - 31)
                response[11] = 0
                response += record
                forwarder.response(response.raw, from: upstream, transport: transport, via: 1, now: now)
            case .answer: answers += 1
            case .drop: break
            }
        }
        now += 20_000
    }
    return fresh ? answers : forwarder.statistics.fromCache
}

let words = CommandLine.arguments
guard words.count == 3, let count = Int(words[2]) else { fatalError("usage: instructions CASE COUNT") }
/// What shows that the case did what it is for: frames or answers that came out.
let result: Int
switch words[1] {
case "tcp-from-guest-64k": result = tcpIn(44 * Frames.segmentSize, count)
case "tcp-from-guest-1448": result = tcpIn(Frames.segmentSize, count)
case "tcp-to-guest-64k": result = tcpOut(44 * Frames.segmentSize, count)
case "tcp-to-guest-1448": result = tcpOut(Frames.segmentSize, count)
case "tcp-ack": result = acks(count)
case "udp-from-guest-64": result = fromGuest({ $0.udp(port: 9, payload: 64) }, count)
case "udp-to-guest-64": result = udpOut(count)
case "echo-to-gateway": result = fromGuest({ $0.echo() }, count)
case "arp": result = fromGuest({ $0.arp() }, count)
case "dns-forwarded": result = dns(fresh: true, count)
case "dns-cached": result = dns(fresh: false, count)
default: fatalError("there is no case \(words[1])")
}
print(result)
