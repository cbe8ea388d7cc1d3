import ArgumentParser
import Gateway
import Glibc
import Logging
import Netstack
import Sandbox
import Wire

/// The options that all networks share, checked, and what they make of the network.
struct NetworkOptions: ParsableArguments {
    @Option(
        help:
            "The sandbox's IPv4 subnet; the gateway gets .1, the sandbox .2, the host's alias the last; by default 10.0.2.0/24."
    )
    var subnet: String?

    @Option(
        help:
            "The sandbox's IPv6 subnet, a /64; the gateway gets ::1, the sandbox ::2, the host's alias ::fe; by default fd00:706f:7274::/64."
    )
    var subnet6: String?

    @Option(help: "The interface's MTU, 68 to 65520; IPv6 needs 1280.")
    var mtu = 1500

    @Flag(help: "Let host.internal reach the host's loopback.")
    var hostLoopback = false

    @Option(
        help: "A resolver to use instead of the host's /etc/resolv.conf: 1.1.1.1, 1.1.1.1:5353, [::1]:53. Repeatable.")
    var dns: [String] = []

    @Option(help: "Write every frame to this pcap file.")
    var capture: String?

    @Option(
        help: "Microseconds to look for the next packet before sleeping, when that pays; 0 never does, at most 1000.")
    var busyPoll = 50

    @Option(help: "Congestion control towards the sandbox: cubic or reno.")
    var congestion = "cubic"

    @Flag(name: .customLong("no-ipv6"), help: "IPv4 only.")
    var noIPv6 = false

    @Option(name: .customLong("ready-fd"), help: "Write one byte to this descriptor once the network is up.")
    var readyFD: Int32?

    @Flag(name: .shortAndLong, help: "Say more.")
    var verbose = false

    @Flag(name: .shortAndLong, help: "Say only what is wrong.")
    var quiet = false

    private static let defaultSubnet6 = "fd00:706f:7274::/64"

    func validate() throws {
        guard (68...65_520).contains(mtu) else { throw ValidationError("--mtu \(mtu): it must be 68 to 65520") }
        guard (0...1000).contains(busyPoll) else {
            throw ValidationError("--busy-poll \(busyPoll): it must be 0 to 1000 microseconds")
        }
        guard CongestionControl(rawValue: congestion) != nil else {
            throw ValidationError("--congestion \(congestion): it must be cubic or reno")
        }
        if let subnet { _ = try Self.family4(subnet) }
        if let subnet6 { _ = try Self.family6(subnet6) }
        for text in dns where Self.resolver(text) == nil {
            throw ValidationError("--dns \(text): not an address, such as 1.1.1.1, 1.1.1.1:5353 or [::1]:53")
        }
        if let readyFD, readyFD < 0 || fcntl(readyFD, F_GETFD) < 0 {
            throw ValidationError("--ready-fd \(readyFD): not an open descriptor")
        }
        if verbose && quiet { throw ValidationError("--verbose and --quiet contradict each other") }
    }

    var logger: Logger { logger(named: nil) }

    /// - Parameter name: stands in each line, where there are several networks.
    func logger(named name: String?) -> Logger {
        let level: Logger.Level = verbose ? .debug : quiet ? .error : .notice
        return Logger(label: "portolan", factory: { _ in LineLogHandler(level: level, network: name) })
    }

    // MARK: Meaning

    /// The network's configuration. Picks a free subnet when none was asked for.
    /// - Parameters:
    ///   - taken: subnets of other networks of this process.
    ///   - complete: what the command's other options add to it.
    func network(
        _ logger: Logger, ports: [PortOption], avoiding taken: [Prefix] = [],
        complete: (inout NetworkConfiguration) throws -> Void
    ) throws -> NetworkConfiguration {
        let v4 = try Self.family4(try chosenSubnet(logger, taken))
        var v6: Configuration.Family?
        if !noIPv6, mtu >= 1280 {
            v6 = try Self.family6(try chosenSubnet6(logger, taken))
        } else if !noIPv6 {
            logger.notice("IPv6 is off: it needs an MTU of 1280, and --mtu is \(mtu)")
        }
        let core = Configuration(
            v4: v4, v6: v6, gatewayLinkLocal: IPAddress(hi: 0xfe80 << 48, lo: 1),
            gatewayMAC: MACAddress(rawValue: 0x5e70_6f72_7401), mtu: mtu, hostLoopback: hostLoopback,
            congestion: CongestionControl(rawValue: congestion) ?? .cubic)
        var network = NetworkConfiguration(
            core: core, resolvers: dns.compactMap(Self.resolver), capturePath: capture,
            busyPollMicroseconds: busyPoll, forwards: try ports.flatMap { try $0.forwards(core) })
        try complete(&network)
        return network
    }

    private func chosenSubnet(_ logger: Logger, _ taken: [Prefix]) throws -> String {
        if let subnet {
            guard let prefix = Prefix(subnet), let taken = HostAddresses.collision(with: prefix) else { return subnet }
            throw StartFailure(
                "the subnet \(subnet) overlaps \(taken.prefix) of the host's interface \(taken.interface): choose another with --subnet"
            )
        }
        // Nested sandboxes and QEMU's user network make 10.0.2.0/24 a common sight on a host.
        let candidates =
            (2...254).map { "10.0.\($0).0/24" } + (0...254).map { "172.31.\($0).0/24" }
            + (200...254).map { "192.168.\($0).0/24" }
        return try free(of: candidates, taken, option: "--subnet", logger)
    }

    private func free(
        of candidates: [String], _ taken: [Prefix], option: String, _ logger: Logger
    ) throws -> String {
        let prefixes = candidates.compactMap { Prefix($0) }.filter { candidate in
            !taken.contains { $0.overlaps(candidate) }
        }
        guard let free = HostAddresses.free(of: prefixes) else {
            throw StartFailure("the host uses all subnets that would be the default: choose one with \(option)")
        }
        if let first = prefixes.first, free != first {
            logger.notice("the host uses \(first) itself, so the sandbox gets \(free)")
        }
        return "\(free)"
    }

    private func chosenSubnet6(_ logger: Logger, _ taken: [Prefix]) throws -> String {
        if let subnet6 {
            guard let prefix = Prefix(subnet6), let taken = HostAddresses.collision(with: prefix) else {
                return subnet6
            }
            throw StartFailure(
                "the subnet \(subnet6) overlaps \(taken.prefix) of the host's interface \(taken.interface): choose another with --subnet6"
            )
        }
        let more = (1...255).map { "fd00:706f:7274:\(String($0, radix: 16))::/64" }
        return try free(of: [Self.defaultSubnet6] + more, taken, option: "--subnet6", logger)
    }

    private static func family4(_ text: String) throws -> Configuration.Family {
        guard let prefix = Prefix(text), prefix.address.isV4, (8...29).contains(prefix.length) else {
            throw ValidationError("--subnet \(text): not an IPv4 subnet of /8 to /29, such as 10.0.2.0/24")
        }
        guard prefix.address == prefix.network else {
            throw ValidationError("--subnet \(text): the subnet's own address is \(prefix.network)/\(prefix.length)")
        }
        guard !prefix.network.isLoopback, !prefix.network.isMulticast, prefix.network.v4 >> 24 != 0 else {
            throw ValidationError("--subnet \(text): hosts cannot have these addresses")
        }
        let size = UInt64(1) << UInt64(32 - prefix.length)
        return Configuration.Family(
            prefix: prefix, gateway: prefix.address(at: 1), guest: prefix.address(at: 2),
            hostAlias: prefix.address(at: size - 2))
    }

    private static func family6(_ text: String) throws -> Configuration.Family {
        guard let prefix = Prefix(text), !prefix.address.isV4, prefix.length == 64 else {
            throw ValidationError("--subnet6 \(text): not an IPv6 /64, such as fd00:706f:7274::/64")
        }
        guard prefix.address == prefix.network, !prefix.network.isMulticast, !prefix.network.isLinkLocal,
            prefix.network.hi != 0
        else { throw ValidationError("--subnet6 \(text): hosts cannot have these addresses") }
        return Configuration.Family(
            prefix: prefix, gateway: prefix.address(at: 1), guest: prefix.address(at: 2),
            hostAlias: prefix.address(at: 0xfe))
    }

    /// `1.1.1.1`, `1.1.1.1:5353`, `::1`, `[::1]:53`.
    private static func resolver(_ text: String) -> Endpoint? {
        if let address = IPAddress(text) { return Endpoint(address: address, port: 53) }
        guard let colon = text.lastIndex(of: ":"), let port = UInt16(text[text.index(after: colon)...]), port > 0 else {
            return nil
        }
        var host = text[..<colon]
        if host.hasPrefix("["), host.hasSuffix("]") {
            host = host.dropFirst().dropLast()
        } else if host.contains(":") {
            return nil
        }
        return IPAddress(String(host)).map { Endpoint(address: $0, port: port) }
    }
}
