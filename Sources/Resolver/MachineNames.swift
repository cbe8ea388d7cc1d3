package import Wire

// The names of the machines on a network: NAME.vm.internal, and back from their addresses.
//
//   name        fixed for a MAC address by configuration, or what the machine calls itself when it asks for a lease
//   taken       a name is the first's that has it, as long as that has an address; a fixed one is never another's
//   addresses   those fixed by configuration and those leased, of both families
//
// As many as there are leases, which have their own limit.

/// Names and addresses of machines.
package struct MachineNames: Sendable {
    package static let domain = DNSName(octets: [2, 0x76, 0x6d, 8] + Array("internal".utf8) + [0])

    private struct Machine {
        var name: DNSName?
        var isFixed = false
        var fixed: [IPAddress] = []
        var leased: [IPAddress] = []
    }

    private var machines: [MACAddress: Machine] = [:]
    private var holders: [DNSName: MACAddress] = [:]
    private var stations: [IPAddress: MACAddress] = [:]

    package init() {}

    package var count: Int { holders.count }

    /// The whole name of a label; nil when it is none.
    package static func name(_ label: String) -> DNSName? {
        guard let name = DNSName(label + ".vm.internal"), name.labels.count == 3 else { return nil }
        return name
    }

    /// A machine that configuration names, or gives addresses.
    package mutating func fix(_ label: String?, mac: MACAddress, addresses: [IPAddress]) {
        var machine = Machine(fixed: addresses)
        if let name = label.flatMap(Self.name), holders[name] == nil {
            machine.name = name
            machine.isFixed = true
            holders[name] = mac
        }
        machines[mac] = machine
        for address in addresses { stations[address] = mac }
    }

    /// An address was leased to a machine that calls itself `label`; empty if it does not say.
    /// - Returns: false when the name is another's.
    @discardableResult
    package mutating func leased(_ address: IPAddress, mac: MACAddress, label: String) -> Bool {
        var machine = machines[mac] ?? Machine()
        defer { machines[mac] = machine }
        if !machine.leased.contains(address) { machine.leased.append(address) }
        stations[address] = mac
        guard !machine.isFixed, !label.isEmpty, let name = Self.name(label), name != machine.name else { return true }
        guard holders[name] == nil else { return false }
        if let old = machine.name { holders[old] = nil }
        machine.name = name
        holders[name] = mac
        return true
    }

    /// A lease has ended.
    package mutating func ended(_ address: IPAddress, mac: MACAddress) {
        guard var machine = machines[mac] else { return }
        machine.leased.removeAll { $0 == address }
        if stations[address] == mac, !machine.fixed.contains(address) { stations[address] = nil }
        if machine.leased.isEmpty, !machine.isFixed, let name = machine.name {
            holders[name] = nil
            machine.name = nil
        }
        machines[mac] = machine.leased.isEmpty && !machine.isFixed && machine.fixed.isEmpty ? nil : machine
    }

    /// Nil when no machine has the name.
    package func addresses(of name: DNSName) -> [IPAddress]? {
        guard let mac = holders[name], let machine = machines[mac] else { return nil }
        return machine.fixed + machine.leased.filter { !machine.fixed.contains($0) }
    }

    package func name(of address: IPAddress) -> DNSName? { stations[address].flatMap { machines[$0]?.name } }
}
