import Wire

// The gateway's DHCPv6 server (RFC 8415): addresses for identity associations (IA_NA), and the resolver.
//
//   SOLICIT                      ADVERTISE, or REPLY at once if the client asks for rapid commit
//   REQUEST                      REPLY with the address
//   RENEW, REBIND                REPLY: extended; an address that is not ours to give gets lifetimes of zero
//   CONFIRM                      REPLY: success if all addresses belong to the link, else "not on link"
//   RELEASE, DECLINE             REPLY: success; the address is free, or rests for ten minutes
//   INFORMATION-REQUEST          REPLY with what is asked for of: resolver, search list, time servers, boot file
//
// Messages come to ff02::1:2 only; the server never offers unicast (RFC 8415 section 21.12), so port 547 of the gateway's
// own addresses is closed. What section 16 says to discard is counted as `malformedDHCP`. Temporary addresses, prefix
// delegation, relays and reconfiguration are not served. The server's DUID is its link-layer address. A client's is repeated, and else
// does not count (DHCPLeases).
//
// At most 8 associations of a message are looked at. See DHCPLeases.swift for who gets what and the limits.

/// Hands out IPv6 addresses.
package struct DHCPv6Server: ~Copyable {
    package var leases: DHCPLeases
    private let identifier: [UInt8]
    private var reply = DatagramStore(byteCount: 2048)

    package init(configuration: Configuration) {
        leases = DHCPLeases(configuration.v6, configuration.leases)
        identifier = DHCPv6Message.identifier(of: configuration.gatewayMAC)
    }

    /// Addresses that are offered, leased or resting.
    package var leaseCount: Int { leases.count }

    /// Whether a datagram to this port is for the server.
    package static func isRequest(_ packet: PacketInfo, _ port: UInt16, _ configuration: Configuration) -> Bool {
        port == DHCPv6.serverPort && packet.destination == DHCPv6.allServers && configuration.v6 != nil
    }

    /// - Parameter message: the UDP payload.
    package mutating func receive<O: Outside & ~Copyable>(
        _ packet: PacketInfo, _ message: RawSpan, at now: Instant, configuration: Configuration, egress: inout Egress,
        counters: inout Counters, outside: inout O
    ) {
        guard let family = configuration.v6, !packet.source.isUnspecified, let request = try? DHCPv6View(message),
            isValid(request)
        else { return counters.drop(.malformedDHCP) }
        var client: [UInt8] = []
        if let name = request.clientIdentifier { for i in 0..<name.byteCount { client.append(name.u8(at: i)) } }
        let mac = packet.guestMAC
        let made = answer(
            to: request, mac, family, at: now, configuration.leases.seconds,
            isHeld: { outside.isHeld($0, byOtherThan: mac, at: now) })
        for change in leases.takeChanges() { outside.leaseChanged(change) }
        guard var answer = made else { return }
        state(&answer, request, family, configuration)
        let identifier = identifier
        var bytes = reply.mutableBytes
        let length = answer.write(
            to: &bytes, at: 0, clientIdentifier: client.rawSpan, serverIdentifier: identifier.rawSpan)
        egress.sendDatagram(
            reply.bytes.extracting(0..<length),
            from: Endpoint(
                address: packet.source.isLinkLocal ? configuration.gatewayLinkLocal : family.gateway,
                port: DHCPv6.serverPort),
            to: Endpoint(address: packet.source, port: DHCPv6.clientPort), mac: mac, counters: &counters,
            outside: &outside)
    }

    /// RFC 8415 section 18.3.
    private mutating func answer(
        to request: borrowing DHCPv6View, _ mac: MACAddress, _ family: Configuration.Family, at now: Instant,
        _ seconds: UInt32, isHeld: (IPAddress) -> Bool
    ) -> DHCPv6Message? {
        let wanted = request.identityAssociations()
        let name = Self.name(request)
        func client(_ association: DHCPv6IdentityAssociation) -> DHCPLeases.Client {
            DHCPLeases.Client(mac: mac, association: association.identifier)
        }
        var answer = DHCPv6Message(type: DHCPv6MessageType.reply, transactionID: request.transactionID)
        switch request.type {
        case DHCPv6MessageType.solicit:
            if request.hasRapidCommit {
                answer.rapidCommit = true
            } else {
                answer.type = DHCPv6MessageType.advertise
                // RFC 8415 section 18.2.1: the highest preference ends the client's wait for other servers.
                answer.preference = 255
            }
            for association in wanted {
                let isCommitted = answer.rapidCommit
                answer.identityAssociations.append(
                    assign(
                        association, client(association), name, commit: isCommitted, seconds, at: now, isHeld: isHeld))
            }
        case DHCPv6MessageType.request:
            for association in wanted {
                answer.identityAssociations.append(
                    assign(association, client(association), name, commit: true, seconds, at: now, isHeld: isHeld))
            }
        case DHCPv6MessageType.renew, DHCPv6MessageType.rebind:
            for association in wanted {
                answer.identityAssociations.append(
                    extend(association, client(association), name, seconds, at: now, isHeld: isHeld))
            }
        case DHCPv6MessageType.confirm:
            let addresses = wanted.compactMap(\.address)
            // RFC 8415 section 18.3.3: nothing to confirm, no answer.
            guard !addresses.isEmpty else { return nil }
            let isOnLink = addresses.allSatisfy { family.prefix.contains($0) }
            answer.statusCode = isOnLink ? DHCPv6Status.success : DHCPv6Status.notOnLink
        case DHCPv6MessageType.release:
            for association in wanted where leases.address(of: client(association)) == association.address {
                leases.release(client(association))
            }
            answer.statusCode = DHCPv6Status.success
        case DHCPv6MessageType.decline:
            for association in wanted {
                if let address = association.address { leases.decline(client(association), address, at: now) }
            }
            answer.statusCode = DHCPv6Status.success
        default:
            break
        }
        return answer
    }

    /// What the client calls itself: option 39 (RFC 4704).
    private static func name(_ request: borrowing DHCPv6View) -> String {
        guard let option = request.option(DHCPv6Option.clientFQDN), option.byteCount > 1 else { return "" }
        return HostName.label(fqdn: option.extracting(1..<option.byteCount), isWire: true) ?? ""
    }

    private func state(
        _ answer: inout DHCPv6Message, _ request: borrowing DHCPv6View, _ family: Configuration.Family,
        _ configuration: Configuration
    ) {
        if request.wants(DHCPv6Option.dnsServers) { answer.dnsServers = [family.gateway] }
        if request.wants(DHCPv6Option.domainList) {
            answer.domainList = SearchList.encode(configuration.searchDomains)
        }
        if request.wants(DHCPv6Option.ntpServer) {
            answer.ntpServers = configuration.leases.ntpServers.filter { !$0.isV4 }
        }
        if request.wants(DHCPv6Option.bootFileURL) {
            let client = BootClient(architecture: request.clientArchitecture, isIPXE: request.isIPXE, isHTTP: false)
            answer.bootFileURL = configuration.leases.boot.url(for: client, gateway: family.gateway) ?? ""
        }
    }

    /// RFC 8415 section 16: which identifiers each message must and must not have.
    private func isValid(_ request: borrowing DHCPv6View) -> Bool {
        let client = request.clientIdentifier
        // RFC 8415 section 11.1: a DUID has 1 to 128 bytes behind its two of type.
        if let client, client.byteCount < 3 || client.byteCount > 130 { return false }
        var isOurs: Bool?
        if let server = request.serverIdentifier {
            var same = server.byteCount == identifier.count
            if same { for i in 0..<identifier.count where server.u8(at: i) != identifier[i] { same = false } }
            isOurs = same
        }
        switch request.type {
        case DHCPv6MessageType.solicit, DHCPv6MessageType.confirm, DHCPv6MessageType.rebind:
            return client != nil && isOurs == nil
        case DHCPv6MessageType.request, DHCPv6MessageType.renew, DHCPv6MessageType.release, DHCPv6MessageType.decline:
            return client != nil && isOurs == true
        case DHCPv6MessageType.informationRequest:
            // RFC 8415 section 16.12: not with an association.
            return isOurs != false && request.option(DHCPv6Option.identityAssociation) == nil
        default:
            return false
        }
    }

    /// RFC 8415 sections 18.3.1 and 18.3.2.
    private mutating func assign(
        _ wanted: DHCPv6IdentityAssociation, _ client: DHCPLeases.Client, _ name: String, commit: Bool,
        _ seconds: UInt32, at now: Instant, isHeld: (IPAddress) -> Bool
    ) -> DHCPv6IdentityAssociation {
        guard let address = leases.offer(client, wish: wanted.address, at: now, isHeld: isHeld),
            !commit || leases.bind(client, address, name: name, at: now, isHeld: isHeld)
        else {
            var refused = DHCPv6IdentityAssociation(identifier: wanted.identifier)
            refused.statusCode = DHCPv6Status.noAddressesAvailable
            return refused
        }
        return Self.granted(wanted.identifier, address, seconds)
    }

    /// RFC 8415 sections 18.3.4 and 18.3.5: without a record the server may make one if the address is good.
    private mutating func extend(
        _ wanted: DHCPv6IdentityAssociation, _ client: DHCPLeases.Client, _ name: String, _ seconds: UInt32,
        at now: Instant, isHeld: (IPAddress) -> Bool
    ) -> DHCPv6IdentityAssociation {
        let known = leases.address(of: client)
        if let address = wanted.address ?? known, known ?? address == address,
            leases.bind(client, address, name: name, at: now, isHeld: isHeld)
        {
            return Self.granted(wanted.identifier, address, seconds)
        }
        var refused = DHCPv6IdentityAssociation(identifier: wanted.identifier)
        if let address = wanted.address {
            refused.address = address
        } else {
            refused.statusCode = DHCPv6Status.noBinding
        }
        return refused
    }

    /// RFC 8415 section 21.4: T1 and T2 at 0.5 and 0.8 of the preferred lifetime.
    private static func granted(_ identifier: UInt32, _ address: IPAddress, _ seconds: UInt32)
        -> DHCPv6IdentityAssociation
    {
        var association = DHCPv6IdentityAssociation(identifier: identifier)
        association.address = address
        association.preferredLifetime = seconds
        association.validLifetime = seconds
        association.renewalTime = seconds / 2
        association.rebindingTime = UInt32(UInt64(seconds) * 4 / 5)
        return association
    }
}
