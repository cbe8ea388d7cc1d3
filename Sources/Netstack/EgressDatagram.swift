package import Wire

extension Egress {
    /// The most that a UDP datagram over IPv4 carries.
    package static let maximumDatagram = 65_507

    /// Sends one UDP datagram to the guest, in fragments where the MTU asks for it.
    /// - Returns: false when it is too large for any packet, or the link could not take all of it.
    @discardableResult
    package mutating func sendDatagram<O: Outside & ~Copyable>(
        _ payload: RawSpan, from source: Endpoint, to guest: Endpoint, mac: MACAddress, trafficClass: UInt8 = 0,
        counters: inout Counters, outside: inout O
    ) -> Bool {
        send(
            payload, from: source, to: guest, mac: mac, size: nil, trafficClass: trafficClass, counters: &counters,
            outside: &outside)
    }

    /// Sends datagrams that lie one behind the other, each of `size` bytes but for a shorter last one: as one super-frame (USO), or one
    /// by one when they have to be fragmented. Without a size there is one.
    package mutating func sendDatagrams<O: Outside & ~Copyable>(
        _ payloads: RawSpan, from source: Endpoint, to guest: Endpoint, mac: MACAddress, size: Int?,
        trafficClass: UInt8 = 0, counters: inout Counters, outside: inout O
    ) {
        guard let size, !fits(size + UDPHeader.byteCount, to: guest.address) else {
            _ = send(
                payloads, from: source, to: guest, mac: mac, size: size, trafficClass: trafficClass,
                counters: &counters, outside: &outside)
            return
        }
        var start = 0
        while start < payloads.byteCount {
            let end = min(start + size, payloads.byteCount)
            sendDatagram(
                payloads.extracting(start..<end), from: source, to: guest, mac: mac, trafficClass: trafficClass,
                counters: &counters, outside: &outside)
            start = end
        }
    }

    private mutating func send<O: Outside & ~Copyable>(
        _ payload: RawSpan, from source: Endpoint, to guest: Endpoint, mac: MACAddress, size: Int?,
        trafficClass: UInt8, counters: inout Counters, outside: inout O
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
