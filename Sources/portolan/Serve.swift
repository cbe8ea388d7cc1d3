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
            advertisements: 10.0.2.2 for the first by default. Those of one process see one another, as on a switch. Works until \
            told to stop (SIGTERM, SIGINT).
            """)

    @OptionGroup var options: NetworkOptions

    @Option(
        help: ArgumentHelp(
            "Where machines hand over frames: qemu:PATH, dgram:PATH, vfkit:PATH, bess:PATH, tcp://127.0.0.1:PORT, stdio or fd:N. Repeatable.",
            valueName: "link"))
    var listen: [String] = []

    @Option(
        name: [.customShort("p"), .customLong("publish")],
        help: ArgumentHelp(
            "A port of the host that is served by a machine, the first one if none is named: [ADDR:]HOSTPORT[:MACHINE][:PORT][/tcp|/udp]. Repeatable.",
            valueName: "port"))
    var ports: [String] = []

    @Flag(help: "Keep the machines from one another.")
    var isolate = false

    func validate() throws {
        guard !listen.isEmpty else {
            throw ValidationError("serve: --listen says where the machines are, such as --listen qemu:/run/vm.sock")
        }
        for text in listen where LinkAddress(text) == nil {
            throw ValidationError(
                "--listen \(text): not a link, such as qemu:/run/vm.sock, dgram:PATH, vfkit:PATH, bess:PATH, tcp://127.0.0.1:1234, stdio or fd:3"
            )
        }
        _ = try published()
    }

    private func published() throws -> [PortOption] { try ports.map { try PortOption($0, machines: true) } }

    func run() throws {
        let logger = options.logger
        var configuration = try options.network(logger, ports: published())
        configuration.core.hasManyStations = true
        // A machine cuts nothing, but its link does it at its edge.
        configuration.joinsDatagrams = true
        raiseOpenFiles()
        do {
            // A pipe whose reader has gone is an error, not the end.
            signal(SIGPIPE, SIG_IGN)
            let network = try Network(
                configuration: configuration, guest: .machines(listen.compactMap(LinkAddress.init), isolates: isolate),
                logger: logger)
            let stop = StopSignals()
            try network.watch(fd: stop.fd) { network.stop() }
            announceReady(options.readyFD)
            network.run()
        } catch {
            throw StartFailure(error)
        }
    }
}
