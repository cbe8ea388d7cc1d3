// User Datagram Protocol (RFC 768; RFC 8200 section 8.1 for the checksum under IPv6).
//
//      0                              16                             32
//     +-------------------------------+------------------------------+
//     |          source port          |       destination port       |  0
//     +-------------------------------+------------------------------+
//     |            length             |           checksum           |  4
//     +-------------------------------+------------------------------+
//
// What follows the length is dropped. A checksum of 0 means "none" under IPv4 and is not allowed under IPv6; a computed
// 0 is sent as 0xffff.

/// A UDP datagram, complete with header and payload.
package struct UDPView: ~Escapable {
    /// Header and payload, without what follows the datagram.
    package let bytes: RawSpan

    @inlinable
    @_lifetime(copy bytes)
    package init(_ bytes: RawSpan) throws(ParseError) {
        guard bytes.byteCount >= UDPHeader.byteCount else { throw .truncated }
        let length = Int(bytes.field16(at: 4))
        guard length >= UDPHeader.byteCount else { throw .badLength }
        guard length <= bytes.byteCount else { throw .truncated }
        self.bytes = bytes.part(from: 0, to: length)
    }

    @inlinable
    package var sourcePort: UInt16 { bytes.field16(at: 0) }

    @inlinable
    package var destinationPort: UInt16 { bytes.field16(at: 2) }

    /// Header and payload, in bytes.
    @inlinable
    package var length: Int { Int(bytes.field16(at: 4)) }

    @inlinable
    package var checksum: UInt16 { bytes.field16(at: 6) }

    @inlinable
    package var payload: RawSpan {
        @_lifetime(copy self) get { bytes.part(from: UDPHeader.byteCount, to: bytes.byteCount) }
    }

    /// True if the checksum over pseudo-header, header and payload is right, or absent under IPv4.
    @inlinable
    package func verifyChecksum(source: IPAddress, destination: IPAddress) -> Bool {
        if checksum == 0 { return source.isV4 }
        let pseudo = Checksum.pseudoHeader(
            source: source, destination: destination, protocol: IPProtocol.udp, length: bytes.byteCount)
        return Checksum.fold(Checksum.sum(bytes, pseudo)) == 0xffff
    }
}

/// A UDP header.
package struct UDPHeader: Equatable, Sendable, BitwiseCopyable {
    /// The header's own length; `length` is the field.
    @inlinable package static var byteCount: Int { 8 }
    /// Where the checksum field is, for `OffloadHeader.checksumOffset`.
    @inlinable package static var checksumOffset: Int { 6 }

    package var sourcePort: UInt16
    package var destinationPort: UInt16
    /// Header and payload, in bytes: 8...65535.
    package var length: Int
    package var checksum: UInt16

    @inlinable
    package init(sourcePort: UInt16, destinationPort: UInt16, length: Int, checksum: UInt16 = 0) {
        self.sourcePort = sourcePort
        self.destinationPort = destinationPort
        self.length = length
        self.checksum = checksum
    }

    /// Writes 8 bytes; the checksum is stored as it is. Traps when they do not fit or the length is out of range.
    /// - Returns: the bytes written.
    @inlinable @discardableResult
    package func write(to span: inout MutableRawSpan, at offset: Int) -> Int {
        span.checkRoom(Self.byteCount, at: offset)
        precondition(length >= Self.byteCount && length <= 0xffff, "not a length of a UDP datagram")
        span.putField(u32: UInt32(sourcePort) << 16 | UInt32(destinationPort), at: offset)
        span.putField(u32: UInt32(truncatingIfNeeded: length) << 16 | UInt32(checksum), at: offset &+ 4)
        return Self.byteCount
    }
}
