package import Wire

extension Egress {
    /// The most that a UDP datagram over IPv4 carries.
    package static let maximumDatagram = 65_507

    /// Sends one UDP datagram to the guest, in fragments where the MTU asks for it; or, with a `size`, several of that size (the last
    /// may be shorter) as one super-frame (USO), each of which has to fit.
    /// - Returns: false when it is too large for any packet, or the link could not take all of it.
    @discardableResult
    package mutating func sendDatagram<O: Outside & ~Copyable>(
        _ payload: RawSpan, from source: Endpoint, to guest: Endpoint, mac: MACAddress, size: Int? = nil,
        trafficClass: UInt8 = 0, counters: inout Counters, outside: inout O
    ) -> Bool {
        guard payload.byteCount <= Self.maximumDatagram else { return false }
        var header = transportHeader
        UDPHeader(
            sourcePort: source.port, destinationPort: guest.port, length: UDPHeader.byteCount + payload.byteCount
        ).write(to: &header, at: 0)
        return send(
            IPProtocol.udp, from: source.address, to: guest.address, mac: mac, trafficClass: trafficClass,
            segmentSize: size, headerLength: UDPHeader.byteCount, payload: payload, counters: &counters,
            outside: &outside)
    }
}
