package import Netstack
package import Wire

/// Whom a network is for.
package enum NetworkGuest: Sendable {
    /// A sandbox: a tap opened with IFF_VNET_HDR and a header of 10 bytes, non-blocking; the network owns it.
    case tap(Int32)
    /// Virtual machines, kept apart from one another if `isolates`.
    case machines([LinkAddress], isolates: Bool)
}

/// Everything a `Network` needs to know, as the command line or a file gave it.
package struct NetworkConfiguration: Sendable {
    /// The guest's side: addresses, MTU, limits.
    package var core: Configuration
    /// Resolvers to use instead of the host's /etc/resolv.conf; empty follows that file.
    package var resolvers: [Endpoint]
    /// A pcap file that gets every frame.
    package var capturePath: String?
    /// How long at most to look for the next event before sleeping; 0 sleeps at once.
    package var busyPollMicroseconds: Int
    /// Ports of the host that are served from inside.
    package var forwards: [PortForward]
    /// Where leases are kept from one run to the next; nil: nowhere.
    package var leaseFile: String?
    /// What machines boot from; nil: the gateway has no files.
    package var bootDirectory: String?
    /// Machines' names resolve.
    package var namesMachines = false
    /// The tap takes UDP super-frames (USO, Linux 6.2).
    package var joinsDatagrams = false

    package init(
        core: Configuration, resolvers: [Endpoint] = [], capturePath: String? = nil, busyPollMicroseconds: Int = 50,
        forwards: [PortForward] = []
    ) {
        self.forwards = forwards
        self.core = core
        self.resolvers = resolvers
        self.capturePath = capturePath
        self.busyPollMicroseconds = busyPollMicroseconds
    }
}
