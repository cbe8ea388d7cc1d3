internal import Wire

// Every view of every header over the same bytes, all of it read. What is a header at one depth is garbage to the others, and
// no view may trap on any of it.

package enum FuzzViews {
    private static let v4 = IPAddress(v4: 0x0a00_0202)
    private static let v6 = IPAddress(hi: 0xfd00 << 48, lo: 2)

    /// Reads all there is in any bytes, through every view.
    package static func readAll(_ bytes: RawSpan) -> Int {
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

    private static func read(_ view: borrowing IPv4View) -> Int {
        var sum = view.headerLength &+ view.totalLength &+ view.fragmentOffset &+ Int(view.identification)
        sum &+= Int(view.trafficClass) &+ Int(view.timeToLive) &+ Int(view.protocol) &+ Int(view.checksum)
        sum &+= view.options.byteCount &+ view.payload.byteCount &+ (view.verifyChecksum() ? 1 : 0)
        return sum &+ view.source.hashValue &+ view.destination.hashValue &+ (view.isFragment ? 1 : 0)
    }

    private static func read(_ view: borrowing IPv6View) -> Int {
        var sum = view.payloadLength &+ Int(view.flowLabel) &+ Int(view.trafficClass) &+ Int(view.nextHeader)
        sum &+= Int(view.hopLimit) &+ view.source.hashValue &+ view.destination.hashValue &+ view.payload.byteCount
        if let chain = try? IPv6Chain(view) { sum &+= chain.payload.byteCount &+ Int(chain.upperProtocol) }
        return sum
    }

    private static func readTransport(_ bytes: RawSpan) -> Int {
        var sum = 0
        if let view = try? TCPView(bytes) {
            sum &+= Int(view.sourcePort) &+ Int(view.destinationPort) &+ Int(view.window) &+ Int(view.urgentPointer)
            sum &+= view.sequence.hashValue &+ view.acknowledgment.hashValue &+ view.payload.byteCount
            sum &+= view.verifyChecksum(source: v4, destination: v4) ? 1 : 0
            sum &+= TCPOptions(parsing: view.options).length
        }
        sum &+= TCPOptions(parsing: bytes).sackCount
        if let view = try? UDPView(bytes) {
            sum &+= Int(view.sourcePort) &+ Int(view.destinationPort) &+ view.length &+ view.payload.byteCount
            sum &+= view.verifyChecksum(source: v6, destination: v6) ? 1 : 0
        }
        if let view = try? ICMPView(bytes) {
            sum &+=
                Int(view.type) &+ Int(view.code) &+ Int(view.identifier) &+ Int(view.sequence) &+ Int(view.nextHopMTU)
            sum &+= view.payload.byteCount &+ Int(view.restOfHeader)
            sum &+= view.verifyChecksum(source: v4, destination: v4) ? 1 : 0
            sum &+= view.verifyChecksum(source: v6, destination: v6) ? 1 : 0
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

    private static func readServices(_ bytes: RawSpan) -> Int {
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
        return sum
    }
}
