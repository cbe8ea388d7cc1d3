package import Wire

/// What the IP and Ethernet headers of a guest's packet said, checked and in one form for both families.
package struct PacketInfo: Equatable, Sendable, BitwiseCopyable {
    package var guestMAC: MACAddress
    package var source: IPAddress
    package var destination: IPAddress
    /// The upper protocol, behind IPv6's extension headers.
    package var proto: UInt8
    /// As received; our hop has not been taken off.
    package var hopLimit: UInt8
    package var trafficClass: UInt8
    /// IPv4's DF; for IPv6, which routers never fragment, true unless the guest itself had sent it in fragments.
    package var dontFragment: Bool
    package var offload: OffloadHeader

    package init(
        guestMAC: MACAddress, source: IPAddress, destination: IPAddress, proto: UInt8, hopLimit: UInt8,
        trafficClass: UInt8 = 0, dontFragment: Bool = true, offload: OffloadHeader = OffloadHeader()
    ) {
        self.guestMAC = guestMAC
        self.source = source
        self.destination = destination
        self.proto = proto
        self.hopLimit = hopLimit
        self.trafficClass = trafficClass
        self.dontFragment = dontFragment
        self.offload = offload
    }
}
