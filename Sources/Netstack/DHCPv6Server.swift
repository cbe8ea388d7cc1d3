import Wire

// The gateway's DHCPv6 server (RFC 8415): addresses for identity associations (IA_NA), and the resolver.
//
//   SOLICIT                      ADVERTISE, or REPLY at once if the client asks for rapid commit
//   REQUEST                      REPLY with the address
//   RENEW, REBIND                REPLY: extended; an address that is not ours to give gets lifetimes of zero
//   CONFIRM                      REPLY: success if all addresses belong to the link, else "not on link"
//   RELEASE, DECLINE             REPLY: success; the address is free, or rests for ten minutes
//   INFORMATION-REQUEST          REPLY with the resolver and the search list
//
// Messages come to ff02::1:2 only; the server never offers unicast (RFC 8415 section 21.12), so port 547 of the gateway's
// own addresses is closed. What section 16 says to discard is counted as `malformedDHCP`. Temporary addresses, prefix
// delegation, relays and reconfiguration are not served. The server's DUID is its link-layer address.
//
// At most 8 associations of a message are looked at. See DHCPLeases.swift for who gets what and the limits.

/// Hands out IPv6 addresses.
package struct DHCPv6Server: ~Copyable {
    private var leases: DHCPLeases
    private let identifier: [UInt8]
    private var reply = DatagramStore(byteCount: 2048)

    package init(configuration: Configuration) {
        leases = DHCPLeases(configuration.v6)
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
        let wanted = request.identityAssociations()
        let mac = packet.guestMAC

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
                answer.identityAssociations.append(assign(association, client, mac, commit: isCommitted, at: now))
            }
        case DHCPv6MessageType.request:
            for association in wanted {
                answer.identityAssociations.append(assign(association, client, mac, commit: true, at: now))
            }
        case DHCPv6MessageType.renew, DHCPv6MessageType.rebind:
            for association in wanted {
                answer.identityAssociations.append(extend(association, client, mac, at: now))
            }
        case DHCPv6MessageType.confirm:
            let addresses = wanted.compactMap(\.address)
            // RFC 8415 section 18.3.3: nothing to confirm, no answer.
            guard !addresses.isEmpty else { return }
            let isOnLink = addresses.allSatisfy { family.prefix.contains($0) }
            answer.statusCode = isOnLink ? DHCPv6Status.success : DHCPv6Status.notOnLink
        case DHCPv6MessageType.release:
            for association in wanted where leases.address(of: key(client, association)) == association.address {
                leases.release(key(client, association))
            }
            answer.statusCode = DHCPv6Status.success
        case DHCPv6MessageType.decline:
            for association in wanted {
                if let address = association.address { leases.decline(key(client, association), address, at: now) }
            }
            answer.statusCode = DHCPv6Status.success
        default:
            break
        }
        answer.dnsServers = [family.gateway]
        answer.domainList = SearchList.encode(configuration.searchDomains)

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

    private func key(_ client: [UInt8], _ association: DHCPv6IdentityAssociation) -> [UInt8] {
        client + (0..<4).map { UInt8(truncatingIfNeeded: association.identifier >> UInt32(24 - 8 * $0)) }
    }

    /// RFC 8415 sections 18.3.1 and 18.3.2.
    private mutating func assign(
        _ wanted: DHCPv6IdentityAssociation, _ client: [UInt8], _ mac: MACAddress, commit: Bool, at now: Instant
    ) -> DHCPv6IdentityAssociation {
        let key = key(client, wanted)
        guard let address = leases.offer(key, mac: mac, wish: wanted.address, at: now),
            !commit || leases.bind(key, mac: mac, address, at: now)
        else {
            var refused = DHCPv6IdentityAssociation(identifier: wanted.identifier)
            refused.statusCode = DHCPv6Status.noAddressesAvailable
            return refused
        }
        return Self.granted(wanted.identifier, address)
    }

    /// RFC 8415 sections 18.3.4 and 18.3.5: without a record the server may make one if the address is good.
    private mutating func extend(
        _ wanted: DHCPv6IdentityAssociation, _ client: [UInt8], _ mac: MACAddress, at now: Instant
    ) -> DHCPv6IdentityAssociation {
        let key = key(client, wanted)
        if let address = wanted.address ?? leases.address(of: key), leases.address(of: key) ?? address == address,
            leases.bind(key, mac: mac, address, at: now)
        {
            return Self.granted(wanted.identifier, address)
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
    private static func granted(_ identifier: UInt32, _ address: IPAddress) -> DHCPv6IdentityAssociation {
        var association = DHCPv6IdentityAssociation(identifier: identifier)
        association.address = address
        association.preferredLifetime = DHCPLeases.leaseSeconds
        association.validLifetime = DHCPLeases.leaseSeconds
        association.renewalTime = DHCPLeases.leaseSeconds / 2
        association.rebindingTime = DHCPLeases.leaseSeconds / 5 * 4
        return association
    }
}
