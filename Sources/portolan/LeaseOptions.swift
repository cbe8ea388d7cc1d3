import ArgumentParser
import Gateway
import Netstack
import Wire

/// The search list, for sandboxes and machines.
struct SearchOption: ParsableArguments {
    @Option(
        help: ArgumentHelp("A domain in which names without a dot are looked up. Repeatable.", valueName: "domain"))
    var search: [String] = []

    func validate() throws {
        for text in search where !Self.isDomain(text) {
            throw ValidationError("--search \(text): not a domain, such as example.org")
        }
        // DHCP carries so much of them.
        guard search.reduce(0, { $0 + $1.utf8.count + 2 }) <= 240 else {
            throw ValidationError("--search: all domains together have at most 240 bytes")
        }
    }

    static func isDomain(_ text: String) -> Bool {
        guard let name = DNSName(text), !text.contains(where: { $0.isWhitespace }) else { return false }
        return name.octets.count <= 255 && text.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7f }
    }

    func apply(to network: inout NetworkConfiguration) { network.core.searchDomains = search }
}

/// What machines are told by DHCP and router advertisements, and how they are known: options of `serve`. All are strings under long names,
/// so that a file can hold them as well.
struct LeaseOptions: ParsableArguments {
    @Option(help: ArgumentHelp("Keep leases in this file from one run to the next.", valueName: "path"))
    var leaseFile: String?

    @Option(
        help: ArgumentHelp("How long a lease is: seconds, or with m, h or d behind; by default 1h.", valueName: "time"))
    var leaseTime = "1h"

    @Option(
        help: ArgumentHelp(
            "A machine known by its MAC address, with a name, addresses that nobody else gets, or both: MAC[,NAME][,IPv4][,IPv6]. Repeatable.",
            valueName: "machine"))
    var host: [String] = []

    @OptionGroup var search: SearchOption

    @Option(help: ArgumentHelp("A time server that machines are told of. Repeatable.", valueName: "address"))
    var ntp: [String] = []

    @Option(
        help: ArgumentHelp(
            "An IPv4 route that machines are told of, by a machine or, if none is named, the gateway: PREFIX[,ADDRESS]. Repeatable.",
            valueName: "route"))
    var route: [String] = []

    @Option(
        help: ArgumentHelp(
            "Serve the files beneath this directory at the gateway's address, by TFTP and HTTP, read-only.",
            valueName: "directory"))
    var tftp: String?

    @Option(
        help: ArgumentHelp(
            "The file that machines boot, a name on the TFTP server or a URL; for one kind of firmware alone with bios=, efi32=, efi64=, arm32=, arm64= or riscv64= in front. Repeatable.",
            valueName: "file"))
    var bootFile: [String] = []

    @Option(help: ArgumentHelp("What iPXE boots instead, a name or a URL.", valueName: "file"))
    var ipxeScript: String?

    @Option(help: ArgumentHelp("The TFTP server that has the boot files.", valueName: "address"))
    var nextServer: String?

    func validate() throws {
        guard Self.seconds(leaseTime) != nil else {
            throw ValidationError(
                "--lease-time \(leaseTime): it must be 60 seconds to 365 days, such as 3600, 12h or 7d")
        }
        if let leaseFile, leaseFile.isEmpty { throw ValidationError("--lease-file: which file?") }
        _ = try hosts()
        for text in ntp where IPAddress(text) == nil {
            throw ValidationError("--ntp \(text): not an address, such as 10.0.2.7")
        }
        guard ntp.count <= 8 else { throw ValidationError("--ntp: at most 8 time servers") }
        _ = try routes(gateway: .anyV4)
        _ = try files()
        if let nextServer, IPAddress(nextServer) == nil {
            throw ValidationError("--next-server \(nextServer): not an address, such as 10.0.2.7")
        }
        if let ipxeScript { try Self.checkFile(ipxeScript, "--ipxe-script \(ipxeScript)") }
    }

    // MARK: Meaning

    /// Completes a network's configuration.
    func apply(to network: inout NetworkConfiguration) throws {
        let core = network.core
        var leases = LeaseConfiguration()
        leases.seconds = Self.seconds(leaseTime) ?? leases.seconds
        leases.hosts = try hosts()
        for host in leases.hosts {
            for (address, family) in [(host.v4, core.v4), (host.v6, core.v6)] {
                guard let address else { continue }
                guard let family else {
                    throw StartFailure("--host \(host.mac): the network has no \(address.isV4 ? "IPv4" : "IPv6")")
                }
                guard family.prefix.contains(address), address != family.prefix.network,
                    !address.isV4 || address != family.prefix.broadcast
                else { throw StartFailure("--host \(host.mac): \(address) is not in the network \(family.prefix)") }
                guard address != family.gateway, address != family.hostAlias else {
                    throw StartFailure(
                        "--host \(host.mac): \(address) is the \(address == family.gateway ? "gateway's" : "host's")")
                }
            }
        }
        leases.ntpServers = ntp.compactMap { IPAddress($0) }
        if !route.isEmpty {
            guard let family = core.v4 else { throw StartFailure("--route: the network has no IPv4") }
            leases.routes = try routes(gateway: family.gateway)
        }
        leases.boot.files = try files()
        leases.boot.ipxeScript = ipxeScript
        leases.boot.nextServer = nextServer.flatMap { IPAddress($0) }
        leases.boot.servesFiles = tftp != nil
        network.bootDirectory = tftp
        network.core.leases = leases
        network.core.searchDomains = ["vm.internal"] + search.search
        network.leaseFile = leaseFile
        network.namesMachines = true
    }

    private static func seconds(_ text: String) -> UInt32? {
        let units: [Character: UInt32] = ["s": 1, "m": 60, "h": 3600, "d": 86_400]
        var digits = Substring(text)
        var unit: UInt32 = 1
        if let last = text.last, let known = units[last] {
            unit = known
            digits.removeLast()
        }
        guard !digits.isEmpty, digits.allSatisfy(\.isASCII), digits.allSatisfy(\.isNumber), let number = UInt32(digits),
            case let (seconds, overflow) = number.multipliedReportingOverflow(by: unit), !overflow,
            (60...365 * 86_400).contains(seconds)
        else { return nil }
        return seconds
    }

    /// dnsmasq's dhcp-host, as far as one MAC address, one name and one address of each family.
    private func hosts() throws -> [LeaseConfiguration.Host] {
        var hosts: [LeaseConfiguration.Host] = []
        guard host.count <= 1024 else { throw ValidationError("--host: at most 1024 machines") }
        for text in host {
            func refuse(_ what: String) -> ValidationError {
                ValidationError(
                    "--host \(text): \(what); it is MAC[,NAME][,IPv4][,IPv6], such as 52:54:00:12:34:56,web,10.0.2.10")
            }
            let parts = text.split(separator: ",", omittingEmptySubsequences: false)
            guard let mac = MACAddress(parts[0]), !mac.isMulticast, mac.rawValue != 0 else {
                throw refuse("\(parts[0]) is not the MAC address of one station")
            }
            var machine = LeaseConfiguration.Host(mac: mac)
            for part in parts.dropFirst() {
                let word = part.hasPrefix("[") && part.hasSuffix("]") ? part.dropFirst().dropLast() : part
                if let address = IPAddress(String(word)) {
                    guard (address.isV4 ? machine.v4 : machine.v6) == nil else {
                        throw refuse("it has two \(address.isV4 ? "IPv4" : "IPv6") addresses")
                    }
                    if address.isV4 { machine.v4 = address } else { machine.v6 = address }
                } else {
                    let name = part.lowercased()
                    guard HostName.isLabel(name), name.contains(where: \.isLetter) else {
                        throw refuse("\(part) is neither an address nor a name of letters, digits and hyphens")
                    }
                    guard machine.name == nil else { throw refuse("it has two names") }
                    machine.name = name
                }
            }
            guard machine.name != nil || machine.v4 != nil || machine.v6 != nil else {
                throw refuse("it says nothing of the machine")
            }
            for other in hosts {
                if other.mac == mac { throw refuse("this MAC address was given before") }
                if let name = machine.name, other.name == name { throw refuse("the name \(name) is another machine's") }
                for (address, known) in [(machine.v4, other.v4), (machine.v6, other.v6)] {
                    if let address, address == known { throw refuse("\(address) is another machine's") }
                }
            }
            hosts.append(machine)
        }
        return hosts
    }

    private func routes(gateway: IPAddress) throws -> [DHCPv4Route] {
        guard route.count <= 16 else { throw ValidationError("--route: at most 16 routes") }
        return try route.map { text in
            let parts = text.split(separator: ",", omittingEmptySubsequences: false)
            guard parts.count <= 2, let prefix = Prefix(String(parts[0])), prefix.address.isV4 else {
                throw ValidationError(
                    "--route \(text): not an IPv4 prefix, such as 192.168.0.0/16 or 192.168.0.0/16,10.0.2.7")
            }
            guard prefix.address == prefix.network else {
                throw ValidationError("--route \(text): the prefix itself is \(prefix.network)/\(prefix.length)")
            }
            guard prefix.length > 0 else {
                throw ValidationError("--route \(text): the default route is the gateway's")
            }
            guard parts.count == 2 else { return DHCPv4Route(destination: prefix, router: gateway) }
            guard let router = IPAddress(String(parts[1])), router.isV4 else {
                throw ValidationError("--route \(text): \(parts[1]) is not an IPv4 address")
            }
            return DHCPv4Route(destination: prefix, router: router)
        }
    }

    private func files() throws -> [BootConfiguration.File] {
        var files: [BootConfiguration.File] = []
        for text in bootFile {
            var architecture: ClientArchitecture?
            var name = text
            if let equals = text.firstIndex(of: "="), let known = ClientArchitecture(rawValue: String(text[..<equals]))
            {
                architecture = known
                name = String(text[text.index(after: equals)...])
            }
            try Self.checkFile(name, "--boot-file \(text)")
            guard !files.contains(where: { $0.architecture == architecture }) else {
                throw ValidationError("--boot-file \(text): there is another for \(architecture?.rawValue ?? "all")")
            }
            files.append(BootConfiguration.File(architecture: architecture, name: name))
        }
        return files
    }

    private static func checkFile(_ name: String, _ option: String) throws {
        guard !name.isEmpty, name.utf8.count <= 127, name.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f }) else {
            throw ValidationError("\(option): a name or URL of 1 to 127 printable characters without spaces")
        }
    }
}
