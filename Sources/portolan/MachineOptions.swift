import ArgumentParser
import Gateway
import Wire

/// The options of a network for virtual machines: what `serve` takes on its command line, and by the same names in a file.
struct MachineOptions: ParsableArguments {
    @OptionGroup var network: NetworkOptions
    @OptionGroup var leases: LeaseOptions

    @Option(
        help: ArgumentHelp(
            "Where machines hand over frames: qemu:PATH, dgram:PATH, vfkit:PATH, bess:PATH, vmnet:PATH, tcp://127.0.0.1:PORT, vsock:PORT, hybrid-vsock:PATH_PORT, serial:PATH, vhost-user:PATH, stdio or fd:N. Repeatable.",
            valueName: "link"))
    var listen: [String] = []

    @Option(
        name: [.customShort("p"), .customLong("publish")],
        help: ArgumentHelp(
            "A port of the host that is served by a machine, the first one if none is named: [ADDR:]HOSTPORT[:MACHINE][:PORT][/tcp|/udp]. Repeatable.",
            valueName: "port"))
    var publish: [String] = []

    @Flag(help: "Keep the machines from one another.")
    var isolate = false

    func validate() throws {
        for text in listen where LinkAddress(text) == nil {
            throw ValidationError(
                "--listen \(text): \(LinkAddress.explanation)"
            )
        }
        _ = try ports()
    }

    func ports() throws -> [PortOption] { try publish.map { try PortOption($0, machines: true) } }

    var guest: NetworkGuest { .machines(listen.compactMap(LinkAddress.init), isolates: isolate) }
}
