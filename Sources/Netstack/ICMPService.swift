package import Wire

// ICMP and ICMPv6 from the guest, by type:
//
//   echo request                   EchoTranslator: answered for our own addresses, else sent on
//   neighbour discovery            NDPResponder
//   multicast listener reports     taken note of by nobody: the link has one station
//   packet too big                 for the core: the path behind the guest is narrow (PathMTUs)
//   unreachable                    for the core: it may be about a SYN of ours (TCPActiveOpen); about a datagram it changes
//                                  nothing, the flow ends by its idle time
//   errors, echo replies, others   counted as `unexpectedICMP`

/// What an ICMP message of the guest means to others.
package enum ICMPNotice: Equatable, Sendable {
    case tooBig(PacketTooBig)
    /// A packet of ours did not reach its destination.
    case unreachable(QuotedPacket)
    /// A neighbour discovery message told a station's MAC address.
    case station(Neighbour)
}

/// The guest's ICMP.
package struct ICMPService: ~Copyable {
    package var echo: EchoTranslator
    package var ndp: NDPResponder

    package init(configuration: Configuration, seed: UInt64, at now: Instant) {
        echo = EchoTranslator(configuration: configuration, seed: seed)
        ndp = NDPResponder(configuration: configuration, seed: seed, at: now)
    }

    /// An ICMP message of the guest.
    /// - Parameters:
    ///   - packet: its `proto` is ICMP or ICMPv6.
    ///   - message: from the ICMP header on.
    ///   - original: the packet from its IP header on, for errors.
    /// - Returns: what it means to the rest of the core.
    package mutating func receive<O: Outside & ~Copyable>(
        _ packet: PacketInfo, _ message: RawSpan, original: RawSpan, at now: Instant, configuration: Configuration,
        errors: inout ICMPErrors, egress: inout Egress, counters: inout Counters, outside: inout O
    ) -> ICMPNotice? {
        let isV4 = packet.proto == IPProtocol.icmp
        if let fault = Self.fault(in: message, of: packet) {
            counters.drop(fault)
            return nil
        }
        guard let header = try? ICMPView(message) else { return nil }
        switch (isV4, header.type) {
        case (true, ICMPv4Type.echoRequest), (false, ICMPv6Type.echoRequest):
            guard header.code == 0 else {
                counters.drop(.malformedICMP)
                return nil
            }
            echo.receive(
                packet, message, original: original, at: now, configuration: configuration, errors: &errors,
                egress: &egress, counters: &counters, outside: &outside)
        case (false, ICMPv6Type.routerSolicitation...ICMPv6Type.redirect):
            let heard = ndp.receive(
                packet, message, configuration: configuration, egress: &egress, counters: &counters,
                outside: &outside)
            return heard.map { .station($0) }
        case (false, ICMPv6Type.multicastListenerQuery...ICMPv6Type.multicastListenerDone),
            (false, ICMPv6Type.multicastListenerReportV2):
            break
        case (true, ICMPv4Type.destinationUnreachable) where header.code == ICMPv4Code.fragmentationNeeded,
            (false, ICMPv6Type.packetTooBig):
            if let quoted = try? QuotedPacket(header.payload), quoted.source.address.isV4 == isV4 {
                let mtu = isV4 ? UInt32(header.nextHopMTU) : header.restOfHeader
                return .tooBig(PacketTooBig(packet: quoted, mtu: Int(mtu)))
            }
            counters.drop(.malformedICMP)
        case (true, ICMPv4Type.destinationUnreachable), (false, ICMPv6Type.destinationUnreachable):
            if let quoted = try? QuotedPacket(header.payload), quoted.source.address.isV4 == isV4 {
                return .unreachable(quoted)
            }
            counters.drop(.malformedICMP)
        default:
            counters.drop(.unexpectedICMP)
        }
        return nil
    }

    /// What is wrong with the family, the length or the checksum.
    private static func fault(in message: RawSpan, of packet: PacketInfo) -> DropReason? {
        // ICMP belongs to IPv4, ICMPv6 to IPv6.
        let isV4 = packet.proto == IPProtocol.icmp
        guard isV4 == packet.destination.isV4 else { return .unknownProtocol }
        guard let view = try? ICMPView(message) else { return .malformedICMP }
        if packet.offload.needsChecksum || packet.offload.checksumValid { return nil }
        return view.verifyChecksum(source: packet.source, destination: packet.destination) ? nil : .badICMPChecksum
    }

    /// When `advance` has something to do.
    package var nextDeadline: Instant { min(echo.nextDeadline, ndp.advertisement.nextDeadline) }

    /// Ends idle echo flows and sends router advertisements that are due.
    package mutating func advance<O: Outside & ~Copyable>(
        to now: Instant, configuration: Configuration, egress: inout Egress, counters: inout Counters,
        outside: inout O
    ) {
        echo.advance(to: now, outside: &outside)
        ndp.advertisement.advance(
            to: now, configuration: configuration, egress: &egress, counters: &counters, outside: &outside)
    }
}
