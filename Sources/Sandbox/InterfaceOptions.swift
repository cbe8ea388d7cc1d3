package import Wire

/// The sandbox's interface as it is to be set up.
package struct InterfaceOptions: Sendable {
    /// One family's addresses.
    package struct Family: Sendable, Equatable {
        package var address: IPAddress
        package var prefix: Prefix
        package var gateway: IPAddress
        package init(address: IPAddress, prefix: Prefix, gateway: IPAddress) {
            self.address = address
            self.prefix = prefix
            self.gateway = gateway
        }
    }

    package var name: String
    package var mtu: Int
    package var mac: MACAddress?
    package var gatewayMAC: MACAddress
    package var v4: Family?
    package var v6: Family?
    /// Set addresses and routes; otherwise the interface is left down for a DHCP client inside.
    package var configure: Bool
    /// Frames that the interface's queue holds (`txqueuelen`): with super-frames a thousand are 64 MiB.
    package static let queueLength = 1000

    package init(
        name: String, mtu: Int, mac: MACAddress?, gatewayMAC: MACAddress, v4: Family?, v6: Family?, configure: Bool
    ) {
        self.name = name
        self.mtu = mtu
        self.mac = mac
        self.gatewayMAC = gatewayMAC
        self.v4 = v4
        self.v6 = v6
        self.configure = configure
    }
}
