// Address resolution for IPv4 on Ethernet (RFC 826; RFC 5227 for probes and announcements).
//
//      0          2          4    5    6          8            14            18           24
//     +----------+----------+----+----+----------+------------+-------------+------------+-------------+
//     | hardware | protocol | 6  | 4  | operation| sender MAC | sender IPv4 | target MAC | target IPv4 |
//     | 1        | 0x0800   |    |    |          |            |             |            |             |
//     +----------+----------+----+----+----------+------------+-------------+------------+-------------+
//
// Other hardware or protocol types are refused by the view. A probe has the sender address 0.0.0.0; an announcement has
// sender and target address equal.

/// Operations of an ARP packet.
package enum ARPOperation {
    @inlinable package static var request: UInt16 { 1 }
    @inlinable package static var reply: UInt16 { 2 }
}

/// An ARP packet for IPv4 on Ethernet.
package struct ARPView: ~Escapable {
    package let bytes: RawSpan

    @inlinable
    @_lifetime(copy bytes)
    package init(_ bytes: RawSpan) throws(ParseError) {
        guard bytes.byteCount >= ARPPacket.length else { throw .truncated }
        guard bytes.field64(at: 0) >> 16 == 0x0001_0800_0604 else { throw .badField }
        self.bytes = bytes
    }

    @inlinable
    package var operation: UInt16 { bytes.field16(at: 6) }

    @inlinable
    package var senderMAC: MACAddress { MACAddress(rawValue: bytes.field64(at: 8) >> 16) }

    @inlinable
    package var senderAddress: IPAddress { IPAddress(v4: bytes.field32(at: 14)) }

    @inlinable
    package var targetMAC: MACAddress { MACAddress(rawValue: bytes.field64(at: 18) >> 16) }

    @inlinable
    package var targetAddress: IPAddress { IPAddress(v4: bytes.field32(at: 24)) }
}

/// An ARP packet to write.
package struct ARPPacket: Equatable, Sendable, BitwiseCopyable {
    @inlinable package static var length: Int { 28 }

    package var operation: UInt16
    package var senderMAC: MACAddress
    package var senderAddress: IPAddress
    package var targetMAC: MACAddress
    package var targetAddress: IPAddress

    @inlinable
    package init(
        operation: UInt16, senderMAC: MACAddress, senderAddress: IPAddress, targetMAC: MACAddress,
        targetAddress: IPAddress
    ) {
        self.operation = operation
        self.senderMAC = senderMAC
        self.senderAddress = senderAddress
        self.targetMAC = targetMAC
        self.targetAddress = targetAddress
    }

    /// Writes 28 bytes. Traps when they do not fit.
    /// - Returns: the bytes written.
    @inlinable @discardableResult
    package func write(to span: inout MutableRawSpan, at offset: Int) -> Int {
        span.checkRoom(Self.length, at: offset)
        span.putField(u64: 0x0001_0800_0604_0000 | UInt64(operation), at: offset)
        span.putField(u64: senderMAC.rawValue << 16 | UInt64(senderAddress.v4 >> 16), at: offset &+ 8)
        span.putField(u16: UInt16(truncatingIfNeeded: senderAddress.v4), at: offset &+ 16)
        span.putField(u64: targetMAC.rawValue << 16 | UInt64(targetAddress.v4 >> 16), at: offset &+ 18)
        span.putField(u16: UInt16(truncatingIfNeeded: targetAddress.v4), at: offset &+ 26)
        return Self.length
    }
}
