package import Wire

// Clients of the guest's UDP servers, who come to a forwarded port of the host.
//
//   client 192.0.2.7:5353 ──▶ host's socket, port 53 ──▶ flow { client, port, path } ──▶ guest 10.0.2.2:53
//                        ◀── the same socket, from the address the client had asked ◀──
//
// One flow per client, forwarded port and address of the host that the client used: an answer has to leave from that address,
// which on a host with several the routing table would not choose. To the guest a flow is a pair of endpoints, so its answers
// find the client; whatever else the guest sends from that port is an ordinary flow of its own (UDPTranslator).
//
// Life: as other flows, five minutes without traffic in either direction (RFC 4787 REQ-5). The table is capped; when full, the
// client that has been idle longest gives way, counted as `datagramFlowsFull`.
//
// Errors: an ICMP error that the host hears about an answer is told to the guest. The other way there is none: a port that the
// guest has closed is silence to the client, because no unprivileged socket sends ICMP errors.
//
// Until the guest's station is known, datagrams wait: 64 KiB of them at most, newcomers beyond are lost (`unresolved`).

/// How a client's datagram came to the host, and how an answer has to leave.
package struct DatagramPath: Hashable, Sendable, BitwiseCopyable {
    /// The host's address.
    package var local: IPAddress
    /// The interface's index, which link-local IPv6 needs; 0 for any.
    package var interface: UInt32
    package init(local: IPAddress, interface: UInt32 = 0) {
        self.local = local
        self.interface = interface
    }
}

struct ServedDatagrams: ~Copyable {
    static let parkedLimit = 64 << 10

    struct Client: Equatable {
        var port: UInt32
        var endpoint: Endpoint
        var path: DatagramPath
    }

    /// Datagrams for a station that is being asked for.
    struct Parked {
        var flow: FlowID
        var bytes: [UInt8]
        var size: Int?
        var trafficClass: UInt8
    }

    private(set) var flows: DatagramFlows
    /// By the flow's index.
    private var clients: [Client] = []
    private var byClient = FlowTable()
    private let secret: UInt64
    private var parked: [Parked] = []

    init(capacity: Int, seed: UInt64) {
        flows = DatagramFlows(
            kind: .udp, capacity: capacity, idleTime: UDPTranslator.idleTime,
            briefIdleTime: UDPTranslator.briefIdleTime, seed: seed)
        secret = seed
    }

    subscript(_ index: UInt32) -> Client { clients[Int(index)] }

    /// The paths of a client's port hash alike: an error tells the client alone.
    private func hash(_ port: UInt32, _ endpoint: Endpoint) -> UInt64 {
        FlowKey(guest: Endpoint(address: IPAddress(v4: port), port: 0), remote: endpoint).hash(secret: secret)
    }

    /// The flow that a client's datagram belongs to, made when there is none. nil: no pair of endpoints is free for it.
    mutating func admit<O: Outside & ~Copyable>(
        _ client: Client, to guest: Endpoint, shownAs address: IPAddress, at now: Instant, counters: inout Counters,
        outside: inout O
    ) -> UInt32? {
        let hash = hash(client.port, client.endpoint)
        if let known = byClient.find(hash, { clients[Int($0)] == client && flows[$0].guest == guest }) {
            flows.use(known, at: now)
            return known
        }
        if flows.count == flows.capacity, let oldest = flows.idleLongest() {
            counters.drop(.datagramFlowsFull)
            outside.note(.tableFull(.datagramFlows))
            remove(oldest)
        }
        let shown = Endpoint(address: address, port: client.endpoint.port)
        guard let remote = shown.firstFree({ flows.find(guest, remote: $0) == nil }),
            let index = flows.insert(guest, remote: remote, mac: .zero, isBrief: false, at: now)
        else { return nil }
        while clients.count <= Int(index) { clients.append(client) }
        clients[Int(index)] = client
        byClient.insert(hash, index)
        return index
    }

    /// A flow of this client of this port, whichever address of the host it used.
    func find(_ port: UInt32, _ endpoint: Endpoint) -> UInt32? {
        byClient.find(hash(port, endpoint)) {
            clients[Int($0)].port == port && clients[Int($0)].endpoint == endpoint
        }
    }

    /// The guest has answered.
    mutating func use(_ index: UInt32, mac: MACAddress, at now: Instant) {
        flows.use(index, mac: mac, isBrief: false, at: now)
    }

    private mutating func remove(_ index: UInt32) {
        let client = clients[Int(index)]
        byClient.remove(hash(client.port, client.endpoint), index)
        flows.remove(index)
    }

    mutating func advance(to now: Instant) {
        while let index = flows.expired(at: now) { remove(index) }
    }

    // MARK: Waiting for a station

    /// False when too much waits already.
    mutating func park(_ index: UInt32, _ bytes: RawSpan, size: Int?, trafficClass: UInt8) -> Bool {
        let waiting = parked.reduce(0) { $0 + $1.bytes.count + 64 }
        guard waiting + bytes.byteCount <= Self.parkedLimit else { return false }
        let copy = unsafe bytes.withUnsafeBytes { unsafe [UInt8]($0) }
        parked.append(Parked(flow: flows.id(of: index), bytes: copy, size: size, trafficClass: trafficClass))
        return true
    }

    /// Takes what waits for this address.
    mutating func takeParked(for address: IPAddress) -> [Parked] {
        var taken: [Parked] = []
        var left: [Parked] = []
        for entry in parked {
            // Its flow has given way to another.
            guard let index = flows.find(entry.flow) else { continue }
            if flows[index].guest.address == address { taken.append(entry) } else { left.append(entry) }
        }
        parked = left
        return taken
    }
}

extension Core {
    /// Datagrams of a client came to a forwarded port: one, or several of `size` bytes each but for a shorter last one.
    /// - Parameter port: the shell's number of the forwarded port, which `Outside.sendServed` gets back.
    package mutating func hostServed<O: Outside & ~Copyable>(
        _ port: UInt32, from client: Endpoint, path: DatagramPath, to guest: Endpoint, _ bytes: RawSpan,
        size: Int? = nil, trafficClass: UInt8, at now: Instant, outside: inout O
    ) {
        let shown = configuration.guestView(ofClient: client.address)
        guard
            let index = udp.served.admit(
                ServedDatagrams.Client(port: port, endpoint: client, path: path), to: guest, shownAs: shown, at: now,
                counters: &counters, outside: &outside)
        else { return counters.drop(.datagramFlowsFull) }
        switch station(of: guest.address, at: now, outside: &outside) {
        case .at(let mac):
            egress.sendDatagrams(
                bytes, from: udp.served.flows[index].remote, to: guest, mac: mac, size: size,
                trafficClass: trafficClass, counters: &counters, outside: &outside)
        case .asked:
            if !udp.served.park(index, bytes, size: size, trafficClass: trafficClass) { counters.drop(.unresolved) }
        case .unavailable:
            counters.drop(.unresolved)
        }
    }

    /// The error queue of a forwarded port had an ICMP error about an answer of the guest.
    package mutating func hostServedError<O: Outside & ~Copyable>(
        _ port: UInt32, _ error: DatagramError, at now: Instant, outside: inout O
    ) {
        guard let index = udp.served.find(port, error.destination), let message = ICMPError(error) else { return }
        let flow = udp.served.flows[index]
        errors.send(
            message, about: .udp(from: flow.guest, to: flow.remote), mac: flow.mac,
            from: error.offender.map { configuration.guestView(ofClient: $0) }, at: now, configuration: configuration,
            egress: &egress, counters: &counters, outside: &outside)
    }

    mutating func sendParked<O: Outside & ~Copyable>(to neighbour: Neighbour, _ outside: inout O) {
        for entry in udp.served.takeParked(for: neighbour.address) {
            guard let index = udp.served.flows.find(entry.flow) else { continue }
            let flow = udp.served.flows[index]
            egress.sendDatagrams(
                unsafe entry.bytes.span.bytes, from: flow.remote, to: flow.guest, mac: neighbour.mac, size: entry.size,
                trafficClass: entry.trafficClass, counters: &counters, outside: &outside)
        }
    }
}
