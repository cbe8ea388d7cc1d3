import Wire

/// Cuts a guest's datagram into IP packets, as its kernel would.
enum Fragmenter {
    /// - Parameter unit: payload bytes per fragment; a multiple of 8.
    static func cut(
        _ payload: [UInt8], from source: IPAddress, to destination: IPAddress, _ proto: UInt8,
        identification: UInt32 = 77, unit: Int = 1448
    ) -> [[UInt8]] {
        if payload.count <= 1448 && payload.count <= unit {
            return [GuestPacket.ip(from: source, to: destination, proto, payload)]
        }
        return stride(from: 0, to: payload.count, by: unit).map { offset in
            let end = min(offset + unit, payload.count)
            return piece(
                Array(payload[offset..<end]), offset: offset, more: end < payload.count, from: source,
                to: destination, proto, identification: identification)
        }
    }

    static func piece(
        _ payload: [UInt8], offset: Int, more: Bool, from source: IPAddress, to destination: IPAddress,
        _ proto: UInt8, identification: UInt32 = 77
    ) -> [UInt8] {
        if destination.isV4 {
            return GuestPacket.ipv4(
                from: source, to: destination, proto, payload,
                identification: UInt16(truncatingIfNeeded: identification), dontFragment: false, moreFragments: more,
                offset: offset)
        }
        let header = [proto, 0] + be16(UInt16(offset) | (more ? 1 : 0)) + be32(identification)
        return GuestPacket.ipv6(from: source, to: destination, IPProtocol.fragment, header + payload)
    }
}
