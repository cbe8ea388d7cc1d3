package import Wire

/// A port of the host that is served from inside.
package struct PortForward: Equatable, Sendable {
    package enum Transport: String, Sendable { case tcp, udp }

    /// Where the host listens; an unspecified address is all of its family.
    package var host: Endpoint
    /// The server inside.
    package var guest: Endpoint
    /// The machine that it is on, when that is known by its name: then of `guest`, the address stands for its family alone.
    package var machine: String?
    package var transport: Transport
    /// As the user wrote it, for messages.
    package var text: String
    /// Nobody asked for this family: a host without it is no error.
    package var isOptional: Bool

    package init(
        host: Endpoint, guest: Endpoint, machine: String? = nil, transport: Transport, text: String,
        isOptional: Bool = false
    ) {
        self.host = host
        self.guest = guest
        self.machine = machine
        self.transport = transport
        self.text = text
        self.isOptional = isOptional
    }
}

/// A forwarded port could not be opened.
package struct PortUnavailable: Error, CustomStringConvertible {
    package let description: String
}
