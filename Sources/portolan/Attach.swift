import ArgumentParser
import Gateway
import Glibc
import Logging
import Sandbox

struct Attach: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Give network to a namespace that somebody else made.",
        discussion: """
            Works until the namespace goes away or Portolan is told to stop (SIGTERM, SIGINT). The namespace's \
            /etc/resolv.conf is left alone: let it say 'nameserver' and the gateway's address, 10.0.2.1 by default.
            """)

    @OptionGroup var options: NetworkOptions
    @OptionGroup var sandbox: SandboxOptions

    @Argument(help: "A process id, the path of a network namespace, or the name of one made by 'ip netns'.")
    var target: String

    func run() throws {
        let logger = options.logger
        var configuration = try options.network(logger, ports: sandbox.published(), complete: sandbox.search.apply)
        do {
            let attachment = try Attachment(to: target, interface: sandbox.interface(of: configuration))
            report(attachment.warnings, attachment.features, to: logger)
            raiseOpenFiles()
            configuration.joinsDatagrams = attachment.features.contains(.uso)
            let network = try Network(configuration: configuration, guest: .tap(attachment.tap), logger: logger)
            let stop = StopSignals()
            try network.watch(fd: stop.fd) { network.stop() }
            announceReady(options.readyFD)
            network.run()
        } catch {
            throw StartFailure(error)
        }
    }
}
