import ArgumentParser

/// The command line's root. What each command does is in its own file.
struct Portolan: ParsableCommand {
    static let version = "0.1.0"
    static let configuration = CommandConfiguration(
        commandName: "portolan",
        abstract: "Network for sandboxes, without root: a TCP/IP stack between their tap and the host's sockets.",
        version: "portolan \(version)",
        subcommands: [Run.self, Attach.self, Serve.self, Guest.self])
}
