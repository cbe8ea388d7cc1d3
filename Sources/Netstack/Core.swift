import Wire

// The core: a guest's network in one value, without clock and without I/O.
//
//   link ── receive(frame) ──▶ Ethernet ─▶ ARP
//                                      ├─▶ IPv4 ─┬─▶ dispatch ─▶ TCP ──▶ Outside (host sockets)
//                                      └─▶ IPv6 ─┤         ├─▶ UDP ──▶ Outside (and DHCP, DNS)
//                                      ▲         │         └─▶ ICMP ─▶ Outside (and echo of our own, NDP)
//                                      └ whole ◀─┴─ fragments
//   link ◀─ Outside.transmit ◀─ flush() ◀─ connections with something to say ◀─ host events
//
// A turn of the shell's loop: read the clock once; `receive` for each frame of a batch and `host…` for each event of a
// socket; `advance(to:)` when the deadline has come; `flush` once at the end; then sleep until `nextDeadline` (or not at
// all while `hasPendingOutput`). The same `now` is given to every call of a turn.
//
// Nothing here trusts the guest: a malformed packet is a counted DropReason, and every table has a cap.

/// One network between a guest and the host. See docs/journey-of-a-frame.md.
package struct Core: ~Copyable {
    package let configuration: Configuration
    package internal(set) var counters = Counters()
    var tcp: TCPTranslator
    var udp: UDPTranslator
    var icmp: ICMPService
    var arp = ARPResponder()
    var reassembler = Reassembler()
    var neighbours = Neighbours()
    var errors = ICMPErrors()
    var egress: Egress

    /// - Parameter seed: the only randomness the core gets: keys of hashes, initial sequence numbers, identifications.
    package init(_ configuration: Configuration, seed: UInt64, at now: Instant) {
        self.configuration = configuration
        tcp = TCPTranslator(configuration, secret: seed)
        udp = UDPTranslator(configuration: configuration, seed: seed)
        icmp = ICMPService(configuration: configuration, seed: seed, at: now)
        egress = Egress(configuration: configuration, seed: seed)
    }

    // MARK: Feed: from the guest

    /// A frame from the guest. It may be a super-frame; it is only read during the call.
    package mutating func receive<O: Outside & ~Copyable>(
        _ frame: RawSpan, offload: OffloadHeader, at now: Instant, outside: inout O
    ) {
        counters.framesReceived &+= 1
        counters.bytesReceived &+= UInt64(frame.byteCount)
        guard let ethernet = try? EthernetView(frame) else { return counters.drop(.truncatedEthernet) }
        let destination = ethernet.destination
        guard destination == configuration.gatewayMAC || destination.isMulticast else {
            return counters.drop(.notForUs)
        }
        let mac = ethernet.source
        guard !mac.isMulticast else { return counters.drop(.martianSource) }
        switch ethernet.etherType {
        case EtherType.ipv4: receiveIPv4(ethernet.payload, mac, offload, now, &outside)
        case EtherType.ipv6: receiveIPv6(ethernet.payload, mac, offload, now, &outside)
        case EtherType.arp:
            let heard = arp.receive(
                ethernet.payload, from: mac, configuration: configuration, egress: &egress, counters: &counters,
                outside: &outside)
            if let heard { stationHeard(heard, now, &outside) }
        default: counters.drop(.unknownEtherType)
        }
    }

    private mutating func receiveIPv4<O: Outside & ~Copyable>(
        _ bytes: RawSpan, _ mac: MACAddress, _ offload: OffloadHeader, _ now: Instant, _ outside: inout O
    ) {
        guard let family = configuration.v4, let ip = try? IPv4View(bytes) else { return counters.drop(.malformedIPv4) }
        let isDHCP = ip.source.isUnspecified && ip.protocol == IPProtocol.udp
        // Some DHCP clients leave the header's checksum empty.
        guard ip.verifyChecksum() || isDHCP && ip.checksum == 0 else { return counters.drop(.badIPv4Checksum) }
        let source = ip.source
        guard isDHCP || family.prefix.contains(source) && source != family.gateway && source != family.prefix.broadcast
        else { return counters.drop(.martianSource) }
        let packet = PacketInfo(
            guestMAC: mac, source: source, destination: ip.destination, proto: ip.protocol, hopLimit: ip.timeToLive,
            trafficClass: ip.trafficClass, dontFragment: ip.dontFragment, offload: offload)
        if ip.isFragment { return receiveFragment(ip.bytes, mac, now, &outside) }
        dispatch(packet, ip.payload, original: ip.bytes, now, &outside)
    }

    private mutating func receiveIPv6<O: Outside & ~Copyable>(
        _ bytes: RawSpan, _ mac: MACAddress, _ offload: OffloadHeader, _ now: Instant, _ outside: inout O,
        cameInFragments: Bool = false
    ) {
        guard let family = configuration.v6, let ip = try? IPv6View(bytes) else { return counters.drop(.malformedIPv6) }
        let source = ip.source
        guard family.prefix.contains(source) || source.isLinkLocal || source.isUnspecified, source != family.gateway,
            source != configuration.gatewayLinkLocal
        else { return counters.drop(.martianSource) }
        guard let chain = try? IPv6Chain(ip) else { return counters.drop(.extensionHeaders) }
        // Routers never fragment IPv6 (RFC 8200 section 5); a source that has fragmented lets the next one do it again.
        let packet = PacketInfo(
            guestMAC: mac, source: source, destination: ip.destination, proto: chain.upperProtocol,
            hopLimit: ip.hopLimit, trafficClass: ip.trafficClass, dontFragment: !cameInFragments, offload: offload)
        if let fragment = chain.fragment, !fragment.isAtomic {
            // RFC 8200 section 4.1: one fragment header at most. Also the end of what would be a recursion.
            if cameInFragments { return counters.drop(.malformedFragment) }
            return receiveFragment(ip.bytes, mac, now, &outside)
        }
        dispatch(packet, chain.payload, original: ip.bytes, now, &outside)
    }

    /// Keeps a fragment; the whole datagram goes the ordinary way, its checksum not yet verified by anybody.
    private mutating func receiveFragment<O: Outside & ~Copyable>(
        _ packet: RawSpan, _ mac: MACAddress, _ now: Instant, _ outside: inout O
    ) {
        guard reassembler.receive(packet, from: mac, at: now, counters: &counters, outside: &outside) else { return }
        let whole = reassembler.takeFinished()
        receiveWhole(whole, mac, now, &outside)
        reassembler.giveBack(whole)
    }

    private mutating func receiveWhole<O: Outside & ~Copyable>(
        _ whole: borrowing ReassembledDatagram, _ mac: MACAddress, _ now: Instant, _ outside: inout O
    ) {
        let bytes = whole.bytes
        if (try? IPv4View(bytes)) != nil {
            receiveIPv4(bytes, mac, OffloadHeader(), now, &outside)
        } else {
            receiveIPv6(bytes, mac, OffloadHeader(), now, &outside, cameInFragments: true)
        }
    }
}
