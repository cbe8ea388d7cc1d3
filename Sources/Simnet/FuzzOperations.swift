internal import Netstack
internal import Wire

// A core under an arbitrary sequence of what its neighbours may do: guests whose segments are almost right, a host that connects,
// sends, takes, ends and fails as it likes, time that passes, a link that fills up. The input is a list of operations of one byte
// and their arguments.
//
// A guest here is not a TCP but a memory of what the core said last, so that a segment is in the window more often than not
// and a hair beside it often enough.

package struct FuzzOperations: ~Copyable {
    /// What the fuzzer's guest knows of one of its connections.
    private struct Peer {
        var guest: GuestTCP
        var sequence: UInt32
        var acknowledged: UInt32 = 0
        var stamp: UInt32 = 1
    }

    private var input: FuzzInput
    private var simulation: Simulation
    private var peers: [Peer] = []

    private init(_ bytes: [UInt8]) {
        input = FuzzInput(bytes)
        simulation = Simulation(
            Simulation.configuration {
                $0.connections = 6; $0.handshakes = 3; $0.timeWaits = 3; $0.chunks = 24; $0.datagramFlows = 4
            })
        simulation.trace = []
        simulation.host.script.ends = false
        for i in 0..<8 {
            var options = GuestTCP.Options()
            options.isV4 = i % 4 != 3
            options.sourcePort = UInt16(40_000 + i)
            if !options.isV4 { options.remote.address = IPAddress(hi: 0x2001_0db8 << 32, lo: 7) }
            let family = options.isV4 ? simulation.core.configuration.v4 : simulation.core.configuration.v6
            guard let address = family?.guest else { continue }
            let guest = GuestTCP(
                options, stream: [UInt8](repeating: UInt8(i), count: 65_536), address: address,
                mac: Simulation.guestMAC, gatewayMAC: Simulation.gatewayMAC)
            peers.append(Peer(guest: guest, sequence: 1000 &* UInt32(i)))
        }
    }

    /// Runs an input. What was violated; empty is good.
    package static func run(_ bytes: [UInt8]) -> [String] {
        var run = FuzzOperations(bytes)
        return run.all()
    }

    private mutating func all() -> [String] {
        while !input.isEmpty, simulation.violations.isEmpty {
            step()
            listen()
        }
        simulation.linkRoom = .max
        return simulation.finish()
    }

    private mutating func step() {
        let operation = input.byte()
        switch operation % 16 {
        case _ where operation >= 0xf8: accept()
        case 0: open()
        case 1...5: segment()
        case 6: simulation.host.script.connectDelay = input.choice([0, .milliseconds(1), .seconds(3), nil])
        case 7:
            simulation.host.script.connectError = input.choice([nil, nil, nil, .refused, .hostUnreachable, .timedOut])
        case 8: socket { socket, input in socket.script.stream += [UInt8](repeating: 9, count: Int(input.word())) }
        case 9: socket { socket, input in socket.script.sendBuffer = Int(input.word()) * 8 }
        case 10: socket { socket, input in socket.script.readSize = input.choice([nil, 0, 1000, 60_000]) }
        case 11:
            socket { socket, input in
                switch input.byte() % 4 {
                case 0: socket.script.ends = true
                case 1: socket.script.receiveError = .reset
                case 2: socket.script.failsAfter = socket.received.count
                default: socket.script.largestReceive = Int(input.word()) + 1
                }
            }
        case 12:
            let pause = input.choice([
                Int64.milliseconds(1), .milliseconds(50), .seconds(1), .seconds(70), .seconds(600),
            ])
            simulation.run(for: pause)
        case 13: simulation.linkRoom = input.choice([.max, 0, 1, 5])
        case 14: tooBig()
        default: datagram()
        }
        simulation.settle()
    }

    private mutating func socket(_ change: (inout HostSocket, inout FuzzInput) -> Void) {
        guard !simulation.host.sockets.isEmpty else { return }
        // Mostly one of the last, which live.
        let back = Int(input.byte() & 7)
        let i = max(0, simulation.host.sockets.count - 1 - back)
        change(&simulation.host.sockets[i], &input)
    }

    private mutating func send(_ i: Int, _ flags: TCPFlags) {
        // What the core says next may be of another connection, whose SYN-ACK a full link has kept.
        if !flags.isDisjoint(with: [.syn, .rst]) {
            simulation.checker.forget(guestPort: peers[i].guest.options.sourcePort)
        }
        for frame in peers[i].guest.outbox {
            if let answer = frame.synAck { simulation.checker.answered(answer.key, answer.options) }
            simulation.core.receive(
                frame.bytes.raw, offload: frame.offload, at: simulation.now, outside: &simulation.host)
        }
        peers[i].guest.outbox = []
    }

    private mutating func open() {
        let i = Int(input.byte()) % peers.count
        var options = TCPOptions()
        let control = input.byte()
        if control & 1 != 0 { options.maximumSegmentSize = input.choice([1460, 536, 1, 65_535]) }
        if control & 2 != 0 { options.windowScale = input.byte() & 15 }
        options.sackPermitted = control & 4 != 0
        if control & 8 != 0 { options.timestamps = (value: peers[i].stamp, echoReply: 0) }
        peers[i].guest.frame(
            [.syn], SequenceNumber(rawValue: peers[i].sequence), SequenceNumber(rawValue: 0), input.word(), options,
            0..<0)
        peers[i].sequence &+= 1
        send(i, [.syn])
    }

    /// A client connects to a port of which the guest may think anything.
    private mutating func accept() {
        let options = peers[Int(input.byte()) % peers.count].guest.options
        simulation.answersResolution = input.byte() & 3 != 0
        simulation.accept(from: options.remote, toPort: options.sourcePort)
    }

    /// A little beside, far beside, or mostly right.
    private mutating func bend(_ value: UInt32) -> UInt32 {
        let small = UInt32(input.byte())
        switch input.byte() % 16 {
        case 0: return value &+ small
        case 1: return value &- small
        case 2: return value &+ small << 8
        case 3: return value &- small << 8
        case 4: return value &+ small << 24
        default: return value
        }
    }

    private mutating func segment() {
        let i = Int(input.byte()) % peers.count
        let flags = TCPFlags(
            rawValue: input.choice([0x10, 0x18, 0x10, 0x11, 0x19, 0x14, 0x04, 0x12, 0x02, 0x30, 0x00]))
        var options = TCPOptions()
        let control = input.byte()
        if control & 3 != 0 {
            peers[i].stamp &+= UInt32(control >> 4)
            options.timestamps = (value: bend(peers[i].stamp), echoReply: 0)
        }
        if control & 12 == 12 {
            for _ in 0..<Int(control >> 6) {
                let left = peers[i].acknowledged &+ UInt32(input.word())
                options.appendSack(
                    left: SequenceNumber(rawValue: left), right: SequenceNumber(rawValue: bend(left &+ 1460)))
            }
        }
        let sequence = bend(peers[i].sequence)
        let length = input.choice([0, 0, 1, 1460, 5000, Int(input.word() & 0x7fff)])
        peers[i].guest.frame(
            flags, SequenceNumber(rawValue: sequence), SequenceNumber(rawValue: bend(peers[i].acknowledged)),
            input.choice([65_535, 1000, 0, 1]), options, 0..<length)
        if sequence == peers[i].sequence {
            peers[i].sequence &+= UInt32(length) &+ (flags.contains(.fin) ? 1 : 0)
        }
        send(i, flags)
    }

    /// What the core says moves what the guest knows; what the core has not taken, the guest takes back.
    private mutating func listen() {
        for frame in simulation.trace ?? [] {
            let transport = frame.bytes[12] == 0x08 ? 34 : 54
            let bytes = frame.bytes.raw
            guard bytes.byteCount > transport, let tcp = try? TCPView(bytes.extracting(transport..<bytes.byteCount)),
                let i = peers.firstIndex(where: { $0.guest.options.sourcePort == tcp.destinationPort }),
                !tcp.flags.contains(.rst)
            else { continue }
            peers[i].sequence = tcp.acknowledgment.rawValue
            let span = tcp.payload.byteCount + (tcp.flags.isDisjoint(with: [.syn, .fin]) ? 0 : 1)
            peers[i].acknowledged = tcp.sequence.rawValue &+ UInt32(span)
        }
        simulation.trace = []
    }

    private mutating func tooBig() {
        let i = Int(input.byte()) % peers.count
        let options = peers[i].guest.options
        guard options.isV4 else { return }
        var router = NarrowRouter(mtu: 100)
        let quoted = [UInt8].written(54 + 100) { span in
            IPv4Header(
                source: options.remote.address, destination: IPAddress("10.0.2.2") ?? .anyV4, protocol: IPProtocol.tcp,
                payloadLength: 120, timeToLive: 64
            ).write(to: &span, at: 14)
            span.store(u16: options.remote.port, at: 34)
            span.store(u16: options.sourcePort, at: 36)
            span.store(u32: peers[i].acknowledged &- 1, at: 38)
        }
        guard var complaint = router.pass(Frame(quoted), mac: Simulation.guestMAC).complaint else { return }
        complaint.bytes[40] = input.byte()
        complaint.bytes[41] = input.byte()
        var offload = OffloadHeader()
        offload.checksumValid = true
        simulation.core.receive(
            complaint.bytes.raw, offload: offload, at: simulation.now, outside: &simulation.host)
    }

    private mutating func datagram() {
        let count = Int(input.word() & 0x1fff)
        let isV4 = input.byte() & 1 == 0
        let port = UInt16(input.byte() & 7) + 5000
        let remote = isV4 ? IPAddress(v4: 0xc633_6401) : IPAddress(hi: 0x2001_0db8 << 32, lo: 7)
        let family = isV4 ? simulation.core.configuration.v4 : simulation.core.configuration.v6
        let ip = isV4 ? 20 : 40
        let frame = [UInt8].written(14 + ip + 8 + count) { span in
            EthernetHeader(
                destination: Simulation.gatewayMAC, source: Simulation.guestMAC,
                etherType: isV4 ? EtherType.ipv4 : EtherType.ipv6
            ).write(to: &span, at: 0)
            let source = family?.guest ?? .anyV4
            if isV4 {
                IPv4Header(
                    source: source, destination: remote, protocol: IPProtocol.udp, payloadLength: 8 + count,
                    timeToLive: 64
                ).write(to: &span, at: 14)
            } else {
                IPv6Header(
                    source: source, destination: remote, nextHeader: IPProtocol.udp, payloadLength: 8 + count,
                    hopLimit: 64
                ).write(to: &span, at: 14)
            }
            UDPHeader(sourcePort: port, destinationPort: 7, length: 8 + count).write(to: &span, at: 14 + ip)
        }
        var offload = OffloadHeader()
        offload.checksumValid = true
        if count > 1400 {
            offload.segmentation = .udp
            offload.segmentSize = input.word()
        }
        simulation.core.receive(frame.raw, offload: offload, at: simulation.now, outside: &simulation.host)
        // One from a client of a forwarded port, which the guest's next one from that port may answer.
        if input.byte() & 3 == 0 {
            let client = Endpoint(address: remote, port: 7)
            let served = [UInt8](repeating: 2, count: Int(input.word()))
            simulation.core.hostServed(
                0, from: client, path: DatagramPath(local: remote),
                to: Endpoint(address: family?.guest ?? .anyV4, port: port),
                served.raw, trafficClass: 0, at: simulation.now, outside: &simulation.host)
        }
        // And one back, of any size, to whatever flow there is.
        let flow = FlowID(.udp, index: UInt32(input.byte() & 7), generation: UInt32(input.byte() & 3))
        let payload = [UInt8](repeating: 1, count: Int(input.word()))
        simulation.core.hostDatagrams(
            flow, from: Endpoint(address: remote, port: 7), payload.raw, trafficClass: input.byte(),
            at: simulation.now, outside: &simulation.host)
    }
}
