internal import Netstack
internal import Wire

// Hostile machines beside others whose addresses are known: leased, reserved, and learnt. The input is a list of
//
//     control (1)   length (2)   frame   and what `control` asks for
//
//     bit 0        which of the two hostile ports it comes from
//     bit 1, 2     its source: one of the port's machines, or as it is
//     bit 3, 4     what it is: ARP, IPv4, IPv6, or as it is
//     bit 5        one of the others' addresses is written somewhere into it (2 bytes: which, where)
//     bit 6        IPv6's payload length is right
//     bit 7        an event: a lease of theirs, its end, a port that goes, time (1 byte)
//
// What must hold, by a reading of the frame of its own, simpler than that of the protection: what passes claims no address of another
// machine, and speaks neither as a router nor as a DHCP server; and whatever the hostile do, the others keep what they have.

package struct FuzzBindings: ~Copyable {
    private struct Other {
        let address: IPAddress
        let mac: MACAddress
        let port: Int
        /// Only while it is used; another's probe for it then passes.
        var isLearnt = false
    }

    private static let hostile = [4, 5]
    private var input: FuzzInput
    private var bindings: AddressBindings
    private var stations: StationTable
    private var others: [Other] = []
    private var now = Instant(nanoseconds: 1)
    private var found: [String] = []

    private static func mac(_ number: Int) -> MACAddress { MACAddress(rawValue: 0x5254_0000_0010 + UInt64(number)) }

    private init(_ bytes: [UInt8]) {
        input = FuzzInput(bytes)
        var configuration = Simulation.configuration()
        let net6: UInt64 = 0xfd00 << 48
        let reserved = IPAddress(v4: 0x0a00_0209)
        configuration.leases.hosts = [.init(mac: Self.mac(0), v4: reserved)]
        bindings = AddressBindings(configuration, ports: 8, seed: 7)
        stations = StationTable(ports: 8, seed: 7)
        let leased = [IPAddress(v4: 0x0a00_0207), IPAddress(hi: net6, lo: 7)]
        let learnt = [IPAddress(v4: 0x0a00_0208), IPAddress(hi: net6, lo: 8), IPAddress(hi: 0xfe80 << 48, lo: 8)]
        others = [Other(address: reserved, mac: Self.mac(0), port: 0)]
        others += leased.map { Other(address: $0, mac: Self.mac(1), port: 1) }
        others += learnt.map { Other(address: $0, mac: Self.mac(2), port: 2, isLearnt: true) }
        for address in leased { bindings.lease(address, to: Self.mac(1), until: .never) }
        for other in others {
            _ = stations.learn(other.mac, port: other.port)
            _ = bindings.claim(other.address, by: other.mac, port: other.port, now: now)
        }
        for address in [configuration.v4?.gateway, configuration.v6?.gateway, configuration.gatewayLinkLocal] {
            if let address { others.append(Other(address: address, mac: configuration.gatewayMAC, port: -1)) }
        }
    }

    /// Runs an input. What was violated; empty is good.
    package static func run(_ bytes: [UInt8]) -> [String] {
        var run = FuzzBindings(bytes)
        while !run.input.isEmpty, run.found.isEmpty { run.step() }
        return run.found
    }

    private mutating func step() {
        let control = input.byte()
        let port = Self.hostile[Int(control & 1)]
        if control & 128 != 0 { event(port) }
        var frame = input.take(Int(input.word() & 0x1ff))
        mend(&frame, control, port)
        guard let ethernet = try? EthernetView(frame.raw) else { return }
        // As the switch does (VirtualSwitch.route).
        let source = ethernet.source
        guard source != Simulation.gatewayMAC, !source.isMulticast, stations.learn(source, port: port) else { return }
        let at = now
        if bindings.refusal(of: ethernet, port: port, now: at) == nil { judge(frame, source) }
        for other in others where other.port >= 0 {
            if !bindings.isHeld(other.address, byOtherThan: Self.mac(9), at: now) {
                found.append("\(other.address) is nobody's any more")
            }
            if bindings.isHeld(other.address, byOtherThan: other.mac, at: now) {
                found.append("\(other.address) is another's")
            }
            if stations.port(of: other.mac) != other.port { found.append("\(other.mac) is elsewhere") }
        }
        // What two ports may show, what there was, and leases.
        if bindings.count > 2 * AddressBindings.perPort + 300 { found.append("\(bindings.count) bindings") }
    }

    private mutating func event(_ port: Int) {
        let argument = input.byte()
        let address = IPAddress(v4: 0x0a00_0210 + UInt32(argument >> 2 & 15))
        switch argument & 3 {
        case 0: bindings.lease(address, to: Self.mac(port), until: now + Int64.seconds(Int64(argument)))
        case 1: bindings.release(address)
        case 2: bindings.forget(port: port)
        default: now = now + Int64.seconds(Int64(argument))
        }
    }

    private mutating func mend(_ frame: inout [UInt8], _ control: UInt8, _ port: Int) {
        guard frame.count >= 14 else { return }
        if control & 6 != 0 {
            let mac = Self.mac(port + 4 * Int(control >> 1 & 3)).rawValue
            for i in 0..<6 { frame[6 + i] = UInt8(truncatingIfNeeded: mac >> (40 - 8 * UInt64(i))) }
        }
        let type = [nil, EtherType.arp, EtherType.ipv4, EtherType.ipv6][Int(control >> 3 & 3)]
        if let type { (frame[12], frame[13]) = (UInt8(type >> 8), UInt8(type & 255)) }
        if type == EtherType.arp, frame.count >= 28 { frame.replaceSubrange(22..<28, with: frame[6..<12]) }
        if control & 32 != 0 {
            let address = others[Int(input.byte()) % others.count].address
            let count = address.isV4 ? 4 : 16
            let at = 14 + Int(input.byte() & 127)
            for i in 0..<count where at + i < frame.count {
                frame[at + i] = UInt8(
                    truncatingIfNeeded: (i < count - 8 ? address.hi : address.lo)
                        >> (56 - 8 * UInt64((i + 16 - count) & 7)))
            }
        }
        if control & 64 != 0, frame.count >= 54 {
            frame[14] = 0x60 | frame[14] & 15
            (frame[18], frame[19]) = (UInt8((frame.count - 54) >> 8), UInt8((frame.count - 54) & 255))
        }
    }

    /// What passed, read byte by byte.
    private mutating func judge(_ frame: [UInt8], _ mac: MACAddress) {
        let bytes = frame.raw
        let count = frame.count
        switch bytes.u16(at: 12) {
        case EtherType.arp:
            guard count >= 42 else { return }
            let sender = bytes.u32(at: 28)
            let told = IPAddress(v4: sender == 0 ? bytes.u32(at: 38) : sender)
            claims(told, mac, isProbe: sender == 0)
            if bytes.u16(at: 22) != UInt16(truncatingIfNeeded: mac.rawValue >> 32)
                || bytes.u32(at: 24) != UInt32(truncatingIfNeeded: mac.rawValue)
            {
                found.append("ARP of another MAC address passed")
            }
        case EtherType.ipv4:
            guard count >= 34 else { return }
            claims(IPAddress(v4: bytes.u32(at: 26)), mac)
            let header = 14 + Int(frame[14] & 15) * 4
            if frame[23] == 17, bytes.u16(at: 20) & 0x1fff == 0, header + 2 <= count, bytes.u16(at: header) == 67 {
                found.append("a DHCP server's message passed")
            }
        case EtherType.ipv6:
            guard count >= 54 else { return }
            let source = address6(bytes, 22)
            claims(source, mac)
            let end = 54 + Int(bytes.u16(at: 18))
            guard frame[14] >> 4 == 6, end <= count else { return }
            judge6(bytes, end, source, mac)
        default: return
        }
    }

    private mutating func judge6(_ bytes: RawSpan, _ end: Int, _ source: IPAddress, _ mac: MACAddress) {
        var next = bytes.u8(at: 20)
        var at = 54
        while [0, 43, 44, 60].contains(next), at + 8 <= end {
            // A fragment that is not the first has no header.
            if next == 44, bytes.u16(at: at + 2) & 0xfff8 != 0 { return }
            let length = next == 44 ? 8 : 8 * (Int(bytes.u8(at: at + 1)) + 1)
            next = bytes.u8(at: at)
            at += length
        }
        if next == 17, at + 2 <= end, bytes.u16(at: at) == 547 { found.append("a DHCPv6 server's message passed") }
        guard next == 58, at + 24 <= end else { return }
        switch bytes.u8(at: at) {
        case 134, 137: found.append("a router's message passed")
        case 136: claims(address6(bytes, at + 8), mac)
        case 135 where source.isUnspecified: claims(address6(bytes, at + 8), mac, isProbe: true)
        default: return
        }
    }

    private func address6(_ bytes: RawSpan, _ at: Int) -> IPAddress {
        IPAddress(hi: bytes.u64(at: at), lo: bytes.u64(at: at + 8))
    }

    private mutating func claims(_ address: IPAddress, _ mac: MACAddress, isProbe: Bool = false) {
        for other in others where other.address == address && other.mac != mac && !(isProbe && other.isLearnt) {
            found.append("\(mac) passed with \(address)")
        }
    }
}
