import ArgumentParser
import Gateway
import Netstack
import Sandbox
import Wire

/// The options of a sandbox's interface and ports, which `run` and `attach` share.
struct SandboxOptions: ParsableArguments {
    @Option(
        name: [.customShort("p"), .customLong("publish")],
        help: ArgumentHelp(
            "A port of the host that is served from inside: [ADDR:]HOSTPORT[:PORT][/tcp|/udp]; without ADDR on all addresses. Repeatable.",
            valueName: "port"))
    var ports: [String] = []

    @OptionGroup var search: SearchOption

    @Option(help: "The MAC address of the sandbox's interface.")
    var mac: String?

    @Option(help: "The name of the sandbox's interface.")
    var interface = "tap0"

    @Flag(help: "Leave the interface unconfigured, for a DHCP client inside.")
    var noConfigure = false

    func validate() throws {
        _ = try published()
        if let mac, Self.station(mac) == nil {
            throw ValidationError("--mac \(mac): not the MAC address of one station, such as 52:54:00:12:34:56")
        }
        guard !interface.isEmpty, interface.utf8.count < 16, interface != ".", interface != "..",
            !interface.contains(where: { $0 == "/" || $0 == ":" || $0 == "%" || $0.isWhitespace })
        else {
            throw ValidationError("--interface \(interface): a name has 1 to 15 bytes without '/', ':', '%' and spaces")
        }
        guard !["lo", "all", "default"].contains(interface) else {
            throw ValidationError("--interface \(interface): the kernel keeps this name for itself")
        }
    }

    func published() throws -> [PortOption] { try ports.map { try PortOption($0, machines: false) } }

    func interface(of network: NetworkConfiguration) -> InterfaceOptions {
        func family(_ family: Configuration.Family?) -> InterfaceOptions.Family? {
            family.map { InterfaceOptions.Family(address: $0.guest, prefix: $0.prefix, gateway: $0.gateway) }
        }
        return InterfaceOptions(
            name: interface, mtu: network.core.mtu, mac: mac.flatMap(Self.station), gatewayMAC: network.core.gatewayMAC,
            v4: family(network.core.v4), v6: family(network.core.v6), configure: !noConfigure)
    }

    private static func station(_ text: String) -> MACAddress? {
        MACAddress(text).flatMap { $0.isMulticast || $0.rawValue == 0 ? nil : $0 }
    }
}
