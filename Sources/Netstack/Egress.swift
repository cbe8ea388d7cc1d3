package import Wire

// The way out to the guest for everything but TCP's data path: one packet in, one frame or several fragments out.
//
//        0           64-20-14             64-20      64                128
//        |  unused  | Ethernet (14)  | IPv4 (20) | transport header |
//        |  | Ethernet (14) | IPv6 (40) [fragment (8)] | transport header |        scratch
//
// The caller writes its transport header (at most 64 bytes) at the start of `transportHeader`, which never moves; the
// lower headers are put in front of it, as long as they happen to be. The payload is not copied: it goes to the link
// as a span of its own.
//
// Checksums. A TCP or UDP packet that leaves whole carries the folded sum of its pseudo-header and asks the link for
// the rest (`OffloadHeader.needsChecksum`). ICMP is summed here, and so is a UDP datagram that has to be fragmented: no
// link can sum over fragments.
//
// Fragmentation. A packet larger than the MTU is cut as RFC 791 section 3.2 and RFC 8200 section 4.5 say, in units of
// eight bytes, first fragment first. The pieces are the same payload span, sliced. A packet that says "don't fragment"
// and does not fit is not sent. For IPv6 the MTU is the path's (`PathMTUs`), which only the source may cut to.
//
// Limits: no IP options, no extension header but the fragment header, no super-frames but UDP's. When the link is busy, the rest
// of the packet is lost; the guest's reassembly times out as it would on any lossy link.

/// Composes frames from the gateway to the guest.
package struct Egress: ~Copyable {
    /// Where the transport header starts in the scratch area.
    private static let transportAt = 64
    /// The longest transport header.
    package static let maximumHeader = 64

    private let gatewayMAC: MACAddress
    /// Largest IP packet in bytes.
    package let mtu: Int
    var pathMTUs = PathMTUs()
    private var scratch = DatagramStore(byteCount: Egress.transportAt + Egress.maximumHeader)
    /// The next IPv4 or IPv6 identification (RFC 6864; RFC 8200 section 4.5: unlike any other used recently).
    private var identification: UInt32

    package init(configuration: Configuration, seed: UInt64) {
        gatewayMAC = configuration.gatewayMAC
        mtu = configuration.mtu
        identification = UInt32(truncatingIfNeeded: seed &* 0x9e37_79b9_7f4a_7c15 >> 32)
    }

    /// The 64 bytes for the caller's transport header. Their content does not survive a `send`.
    package var transportHeader: MutableRawSpan {
        @_lifetime(&self)
        mutating get { scratch.mutableBytes(Self.transportAt..<Self.transportAt + Self.maximumHeader) }
    }

    /// Sends one packet whose transport header is the first `headerLength` bytes of `transportHeader`, its checksum
    /// field zero or anything: it is filled in here for TCP, UDP, ICMP and ICMPv6.
    ///
    /// - Returns: false when the packet is too large for its family or for DF, or the link could not take all of it.
    package mutating func send<O: Outside & ~Copyable>(
        _ proto: UInt8, from source: IPAddress, to destination: IPAddress, mac: MACAddress, hopLimit: UInt8 = 64,
        trafficClass: UInt8 = 0, dontFragment: Bool = false, segmentSize: Int? = nil, headerLength: Int,
        payload: RawSpan, counters: inout Counters, outside: inout O
    ) -> Bool {
        let isV4 = destination.isV4
        let ipLength = isV4 ? 20 : 40
        let length = headerLength + payload.byteCount
        // RFC 791 section 3.1: total length is 16 bits with the header; RFC 8200 section 3: without it.
        guard length <= (isV4 ? 65_535 - 20 : 65_535) else { return false }
        let fits = self.fits(headerLength + (segmentSize ?? payload.byteCount), to: destination)
        guard fits || !(isV4 && dontFragment) else { return false }

        var offload = storeChecksum(
            proto, from: source, to: destination, headerLength: headerLength, payload: payload, whole: fits)
        identification &+= 1
        let lower = Lower(
            proto: proto, source: source, destination: destination, mac: mac, hopLimit: hopLimit,
            trafficClass: trafficClass, dontFragment: dontFragment, identification: identification)
        guard fits else {
            return sendFragments(
                lower, mtu: mtu(to: destination), headerLength: headerLength, payload: payload, counters: &counters,
                outside: &outside)
        }
        if let segmentSize {
            offload.segmentation = .udp
            offload.segmentSize = UInt16(clamping: segmentSize)
            offload.headerLength = UInt16(EthernetHeader.length + ipLength + headerLength)
        }
        let start = storeLower(lower, length: length, fragment: nil)
        return transmit(
            offload, from: start, to: Self.transportAt + headerLength, payload, counters: &counters, outside: &outside)
    }

    /// Whether a packet with so much behind its IP header leaves whole.
    func fits(_ length: Int, to destination: IPAddress) -> Bool {
        (destination.isV4 ? 20 : 40) + length <= mtu(to: destination)
    }

    private func mtu(to destination: IPAddress) -> Int {
        destination.isV4 ? mtu : pathMTUs.mtu(to: destination, standard: mtu)
    }

    /// Sends a frame that is not IP: the first `length` bytes of `transportHeader` behind an Ethernet header.
    package mutating func sendFrame<O: Outside & ~Copyable>(
        etherType: UInt16, mac: MACAddress, length: Int, counters: inout Counters, outside: inout O
    ) -> Bool {
        let gatewayMAC = gatewayMAC
        let start = Self.transportAt - EthernetHeader.length
        var bytes = scratch.mutableBytes
        EthernetHeader(destination: mac, source: gatewayMAC, etherType: etherType).write(to: &bytes, at: start)
        return transmit(
            OffloadHeader(), from: start, to: Self.transportAt + length, RawSpan(), counters: &counters,
            outside: &outside)
    }

    /// Fills in the checksum field, in full or for the link to finish.
    private mutating func storeChecksum(
        _ proto: UInt8, from source: IPAddress, to destination: IPAddress, headerLength: Int, payload: RawSpan,
        whole: Bool
    ) -> OffloadHeader {
        var offload = OffloadHeader()
        let offset: Int
        switch proto {
        case IPProtocol.udp: offset = 6
        case IPProtocol.tcp: offset = 16
        case IPProtocol.icmp, IPProtocol.icmpv6: offset = 2
        default: return offload
        }
        let length = headerLength + payload.byteCount
        let at = Self.transportAt + offset
        // RFC 792: ICMP for IPv4 has no pseudo-header. RFC 4443 section 2.3: ICMPv6 has.
        var sum: UInt64 =
            proto == IPProtocol.icmp
            ? 0 : Checksum.pseudoHeader(source: source, destination: destination, protocol: proto, length: length)
        var bytes = scratch.mutableBytes
        if whole && (proto == IPProtocol.udp || proto == IPProtocol.tcp) {
            bytes.store(u16: Checksum.fold(sum), at: at)
            offload.needsChecksum = true
            offload.checksumStart = UInt16(EthernetHeader.length + (destination.isV4 ? 20 : 40))
            offload.checksumOffset = UInt16(offset)
            return offload
        }
        bytes.store(u16: 0, at: at)
        sum = Checksum.sum(scratch.bytes.extracting(Self.transportAt..<Self.transportAt + headerLength), sum)
        // Every transport header is a multiple of four bytes long, so the payload starts a new 16-bit word.
        var checksum = Checksum.finish(Checksum.sum(payload, sum))
        // RFC 768: a sum of zero is sent as all ones, zero means "none".
        if proto == IPProtocol.udp && checksum == 0 { checksum = 0xffff }
        bytes = scratch.mutableBytes
        bytes.store(u16: checksum, at: at)
        return offload
    }

    /// Hands `scratch[from..<to]` and `payload` to the link and counts.
    private mutating func transmit<O: Outside & ~Copyable>(
        _ offload: OffloadHeader, from: Int, to: Int, _ payload: RawSpan, counters: inout Counters, outside: inout O
    ) -> Bool {
        guard outside.transmit(offload, header: scratch.bytes.extracting(from..<to), payload: payload) else {
            counters.linkBusy &+= 1
            return false
        }
        counters.framesSent &+= 1
        counters.bytesSent &+= UInt64(to - from + payload.byteCount)
        return true
    }

    /// RFC 791 section 3.2, "An example fragmentation procedure"; RFC 8200 section 4.5.
    private mutating func sendFragments<O: Outside & ~Copyable>(
        _ lower: Lower, mtu: Int, headerLength: Int, payload: RawSpan, counters: inout Counters, outside: inout O
    ) -> Bool {
        let unit = (mtu - (lower.destination.isV4 ? 20 : 48)) & ~7
        guard unit >= headerLength else { return false }
        let total = headerLength + payload.byteCount
        var offset = 0
        while offset < total {
            let count = min(unit, total - offset)
            let fragment = IPv6Fragment(
                offset: offset, more: offset + count < total, identification: lower.identification)
            let start = storeLower(lower, length: count, fragment: fragment)
            guard
                sendPiece(
                    from: start, offset: offset, count: count, headerLength: headerLength, payload: payload,
                    counters: &counters, outside: &outside)
            else { return false }
            offset += count
        }
        return true
    }

    /// What the headers below the transport's say, whole or in fragments.
    private struct Lower {
        var proto: UInt8
        var source: IPAddress
        var destination: IPAddress
        var mac: MACAddress
        var hopLimit: UInt8
        var trafficClass: UInt8
        var dontFragment: Bool
        var identification: UInt32
    }

    /// Writes them in front of the transport header: for a packet of `length` bytes, or a fragment of so many.
    /// - Returns: where they start.
    private mutating func storeLower(_ lower: Lower, length: Int, fragment: IPv6Fragment?) -> Int {
        let isV4 = lower.destination.isV4
        let ip = Self.transportAt - (isV4 ? 20 : fragment == nil ? 40 : 40 + IPv6Fragment.length)
        let gatewayMAC = gatewayMAC
        var bytes = scratch.mutableBytes
        EthernetHeader(
            destination: lower.mac, source: gatewayMAC, etherType: isV4 ? EtherType.ipv4 : EtherType.ipv6
        ).write(to: &bytes, at: ip - EthernetHeader.length)
        if isV4 {
            IPv4Header(
                source: lower.source, destination: lower.destination, protocol: lower.proto, payloadLength: length,
                timeToLive: lower.hopLimit, trafficClass: lower.trafficClass,
                identification: UInt16(truncatingIfNeeded: lower.identification),
                dontFragment: lower.dontFragment && fragment == nil, moreFragments: fragment?.more ?? false,
                fragmentOffset: fragment?.offset ?? 0
            ).write(to: &bytes, at: ip)
        } else {
            IPv6Header(
                source: lower.source, destination: lower.destination,
                nextHeader: fragment == nil ? lower.proto : IPProtocol.fragment,
                payloadLength: length + (fragment == nil ? 0 : IPv6Fragment.length), hopLimit: lower.hopLimit,
                trafficClass: lower.trafficClass, flowLabel: 0
            ).write(to: &bytes, at: ip)
            fragment?.write(nextHeader: lower.proto, to: &bytes, at: Self.transportAt - IPv6Fragment.length)
        }
        return ip - EthernetHeader.length
    }

    /// One fragment, its lower headers written: the first also carries the transport header.
    private mutating func sendPiece<O: Outside & ~Copyable>(
        from start: Int, offset: Int, count: Int, headerLength: Int, payload: RawSpan, counters: inout Counters,
        outside: inout O
    ) -> Bool {
        let end = offset == 0 ? Self.transportAt + headerLength : Self.transportAt
        let lower = offset == 0 ? 0 : offset - headerLength
        return transmit(
            OffloadHeader(), from: start, to: end, payload.extracting(lower..<offset + count - headerLength),
            counters: &counters, outside: &outside)
    }
}
