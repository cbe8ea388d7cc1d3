package import Wire

// Router advertisements (RFC 4861 section 6.2): the gateway says that it is the router, which prefix the link has, its
// MTU, and who resolves names (RFC 8106).
//
// Sent: as soon as the network starts, twice more 16 seconds apart (MAX_INITIAL_RTR_ADVERTISEMENTS), then every 200 to
// 600 seconds at random from the seed, to all nodes; and to a station that solicits, at once. (RFC 4861 section 6.2.6 asks
// for a delay of up to half a second before the answer, so that many routers do not answer in chorus. There is one
// router here, and a guest that waits to come up.)
//
// The flags: M and O, because DHCPv6 hands out the configured address and the resolver; A on the prefix, because a guest
// without a DHCPv6 client shall come up as well. A is left out for a prefix that is not a /64 (RFC 4862 section 5.5.3 (d)).
//
// The message never changes, so it is composed once.

/// The gateway's router advertisement and its schedule.
package struct RouterAdvertisement: ~Copyable {
    /// RFC 4861 section 6.2.1: 3 * MaxRtrAdvInterval.
    private static let routerLifetime: UInt16 = 1800
    /// RFC 4861 section 6.2.1: AdvValidLifetime and AdvPreferredLifetime, in seconds.
    private static let validLifetime: UInt32 = 2_592_000
    private static let preferredLifetime: UInt32 = 604_800
    /// RFC 4861 section 10: MAX_INITIAL_RTR_ADVERTISEMENTS, MAX_INITIAL_RTR_ADVERT_INTERVAL.
    private static let initialCount = 3
    private static let initialInterval = Int64.seconds(16)
    private static let minimumInterval = Int64.seconds(200)
    private static let maximumInterval = Int64.seconds(600)
    /// The fixed part of the message, before the options.
    private static let headerLength = 16

    private let message: DatagramStore
    private var random: UInt64
    private var sent = 0
    /// When the next unsolicited advertisement is due; `never` without IPv6.
    package private(set) var nextDeadline: Instant

    package init(configuration: Configuration, seed: UInt64, at now: Instant) {
        message = Self.compose(configuration)
        random = seed
        nextDeadline = configuration.v6 == nil ? .never : now
    }

    /// Sends what is due.
    package mutating func advance<O: Outside & ~Copyable>(
        to now: Instant, configuration: Configuration, egress: inout Egress, counters: inout Counters,
        outside: inout O
    ) {
        guard now >= nextDeadline else { return }
        send(
            to: NDPGroup.allNodes, mac: NDPGroup.allNodesMAC, configuration: configuration, egress: &egress,
            counters: &counters, outside: &outside)
        sent += 1
        random = random &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        let spread = Int64(random >> 33) % (Self.maximumInterval - Self.minimumInterval)
        nextDeadline = now + (sent < Self.initialCount ? Self.initialInterval : Self.minimumInterval + spread)
    }

    /// Sends one advertisement.
    package mutating func send<O: Outside & ~Copyable>(
        to destination: IPAddress, mac: MACAddress, configuration: Configuration, egress: inout Egress,
        counters: inout Counters, outside: inout O
    ) {
        guard configuration.v6 != nil else { return }
        let bytes = message.bytes
        var header = egress.transportHeader
        header.copy(from: bytes.extracting(0..<Self.headerLength), at: 0)
        // RFC 4861 section 4.2: the source is link-local, the hop limit 255.
        _ = egress.send(
            IPProtocol.icmpv6, from: configuration.gatewayLinkLocal, to: destination, mac: mac, hopLimit: 255,
            headerLength: Self.headerLength, payload: bytes.extracting(Self.headerLength..<bytes.byteCount),
            counters: &counters, outside: &outside)
    }

    /// RFC 4861 section 4.2 with the options of sections 4.6.1, 4.6.2, 4.6.4 and RFC 8106 section 5.
    private static func compose(_ configuration: Configuration) -> DatagramStore {
        guard let family = configuration.v6 else { return DatagramStore(byteCount: 0) }
        var options: [NDPOption] = [
            .sourceLinkLayerAddress(configuration.gatewayMAC),
            .mtu(UInt32(clamping: configuration.mtu)),
            .prefixInformation(
                NDPPrefixInformation(
                    address: family.prefix.network, prefixLength: family.prefix.length, onLink: true,
                    autonomous: family.prefix.length == 64, validLifetime: validLifetime,
                    preferredLifetime: preferredLifetime)),
            .recursiveDNSServers([family.gateway], lifetime: UInt32(routerLifetime)),
        ]
        let names = SearchList.encode(configuration.searchDomains)
        if !names.isEmpty { options.append(.dnsSearchList(names, lifetime: UInt32(routerLifetime))) }
        var message = DatagramStore(byteCount: options.reduce(headerLength) { $0 + $1.length })
        var bytes = message.mutableBytes
        NDPMessage.routerAdvertisement(
            hopLimit: 64, managed: true, otherConfiguration: true, routerLifetime: routerLifetime
        ).write(
            to: &bytes, at: 0, source: configuration.gatewayLinkLocal, destination: NDPGroup.allNodes, options: options)
        return message
    }
}
