import Simnet
import Testing
import Wire

// Whatever bytes come, no view traps. In a debug build every load of a view is checked (`field16(at:)` and its like), so
// running through all getters at every truncation proves the length checks in `init`.

/// The frame's parts: itself, its packet, its message, its payload. What is a header at one depth is garbage to others.
private func layers(_ frame: [UInt8]) -> [[UInt8]] {
    var layers = [frame, Array(frame.dropFirst(14))]
    let header = frame.count > 14 && frame[14] >> 4 == 6 ? 54 : 34
    layers.append(Array(frame.dropFirst(header)))
    layers.append(Array(frame.dropFirst(header + 8)))
    return layers
}

@Suite struct RobustnessTests {
    @Test(arguments: Captured.all.indices)
    func everyTruncationIsRead(_ index: Int) {
        for layer in layers(Captured.all[index].frame) {
            for count in 0...layer.count {
                // A buffer of its own length, so that a sanitizer would see a read beyond it.
                _ = FuzzViews.readAll(Array(layer[..<count]).rawSpan)
            }
        }
    }

    @Test func mutatedFramesAreRead() {
        var random = SplitMix64(seed: newSeed("mutated frames"))
        for (_, frame) in Captured.all {
            for layer in layers(frame) where !layer.isEmpty {
                for _ in 0..<60 {
                    var bytes = layer
                    for _ in 0..<Int.random(in: 1...8, using: &random) {
                        let value: UInt8 = [
                            0, 1, 0x3f, 0x7f, 0x80, 0xc0, 0xff, UInt8(truncatingIfNeeded: random.next()),
                        ]
                        .randomElement(using: &random)!
                        bytes[Int.random(in: 0..<bytes.count, using: &random)] = value
                    }
                    _ = FuzzViews.readAll(Array(bytes[..<Int.random(in: 0...bytes.count, using: &random)]).rawSpan)
                }
            }
        }
    }

    @Test func noiseIsRead() {
        var random = SplitMix64(seed: newSeed("noise"))
        for _ in 0..<5000 {
            var bytes = random.bytes(Int.random(in: 0...300, using: &random))
            if random.next() & 1 == 0 { for index in bytes.indices { bytes[index] &= 0x1f } }
            _ = FuzzViews.readAll(bytes.rawSpan)
        }
    }

    /// What the kernel and the tools sent is right in every checksum.
    @Test(arguments: Captured.all.indices)
    func everyCapturedChecksumIsRight(_ index: Int) throws {
        let (name, frame) = Captured.all[index]
        let link = try EthernetView(frame.rawSpan)
        if link.etherType == EtherType.ipv4 {
            let packet = try IPv4View(link.payload)
            check(packet.verifyChecksum(), true, "\(name)")
            if packet.isFragment { return }
            let (source, destination) = (packet.source, packet.destination)
            switch packet.protocol {
            case IPProtocol.tcp:
                check(
                    try TCPView(packet.payload).verifyChecksum(source: source, destination: destination), true,
                    "\(name)")
            case IPProtocol.udp:
                check(
                    try UDPView(packet.payload).verifyChecksum(source: source, destination: destination), true,
                    "\(name)")
            default:
                check(
                    try ICMPView(packet.payload).verifyChecksum(source: source, destination: destination), true,
                    "\(name)")
            }
        } else if link.etherType == EtherType.ipv6 {
            let packet = try IPv6View(link.payload)
            let chain = try IPv6Chain(packet)
            if chain.fragment != nil { return }
            let (source, destination) = (packet.source, packet.destination)
            switch chain.upperProtocol {
            case IPProtocol.tcp:
                check(
                    try TCPView(chain.payload).verifyChecksum(source: source, destination: destination), true, "\(name)"
                )
            case IPProtocol.udp:
                check(
                    try UDPView(chain.payload).verifyChecksum(source: source, destination: destination), true, "\(name)"
                )
            default:
                check(
                    try ICMPView(chain.payload).verifyChecksum(source: source, destination: destination), true,
                    "\(name)")
            }
        }
    }
}
