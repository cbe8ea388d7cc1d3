import Netstack
import Wire

// What a guest would send, built from the writers of `Wire`, and the network that the tests of this directory use.

/// Addresses of the test network.
enum Lab {
    static let gatewayMAC = MACAddress(rawValue: 0x5254_0000_0001)
    static let guestMAC = MACAddress(rawValue: 0x5254_0000_0002)
    static let gateway4 = IPAddress(v4: 0x0a00_0201)
    static let guest4 = IPAddress(v4: 0x0a00_0202)
    static let alias4 = IPAddress(v4: 0x0a00_02fe)
    static let remote4 = IPAddress(v4: 0xc633_6407)
    static let gateway6 = address("fd00:2::1")
    static let guest6 = address("fd00:2::2")
    static let alias6 = address("fd00:2::fe")
    static let guestLinkLocal = address("fe80::5054:ff:fe00:2")
    static let gatewayLinkLocal = address("fe80::1")
    static let remote6 = address("2001:db8::7")
    static let start = Instant(nanoseconds: 1_000_000_000)

    static func address(_ text: String) -> IPAddress { IPAddress(text) ?? .anyV6 }

    static func configuration(mtu: Int = 1500, hostLoopback: Bool = false) -> Configuration {
        Configuration(
            v4: Configuration.Family(
                prefix: Prefix(address: IPAddress(v4: 0x0a00_0200), length: 24)!, gateway: gateway4, guest: guest4,
                hostAlias: alias4),
            v6: Configuration.Family(
                prefix: Prefix(address: address("fd00:2::"), length: 64)!, gateway: gateway6, guest: guest6,
                hostAlias: alias6),
            gatewayLinkLocal: gatewayLinkLocal, gatewayMAC: gatewayMAC, mtu: mtu, hostLoopback: hostLoopback,
            searchDomains: ["lab.example", "example.org"])
    }
}

/// Big-endian bytes of integers.
func be16(_ value: UInt16) -> [UInt8] { [UInt8(value >> 8), UInt8(value & 0xff)] }
func be32(_ value: UInt32) -> [UInt8] { be16(UInt16(value >> 16)) + be16(UInt16(value & 0xffff)) }

extension [UInt8] {
    /// Runs `body` on the bytes as a span.
    func withSpan<R>(_ body: (RawSpan) -> R) -> R { unsafe body(self.span.bytes) }

    /// An array that a writer of `Wire` fills.
    static func written(_ count: Int, _ body: (inout MutableRawSpan) -> Void) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        var span = bytes.mutableSpan
        var raw = unsafe span.mutableBytes
        body(&raw)
        return bytes
    }
}

/// IP packets as a guest sends them.
enum GuestPacket {
    static func ipv4(
        from source: IPAddress = Lab.guest4, to destination: IPAddress, _ proto: UInt8, _ payload: [UInt8],
        timeToLive: UInt8 = 64, trafficClass: UInt8 = 0, identification: UInt16 = 7, dontFragment: Bool = true,
        moreFragments: Bool = false, offset: Int = 0
    ) -> [UInt8] {
        [UInt8].written(20) {
            IPv4Header(
                source: source, destination: destination, protocol: proto, payloadLength: payload.count,
                timeToLive: timeToLive, trafficClass: trafficClass, identification: identification,
                dontFragment: dontFragment, moreFragments: moreFragments, fragmentOffset: offset
            ).write(to: &$0, at: 0)
        } + payload
    }

    static func ipv6(
        from source: IPAddress = Lab.guest6, to destination: IPAddress, _ next: UInt8, _ payload: [UInt8],
        hopLimit: UInt8 = 64, trafficClass: UInt8 = 0
    ) -> [UInt8] {
        [UInt8].written(40) {
            IPv6Header(
                source: source, destination: destination, nextHeader: next, payloadLength: payload.count,
                hopLimit: hopLimit, trafficClass: trafficClass
            ).write(to: &$0, at: 0)
        } + payload
    }

    static func ip(
        from source: IPAddress, to destination: IPAddress, _ proto: UInt8, _ payload: [UInt8], hopLimit: UInt8 = 64
    ) -> [UInt8] {
        destination.isV4
            ? ipv4(from: source, to: destination, proto, payload, timeToLive: hopLimit)
            : ipv6(from: source, to: destination, proto, payload, hopLimit: hopLimit)
    }

    /// A UDP datagram with its checksum.
    static func udp(from source: Endpoint, to destination: Endpoint, _ payload: [UInt8]) -> [UInt8] {
        var bytes =
            be16(source.port) + be16(destination.port) + be16(UInt16(8 + payload.count)) + [0, 0] + payload
        let pseudo = Checksum.pseudoHeader(
            source: source.address, destination: destination.address, protocol: IPProtocol.udp, length: bytes.count)
        let sum = bytes.withSpan { Checksum.finish(Checksum.sum($0, pseudo)) }
        bytes.replaceSubrange(6..<8, with: be16(sum == 0 ? 0xffff : sum))
        return bytes
    }

    /// An ICMP or ICMPv6 message with its checksum.
    static func icmp(
        from source: IPAddress, to destination: IPAddress, type: UInt8, code: UInt8 = 0, _ rest: [UInt8]
    ) -> [UInt8] {
        var bytes = [type, code, 0, 0] + rest
        let pseudo =
            destination.isV4
            ? 0
            : Checksum.pseudoHeader(
                source: source, destination: destination, protocol: IPProtocol.icmpv6, length: bytes.count)
        let sum = bytes.withSpan { Checksum.finish(Checksum.sum($0, pseudo)) }
        bytes.replaceSubrange(2..<4, with: be16(sum))
        return bytes
    }

    static func echo(
        from source: IPAddress, to destination: IPAddress, identifier: UInt16, sequence: UInt16, _ data: [UInt8]
    ) -> [UInt8] {
        icmp(
            from: source, to: destination, type: destination.isV4 ? 8 : 128,
            be16(identifier) + be16(sequence) + data)
    }

    /// The bytes behind an Ethernet header from the guest to the gateway.
    static func ethernet(_ type: UInt16, _ payload: [UInt8], to mac: MACAddress = Lab.gatewayMAC) -> [UInt8] {
        [UInt8].written(14) {
            EthernetHeader(destination: mac, source: Lab.guestMAC, etherType: type).write(to: &$0, at: 0)
        } + payload
    }
}
