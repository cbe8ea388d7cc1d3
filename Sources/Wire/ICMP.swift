// The header that ICMP (RFC 792) and ICMPv6 (RFC 4443) share; types and codes are each family's own (ICMPv4.swift,
// ICMPv6.swift), neighbour discovery's bodies are in NDP.swift.
//
//      0              8               16                             32
//     +--------------+---------------+------------------------------+
//     |     type     |     code      |           checksum           |  0
//     +--------------+---------------+------------------------------+
//     |  rest of header: identifier and sequence, MTU, pointer ...  |  4
//     +-------------------------------------------------------------+
//     |  payload: the echo's data, the quoted packet, NDP           |  8
//
// The checksum covers the whole message, and for ICMPv6 the pseudo-header too.

/// An ICMP or ICMPv6 message of at least 8 bytes.
package struct ICMPView: ~Escapable {
    package let bytes: RawSpan

    @inlinable
    @_lifetime(copy bytes)
    package init(_ bytes: RawSpan) throws(ParseError) {
        guard bytes.byteCount >= ICMPHeader.length else { throw .truncated }
        self.bytes = bytes
    }

    @inlinable
    package var type: UInt8 { bytes.field8(at: 0) }

    @inlinable
    package var code: UInt8 { bytes.field8(at: 1) }

    @inlinable
    package var restOfHeader: UInt32 { bytes.field32(at: 4) }

    /// Of an echo message.
    @inlinable
    package var identifier: UInt16 { bytes.field16(at: 4) }

    /// Of an echo message.
    @inlinable
    package var sequence: UInt16 { bytes.field16(at: 6) }

    /// Of ICMP's "fragmentation needed" (RFC 1191 section 4). ICMPv6's "packet too big" has it in `restOfHeader`.
    @inlinable
    package var nextHopMTU: UInt16 { bytes.field16(at: 6) }

    /// What follows the first 8 bytes.
    @inlinable
    package var payload: RawSpan {
        @_lifetime(copy self) get { bytes.part(from: ICMPHeader.length, to: bytes.byteCount) }
    }

    /// True if the checksum is right for a message between these addresses, whose family decides what it covers.
    @inlinable
    package func verifyChecksum(source: IPAddress, destination: IPAddress) -> Bool {
        let pseudo = ICMPHeader.pseudoHeader(source: source, destination: destination, length: bytes.byteCount)
        return Checksum.fold(Checksum.sum(bytes, pseudo)) == 0xffff
    }
}

/// The first 8 bytes of an ICMP or ICMPv6 message.
package struct ICMPHeader: Equatable, Sendable, BitwiseCopyable {
    @inlinable package static var length: Int { 8 }

    package var type: UInt8
    package var code: UInt8
    package var restOfHeader: UInt32

    @inlinable
    package init(type: UInt8, code: UInt8 = 0, restOfHeader: UInt32 = 0) {
        self.type = type
        self.code = code
        self.restOfHeader = restOfHeader
    }

    /// What the checksum covers beside the message: nothing for IPv4, the pseudo-header for IPv6 (RFC 4443 section 2.3).
    @inlinable
    package static func pseudoHeader(source: IPAddress, destination: IPAddress, length: Int) -> UInt64 {
        source.isV4
            ? 0
            : Checksum.pseudoHeader(
                source: source, destination: destination, protocol: IPProtocol.icmpv6, length: length)
    }

    /// Writes 8 bytes, with the checksum over them and a payload whose `Checksum.sum` is known. Traps when they do not fit.
    /// - Returns: the bytes written.
    @inlinable @discardableResult
    package func write(
        to span: inout MutableRawSpan, at offset: Int, source: IPAddress, destination: IPAddress, payloadSum: UInt64,
        payloadLength: Int
    ) -> Int {
        span.checkRoom(Self.length, at: offset)
        let first = UInt32(type) << 24 | UInt32(code) << 16
        let pseudo = Self.pseudoHeader(
            source: source, destination: destination, length: Self.length &+ payloadLength)
        let sum = payloadSum &+ pseudo &+ UInt64(first) &+ UInt64(restOfHeader)
        span.putField(u32: first | UInt32(Checksum.finish(sum)), at: offset)
        span.putField(u32: restOfHeader, at: offset &+ 4)
        return Self.length
    }
}
