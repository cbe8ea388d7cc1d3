import Testing
import Wire

@testable import Netstack

// A core, a recording outside and a clock that the test moves.

/// One network under test.
struct Rig: ~Copyable {
    var core: Core
    var outside = RecordingOutside()
    var now = Lab.start
    let mtu: Int

    init(_ configuration: Configuration = Lab.configuration(), seed: UInt64 = 1) {
        core = Core(configuration, seed: seed, at: Lab.start)
        mtu = configuration.mtu
    }

    /// An IP packet of the guest, in a frame to the gateway.
    mutating func send(_ packet: [UInt8], offload: OffloadHeader = OffloadHeader(), to mac: MACAddress = Lab.gatewayMAC)
    {
        let type = packet.first.map { $0 >> 4 } == 6 ? EtherType.ipv6 : EtherType.ipv4
        sendFrame(GuestPacket.ethernet(type, packet, to: mac), offload: offload)
    }

    mutating func sendFrame(_ frame: [UInt8], offload: OffloadHeader = OffloadHeader()) {
        core.receive(frame.rawSpan, offload: offload, at: now, outside: &outside)
    }

    /// The address that the rig's guest uses towards `destination`.
    static func guest(for destination: IPAddress) -> IPAddress { destination.isV4 ? Lab.guest4 : Lab.guest6 }

    mutating func sendUDP(
        from port: UInt16, to remote: Endpoint, _ payload: [UInt8], hopLimit: UInt8 = 64,
        offload: OffloadHeader = OffloadHeader()
    ) {
        let source = Endpoint(address: Self.guest(for: remote.address), port: port)
        send(
            GuestPacket.ip(
                from: source.address, to: remote.address, IPProtocol.udp,
                GuestPacket.udp(from: source, to: remote, payload), hopLimit: hopLimit), offload: offload)
    }

    mutating func sendEcho(
        to remote: IPAddress, identifier: UInt16, sequence: UInt16, _ data: [UInt8], hopLimit: UInt8 = 64
    ) {
        let source = Self.guest(for: remote)
        send(
            GuestPacket.ip(
                from: source, to: remote, remote.isV4 ? IPProtocol.icmp : IPProtocol.icmpv6,
                GuestPacket.echo(from: source, to: remote, identifier: identifier, sequence: sequence, data),
                hopLimit: hopLimit))
    }

    mutating func advance(by nanoseconds: Int64) {
        now = now + nanoseconds
        core.advance(to: now, outside: &outside)
    }

    /// The frames sent since the last call, checked.
    mutating func frames() -> [SentFrame] { outside.takeFrames().map { SentFrame($0, mtu: mtu) } }

    func drops(_ reason: DropReason) -> UInt64 { core.counters.count(reason) }
}

/// Deterministic randomness for property tests; print the seed on failure.
struct Randomness: RandomNumberGenerator {
    var state: UInt64
    init(seed: UInt64) { state = seed }
    mutating func next() -> UInt64 {
        // SplitMix64.
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ z >> 30) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ z >> 27) &* 0x94d0_49bb_1331_11eb
        return z ^ z >> 31
    }
    mutating func bytes(_ count: Int) -> [UInt8] { (0..<count).map { _ in UInt8(truncatingIfNeeded: next()) } }
}
