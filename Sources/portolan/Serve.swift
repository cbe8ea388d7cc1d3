import ArgumentParser
import Gateway
import Glibc
import Logging
import Netstack
import Sandbox
import Wire

struct Serve: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Give network to virtual machines.",
        discussion: """
            Machines connect to the sockets named by --listen, come and go as they like, and find addresses by DHCP or router \
            advertisements: 10.0.2.2 for the first by default. Those of one network see one another, as on a switch. Works until \
            told to stop (SIGTERM, SIGINT).
            """)

    @OptionGroup var options: MachineOptions

    @Option(
        help: ArgumentHelp(
            "A YAML file with these options by their long names, for one network or for several (docs/configuration.md).",
            valueName: "file"))
    var config: String?

    func validate() throws {
        guard config != nil || !options.listen.isEmpty else {
            throw ValidationError(
                "serve: --listen says where the machines are, such as --listen qemu:/run/vm.sock; --config names a file that does"
            )
        }
    }

    func run() throws {
        let planned = try self.planned()
        raiseOpenFiles()
        // A pipe whose reader has gone is an error, not the end.
        signal(SIGPIPE, SIG_IGN)
        let stop = StopSignals()
        do {
            var taken: [Prefix] = []
            let networks = try planned.map { try network($0, avoiding: &taken) }
            let readyFD = planned[0].options.network.readyFD
            if networks.count == 1 {
                let network = networks[0]
                try network.watch(fd: stop.fd) { network.stop() }
                announceReady(readyFD)
                network.run()
            } else {
                try NetworkThreads(networks).run(until: stop.fd) { announceReady(readyFD) }
            }
        } catch {
            throw StartFailure(error)
        }
    }

    private func planned() throws -> [PlannedNetwork] {
        guard let config else { return [PlannedNetwork(name: nil, options: options)] }
        let planned = try ConfigurationFile(path: config).planned(Self.withoutConfig(CommandLine.arguments))
        if let plan = planned.first(where: { $0.options.listen.isEmpty }) {
            throw ValidationError(
                "\(config)\(plan.name.map { ": network \($0)" } ?? ""): `listen` has to say where the machines are")
        }
        return planned
    }

    /// The command line's own options.
    private static func withoutConfig(_ words: [String]) -> [String] {
        var words = Array(words.drop { $0 != "serve" }.dropFirst())
        while let at = words.firstIndex(where: { $0 == "--config" || $0.hasPrefix("--config=") }) {
            words.removeSubrange(at..<min(words.count, at + (words[at] == "--config" ? 2 : 1)))
        }
        return words
    }

    /// Opens everything that a network needs.
    private func network(_ plan: PlannedNetwork, avoiding taken: inout [Prefix]) throws -> Network {
        let options = plan.options
        let logger = options.network.logger(named: plan.name)
        var configuration = try options.network.network(
            logger, ports: try options.ports(), avoiding: taken, complete: options.leases.apply)
        taken += [configuration.core.v4?.prefix, configuration.core.v6?.prefix].compactMap { $0 }
        configuration.core.hasManyStations = true
        // A machine cuts nothing, but its link does it at its edge.
        configuration.joinsDatagrams = true
        return try Network(configuration: configuration, guest: options.guest, logger: logger)
    }
}
