import Wire

// From an IP packet to the protocol that translates it, and the translation policy's verdict on TCP.

extension Core {
    mutating func dispatch<O: Outside & ~Copyable>(
        _ packet: PacketInfo, _ payload: RawSpan, original: RawSpan, _ now: Instant, _ outside: inout O
    ) {
        switch packet.proto {
        case IPProtocol.tcp: receiveTCP(packet, payload, original: original, now, &outside)
        case IPProtocol.udp:
            udp.receive(
                packet, payload, original: original, at: now, configuration: configuration, errors: &errors,
                egress: &egress, counters: &counters, outside: &outside)
        case IPProtocol.icmp, IPProtocol.icmpv6:
            let notice = icmp.receive(
                packet, payload, original: original, at: now, configuration: configuration, errors: &errors,
                egress: &egress, counters: &counters, outside: &outside)
            switch notice {
            case .tooBig(let tooBig): packetTooBig(tooBig, now, &outside)
            case .unreachable(let quoted): unreachable(quoted, &outside)
            case .station(let neighbour): stationHeard(neighbour, now, &outside)
            case nil: break
            }
        default:
            // RFC 1122 section 3.2.2.1, RFC 8200 section 4: say that we do not speak it.
            counters.drop(.unknownProtocol)
            tell(.protocolUnreachable, packet, original, now, &outside)
        }
    }

    /// The guest, or a router behind it, could not take a packet of ours.
    private mutating func unreachable<O: Outside & ~Copyable>(_ packet: QuotedPacket, _ outside: inout O) {
        let key = FlowKey(guest: packet.destination, remote: packet.source)
        guard packet.proto == IPProtocol.tcp,
            tcp.openingUnreachable(key, sequence: packet.sequence, outside: &outside)
        else { return counters.drop(.unexpectedICMP) }
    }

    private mutating func receiveTCP<O: Outside & ~Copyable>(
        _ packet: PacketInfo, _ bytes: RawSpan, original: RawSpan, _ now: Instant, _ outside: inout O
    ) {
        guard let view = try? TCPView(bytes) else { return counters.drop(.malformedTCP) }
        guard
            packet.offload.needsChecksum || packet.offload.checksumValid
                || view.verifyChecksum(source: packet.source, destination: packet.destination)
        else { return counters.drop(.badTCPChecksum) }
        guard view.sourcePort != 0, view.destinationPort != 0, !packet.source.isUnspecified else {
            return counters.drop(.malformedTCP)
        }
        guard packet.source != packet.destination else { return counters.drop(.landTCP) }
        let payload = view.payload
        let segment = Segment(
            seq: view.sequence, ack: view.acknowledgment, flags: view.flags, window: view.window,
            length: payload.byteCount, options: TCPOptions(parsing: view.options),
            urgentPointer: view.urgentPointer, isMarked: packet.trafficClass & 3 == 3)
        let key = FlowKey(
            guest: Endpoint(address: packet.source, port: view.sourcePort),
            remote: Endpoint(address: packet.destination, port: view.destinationPort))

        let target: HostTarget?
        switch configuration.verdict(on: packet.destination) {
        case .host(let address): target = .endpoint(Endpoint(address: address, port: key.remote.port))
        case .gateway:
            switch key.remote.port {
            case 53: target = .dnsService
            case 80 where configuration.leases.boot.servesFiles: target = .bootService
            default: target = nil
            }
        case .refused:
            if segment.flags.contains(.syn) { outside.note(.hostLoopbackRefused(key.remote)) }
            target = nil
        case .absent:
            return tell(.hostUnreachable, packet, original, now, &outside)
        case .multicast: return counters.drop(.multicastDestination)
        case .martian: return counters.drop(.martianDestination)
        }
        // Our hop: what has none left after it is answered as any router would (RFC 1812 section 5.3.1).
        if packet.hopLimit <= 1, case .endpoint = target { return tell(.timeExceeded, packet, original, now, &outside) }

        let refusal = tcp.receive(
            segment, payload, key: key, target: target, mac: packet.guestMAC, now: now, counters: &counters,
            outside: &outside)
        if let refusal { tell(refusal, now, &outside) }
    }
}
