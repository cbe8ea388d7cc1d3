package import Wire

/// What the DHCP servers hand out, and to whom. A value, as all of `Configuration`.
package struct LeaseConfiguration: Sendable, Equatable {
    /// A machine that is known beforehand, by its MAC address.
    package struct Host: Sendable, Equatable {
        package var mac: MACAddress
        /// An RFC 1123 label in lower case.
        package var name: String?
        package var v4: IPAddress?
        package var v6: IPAddress?

        package init(mac: MACAddress, name: String? = nil, v4: IPAddress? = nil, v6: IPAddress? = nil) {
            self.mac = mac
            self.name = name
            self.v4 = v4
            self.v6 = v6
        }
    }

    package var hosts: [Host] = []
    /// How long a lease is, in seconds.
    package var seconds: UInt32 = 3600
    /// Of both families.
    package var ntpServers: [IPAddress] = []
    /// Without the default route.
    package var routes: [DHCPv4Route] = []
    package var boot = BootConfiguration()

    package init() {}

    package func host(_ mac: MACAddress) -> Host? { hosts.first { $0.mac == mac } }
}

/// Which file a machine without a system of its own is told to fetch.
package struct BootConfiguration: Sendable, Equatable {
    package struct File: Sendable, Equatable {
        /// nil: for all that no other file is for.
        package var architecture: ClientArchitecture?
        /// A name on the TFTP server, or a URL.
        package var name: String

        package init(architecture: ClientArchitecture?, name: String) {
            self.architecture = architecture
            self.name = name
        }
    }

    package var files: [File] = []
    /// For iPXE instead of a file.
    package var ipxeScript: String?
    /// Where the files are; nil: at the gateway, if it has them.
    package var nextServer: IPAddress?
    /// The gateway serves files by TFTP and HTTP.
    package var servesFiles = false

    package init() {}

    /// Whether a UDP port of the gateway is the TFTP server's, or may be one of a transfer's (RFC 6335 section 6: dynamic ports).
    func serves(_ port: UInt16) -> Bool { servesFiles && (port == 69 || port >= 49_152) }
}

/// Processor and firmware (RFC 4578 section 2.1 and IANA's "Processor Architecture Types").
package enum ClientArchitecture: String, Sendable, CaseIterable {
    case bios, efi32, efi64, arm32, arm64, riscv64

    /// nil for numbers that nobody has asked for yet. Those from 15 on fetch by HTTP.
    package init?(number: UInt16) {
        switch number {
        case 0: self = .bios
        case 6, 15: self = .efi32
        case 7, 9, 16: self = .efi64
        case 10, 18: self = .arm32
        case 11, 19: self = .arm64
        case 27, 28: self = .riscv64
        default: return nil
        }
    }
}
