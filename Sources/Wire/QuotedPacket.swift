/// What an ICMP error tells of the packet of ours that it is about (RFC 792: the IP header and 64 bits; RFC 4443 section 2.4 (c): as
/// much as fits).
package struct QuotedPacket: Hashable, Sendable, BitwiseCopyable {
    package var proto: UInt8
    package var source: Endpoint
    package var destination: Endpoint
    /// Of TCP.
    package var sequence: SequenceNumber

    /// - Parameter bytes: from the quoted IP header on. A fragment must be the first: only that has ports.
    package init(_ bytes: RawSpan) throws(ParseError) {
        if let ip = try? IPv4View(quoted: bytes) {
            try self.init(ip.protocol, ip.source, ip.destination, ip.payload, fragmentOffset: ip.fragmentOffset)
        } else {
            let ip = try IPv6View(quoted: bytes)
            let chain = try IPv6Chain(ip)
            try self.init(
                chain.upperProtocol, ip.source, ip.destination, chain.payload,
                fragmentOffset: chain.fragment?.offset ?? 0)
        }
    }

    private init(
        _ proto: UInt8, _ source: IPAddress, _ destination: IPAddress, _ transport: RawSpan, fragmentOffset: Int
    ) throws(ParseError) {
        guard fragmentOffset == 0 else { throw .badField }
        guard transport.byteCount >= 8 else { throw .truncated }
        self.proto = proto
        self.source = Endpoint(address: source, port: transport.field16(at: 0))
        self.destination = Endpoint(address: destination, port: transport.field16(at: 2))
        sequence = SequenceNumber(rawValue: transport.field32(at: 4))
    }
}
