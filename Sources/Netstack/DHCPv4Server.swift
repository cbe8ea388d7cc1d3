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
// Stated: type, server, times and subnet mask always; everything else to a client that asks for it (option 55) or asks for nothing in
// particular: router, resolver (both the gateway), broadcast address, MTU, domain and search list, the name of a machine that is
// known by one, time servers, routes (RFC 3442: with the default route in them, as they replace the router), boot file (BootFile).
// Leases are renewed after a half and rebound after seven eighths (RFC 2131 section 4.4.5).
//
// Relays (giaddr) and plain BOOTP are not served: there is no relay between a guest and its gateway. See DHCPLeases.swift
// for who gets what and the limits. Where several stations share the link, a message's hardware address is the frame's.

/// Hands out IPv4 addresses.
package struct DHCPv4Server: ~Copyable {
    package var leases: DHCPLeases
    private var reply = DatagramStore(byteCount: 1500)

    package init(configuration: Configuration) { leases = DHCPLeases(configuration.v4, configuration.leases) }

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
            !request.clientMAC.isMulticast,
            !configuration.hasManyStations || request.clientMAC == packet.guestMAC
        else { return counters.drop(.malformedDHCP) }
        let mac = request.clientMAC
        let made = answer(
            to: request, type, family, at: now, configuration,
            isHeld: { outside.isHeld($0, byOtherThan: mac, at: now) })
        for change in leases.takeChanges() { outside.leaseChanged(change) }
        guard let answer = made else { return }

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

    private mutating func answer(
        to request: borrowing DHCPv4View, _ type: UInt8, _ family: Configuration.Family, at now: Instant,
        _ configuration: Configuration, isHeld: (IPAddress) -> Bool
    ) -> DHCPv4Message? {
        let client = DHCPLeases.Client(mac: request.clientMAC)
        // RFC 2131 section 4.3: a message for another server ends what we offered.
        if let server = request.serverIdentifier, server != family.gateway {
            if type == DHCPv4MessageType.request { leases.release(client) }
            return nil
        }
        var answer = DHCPv4Message(replyTo: request, messageType: DHCPv4MessageType.acknowledgment)
        switch type {
        case DHCPv4MessageType.discover:
            guard let address = leases.offer(client, wish: request.requestedAddress, at: now, isHeld: isHeld) else {
                return nil
            }
            answer.messageType = DHCPv4MessageType.offer
            answer.yourAddress = address
        case DHCPv4MessageType.request:
            // RFC 2131 section 4.3.2: selecting and rebooting clients state option 50, renewing ones ciaddr.
            let wanted = request.requestedAddress ?? request.clientAddress
            let isSelecting = request.serverIdentifier != nil
            let known = leases.address(of: client)
            let isRight = known == wanted || known == nil && !isSelecting
            if isRight, leases.bind(client, wanted, name: Self.name(request), at: now, isHeld: isHeld) {
                answer.yourAddress = wanted
                answer.clientAddress = request.clientAddress
            } else {
                answer.messageType = DHCPv4MessageType.negativeAcknowledgment
            }
        case DHCPv4MessageType.decline:
            if let address = request.requestedAddress { leases.decline(client, address, at: now) }
            return nil
        case DHCPv4MessageType.release:
            if leases.address(of: client) == request.clientAddress { leases.release(client) }
            return nil
        case DHCPv4MessageType.inform:
            answer.clientAddress = request.clientAddress
        default: return nil
        }
        state(&answer, request, family, configuration)
        return answer
    }

    /// What the client calls itself: option 81 (RFC 4702), which counts for more, or option 12.
    private static func name(_ request: borrowing DHCPv4View) -> String {
        if let option = request.option(DHCPv4Option.clientFQDN), option.byteCount > 3,
            let name = HostName.label(
                fqdn: option.extracting(3..<option.byteCount), isWire: option.u8(at: 0) & 4 != 0)
        {
            return name
        }
        guard let text = request.hostName else { return "" }
        return HostName.label(text) ?? ""
    }

    /// RFC 2131 table 3: what each answer states.
    private func state(
        _ answer: inout DHCPv4Message, _ request: borrowing DHCPv4View, _ family: Configuration.Family,
        _ configuration: Configuration
    ) {
        answer.serverIdentifier = family.gateway
        guard answer.messageType != DHCPv4MessageType.negativeAcknowledgment else { return }
        let leases = configuration.leases
        if !answer.yourAddress.isUnspecified {
            answer.leaseTime = leases.seconds
            answer.renewalTime = leases.seconds / 2
            answer.rebindingTime = UInt32(UInt64(leases.seconds) * 7 / 8)
        }
        answer.subnetMask = family.prefix.v4Mask
        if request.requests(DHCPv4Option.broadcastAddress) { answer.broadcastAddress = family.prefix.broadcast }
        if !leases.routes.isEmpty, request.requests(DHCPv4Option.classlessRoutes) {
            answer.classlessRoutes = leases.routes
            if let everywhere = Prefix(address: .anyV4, length: 0) {
                answer.classlessRoutes.append(DHCPv4Route(destination: everywhere, router: family.gateway))
            }
        }
        if request.requests(DHCPv4Option.routers) { answer.routers = [family.gateway] }
        if request.requests(DHCPv4Option.dnsServers) { answer.dnsServers = [family.gateway] }
        if request.requests(DHCPv4Option.interfaceMTU) {
            answer.interfaceMTU = UInt16(clamping: max(configuration.mtu, 68))
        }
        if request.requests(DHCPv4Option.hostName) { answer.hostName = leases.host(request.clientMAC)?.name ?? "" }
        if request.requests(DHCPv4Option.domainName) { answer.domainName = configuration.searchDomains.first ?? "" }
        if request.requests(DHCPv4Option.domainSearch) {
            answer.domainSearch = SearchList.encode(configuration.searchDomains)
        }
        if request.requests(DHCPv4Option.ntpServers) { answer.ntpServers = leases.ntpServers.filter(\.isV4) }
        let client = BootClient(
            architecture: request.clientArchitecture, isIPXE: request.isIPXE, isHTTP: request.isHTTPClient)
        if let file = leases.boot.file(for: client, gateway: family.gateway) {
            answer.serverAddress = file.server
            // Some firmware reads the field, some the options, whatever it asked for.
            answer.bootFile = file.name
            answer.bootFileName = file.name
            answer.tftpServerName = "\(file.server)"
            // UEFI takes an offer for HTTP boot only with this (UEFI specification, section 24.7.3.1).
            if client.isHTTP { answer.vendorClass = "HTTPClient" }
        }
    }
}
