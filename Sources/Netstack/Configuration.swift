package import Wire

/// What one network looks like to its guest, and how much it may hold. A value: the core never reads files or clocks.
package struct Configuration: Sendable {
    /// The addresses of one family.
    package struct Family: Sendable, Equatable {
        /// The subnet that guest and gateway share.
        package var prefix: Prefix
        /// Ours: router, DNS and DHCP server.
        package var gateway: IPAddress
        /// What DHCP hands out and `portolan run` configures.
        package var guest: IPAddress
        /// Stands for the host itself (`host.internal`).
        package var hostAlias: IPAddress

        package init(prefix: Prefix, gateway: IPAddress, guest: IPAddress, hostAlias: IPAddress) {
            self.prefix = prefix
            self.gateway = gateway
            self.guest = guest
            self.hostAlias = hostAlias
        }
    }

    package var v4: Family?
    package var v6: Family?
    /// The gateway's address on the link (RFC 4291 section 2.5.6), source of router advertisements.
    package var gatewayLinkLocal: IPAddress
    package var gatewayMAC: MACAddress
    /// Largest IP packet that is not a super-frame, in bytes (68...65520; IPv6 needs 1280, RFC 8200 section 5).
    package var mtu: Int
    /// Lets the host's alias reach the host's loopback.
    package var hostLoopback: Bool
    /// Several guests share the link: who is not ours may be another's.
    package var hasManyStations = false
    /// What the DHCP servers hand out, and to whom.
    package var leases = LeaseConfiguration()
    /// Search list handed to the guest by DHCP and router advertisements.
    package var searchDomains: [String]
    /// How the window towards the guest grows and shrinks.
    package var congestion: CongestionControl
    package var limits: Limits

    package init(
        v4: Family?, v6: Family?, gatewayLinkLocal: IPAddress, gatewayMAC: MACAddress, mtu: Int = 1500,
        hostLoopback: Bool = false, searchDomains: [String] = [], congestion: CongestionControl = .cubic,
        limits: Limits = Limits()
    ) {
        self.v4 = v4
        self.v6 = v6
        self.gatewayLinkLocal = gatewayLinkLocal
        self.gatewayMAC = gatewayMAC
        self.mtu = mtu
        self.hostLoopback = hostLoopback
        self.searchDomains = searchDomains
        self.congestion = congestion
        self.limits = limits
    }

    /// Caps of every table. Each has a policy when full, stated where the table lives, and a counter.
    package struct Limits: Sendable, Equatable {
        /// Connections from the guest that are half open: the host's connect has not finished, or the guest has not acknowledged our
        /// SYN. More than the frames that the tap's queue holds, else a flood that fills it pushes out every good connection before its
        /// ACK is read. As many more may be opening towards the guest.
        package var handshakes = 2048
        /// TCP connections in any later state but TIME-WAIT.
        package var connections = 65_536
        package var timeWaits = 8192
        package var datagramFlows = 4096
        package var echoFlows = 256
        /// Buffers of `ChunkPool.chunkSize` bytes shared by all connections; touched pages only are resident.
        package var chunks = 2048
        package init() {}
    }
}

/// Congestion control of what is sent to the guest.
package enum CongestionControl: String, Sendable, CaseIterable, BitwiseCopyable {
    /// RFC 9438.
    case cubic
    /// RFC 5681, known as NewReno.
    case reno
}
