import Testing
import Wire

@Suite struct NDPTests {
    func message(_ frame: [UInt8]) throws -> [UInt8] {
        try IPv6View(EthernetView(frame.rawSpan).payload).payload.array
    }

    @Test func readsARouterAdvertisement() throws {
        let bytes = try message(Captured.routerAdvertisement)
        let view = try NDPView(bytes.rawSpan)
        check(view.type, ICMPv6Type.routerAdvertisement)
        check(view.currentHopLimit, 64)
        check(view.isManaged, true)
        check(view.hasOtherConfiguration, true)
        check(view.routerLifetime, 1800)
        let options = view.options
        check(options.sourceLinkLayerAddress, serverMAC)
        check(options.targetLinkLayerAddress, nil)
        check(options.mtu, 1500)
        let found = options.prefixInformation
        let prefix = try #require(found)
        #expect(
            prefix.address == IPAddress("fd00::") && prefix.prefixLength == 64 && prefix.onLink && !prefix.autonomous)
        check(options.recursiveDNSServers.count, 1)
    }

    @Test func readsSolicitationAndAdvertisement() throws {
        let probe = try message(Captured.duplicateAddressProbe)
        let solicitation = try NDPView(probe.rawSpan)
        check(solicitation.target, IPAddress("fe80::5054:ff:fe00:1")!)
        check(solicitation.options.sourceLinkLayerAddress, nil)
        let ask = try message(Captured.neighborSolicitation)
        check(try NDPView(ask.rawSpan).options.sourceLinkLayerAddress, clientMAC)
        let answer = try message(Captured.neighborAdvertisement)
        let advertisement = try NDPView(answer.rawSpan)
        check(advertisement.target, serverV6)
        check(advertisement.isSolicited, true)
        check(advertisement.overrides, true)
        check(advertisement.options.targetLinkLayerAddress, serverMAC)
        let router = advertisement.isRouter
        let bytes = written(64) {
            NDPMessage.neighborAdvertisement(target: serverV6, router: router, solicited: true, override: true).write(
                to: &$0, at: 0, source: serverV6, destination: clientV6, options: [.targetLinkLayerAddress(serverMAC)])
        }
        #expect(bytes == answer)
    }

    @Test func writesTheSolicitationsOfLinux() throws {
        let neighborSolicitation = Captured.neighborSolicitation
        let packet = try IPv6View(EthernetView(neighborSolicitation.rawSpan).payload)
        let (source, destination) = (packet.source, packet.destination)
        let bytes = written(64) {
            NDPMessage.neighborSolicitation(target: serverV6).write(
                to: &$0, at: 0, source: source, destination: destination, options: [.sourceLinkLayerAddress(clientMAC)])
        }
        check(bytes, packet.payload.array)
        let routerSolicitation = Captured.routerSolicitation
        let router = try IPv6View(EthernetView(routerSolicitation.rawSpan).payload)
        let (from, to) = (router.source, router.destination)
        let found = try NDPView(router.payload).options.sourceLinkLayerAddress
        let mac = try #require(found)
        let solicitation = written(64) {
            NDPMessage.routerSolicitation.write(
                to: &$0, at: 0, source: from, destination: to, options: [.sourceLinkLayerAddress(mac)])
        }
        check(solicitation, router.payload.array)
    }

    @Test func writesARouterAdvertisement() throws {
        let servers = [serverV6, IPAddress("fd00::3")!]
        let search = DNSName("corp.example")!.octets
        let prefix = NDPPrefixInformation(address: IPAddress("fd00::")!, prefixLength: 64)
        let source = IPAddress("fe80::1")!
        let destination = IPAddress("ff02::1")!
        let bytes = written(400) {
            NDPMessage.routerAdvertisement(
                hopLimit: 64, managed: false, otherConfiguration: true, routerLifetime: 1800, reachableTime: 1000,
                retransmitTimer: 2000
            ).write(
                to: &$0, at: 3, source: source, destination: destination,
                options: [
                    .sourceLinkLayerAddress(serverMAC), .mtu(1400), .prefixInformation(prefix),
                    .recursiveDNSServers(servers, lifetime: 600), .dnsSearchList(search, lifetime: 601),
                ]) + 3
        }.dropFirst(3)
        let message = Array(bytes)
        let view = try NDPView(message.rawSpan)
        check(view.isManaged, false)
        check(view.hasOtherConfiguration, true)
        check(view.options.mtu, 1400)
        check(view.options.prefixInformation, prefix)
        check(view.options.recursiveDNSServers, servers)
        check(view.options.dnsSearchList?.array, search + [0, 0])
        check(try ICMPView(message.rawSpan).verifyChecksum(source: source, destination: destination), true)
    }

    @Test(
        arguments: [
            ("option of length 0", "8500 0000 00000000 0100 000000000000", .badOption),
            ("option beyond the end", "8500 0000 00000000 0102 000000000000", .truncated),
            ("half an option", "8500 0000 00000000 01", .truncated),
            ("code", "8501 0000 00000000", .badField),
            ("another type", "8900 0000 00000000", .badField),
            ("no room for a target", "8700 0000 00000000 fd00", .truncated),
        ] as [(String, String, ParseError)])
    func refuses(_ name: String, _ bytes: String, _ error: ParseError) {
        let bytes = hex(bytes)
        checkThrows(error) { () throws(ParseError) in _ = try NDPView(bytes.rawSpan) }
    }

    @Test func skipsUnknownAndShortOptions() throws {
        let bytes = hex("8500 0000 00000000 fd01 000000000000 0301 000000000000 1901 000000000000 0101 525400000001")
        let options = try NDPView(bytes.rawSpan).options
        check(options.prefixInformation, nil)
        check(options.recursiveDNSServers, [])
        check(options.sourceLinkLayerAddress, serverMAC)
    }
}
