package import Wire

// UDP between the guest and the host's sockets (RFC 768, RFC 4787).
//
//   guest 10.0.2.2:5000 --+-> 198.51.100.1:53      one flow, one unconnected host socket:
//                         +-> 203.0.113.9:4433     endpoint-independent mapping (REQ-1) and filtering (REQ-8)
//
// A datagram of the guest is sent from the frame's buffer straight to the host's socket; one from the host goes straight
// behind a header to the link. Nothing is queued, so nothing needs flow control: what a socket or the link cannot take
// is lost, as UDP may be.
//
// Answers to clients of a forwarded port go the way that the client came (ServedDatagrams).
//
// To the gateway itself: port 53 is the resolver, ports 67 and 547 are the DHCP servers, port 69 and those from 49152 on may be the TFTP
// server's, any other is unreachable.
//
// Life of a flow: made by the guest's first datagram; refreshed by traffic in both directions (REQ-6); ended after five
// minutes without (REQ-5 recommends five, asks for two), two minutes if it only ever asked port 53. ICMP errors do not end
// it (REQ-12 does not let a NAT do that, nor RFC 5461 a host). The table is capped; when it is full, the flow that has been
// idle longest gives way, counted as `datagramFlowsFull`.
//
// Errors. What the host's socket refuses at once is answered with the guest's own packet quoted; what comes later from
// the host's error queue is quoted from the flow's memory. Hop limits count down here: a datagram that arrives with one
// is answered with "time exceeded" from the gateway, so traceroute finds it.
//
// Super-frames (USO) are cut into datagrams here, at most 128 (Linux's UDP_MAX_SEGMENTS) of them.

/// The guest's UDP.
package struct UDPTranslator: ~Copyable {
    package static let idleTime = Int64.seconds(300)
    /// For flows that only ever asked port 53: the least that RFC 4787 REQ-5 allows.
    package static let briefIdleTime = Int64.seconds(120)
    private static let maximumSegments = 128

    package private(set) var flows: DatagramFlows
    var served: ServedDatagrams
    package var dhcpv4: DHCPv4Server
    package var dhcpv6: DHCPv6Server

    package init(configuration: Configuration, seed: UInt64) {
        flows = DatagramFlows(
            kind: .udp, capacity: configuration.limits.datagramFlows, idleTime: Self.idleTime,
            briefIdleTime: Self.briefIdleTime, seed: seed)
        served = ServedDatagrams(capacity: configuration.limits.datagramFlows, seed: seed)
        dhcpv4 = DHCPv4Server(configuration: configuration)
        dhcpv6 = DHCPv6Server(configuration: configuration)
    }

    // MARK: From the guest

    /// A UDP datagram of the guest.
    /// - Parameters:
    ///   - datagram: from the UDP header on.
    ///   - original: the packet from its IP header on, for errors.
    package mutating func receive<O: Outside & ~Copyable>(
        _ packet: PacketInfo, _ datagram: RawSpan, original: RawSpan, at now: Instant, configuration: Configuration,
        errors: inout ICMPErrors, egress: inout Egress, counters: inout Counters, outside: inout O
    ) {
        guard let header = try? UDPView(datagram) else { return counters.drop(.malformedUDP) }
        guard
            packet.offload.needsChecksum || packet.offload.checksumValid
                || header.verifyChecksum(source: packet.source, destination: packet.destination)
        else { return counters.drop(.badUDPChecksum) }
        let remote = Endpoint(address: packet.destination, port: header.destinationPort)
        let guest = Endpoint(address: packet.source, port: header.sourcePort)
        let payload = header.payload

        if DHCPv4Server.isRequest(packet, remote.port, configuration) {
            return dhcpv4.receive(
                packet, payload, at: now, configuration: configuration, egress: &egress, counters: &counters,
                outside: &outside)
        }
        if DHCPv6Server.isRequest(packet, remote.port, configuration) {
            return dhcpv6.receive(
                packet, payload, at: now, configuration: configuration, egress: &egress,
                counters: &counters, outside: &outside)
        }
        // RFC 1122 section 3.2.1.3: only DHCP may come from nobody; nothing comes from many.
        guard !guest.address.isUnspecified, !guest.address.isMulticast else { return counters.drop(.martianSource) }
        // RFC 768: a source port of zero means "no reply"; a destination of zero means nothing.
        guard remote.port != 0 else { return counters.drop(.malformedUDP) }

        if served.flows.count > 0, let index = served.flows.find(guest, remote: remote) {
            return answer(
                index, packet, payload, original: original, at: now, configuration: configuration, errors: &errors,
                egress: &egress, counters: &counters, outside: &outside)
        }
        let error: ICMPError
        var complainer: IPAddress?
        switch configuration.verdict(on: remote.address) {
        case .host(let address):
            return forward(
                packet, payload, guest: guest, to: Endpoint(address: address, port: remote.port), original: original,
                at: now, configuration: configuration, errors: &errors, egress: &egress, counters: &counters,
                outside: &outside)
        case .gateway where remote.port == 53:
            return outside.dnsQuery(payload, from: GuestPort(guest: guest, local: remote, mac: packet.guestMAC))
        case .gateway:
            if configuration.leases.boot.serves(remote.port),
                outside.bootDatagram(payload, from: GuestPort(guest: guest, local: remote, mac: packet.guestMAC))
            {
                return
            }
            error = .portUnreachable
            complainer = remote.address
        case .refused:
            outside.note(.hostLoopbackRefused(remote))
            error = .portUnreachable
            complainer = remote.address
        case .absent: error = .hostUnreachable
        case .multicast: return counters.drop(.multicastDestination)
        case .martian: return counters.drop(.martianDestination)
        }
        errors.send(
            error, about: packet, original: original, from: complainer, at: now, configuration: configuration,
            egress: &egress, counters: &counters, outside: &outside)
    }

    private mutating func forward<O: Outside & ~Copyable>(
        _ packet: PacketInfo, _ payload: RawSpan, guest: Endpoint, to target: Endpoint, original: RawSpan,
        at now: Instant, configuration: Configuration, errors: inout ICMPErrors, egress: inout Egress,
        counters: inout Counters, outside: inout O
    ) {
        // RFC 1812 section 5.3.1, RFC 8200 section 3: what would leave us with zero does not leave.
        guard packet.hopLimit > 1 else {
            return errors.send(
                .timeExceeded, about: packet, original: original, at: now, configuration: configuration,
                egress: &egress, counters: &counters, outside: &outside)
        }
        guard let segmentSize = Self.segmentSize(packet, payload) else { return counters.drop(.badOffload) }
        let isBrief = target.port == 53
        var outcome = HostResult.done(0)
        let index: UInt32
        if let known = flows.find(guest) {
            index = known
            flows.use(index, mac: packet.guestMAC, isBrief: isBrief, at: now)
        } else {
            let opened: UInt32?
            (opened, outcome) = open(
                guest, mac: packet.guestMAC, isBrief: isBrief, at: now, counters: &counters, outside: &outside)
            index = opened ?? 0
        }
        if case .failed = outcome {
        } else {
            let options = DatagramOptions(
                hopLimit: packet.hopLimit - 1, trafficClass: packet.trafficClass, dontFragment: packet.dontFragment)
            let id = flows.id(of: index)
            // An empty datagram is a datagram.
            var offset = 0
            repeat {
                let end = min(offset + segmentSize, payload.byteCount)
                outcome = outside.sendDatagram(id, to: .endpoint(target), payload.extracting(offset..<end), options)
                offset = end
            } while offset < payload.byteCount && outcome.isDone
        }
        explain(
            outcome, packet, original: original, at: now, configuration: configuration, errors: &errors,
            egress: &egress, counters: &counters, outside: &outside)
    }

    /// The guest answers a client of a forwarded port.
    private mutating func answer<O: Outside & ~Copyable>(
        _ index: UInt32, _ packet: PacketInfo, _ payload: RawSpan, original: RawSpan, at now: Instant,
        configuration: Configuration, errors: inout ICMPErrors, egress: inout Egress, counters: inout Counters,
        outside: inout O
    ) {
        guard packet.hopLimit > 1 else {
            return errors.send(
                .timeExceeded, about: packet, original: original, at: now, configuration: configuration,
                egress: &egress, counters: &counters, outside: &outside)
        }
        guard let segmentSize = Self.segmentSize(packet, payload) else { return counters.drop(.badOffload) }
        served.use(index, mac: packet.guestMAC, at: now)
        let client = served[index]
        let options = DatagramOptions(
            hopLimit: packet.hopLimit - 1, trafficClass: packet.trafficClass, dontFragment: packet.dontFragment)
        let outcome = outside.sendServed(
            client.port, path: client.path, to: client.endpoint, payload, size: segmentSize, options)
        explain(
            outcome, packet, original: original, at: now, configuration: configuration, errors: &errors,
            egress: &egress, counters: &counters, outside: &outside)
    }

    /// The size of the datagrams that a packet stands for: its own, or a super-frame's segments'. nil when that cannot be.
    private static func segmentSize(_ packet: PacketInfo, _ payload: RawSpan) -> Int? {
        guard packet.offload.segmentation != .none else { return payload.byteCount }
        let size = Int(packet.offload.segmentSize)
        guard packet.offload.segmentation == .udp, size > 0, payload.byteCount <= size * maximumSegments else {
            return nil
        }
        return size
    }

    /// What the host's socket said of the guest's packet, when that was not "sent".
    private func explain<O: Outside & ~Copyable>(
        _ outcome: HostResult, _ packet: PacketInfo, original: RawSpan, at now: Instant, configuration: Configuration,
        errors: inout ICMPErrors, egress: inout Egress, counters: inout Counters, outside: inout O
    ) {
        switch outcome {
        case .done: return
        case .wouldBlock: counters.drop(.hostRefusedDatagram)
        case .failed(let failure):
            counters.drop(.hostRefusedDatagram)
            guard let error = ICMPError(failure) else { return }
            // A closed port is the target's complaint, anything else its network's.
            errors.send(
                error, about: packet, original: original, from: failure == .refused ? packet.destination : nil, at: now,
                configuration: configuration, egress: &egress, counters: &counters, outside: &outside)
        }
    }

    /// Makes a flow and its socket, at the expense of the flow idle longest where the table or the host has no room.
    private mutating func open<O: Outside & ~Copyable>(
        _ guest: Endpoint, mac: MACAddress, isBrief: Bool, at now: Instant, counters: inout Counters,
        outside: inout O
    ) -> (UInt32?, HostResult) {
        if flows.count == flows.capacity { evict(except: nil, counters: &counters, outside: &outside) }
        guard let index = flows.insert(guest, mac: mac, isBrief: isBrief, at: now) else {
            return (nil, .failed(.exhausted))
        }
        let isV4 = guest.address.isV4
        // RFC 4787 REQ-3 and section 4.2.1: port preservation where the host's port is free.
        var outcome = outside.openDatagram(flows.id(of: index), isV4: isV4, preferredPort: guest.port)
        if outcome == .failed(.exhausted), flows.count > 1 {
            evict(except: index, counters: &counters, outside: &outside)
            outcome = outside.openDatagram(flows.id(of: index), isV4: isV4, preferredPort: guest.port)
        }
        if case .failed = outcome { flows.remove(index) }
        return (index, outcome)
    }

    private mutating func evict<O: Outside & ~Copyable>(
        except newcomer: UInt32?, counters: inout Counters, outside: inout O
    ) {
        guard let index = flows.idleLongest(except: newcomer) else { return }
        counters.drop(.datagramFlowsFull)
        outside.note(.tableFull(.datagramFlows))
        close(index, outside: &outside)
    }

    private mutating func close<O: Outside & ~Copyable>(_ index: UInt32, outside: inout O) {
        outside.close(flows.id(of: index), reset: false)
        flows.remove(index)
    }

    // MARK: From the host

    /// Datagrams that the flow's host socket received from `source`: one, or several of `size` bytes one behind the other.
    package mutating func hostDatagrams<O: Outside & ~Copyable>(
        _ id: FlowID, from source: Endpoint, _ bytes: RawSpan, size: Int?, trafficClass: UInt8, at now: Instant,
        configuration: Configuration, egress: inout Egress, counters: inout Counters, outside: inout O
    ) {
        guard let index = flows.find(id), source.address.isV4 == flows[index].guest.address.isV4 else { return }
        flows.use(index, at: now)
        let from = Endpoint(address: configuration.guestView(of: source.address), port: source.port)
        let guest = flows[index].guest
        let mac = flows[index].mac
        egress.sendDatagrams(
            bytes, from: from, to: guest, mac: mac, size: size, trafficClass: trafficClass, counters: &counters,
            outside: &outside)
    }

    /// An ICMP error that the flow's host socket reported for a datagram sent earlier.
    package mutating func hostDatagramError<O: Outside & ~Copyable>(
        _ id: FlowID, _ error: DatagramError, at now: Instant, configuration: Configuration,
        errors: inout ICMPErrors, egress: inout Egress, counters: inout Counters, outside: inout O
    ) {
        guard let index = flows.find(id), error.destination.address.isV4 == flows[index].guest.address.isV4,
            let message = ICMPError(error)
        else { return }
        let remote = Endpoint(
            address: configuration.guestView(of: error.destination.address), port: error.destination.port)
        errors.send(
            message, about: .udp(from: flows[index].guest, to: remote), mac: flows[index].mac,
            from: error.offender.map { configuration.guestView(of: $0) }, at: now, configuration: configuration,
            egress: &egress, counters: &counters, outside: &outside)
    }

    // MARK: Time

    /// When `advance` has something to do.
    package var nextDeadline: Instant {
        min(
            min(flows.nextDeadline, served.flows.nextDeadline),
            min(dhcpv4.leases.nextDeadline, dhcpv6.leases.nextDeadline))
    }

    /// Ends the flows whose idle time has passed, and the leases whose time is up.
    package mutating func advance<O: Outside & ~Copyable>(to now: Instant, outside: inout O) {
        while let index = flows.expired(at: now) { close(index, outside: &outside) }
        served.advance(to: now)
        dhcpv4.leases.advance(to: now)
        dhcpv6.leases.advance(to: now)
        tellLeases(&outside)
    }

    /// Tells what has become of leases.
    mutating func tellLeases<O: Outside & ~Copyable>(_ outside: inout O) {
        for change in dhcpv4.leases.takeChanges() { outside.leaseChanged(change) }
        for change in dhcpv6.leases.takeChanges() { outside.leaseChanged(change) }
    }
}

extension HostResult {
    package var isDone: Bool {
        if case .done = self { true } else { false }
    }
}
