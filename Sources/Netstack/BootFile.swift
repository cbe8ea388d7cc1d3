package import Wire

// What a machine is told to boot, for both DHCP servers.
//
//   client                           file
//   iPXE                             the script (`ipxeScript`); without one, as any other
//   one with an architecture         the file for it, else the one for all
//   UEFI that fetches by HTTP        the same as a URL at the gateway, when it is not one yet
//
// iPXE is told apart because firmware loads it by the first file, and would else load it again and again.

/// Who asks.
package struct BootClient: Equatable, Sendable {
    /// IANA's number; nil if it does not say.
    package var architecture: UInt16?
    package var isIPXE: Bool
    /// Firmware that takes URLs of HTTP only.
    package var isHTTP: Bool

    package init(architecture: UInt16? = nil, isIPXE: Bool = false, isHTTP: Bool = false) {
        self.architecture = architecture
        self.isIPXE = isIPXE
        self.isHTTP = isHTTP
    }
}

extension BootConfiguration {
    /// The name for a client and the server that has it; nil when there is nothing for it.
    /// - Parameter gateway: of the family in which it asks.
    package func file(for client: BootClient, gateway: IPAddress) -> (name: String, server: IPAddress)? {
        guard let name = name(for: client) else { return nil }
        let server = nextServer.flatMap { $0.isV4 == gateway.isV4 ? $0 : nil } ?? gateway
        guard client.isHTTP, !Self.isURL(name) else { return (name, server) }
        return ("http://\(Self.inURL(server))/\(name.drop { $0 == "/" })", server)
    }

    /// The same as a URL (RFC 5970 section 3.1).
    package func url(for client: BootClient, gateway: IPAddress) -> String? {
        guard let (name, server) = file(for: client, gateway: gateway) else { return nil }
        return Self.isURL(name) ? name : "tftp://\(Self.inURL(server))/\(name.drop { $0 == "/" })"
    }

    private func name(for client: BootClient) -> String? {
        if client.isIPXE, let ipxeScript { return ipxeScript }
        let architecture = client.architecture.flatMap { ClientArchitecture(number: $0) }
        if let architecture, let file = files.first(where: { $0.architecture == architecture }) { return file.name }
        return files.first { $0.architecture == nil }?.name
    }

    private static func isURL(_ name: String) -> Bool { name.contains("://") }

    private static func inURL(_ address: IPAddress) -> String { address.isV4 ? "\(address)" : "[\(address)]" }
}
