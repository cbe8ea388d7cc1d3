import Netstack
import Testing
import Wire

// A frame that the core sent, read back and checked as a guest's kernel would.

/// One frame to the guest, taken apart. Making one checks lengths and checksums with `#expect`.
struct SentFrame {
    var mac: MACAddress
    var source: IPAddress = .anyV6
    var destination: IPAddress = .anyV6
    var proto: UInt8 = 0
    var hopLimit: UInt8 = 0
    var trafficClass: UInt8 = 0
    var dontFragment = false
    var moreFragments = false
    var fragmentOffset = 0
    var identification: UInt32 = 0
    /// The IP packet.
    var packet: [UInt8] = []
    /// From the transport header on; a fragment's piece for a fragment.
    var payload: [UInt8] = []

    var isFragment: Bool { moreFragments || fragmentOffset > 0 }

    init(_ frame: RecordingOutside.Frame, mtu: Int = 1500, _ location: SourceLocation = #_sourceLocation) {
        var whole = frame.bytes
        Self.completeChecksum(&whole, frame.offload)
        mac = MACAddress(rawValue: whole[0..<6].reduce(0) { $0 << 8 | UInt64($1) })
        let source = MACAddress(rawValue: whole[6..<12].reduce(0) { $0 << 8 | UInt64($1) })
        #expect(source == Lab.gatewayMAC, sourceLocation: location)
        packet = Array(whole[14...])
        #expect(packet.count <= mtu || frame.offload.segmentation != .none, sourceLocation: location)
        let type = UInt16(whole[12]) << 8 | UInt16(whole[13])
        var read = self
        packet.withSpan { bytes in
            if type == EtherType.ipv4, let ip = try? IPv4View(bytes) {
                let isGood = ip.verifyChecksum()
                #expect(isGood, sourceLocation: location)
                let length = ip.totalLength
                #expect(length == packet.count, sourceLocation: location)
                read.source = ip.source
                read.destination = ip.destination
                read.proto = ip.protocol
                read.hopLimit = ip.timeToLive
                read.trafficClass = ip.trafficClass
                read.dontFragment = ip.dontFragment
                read.moreFragments = ip.moreFragments
                read.fragmentOffset = ip.fragmentOffset
                read.identification = UInt32(ip.identification)
                read.payload = Array(copying: ip.payload)
            } else if type == EtherType.ipv6, let ip = try? IPv6View(bytes), let chain = try? IPv6Chain(ip) {
                let length = ip.payloadLength + 40
                #expect(length == packet.count, sourceLocation: location)
                read.source = ip.source
                read.destination = ip.destination
                read.proto = chain.upperProtocol
                read.hopLimit = ip.hopLimit
                read.trafficClass = ip.trafficClass
                read.moreFragments = chain.fragment?.more ?? false
                read.fragmentOffset = chain.fragment?.offset ?? 0
                read.identification = chain.fragment?.identification ?? 0
                read.payload = Array(copying: chain.payload)
            } else {
                #expect(type == EtherType.arp, "neither IP nor ARP", sourceLocation: location)
                read.payload = Array(copying: bytes)
            }
        }
        self = read
        if type != EtherType.arp, !isFragment { checkTransport(location) }
    }

    /// What a link does for `needsChecksum`.
    static func completeChecksum(_ frame: inout [UInt8], _ offload: OffloadHeader) {
        guard offload.needsChecksum else { return }
        let start = Int(offload.checksumStart)
        let at = start + Int(offload.checksumOffset)
        let sum = Array(frame[start...]).withSpan { Checksum.finish(Checksum.sum($0)) }
        frame.replaceSubrange(at..<at + 2, with: be16(sum == 0 ? 0xffff : sum))
    }

    /// The transport checksum over a whole datagram.
    func checkTransport(_ location: SourceLocation = #_sourceLocation) {
        var sum: UInt64 = 0
        if proto != IPProtocol.icmp {
            sum = Checksum.pseudoHeader(
                source: source, destination: destination, protocol: proto, length: payload.count)
        }
        let bytes = payload
        #expect(bytes.withSpan { Checksum.fold(Checksum.sum($0, sum)) } == 0xffff, sourceLocation: location)
    }

    func u8(_ offset: Int) -> UInt8 { offset < payload.count ? payload[offset] : 0 }
    func u16(_ offset: Int) -> UInt16 { UInt16(u8(offset)) << 8 | UInt16(u8(offset + 1)) }
    func u32(_ offset: Int) -> UInt32 { UInt32(u16(offset)) << 16 | UInt32(u16(offset + 2)) }
}

extension SentFrame {
    /// The datagram of a list of fragments, in any order; nil if they do not make one.
    static func joined(_ fragments: [SentFrame]) -> SentFrame? {
        let sorted = fragments.sorted { $0.fragmentOffset < $1.fragmentOffset }
        guard var whole = sorted.first, let last = sorted.last, !last.moreFragments else { return nil }
        whole.payload = []
        for piece in sorted {
            guard piece.fragmentOffset == whole.payload.count, piece.identification == whole.identification,
                piece.proto == whole.proto
            else { return nil }
            whole.payload += piece.payload
        }
        whole.moreFragments = false
        whole.checkTransport()
        return whole
    }
}
