package import Wire

// Echo (ping) between the guest and the host's unprivileged echo sockets (RFC 792, RFC 4443 section 4.1; RFC 5508 section 3.1).
//
//   guest 10.0.2.2 id 77 --> 198.51.100.1, 203.0.113.9 ...     one flow, one echo socket per (address, identifier)
//
// The host's kernel puts an identifier of its own into what the socket sends, and finds the socket by it when the reply
// comes; the guest's is put back here. Sequence number, payload, hop limit and traffic class are the guest's.
//
// Echo requests to the gateway and to the host's alias are answered here, whatever their size.
//
// Life of a flow: made by the first request, refreshed by requests and replies, ended after 60 idle seconds (RFC 5508
// REQ-2). The table is capped; when it is full, the flow idle longest gives way, counted as `echoFlowsFull`.
//
// Where the host does not allow such sockets (`net.ipv4.ping_group_range`), the operator is told and the guest gets
// "administratively prohibited".

/// The guest's echo requests.
package struct EchoTranslator: ~Copyable {
    package static let idleTime = Int64.seconds(60)

    package private(set) var flows: DatagramFlows

    package init(configuration: Configuration, seed: UInt64) {
        flows = DatagramFlows(
            kind: .echo, capacity: configuration.limits.echoFlows, idleTime: Self.idleTime,
            briefIdleTime: Self.idleTime, seed: seed)
    }

    // MARK: From the guest

    /// An echo request of the guest, its checksum verified.
    /// - Parameters:
    ///   - message: at least 8 bytes, from the ICMP header on.
    ///   - original: the packet from its IP header on, for errors.
    package mutating func receive<O: Outside & ~Copyable>(
        _ packet: PacketInfo, _ message: RawSpan, original: RawSpan, at now: Instant, configuration: Configuration,
        errors: inout ICMPErrors, egress: inout Egress, counters: inout Counters, outside: inout O
    ) {
        guard message.byteCount >= 8 else { return counters.drop(.malformedICMP) }
        guard !packet.source.isUnspecified, !packet.source.isMulticast else { return counters.drop(.martianSource) }
        let family = packet.destination.isV4 ? configuration.v4 : configuration.v6
        if packet.destination == family?.hostAlias {
            return answer(packet, message, egress: &egress, counters: &counters, outside: &outside)
        }
        switch configuration.verdict(on: packet.destination) {
        case .host(let target):
            forward(
                packet, message, to: target, original: original, at: now, configuration: configuration,
                errors: &errors, egress: &egress, counters: &counters, outside: &outside)
        case .gateway, .refused:
            answer(packet, message, egress: &egress, counters: &counters, outside: &outside)
        case .absent:
            errors.send(
                .hostUnreachable, about: packet, original: original, at: now, configuration: configuration,
                egress: &egress, counters: &counters, outside: &outside)
        case .multicast: counters.drop(.multicastDestination)
        case .martian: counters.drop(.martianDestination)
        }
    }

    /// RFC 1122 section 3.2.2.6, RFC 4443 section 4.2: the same identifier, sequence and data, from the address asked.
    private func answer<O: Outside & ~Copyable>(
        _ packet: PacketInfo, _ message: RawSpan, egress: inout Egress, counters: inout Counters, outside: inout O
    ) {
        reply(
            from: packet.destination, to: packet.source, mac: packet.guestMAC, identifier: message.u16(at: 4),
            sequence: message.u16(at: 6), message.extracting(8..<message.byteCount), hopLimit: 64,
            trafficClass: packet.trafficClass, egress: &egress, counters: &counters, outside: &outside)
    }

    private mutating func forward<O: Outside & ~Copyable>(
        _ packet: PacketInfo, _ message: RawSpan, to target: IPAddress, original: RawSpan, at now: Instant,
        configuration: Configuration, errors: inout ICMPErrors, egress: inout Egress, counters: inout Counters,
        outside: inout O
    ) {
        guard packet.hopLimit > 1 else {
            return errors.send(
                .timeExceeded, about: packet, original: original, at: now, configuration: configuration,
                egress: &egress, counters: &counters, outside: &outside)
        }
        let guest = Endpoint(address: packet.source, port: message.u16(at: 4))
        var outcome = HostResult.done(0)
        let known = flows.find(guest)
        let index: UInt32
        if let known {
            index = known
            flows.use(index, mac: packet.guestMAC, isBrief: false, at: now)
        } else {
            if flows.count == flows.capacity, let idle = flows.idleLongest() {
                counters.drop(.echoFlowsFull)
                outside.note(.tableFull(.echoFlows))
                close(idle, outside: &outside)
            }
            guard let made = flows.insert(guest, mac: packet.guestMAC, isBrief: false, at: now) else { return }
            index = made
            outcome = outside.openEcho(flows.id(of: index), isV4: guest.address.isV4)
            if case .failed(let failure) = outcome {
                flows.remove(index)
                if failure == .prohibited { outside.note(.echoUnavailable(isV4: guest.address.isV4)) }
            }
        }
        if case .failed = outcome {
        } else {
            outcome = outside.sendEcho(
                flows.id(of: index), to: target, sequence: message.u16(at: 6),
                message.extracting(8..<message.byteCount),
                DatagramOptions(
                    hopLimit: packet.hopLimit - 1, trafficClass: packet.trafficClass,
                    dontFragment: packet.dontFragment))
        }
        switch outcome {
        case .done: return
        case .wouldBlock: counters.drop(.hostRefusedDatagram)
        case .failed(let failure):
            counters.drop(.hostRefusedDatagram)
            guard let error = ICMPError(failure) else { return }
            errors.send(
                error, about: packet, original: original, at: now, configuration: configuration, egress: &egress,
                counters: &counters, outside: &outside)
        }
    }

    private mutating func close<O: Outside & ~Copyable>(_ index: UInt32, outside: inout O) {
        outside.close(flows.id(of: index), reset: false)
        flows.remove(index)
    }

    // MARK: From the host

    /// A reply that the flow's echo socket received.
    /// - Parameter hopLimit: as the host received it; the guest is one hop further.
    package mutating func hostEcho<O: Outside & ~Copyable>(
        _ id: FlowID, from source: IPAddress, sequence: UInt16, _ payload: RawSpan, hopLimit: UInt8, at now: Instant,
        configuration: Configuration, egress: inout Egress, counters: inout Counters, outside: inout O
    ) {
        guard let index = flows.find(id), source.isV4 == flows[index].guest.address.isV4 else { return }
        flows.use(index, at: now)
        let flow = flows[index]
        reply(
            from: configuration.guestView(of: source), to: flow.guest.address, mac: flow.mac,
            identifier: flow.guest.port, sequence: sequence, payload, hopLimit: max(hopLimit, 2) - 1, trafficClass: 0,
            egress: &egress, counters: &counters, outside: &outside)
    }

    /// An ICMP error that the flow's echo socket reported for a request sent earlier.
    ///
    /// `error.destination.port` carries the request's sequence number: an echo has no port, and the guest's traceroute
    /// tells its probes apart by it. (The host's error queue hands out the quoted echo header.)
    package mutating func hostEchoError<O: Outside & ~Copyable>(
        _ id: FlowID, _ error: DatagramError, at now: Instant, configuration: Configuration,
        errors: inout ICMPErrors, egress: inout Egress, counters: inout Counters, outside: inout O
    ) {
        guard let index = flows.find(id), error.destination.address.isV4 == flows[index].guest.address.isV4,
            let message = ICMPError(error)
        else { return }
        let flow = flows[index]
        let quote = ICMPQuote.echo(
            from: flow.guest.address, to: configuration.guestView(of: error.destination.address),
            identifier: flow.guest.port, sequence: error.destination.port)
        errors.send(
            message, about: quote, mac: flow.mac, from: error.offender.map { configuration.guestView(of: $0) },
            at: now, configuration: configuration, egress: &egress, counters: &counters, outside: &outside)
    }

    private func reply<O: Outside & ~Copyable>(
        from source: IPAddress, to guest: IPAddress, mac: MACAddress, identifier: UInt16, sequence: UInt16,
        _ payload: RawSpan, hopLimit: UInt8, trafficClass: UInt8, egress: inout Egress, counters: inout Counters,
        outside: inout O
    ) {
        let type = guest.isV4 ? ICMPv4Type.echoReply : ICMPv6Type.echoReply
        var header = egress.transportHeader
        header.store(u32: UInt32(type) << 24, at: 0)
        header.store(u16: identifier, at: 4)
        header.store(u16: sequence, at: 6)
        _ = egress.send(
            guest.isV4 ? IPProtocol.icmp : IPProtocol.icmpv6, from: source, to: guest, mac: mac, hopLimit: hopLimit,
            trafficClass: trafficClass, headerLength: 8, payload: payload, counters: &counters, outside: &outside)
    }

    // MARK: Time

    /// When `advance` has something to do.
    package var nextDeadline: Instant { flows.nextDeadline }

    /// Ends the flows whose idle time has passed.
    package mutating func advance<O: Outside & ~Copyable>(to now: Instant, outside: inout O) {
        while let index = flows.expired(at: now) { close(index, outside: &outside) }
    }
}
