import Wire

// The gateway's DHCP server (RFC 2131), for guests that nobody configured.
//
//   DISCOVER                     OFFER: the address the client has, the configured one, or a free one of the subnet
//   REQUEST after an offer       ACK; nothing if it names another server; NAK if the address is not the offered one
//   REQUEST at reboot, renewal   ACK if the address is right and free or the client's own, else NAK. The server is the
//                                link's only one, so a lease it does not remember is no reason for silence
//   DECLINE                      the address rests for ten minutes
//   RELEASE                      the address is free
//   INFORM                       ACK with the parameters, no address
//
// Stated: subnet mask, broadcast address, router, resolver (both the gateway), MTU, search list, a lease of a day with
// renewal after a half and rebinding after seven eighths (RFC 2131 section 4.4.5).
//
// Relays (giaddr) and plain BOOTP are not served: there is no relay between a guest and its gateway. See DHCPLeases.swift
// for who gets what and the limits.

/// Hands out IPv4 addresses.
package struct DHCPv4Server: ~Copyable {
    private var leases: DHCPLeases
    private var reply = DatagramStore(byteCount: 1500)

    package init(configuration: Configuration) { leases = DHCPLeases(configuration.v4) }

    /// Addresses that are offered, leased or resting.
    package var leaseCount: Int { leases.count }

    /// Whether a datagram to this port is for the server.
    package static func isRequest(_ packet: PacketInfo, _ port: UInt16, _ configuration: Configuration) -> Bool {
        guard port == DHCPv4.serverPort, let family = configuration.v4 else { return false }
        let destination = packet.destination
        return destination.isBroadcast || destination == family.gateway || destination == family.prefix.broadcast
    }

    /// - Parameter message: the UDP payload.
    package mutating func receive<O: Outside & ~Copyable>(
        _ packet: PacketInfo, _ message: RawSpan, at now: Instant, configuration: Configuration, egress: inout Egress,
        counters: inout Counters, outside: inout O
    ) {
        guard let family = configuration.v4, let request = try? DHCPv4View(message),
            request.operation == DHCPv4.bootRequest, let type = request.messageType, request.relayAddress.isUnspecified,
            !request.clientMAC.isMulticast
        else { return counters.drop(.malformedDHCP) }
        // RFC 2131 section 4.3: a message for another server ends what we offered.
        let key = client(request)
        if let server = request.serverIdentifier, server != family.gateway {
            if type == DHCPv4MessageType.request { leases.release(key) }
            return
        }
        let mac = request.clientMAC
        var answer: DHCPv4Message
        switch type {
        case DHCPv4MessageType.discover:
            guard let address = leases.offer(key, mac: mac, wish: request.requestedAddress, at: now) else { return }
            answer = DHCPv4Message(replyTo: request, messageType: DHCPv4MessageType.offer)
            answer.yourAddress = address
        case DHCPv4MessageType.request:
            // RFC 2131 section 4.3.2: selecting and rebooting clients state option 50, renewing ones ciaddr.
            let wanted = request.requestedAddress ?? request.clientAddress
            let isSelecting = request.serverIdentifier != nil
            let known = leases.address(of: key)
            let isRight = known == wanted || known == nil && !isSelecting
            if isRight, leases.bind(key, mac: mac, wanted, at: now) {
                answer = DHCPv4Message(replyTo: request, messageType: DHCPv4MessageType.acknowledgment)
                answer.yourAddress = wanted
                answer.clientAddress = request.clientAddress
            } else {
                answer = DHCPv4Message(replyTo: request, messageType: DHCPv4MessageType.negativeAcknowledgment)
            }
        case DHCPv4MessageType.decline:
            if let address = request.requestedAddress { leases.decline(key, address, at: now) }
            return
        case DHCPv4MessageType.release:
            if leases.address(of: key) == request.clientAddress { leases.release(key) }
            return
        case DHCPv4MessageType.inform:
            answer = DHCPv4Message(replyTo: request, messageType: DHCPv4MessageType.acknowledgment)
            answer.clientAddress = request.clientAddress
        default:
            return counters.drop(.malformedDHCP)
        }
        state(&answer, family, configuration)

        // RFC 2131 section 4.1: where the answer goes.
        let destination: IPAddress
        let isNak = answer.messageType == DHCPv4MessageType.negativeAcknowledgment
        let hasAddress = family.prefix.contains(request.clientAddress)
        if isNak || !hasAddress && (request.wantsBroadcast || answer.yourAddress.isUnspecified) {
            destination = .broadcast
        } else {
            destination = hasAddress ? request.clientAddress : answer.yourAddress
        }
        var bytes = reply.mutableBytes
        let length = answer.write(to: &bytes, at: 0, limit: min(request.maximumReplyLength, 1400))
        egress.sendDatagram(
            reply.bytes.extracting(0..<length), from: Endpoint(address: family.gateway, port: DHCPv4.serverPort),
            to: Endpoint(address: destination, port: DHCPv4.clientPort),
            mac: destination.isBroadcast ? .broadcast : mac, counters: &counters, outside: &outside)
    }

    /// What the client is called (RFC 2131 section 4.2): its identifier if it states one, else its hardware address.
    private mutating func client(_ request: borrowing DHCPv4View) -> [UInt8] {
        let mac = request.clientMAC
        var key: [UInt8] = []
        if let identifier = request.option(DHCPv4Option.clientIdentifier), identifier.byteCount >= 2 {
            for index in 0..<identifier.byteCount { key.append(identifier.u8(at: index)) }
        } else {
            // Type 1 and the address, which is what a client without a wish of its own states (RFC 2132 section 9.14).
            key.append(1)
            for shift in stride(from: UInt64(40), through: 0, by: -8) {
                key.append(UInt8(truncatingIfNeeded: mac.rawValue >> shift))
            }
        }
        if leases.address(of: key) == nil, let old = leases.key(of: mac) { leases.rename(old, to: key) }
        return key
    }

    /// RFC 2131 table 3: what each answer states.
    private func state(
        _ answer: inout DHCPv4Message, _ family: Configuration.Family, _ configuration: Configuration
    ) {
        answer.serverIdentifier = family.gateway
        guard answer.messageType != DHCPv4MessageType.negativeAcknowledgment else { return }
        if !answer.yourAddress.isUnspecified {
            answer.leaseTime = DHCPLeases.leaseSeconds
            answer.renewalTime = DHCPLeases.leaseSeconds / 2
            answer.rebindingTime = DHCPLeases.leaseSeconds / 8 * 7
        }
        answer.subnetMask = family.prefix.v4Mask
        answer.broadcastAddress = family.prefix.broadcast
        answer.routers = [family.gateway]
        answer.dnsServers = [family.gateway]
        answer.interfaceMTU = UInt16(clamping: max(configuration.mtu, 68))
        answer.domainName = configuration.searchDomains.first ?? ""
        answer.domainSearch = SearchList.encode(configuration.searchDomains)
    }
}
