// Ethernet II frames (IEEE 802.3 clause 3, RFC 894).
//
//      0             6             12     14
//     +-------------+-------------+------+---------
//     | destination | source      | type | payload
//     +-------------+-------------+------+---------
//
// No preamble and no frame check sequence: a tap has neither. 802.3 length frames (type below 0x0600) and VLAN tags are
// not interpreted; they show as an EtherType that nobody knows. The payload may be longer than the packet in it: short
// frames are padded to 60 bytes, and the IP views cut the padding off.

/// EtherTypes (IANA "IEEE 802 Numbers").
package enum EtherType {
    @inlinable package static var ipv4: UInt16 { 0x0800 }
    @inlinable package static var arp: UInt16 { 0x0806 }
    @inlinable package static var vlan: UInt16 { 0x8100 }
    @inlinable package static var ipv6: UInt16 { 0x86dd }
}

/// An Ethernet frame of at least a header.
package struct EthernetView: ~Escapable {
    package let bytes: RawSpan

    @inlinable
    @_lifetime(copy bytes)
    package init(_ bytes: RawSpan) throws(ParseError) {
        guard bytes.byteCount >= EthernetHeader.length else { throw .truncated }
        self.bytes = bytes
    }

    @inlinable
    package var destination: MACAddress { MACAddress(rawValue: bytes.field64(at: 0) >> 16) }

    @inlinable
    package var source: MACAddress {
        MACAddress(rawValue: UInt64(bytes.field16(at: 6)) << 32 | UInt64(bytes.field32(at: 8)))
    }

    @inlinable
    package var etherType: UInt16 { bytes.field16(at: 12) }

    @inlinable
    package var payload: RawSpan {
        @_lifetime(copy self) get { bytes.part(from: EthernetHeader.length, to: bytes.byteCount) }
    }
}

/// The 14 bytes in front of every packet.
package struct EthernetHeader: Equatable, Sendable, BitwiseCopyable {
    @inlinable package static var length: Int { 14 }

    package var destination: MACAddress
    package var source: MACAddress
    package var etherType: UInt16

    @inlinable
    package init(destination: MACAddress, source: MACAddress, etherType: UInt16) {
        self.destination = destination
        self.source = source
        self.etherType = etherType
    }

    /// Writes 14 bytes. Traps when they do not fit.
    /// - Returns: the bytes written.
    @inlinable @discardableResult
    package func write(to span: inout MutableRawSpan, at offset: Int) -> Int {
        span.checkRoom(Self.length, at: offset)
        span.putField(u64: destination.rawValue << 16 | source.rawValue >> 32, at: offset)
        span.putField(u32: UInt32(truncatingIfNeeded: source.rawValue), at: offset &+ 8)
        span.putField(u16: etherType, at: offset &+ 12)
        return Self.length
    }
}
