package import Wire

/// The names that the gateway answers from its own knowledge and never sends to an upstream: its own, the host's, those of
/// the host's hosts file, those of machines, and `localhost` (RFC 6761 section 6.3).
///
/// A name that we know answers A and AAAA, with an empty answer (NODATA) for the family it has no address in. For other
/// types, built-in names are NODATA too; a name of the hosts file is asked upstream, because the file says nothing there.
/// Names below a built-in one do not exist. All of the machines' domain is ours.
package struct LocalNames: Sendable {
    package static let gatewayNames = ["gateway.internal"]
    /// Seconds: short, because the files change.
    static let ttl = 5
    package static let hostNames = ["host.internal", "host.docker.internal", "host.containers.internal"]

    package var hosts: HostsTable
    /// Nil where there are none: then their domain is as any other.
    package var machines: MachineNames?

    private let gateway: [IPAddress]
    private let host: [IPAddress]
    private let builtIn: [(name: DNSName, addresses: [IPAddress])]

    /// - Parameters:
    ///   - gateway: the gateway's addresses in the guest's subnets.
    ///   - host: the addresses under which the guest meets the host.
    package init(gateway: [IPAddress], host: [IPAddress], hosts: HostsTable = HostsTable()) {
        self.gateway = gateway
        self.host = host
        self.hosts = hosts
        let loopback = [IPAddress(v4: 0x7f00_0001), IPAddress(hi: 0, lo: 1)]
        builtIn =
            Self.gatewayNames.compactMap { DNSName($0) }.map { ($0, gateway) }
            + Self.hostNames.compactMap { DNSName($0) }.map { ($0, host) }
            + ["localhost"].compactMap { DNSName($0) }.map { ($0, loopback) }
    }

    enum Answer {
        case records([LocalRecord])
        case noSuchName
    }

    /// Nil: not ours to answer.
    func answer(_ question: Question) -> Answer? {
        for (name, addresses) in builtIn where question.name.isWithin(name) {
            if question.name == name {
                return .records(question.class == DNS.classIN ? Self.records(addresses, question.type) : [])
            }
            // RFC 6761 section 6.3: names below localhost are localhost.
            return addresses.first?.isLoopback == true
                ? .records(question.class == DNS.classIN ? Self.records(addresses, question.type) : []) : .noSuchName
        }
        if let machines, question.name.isWithin(MachineNames.domain) {
            if question.name == MachineNames.domain { return .records([]) }
            guard let addresses = machines.addresses(of: question.name) else { return .noSuchName }
            return .records(question.class == DNS.classIN ? Self.records(addresses, question.type) : [])
        }
        guard question.class == DNS.classIN else { return nil }
        if question.type == DNS.typePTR || question.type == DNS.typeANY,
            let address = question.name.reversedAddress, let name = pointer(address)
        {
            return .records([.pointer(name)])
        }
        guard question.type == DNS.typeA || question.type == DNS.typeAAAA,
            let addresses = hosts.addresses(of: question.name)
        else { return nil }
        return .records(Self.records(addresses.flatMap(seenByGuest), question.type))
    }

    private func pointer(_ address: IPAddress) -> DNSName? {
        if gateway.contains(address) { return DNSName(Self.gatewayNames[0]) }
        if host.contains(address) { return DNSName(Self.hostNames[0]) }
        if let name = machines?.name(of: address) { return name }
        return hosts.name(of: address) ?? (address.isLoopback ? DNSName("localhost") : nil)
    }

    /// The host's own loopback addresses (Debian's `127.0.1.1 myhost`) would lead a guest to itself: it meets the host elsewhere.
    private func seenByGuest(_ address: IPAddress) -> [IPAddress] { address.isLoopback ? host : [address] }

    private static func records(_ addresses: [IPAddress], _ type: Int) -> [LocalRecord] {
        addresses.map { LocalRecord.address($0) }.filter { $0.type == type || type == DNS.typeANY }
    }
}
