import Testing
import Wire

// Whatever bytes come, no view traps. In a debug build every load of a view is checked (`field16(at:)` and its like), so
// running through all getters at every truncation proves the length checks in `init`.

/// Reads all there is in any bytes, through every view.
private func readAll(_ bytes: RawSpan) -> Int {
    var sum = 0
    if let view = try? EthernetView(bytes) {
        sum &+= view.destination.rawValue.hashValue &+ view.source.rawValue.hashValue &+ Int(view.etherType)
        sum &+= view.payload.byteCount
    }
    if let view = try? ARPView(bytes) {
        sum &+= Int(view.operation) &+ view.senderMAC.hashValue &+ view.targetMAC.hashValue
        sum &+= view.senderAddress.hashValue &+ view.targetAddress.hashValue
    }
    if let view = try? IPv4View(bytes) { sum &+= read(view) }
    if let view = try? IPv4View(quoted: bytes) { sum &+= read(view) }
    if let view = try? IPv6View(bytes) { sum &+= read(view) }
    if let view = try? IPv6View(quoted: bytes) { sum &+= read(view) }
    for first in [0, 43, 44, 60] as [UInt8] {
        if let chain = try? IPv6Chain(nextHeader: first, payload: bytes) {
            sum &+= chain.payload.byteCount &+ chain.nextHeaderOffset &+ (chain.fragment?.offset ?? 0)
        }
    }
    if let quoted = try? QuotedPacket(bytes) { sum &+= quoted.hashValue }
    sum &+= readTransport(bytes)
    sum &+= readServices(bytes)
    return sum
}

private func read(_ view: borrowing IPv4View) -> Int {
    var sum = view.headerLength &+ view.totalLength &+ view.fragmentOffset &+ Int(view.identification)
    sum &+= Int(view.trafficClass) &+ Int(view.timeToLive) &+ Int(view.protocol) &+ Int(view.checksum)
    sum &+= view.options.byteCount &+ view.payload.byteCount &+ (view.verifyChecksum() ? 1 : 0)
    return sum &+ view.source.hashValue &+ view.destination.hashValue &+ (view.isFragment ? 1 : 0)
}

private func read(_ view: borrowing IPv6View) -> Int {
    var sum = view.payloadLength &+ Int(view.flowLabel) &+ Int(view.trafficClass) &+ Int(view.nextHeader)
    sum &+= Int(view.hopLimit) &+ view.source.hashValue &+ view.destination.hashValue &+ view.payload.byteCount
    if let chain = try? IPv6Chain(view) { sum &+= chain.payload.byteCount &+ Int(chain.upperProtocol) }
    return sum
}

private func readTransport(_ bytes: RawSpan) -> Int {
    var sum = 0
    if let view = try? TCPView(bytes) {
        sum &+= Int(view.sourcePort) &+ Int(view.destinationPort) &+ Int(view.window) &+ Int(view.urgentPointer)
        sum &+= view.sequence.hashValue &+ view.acknowledgment.hashValue &+ view.payload.byteCount
        sum &+= view.verifyChecksum(source: clientV4, destination: serverV4) ? 1 : 0
        sum &+= TCPOptions(parsing: view.options).length
    }
    sum &+= TCPOptions(parsing: bytes).sackCount
    if let view = try? UDPView(bytes) {
        sum &+= Int(view.sourcePort) &+ Int(view.destinationPort) &+ view.length &+ view.payload.byteCount
        sum &+= view.verifyChecksum(source: clientV6, destination: serverV6) ? 1 : 0
    }
    if let view = try? ICMPv4View(bytes) {
        sum &+= Int(view.type) &+ Int(view.code) &+ Int(view.identifier) &+ Int(view.sequence) &+ Int(view.nextHopMTU)
        sum &+= view.payload.byteCount &+ (view.verifyChecksum() ? 1 : 0)
    }
    if let view = try? ICMPv6View(bytes) {
        sum &+= Int(view.type) &+ Int(view.code) &+ Int(view.identifier) &+ Int(view.sequence) &+ Int(view.mtu)
        sum &+= view.payload.byteCount &+ (view.verifyChecksum(source: clientV6, destination: serverV6) ? 1 : 0)
    }
    if let view = try? NDPView(bytes) {
        sum &+= Int(view.type) &+ view.target.hashValue &+ Int(view.routerLifetime) &+ Int(view.currentHopLimit)
        let options = view.options
        sum &+= options.sourceLinkLayerAddress.hashValue &+ options.targetLinkLayerAddress.hashValue
        sum &+= options.mtu.hashValue &+ options.recursiveDNSServers.count
        sum &+= Int(options.prefixInformation?.prefixLength ?? 0) &+ (options.dnsSearchList?.byteCount ?? 0)
    }
    return sum
}

private func readServices(_ bytes: RawSpan) -> Int {
    var sum = 0
    if let view = try? DHCPv4View(bytes) {
        for code in 0...255 as ClosedRange<UInt8> { sum &+= view.option(code)?.byteCount ?? 0 }
        sum &+= view.clientMAC.hashValue &+ view.requestedAddress.hashValue &+ view.serverIdentifier.hashValue
        sum &+= view.maximumReplyLength &+ Int(view.messageType ?? 0) &+ (view.requests(3) ? 1 : 0)
    }
    if let view = try? DHCPv6View(bytes) {
        for code in 0...30 as ClosedRange<UInt16> { sum &+= view.option(code)?.byteCount ?? 0 }
        sum &+= view.identityAssociations().count &+ view.dnsServers.count &+ Int(view.preference)
        sum &+= Int(view.statusCode ?? 0) &+ (view.requests(23) ? 1 : 0)
    }
    if let view = try? DNSView(bytes) {
        sum &+= (try? view.question())?.name.bytes.count ?? 0
        sum &+= view.maximumResponseLength() &+ Int((try? view.negativeTTL()) ?? 0)
        if var records = try? view.records() {
            while let record = try? records.next() {
                sum &+= (view.address(of: record)?.hashValue ?? 0) &+ record.end
                sum &+= (try? DNSName(reading: bytes, at: record.nameOffset))?.labels.count ?? 0
                sum &+= (try? view.soaMinimum(of: record)).hashValue
            }
        }
        var copy = bytes.array
        let count = copy.count
        sum &+= editing(&copy) { DNSHeader.truncate(&$0, count: count) }
    }
    return sum
}

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
                _ = readAll(Array(layer[..<count]).rawSpan)
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
                    _ = readAll(Array(bytes[..<Int.random(in: 0...bytes.count, using: &random)]).rawSpan)
                }
            }
        }
    }

    @Test func noiseIsRead() {
        var random = SplitMix64(seed: newSeed("noise"))
        for _ in 0..<5000 {
            var bytes = random.bytes(Int.random(in: 0...300, using: &random))
            if random.next() & 1 == 0 { for index in bytes.indices { bytes[index] &= 0x1f } }
            _ = readAll(bytes.rawSpan)
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
                check(try ICMPv4View(packet.payload).verifyChecksum(), true, "\(name)")
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
                    try ICMPv6View(chain.payload).verifyChecksum(source: source, destination: destination), true,
                    "\(name)")
            }
        }
    }
}
