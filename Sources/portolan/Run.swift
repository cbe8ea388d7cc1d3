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
    @OptionGroup var sandboxOptions: SandboxOptions

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
        let network = try options.network(
            logger, ports: sandboxOptions.published(), complete: sandboxOptions.search.apply)
        let status: Int32
        // The command has no part in it: who waits for its end must not wait for the command.
        if let fd = options.readyFD, fd > 2 { _ = fcntl(fd, F_SETFD, FD_CLOEXEC) }
        do {
            let sandbox = try RunningSandbox(
                starting: RunOptions(
                    command: words, interface: sandboxOptions.interface(of: network), mapRoot: mapRoot,
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
        report(sandbox.warnings, sandbox.features, to: logger)
        raiseOpenFiles()
        var configuration = configuration
        configuration.joinsDatagrams = sandbox.features.contains(.uso)
        let network: Network
        do {
            network = try Network(configuration: configuration, guest: .tap(sandbox.tap), logger: logger)
            try network.watch(fd: sandbox.exitFD) { network.stop() }
            let signals = sandbox.signals
            try network.watch(fd: sandbox.signalFD) { signals.forward() }
            try network.watch(fd: sandbox.stopFD) { sandbox.stopped() }
        } catch {
            sandbox.kill()
            _ = sandbox.reap()
            throw error
        }
        sandbox.release()
        announceReady(options.readyFD)
        letGoOfStandardStreams()
        network.run()
        return sandbox.reap()
    }

    /// The gateway as name server, with the host's options, and its search list unless there is one of our own.
    private func resolvConf(_ network: NetworkConfiguration) -> String {
        let server = network.core.v4.map { "nameserver \($0.gateway)\n" } ?? ""
        let domains = network.core.searchDomains
        let search = domains.isEmpty ? "" : "search \(domains.joined(separator: " "))\n"
        let kept = HostResolverFile.lines(keyed: domains.isEmpty ? ["search", "domain", "options"] : ["options"])
        return server + search + kept.map { $0 + "\n" }.joined()
    }

    /// From here on stdin and stdout are the command's alone, so that a reader of its output sees the end when the command
    /// closes it. Stderr stays for the log.
    private func letGoOfStandardStreams() {
        guard options.capture != "-" else { return }
        let null = unsafe open("/dev/null", O_RDWR | O_CLOEXEC)
        guard null > 2 else { return }
        dup2(null, 0)
        dup2(null, 1)
        close(null)
    }
}

/// Logs what the set-up of the interface had to say.
func report(_ warnings: [String], _ features: TapFeatures, to logger: Logger) {
    for warning in warnings { logger.warning("\(warning)") }
    if let missing = features.missing { logger.notice("the tap works without these offloads: \(missing)") }
}

/// Tells whoever waits on `--ready-fd` that the network is up.
func announceReady(_ fd: Int32?) {
    guard let fd else { return }
    _ = unsafe write(fd, [UInt8(ascii: "1")], 1)
    close(fd)
}
