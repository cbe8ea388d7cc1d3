import ArgumentParser
import Gateway
import Glibc
import Logging
import Netstack
import Sandbox
import Wire

struct Run: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Run a command in a sandbox of its own, with network.",
        discussion: """
            The command gets fresh user, network, mount and PID namespaces and one interface, and reaches the network \
            through Portolan. Its terminal, signals and exit status pass through. Options end at the command's name.
            """)

    @OptionGroup var options: NetworkOptions

    @Flag(help: "Be uid 0 inside.")
    var mapRoot = false

    @Argument(parsing: .captureForPassthrough, help: "The command and its arguments.")
    var command: [String] = []

    func validate() throws {
        // What is not an option of ours ends up here; a command's name never starts with a dash.
        if let first = command.first, first.hasPrefix("-"), first != "--" {
            throw ValidationError("run: there is no option \(first)")
        }
        guard words.first?.isEmpty == false else { throw ValidationError("run: which command?") }
    }

    private var words: [String] { command.first == "--" ? Array(command.dropFirst()) : command }

    func run() throws {
        let logger = options.logger
        let network = try options.network(logger)
        let status: Int32
        do {
            let sandbox = try RunningSandbox(
                starting: RunOptions(
                    command: words, interface: options.interfaceOptions(network), mapRoot: mapRoot,
                    resolvConf: resolvConf(network)))
            status = try serve(sandbox, network, logger)
        } catch let failure as StartFailure {
            throw failure
        } catch {
            throw StartFailure(error)
        }
        throw ExitCode(status)
    }

    private func serve(
        _ sandbox: RunningSandbox, _ configuration: NetworkConfiguration, _ logger: Logger
    ) throws -> Int32 {
        for warning in sandbox.warnings { logger.warning("\(warning)") }
        if let missing = sandbox.features.missing { logger.notice("the tap works without these offloads: \(missing)") }
        let network: Network
        do {
            network = try Network(configuration: configuration, tap: sandbox.tap, logger: logger)
            try network.watch(fd: sandbox.exitFD) { network.stop() }
            let signals = sandbox.signals
            try network.watch(fd: sandbox.signalFD) { signals.forward() }
        } catch {
            sandbox.kill()
            _ = sandbox.reap()
            throw error
        }
        sandbox.release()
        announceReady(options.readyFD)
        network.run()
        return sandbox.reap()
    }

    private func resolvConf(_ network: NetworkConfiguration) -> String {
        network.core.v4.map { "nameserver \($0.gateway)\n" } ?? ""
    }
}

/// Tells whoever waits on `--ready-fd` that the network is up.
func announceReady(_ fd: Int32?) {
    guard let fd else { return }
    _ = unsafe write(fd, [UInt8(ascii: "1")], 1)
    close(fd)
}
