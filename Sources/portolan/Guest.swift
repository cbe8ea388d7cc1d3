import Agent
import ArgumentParser
import Glibc
import Logging
import Sandbox
import Wire

struct Guest: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Inside a virtual machine: make an interface whose frames go over vsock or a serial line.",
        discussion: """
            For machines without a network card. The other end is 'portolan serve' with a link of the same kind. The interface stays while \
            connections come and go. Without --address it is up and waits for the machine's DHCP client.
            """)

    @Option(
        help: ArgumentHelp(
            "Where frames go: vsock:PORT of the host, vsock:CID:PORT, serial:/dev/ttyS1, unix:PATH, qemu:PATH, tcp://ADDR:PORT, stdio or fd:N.",
            valueName: "peer"))
    var connect: String

    @Option(help: "The name of the interface.")
    var interface = "tap0"

    @Option(help: "Its MAC address; by default one made of the machine's identity.")
    var mac: String?

    @Option(help: "Its MTU, 68 to 65520, no larger than that of the network.")
    var mtu = 1500

    @Option(
        help: ArgumentHelp("An address with its prefix length, such as 10.0.2.7/24. Repeatable.", valueName: "addr/len")
    )
    var address: [String] = []

    @Option(help: ArgumentHelp("A default gateway, such as 10.0.2.1. Repeatable.", valueName: "addr"))
    var gateway: [String] = []

    @Option(name: .customLong("ready-fd"), help: "Write one byte to this descriptor once connected.")
    var readyFD: Int32?

    @Flag(name: .shortAndLong, help: "Say only what is wrong.")
    var quiet = false

    func validate() throws {
        guard AgentPeer(connect) != nil else {
            throw ValidationError("--connect \(connect): \(AgentPeer.explanation)")
        }
        guard (68...65_520).contains(mtu) else { throw ValidationError("--mtu \(mtu): it must be 68 to 65520") }
        guard (1...15).contains(interface.utf8.count), !interface.contains(where: { $0 == "/" || $0.isWhitespace })
        else {
            throw ValidationError("--interface \(interface): a name has 1 to 15 bytes without '/' and spaces")
        }
        if let mac, station(mac) == nil {
            throw ValidationError("--mac \(mac): not the MAC address of one station, such as 52:54:00:12:34:56")
        }
        for text in address where Prefix(text) == nil {
            throw ValidationError("--address \(text): not an address with its prefix length, such as 10.0.2.7/24")
        }
        for text in gateway where IPAddress(text) == nil {
            throw ValidationError("--gateway \(text): not an address, such as 10.0.2.1")
        }
        if let readyFD, readyFD < 0 || fcntl(readyFD, F_GETFD) < 0 {
            throw ValidationError("--ready-fd \(readyFD): not an open descriptor")
        }
    }

    private func station(_ text: String) -> MACAddress? {
        MACAddress(text).flatMap { $0.isMulticast || $0 == .zero ? nil : $0 }
    }

    func run() throws {
        guard let peer = AgentPeer(connect) else { return }
        let level: Logger.Level = quiet ? .warning : .notice
        let logger = Logger(label: "portolan", factory: { _ in LineLogHandler(level: level) })
        signal(SIGPIPE, SIG_IGN)
        var isSlow = false
        if case .serial = peer.place { isSlow = true }
        do {
            let made = GuestInterface(
                name: interface, mac: mac.flatMap(station) ?? GuestInterface.stableMAC(interface), mtu: mtu,
                queue: isSlow ? 64 : InterfaceOptions.queueLength, addresses: address.compactMap { Prefix($0) },
                gateways: gateway.compactMap { IPAddress($0) })
            GuestAgent(tap: try made.open(), peer: peer, logger: logger).run { announceReady(readyFD) }
        } catch {
            throw StartFailure(error)
        }
    }
}
