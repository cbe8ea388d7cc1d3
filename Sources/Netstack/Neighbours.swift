package import Wire

// Stations on the guest's side of the link, by address: for what we send first. Everything else the core sends answers a
// packet whose MAC address came with it; a client of a forwarded port is the exception.
//
//   absent ── look-up ──▶ asking (3 solicitations, 1 s apart) ── answer ──▶ known ── 30 s, then a look-up ──▶ known, asking
//                            └─ no answer ──▶ absent: who waited is told that nobody is there
//
// Learnt only from answers and requests of stations we have asked for (RFC 826, RFC 4861 section 7.2.5), so a guest cannot
// fill the table. A station that is known is used while it is being asked again.
//
// Limits: `capacity` stations. When full, the known one that was confirmed longest ago gives way; when all are being asked
// for, a newcomer is treated as absent.

/// An address and the station that has it.
package struct Neighbour: Equatable, Sendable, BitwiseCopyable {
    package var address: IPAddress
    package var mac: MACAddress
}

/// The cache of ARP (RFC 826) and neighbour discovery (RFC 4861 section 5.1) for the guest's side.
struct Neighbours {
    static let capacity = 64
    /// RFC 4861 section 10: MAX_MULTICAST_SOLICIT, RETRANS_TIMER, REACHABLE_TIME.
    static let solicitations = 3
    static let interval = Int64.seconds(1)
    static let reachable = Int64.seconds(30)

    private struct Entry {
        let address: IPAddress
        var mac: MACAddress?
        /// Solicitations sent since the last answer; 0 when confirmed.
        var asked = 0
        /// The next solicitation while asking, else the end of the confirmation.
        var due: Instant
    }

    /// What a look-up found, and whether the caller is to send a solicitation.
    enum Answer: Equatable {
        case known(MACAddress, solicit: Bool)
        case asking(solicit: Bool)
        /// No room to ask.
        case full
    }

    /// What time brings.
    enum Event: Equatable {
        case solicit(IPAddress)
        case absent(IPAddress)
    }

    private var entries: [Entry] = []

    mutating func find(_ address: IPAddress, at now: Instant) -> Answer {
        if let i = entries.firstIndex(where: { $0.address == address }) {
            let solicit = entries[i].asked == 0 && entries[i].due <= now
            if solicit { ask(i, at: now) }
            guard let mac = entries[i].mac else { return .asking(solicit: solicit) }
            return .known(mac, solicit: solicit)
        }
        if entries.count == Self.capacity {
            var oldest: Int?
            for i in entries.indices where entries[i].asked == 0 {
                if oldest.map({ entries[i].due < entries[$0].due }) ?? true { oldest = i }
            }
            guard let oldest else { return .full }
            entries.remove(at: oldest)
        }
        entries.append(Entry(address: address, due: now))
        ask(entries.count - 1, at: now)
        return .asking(solicit: true)
    }

    private mutating func ask(_ i: Int, at now: Instant) {
        entries[i].asked += 1
        entries[i].due = now + Self.interval
    }

    /// A station has said where it is. False when nobody wanted to know.
    mutating func learn(_ neighbour: Neighbour, at now: Instant) -> Bool {
        guard let i = entries.firstIndex(where: { $0.address == neighbour.address }) else { return false }
        entries[i].mac = neighbour.mac
        entries[i].asked = 0
        entries[i].due = now + Self.reachable
        return true
    }

    /// A broadcast ARP request (RFC 826), or a multicast neighbour solicitation (RFC 4861 section 7.2.2).
    static func solicit<O: Outside & ~Copyable>(
        _ address: IPAddress, configuration: Configuration, egress: inout Egress, counters: inout Counters,
        outside: inout O
    ) {
        var header = egress.transportHeader
        if address.isV4 {
            guard let family = configuration.v4 else { return }
            let length = ARPPacket(
                operation: ARPOperation.request, senderMAC: configuration.gatewayMAC, senderAddress: family.gateway,
                targetMAC: .zero, targetAddress: address
            ).write(to: &header, at: 0)
            _ = egress.sendFrame(
                etherType: EtherType.arp, mac: .broadcast, length: length, counters: &counters, outside: &outside)
            return
        }
        guard let family = configuration.v6 else { return }
        let group = NDPGroup.solicitedNode(of: address)
        let length = NDPMessage.neighborSolicitation(target: address).write(
            to: &header, at: 0, source: family.gateway, destination: group,
            options: [.sourceLinkLayerAddress(configuration.gatewayMAC)])
        _ = egress.send(
            IPProtocol.icmpv6, from: family.gateway, to: group, mac: NDPGroup.mac(of: group), hopLimit: 255,
            headerLength: length, payload: RawSpan(), counters: &counters, outside: &outside)
    }

    var nextDeadline: Instant {
        var next = Instant.never
        for entry in entries where entry.asked > 0 { next = min(next, entry.due) }
        return next
    }

    /// One thing that is due; nil when nothing is.
    mutating func nextEvent(at now: Instant) -> Event? {
        guard let i = entries.firstIndex(where: { $0.asked > 0 && $0.due <= now }) else { return nil }
        let address = entries[i].address
        guard entries[i].asked < Self.solicitations else {
            entries.remove(at: i)
            return .absent(address)
        }
        ask(i, at: now)
        return .solicit(address)
    }
}

extension Core {
    /// The station of an address of the guest's side, when known; else it is being asked for, and `stationHeard` or
    /// `stationAbsent` tells. Nil too when there is no room to ask, and then nobody will tell.
    enum Station: Equatable { case at(MACAddress), asked, unavailable }

    mutating func station<O: Outside & ~Copyable>(
        of address: IPAddress, at now: Instant, outside: inout O
    ) -> Station {
        switch neighbours.find(address, at: now) {
        case .known(let mac, let again):
            if again { solicit(address, &outside) }
            return .at(mac)
        case .asking(let first):
            if first { solicit(address, &outside) }
            return .asked
        case .full:
            outside.note(.tableFull(.neighbours))
            return .unavailable
        }
    }

    /// A station of the guest's side has told its MAC address.
    mutating func stationHeard<O: Outside & ~Copyable>(
        _ neighbour: Neighbour, _ now: Instant, _ outside: inout O
    ) {
        let address = neighbour.address
        guard let family = address.isV4 ? configuration.v4 : configuration.v6, family.prefix.contains(address),
            address != family.gateway, address != family.hostAlias, !neighbour.mac.isMulticast,
            neighbours.learn(neighbour, at: now)
        else { return }
        tcp.stationHeard(neighbour, now: now, outside: &outside)
        sendParked(to: neighbour, &outside)
    }

    private mutating func solicit<O: Outside & ~Copyable>(_ address: IPAddress, _ outside: inout O) {
        Neighbours.solicit(
            address, configuration: configuration, egress: &egress, counters: &counters, outside: &outside)
    }

    mutating func advanceNeighbours<O: Outside & ~Copyable>(_ now: Instant, _ outside: inout O) {
        while let event = neighbours.nextEvent(at: now) {
            switch event {
            case .solicit(let address): solicit(address, &outside)
            case .absent(let address):
                tcp.stationAbsent(address, outside: &outside)
                for _ in udp.served.takeParked(for: address) { counters.drop(.unresolved) }
            }
        }
    }
}
