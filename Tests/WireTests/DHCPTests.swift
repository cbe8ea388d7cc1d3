import Testing
import Wire

@Suite struct DHCPv4Tests {
    func message(_ frame: [UInt8]) throws -> [UInt8] {
        try UDPView(IPv4View(EthernetView(frame.rawSpan).payload).payload).payload.array
    }

    @Test func readsADiscover() throws {
        let bytes = try message(Captured.dhcpDiscover)
        let view = try DHCPv4View(bytes.rawSpan)
        check(view.operation, DHCPv4.bootRequest)
        check(view.messageType, DHCPv4MessageType.discover)
        check(view.clientMAC, clientMAC)
        check(view.clientAddress, .anyV4)
        check(view.hostName?.array, Array("guest".utf8))
        check(view.maximumMessageSize, 576)
        check(view.maximumReplyLength, 548)
        check(view.requests(DHCPv4Option.routers), true)
        check(view.requests(DHCPv4Option.domainSearch), false)
        check(view.serverIdentifier, nil)
    }

    @Test func readsTheExchange() throws {
        let request = try message(Captured.dhcpRequest)
        let asked = try DHCPv4View(request.rawSpan)
        check(asked.messageType, DHCPv4MessageType.request)
        check(asked.requestedAddress, IPAddress("10.0.2.19")!)
        check(asked.serverIdentifier, serverV4)
        let acknowledgment = try message(Captured.dhcpAcknowledgment)
        let given = try DHCPv4View(acknowledgment.rawSpan)
        check(given.operation, DHCPv4.bootReply)
        check(given.messageType, DHCPv4MessageType.acknowledgment)
        check(given.transactionID, asked.transactionID)
        check(given.yourAddress, IPAddress("10.0.2.19")!)
        check(given.option(DHCPv4Option.leaseTime)?.array, hex("00000e10"))
        check(given.option(DHCPv4Option.domainName)?.array, Array("corp.example".utf8))
    }

    @Test func writesAnAnswer() throws {
        let discover = try message(Captured.dhcpDiscover)
        var reply = DHCPv4Message(replyTo: try DHCPv4View(discover.rawSpan), messageType: DHCPv4MessageType.offer)
        reply.yourAddress = clientV4
        reply.serverIdentifier = serverV4
        reply.leaseTime = 86_400
        reply.renewalTime = 43_200
        reply.rebindingTime = 75_600
        reply.subnetMask = 0xffff_ff00
        reply.broadcastAddress = IPAddress("10.0.2.255")!
        reply.routers = [serverV4]
        reply.dnsServers = [serverV4, IPAddress("10.0.2.3")!]
        reply.ntpServers = [serverV4]
        reply.interfaceMTU = 1400
        reply.hostName = "guest"
        reply.domainName = "corp.example"
        reply.domainSearch = DNSName("corp.example")!.octets
        reply.classlessRoutes = [
            DHCPv4Route(destination: Prefix("0.0.0.0/0")!, router: serverV4),
            DHCPv4Route(destination: Prefix("10.17.0.0/13")!, router: serverV4),
            DHCPv4Route(destination: Prefix("192.0.2.7/32")!, router: serverV4),
        ]
        let bytes = written(1500) { reply.write(to: &$0, at: 0) }
        let view = try DHCPv4View(bytes.rawSpan)
        check(view.transactionID, try DHCPv4View(discover.rawSpan).transactionID)
        check(view.clientMAC, clientMAC)
        check(view.yourAddress, clientV4)
        check(view.messageType, DHCPv4MessageType.offer)
        check(view.serverIdentifier, serverV4)
        let expected: [(UInt8, String)] = [
            (51, "00015180"), (58, "0000a8c0"), (59, "00012750"), (1, "ffffff00"), (28, "0a0002ff"), (3, "0a000202"),
            (6, "0a000202 0a000203"), (42, "0a000202"), (26, "0578"), (12, "6775657374"),
            (15, "636f72702e6578616d706c65"),
            (119, "04636f7270076578616d706c6500"),
            (121, "00 0a000202 0d 0a10 0a000202 20 c0000207 0a000202"),
        ]
        for (code, value) in expected { check(view.option(code)?.array, hex(value), "option \(code)") }
    }

    @Test func keepsTheLimit() throws {
        var reply = DHCPv4Message(
            operation: DHCPv4.bootReply, messageType: DHCPv4MessageType.acknowledgment, transactionID: 1,
            clientMAC: clientMAC)
        reply.domainSearch = [UInt8](repeating: 1, count: 300)
        reply.hostName = "x"
        let short = written(1500) { reply.write(to: &$0, at: 0) }
        check(short.count, 300)
        check(try DHCPv4View(short.rawSpan).option(119)?.byteCount, nil)
        let long = written(1500) { reply.write(to: &$0, at: 0, limit: 1472) }
        check(long.count, 240 + 3 + 3 + 304 + 1)
        // RFC 3396: two parts.
        check(try DHCPv4View(long.rawSpan).option(119)?.byteCount, 255)
        #expect(long[240 + 6 + 257] == 119 && long[240 + 6 + 258] == 45 && long.last == 255)
        #expect(written(300) { reply.write(to: &$0, at: 0) }.count == 300)
    }

    @Test func searchesOverloadedFields() throws {
        var bytes = [UInt8](repeating: 0, count: 240) + [52, 1, 3, 53, 1, 1, 255]
        bytes.replaceSubrange(0..<3, with: [1, 1, 6])
        bytes.replaceSubrange(236..<240, with: hex("63825363"))
        bytes.replaceSubrange(108..<114, with: [50, 4, 10, 0, 2, 15])
        bytes.replaceSubrange(44..<48, with: [12, 2, 0x68, 0x69])
        let view = try DHCPv4View(bytes.rawSpan)
        check(view.messageType, 1)
        check(view.requestedAddress, clientV4)
        check(view.hostName?.array, [0x68, 0x69])
        var fileOnly = bytes
        fileOnly[242] = 1
        check(try DHCPv4View(fileOnly.rawSpan).hostName?.array, nil)
        check(try DHCPv4View(fileOnly.rawSpan).requestedAddress, clientV4)
    }

    @Test(
        arguments: [
            ("", nil), ("ff", nil), ("0000350101ff", 1), ("350101", 1), ("3502", nil), ("35020101", nil),
            ("32ff0a", nil), ("35", nil),
            ("ff350101", nil), ("0c00350105", 5),
        ] as [(String, UInt8?)])
    func toleratesOptions(_ options: String, _ type: UInt8?) throws {
        var bytes = [UInt8](repeating: 0, count: 240) + hex(options)
        bytes.replaceSubrange(0..<3, with: [1, 1, 6])
        bytes.replaceSubrange(236..<240, with: hex("63825363"))
        check(try DHCPv4View(bytes.rawSpan).messageType, type)
    }
}

@Suite struct DHCPv6Tests {
    func message(_ frame: [UInt8]) throws -> [UInt8] {
        try UDPView(IPv6View(EthernetView(frame.rawSpan).payload).payload).payload.array
    }

    @Test func readsTheExchange() throws {
        let (a, b) = (try message(Captured.dhcpv6Solicit), try message(Captured.dhcpv6Advertise))
        let (c, d) = (try message(Captured.dhcpv6Request), try message(Captured.dhcpv6Reply))
        let (solicit, advertise) = (try DHCPv6View(a.rawSpan), try DHCPv6View(b.rawSpan))
        let (request, reply) = (try DHCPv6View(c.rawSpan), try DHCPv6View(d.rawSpan))
        check(solicit.type, DHCPv6MessageType.solicit)
        check(advertise.type, DHCPv6MessageType.advertise)
        check(request.type, DHCPv6MessageType.request)
        check(reply.type, DHCPv6MessageType.reply)
        check(solicit.transactionID, advertise.transactionID)
        check(request.transactionID, reply.transactionID)
        check(solicit.requests(DHCPv6Option.dnsServers), true)
        check(solicit.requests(DHCPv6Option.rapidCommit), false)
        check(solicit.serverIdentifier == nil, true)
        check(solicit.clientIdentifier?.array, reply.clientIdentifier?.array)
        check(advertise.serverIdentifier?.array, request.serverIdentifier?.array)
        check(solicit.identityAssociations().count, 1)
        check(solicit.identityAssociations()[0].address, nil)
        let leases = reply.identityAssociations()
        let lease = try #require(leases.first)
        let address = try #require(lease.address)
        #expect(lease.identifier == 2 && Prefix("fd00::/64")!.contains(address))
        #expect(lease.validLifetime == 3600)
        check(request.identityAssociations()[0].address, lease.address)
        check(reply.option(DHCPv6Option.domainList)?.array, DNSName("corp.example")!.octets)
        check(reply.dnsServers.count, 1)
    }

    @Test func writesAnAnswer() throws {
        var message = DHCPv6Message(type: DHCPv6MessageType.reply, transactionID: 0xff12_3456)
        var lease = DHCPv6IdentityAssociation(identifier: 7)
        lease.renewalTime = 100
        lease.rebindingTime = 160
        lease.address = clientV6
        lease.preferredLifetime = 200
        lease.validLifetime = 300
        var refused = DHCPv6IdentityAssociation(identifier: 8)
        refused.statusCode = DHCPv6Status.noAddressesAvailable
        message.identityAssociations = [lease, refused]
        message.rapidCommit = true
        message.preference = 255
        message.statusCode = DHCPv6Status.success
        message.dnsServers = [serverV6]
        message.domainList = DNSName("corp.example")!.octets
        message.optionRequest = [23, 24]
        let identifier = DHCPv6Message.identifier(of: serverMAC)
        #expect(identifier == hex("0003 0001 525400000001"))
        let client = hex("0001 aabb")
        let bytes = written(512) {
            message.write(to: &$0, at: 0, clientIdentifier: client.rawSpan, serverIdentifier: identifier.rawSpan)
        }
        let view = try DHCPv6View(bytes.rawSpan)
        check(view.type, DHCPv6MessageType.reply)
        check(view.transactionID, 0x12_3456)
        check(view.clientIdentifier?.array, client)
        check(view.serverIdentifier?.array, identifier)
        check(view.identityAssociations(), [lease, refused])
        check(view.hasRapidCommit, true)
        check(view.preference, 255)
        check(view.statusCode, 0)
        check(view.dnsServers, [serverV6])
        check(view.option(DHCPv6Option.domainList)?.array, message.domainList)
        check(view.requests(24), true)
    }

    @Test(
        arguments: [
            ("relay", "0c 000001", .badField), ("type 0", "00 000001", .badField),
            ("half a head", "01 000001 0001 00", .truncated),
            ("beyond the end", "01 000001 0001 0004 aabbcc", .truncated),
        ] as [(String, String, ParseError)])
    func refuses(_ name: String, _ bytes: String, _ error: ParseError) {
        let bytes = hex(bytes)
        checkThrows(error) { () throws(ParseError) in _ = try DHCPv6View(bytes.rawSpan) }
    }
}
