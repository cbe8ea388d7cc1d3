// Internet Control Message Protocol (RFC 792; RFC 1191 for the next-hop MTU; RFC 1122 section 3.2.2, RFC 1812 section 5.2.7.1
// for the codes).
//
//      0              8               16                             32
//     +--------------+---------------+------------------------------+
//     |     type     |     code      |           checksum           |  0
//     +--------------+---------------+------------------------------+
//     |  rest of header: identifier and sequence, or 0 and MTU ...  |  4
//     +-------------------------------------------------------------+
//     |  payload: the echo's data, or the quoted packet             |  8
//
// The checksum covers the whole message and no pseudo-header.

/// Message types.
package enum ICMPv4Type {
    @inlinable package static var echoReply: UInt8 { 0 }
    @inlinable package static var destinationUnreachable: UInt8 { 3 }
    @inlinable package static var redirect: UInt8 { 5 }
    @inlinable package static var echoRequest: UInt8 { 8 }
    @inlinable package static var timeExceeded: UInt8 { 11 }
    @inlinable package static var parameterProblem: UInt8 { 12 }
}

/// Codes of "destination unreachable" and "time exceeded".
package enum ICMPv4Code {
    @inlinable package static var networkUnreachable: UInt8 { 0 }
    @inlinable package static var hostUnreachable: UInt8 { 1 }
    @inlinable package static var protocolUnreachable: UInt8 { 2 }
    @inlinable package static var portUnreachable: UInt8 { 3 }
    @inlinable package static var fragmentationNeeded: UInt8 { 4 }
    @inlinable package static var sourceRouteFailed: UInt8 { 5 }
    @inlinable package static var networkProhibited: UInt8 { 9 }
    @inlinable package static var hostProhibited: UInt8 { 10 }
    @inlinable package static var communicationProhibited: UInt8 { 13 }
    /// Of "time exceeded": the TTL reached zero in transit.
    @inlinable package static var timeToLiveExceeded: UInt8 { 0 }
    /// Of "time exceeded": fragments were missing.
    @inlinable package static var reassemblyTimeExceeded: UInt8 { 1 }
}

/// An ICMP message of at least 8 bytes.
package struct ICMPv4View: ~Escapable {
    package let bytes: RawSpan

    @inlinable
    @_lifetime(copy bytes)
    package init(_ bytes: RawSpan) throws(ParseError) {
        guard bytes.byteCount >= ICMPv4Header.length else { throw .truncated }
        self.bytes = bytes
    }

    @inlinable
    package var type: UInt8 { bytes.field8(at: 0) }

    @inlinable
    package var code: UInt8 { bytes.field8(at: 1) }

    @inlinable
    package var checksum: UInt16 { bytes.field16(at: 2) }

    @inlinable
    package var restOfHeader: UInt32 { bytes.field32(at: 4) }

    /// Of an echo message.
    @inlinable
    package var identifier: UInt16 { bytes.field16(at: 4) }

    /// Of an echo message.
    @inlinable
    package var sequence: UInt16 { bytes.field16(at: 6) }

    /// Of "fragmentation needed" (RFC 1191 section 4).
    @inlinable
    package var nextHopMTU: UInt16 { bytes.field16(at: 6) }

    /// What follows the first 8 bytes.
    @inlinable
    package var payload: RawSpan {
        @_lifetime(copy self) get { bytes.part(from: ICMPv4Header.length, to: bytes.byteCount) }
    }

    /// True if the message's checksum is right.
    @inlinable
    package func verifyChecksum() -> Bool { Checksum.fold(Checksum.sum(bytes)) == 0xffff }
}

/// The first 8 bytes of an ICMP message.
package struct ICMPv4Header: Equatable, Sendable, BitwiseCopyable {
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

    /// An echo message's header.
    @inlinable
    package init(type: UInt8, identifier: UInt16, sequence: UInt16) {
        self.init(type: type, restOfHeader: UInt32(identifier) << 16 | UInt32(sequence))
    }

    /// Writes 8 bytes, with the checksum over them and `payload`, which is not written. Traps when they do not fit.
    /// - Returns: the bytes written.
    @inlinable @discardableResult
    package func write(to span: inout MutableRawSpan, at offset: Int, payload: RawSpan) -> Int {
        write(to: &span, at: offset, payloadSum: Checksum.sum(payload))
    }

    /// Writes 8 bytes, with the checksum over them and a payload whose `Checksum.sum` is known.
    /// - Returns: the bytes written.
    @inlinable @discardableResult
    package func write(to span: inout MutableRawSpan, at offset: Int, payloadSum: UInt64) -> Int {
        span.checkRoom(Self.length, at: offset)
        let first = UInt32(type) << 24 | UInt32(code) << 16
        let sum = payloadSum &+ UInt64(first) &+ UInt64(restOfHeader)
        span.putField(u32: first | UInt32(Checksum.finish(sum)), at: offset)
        span.putField(u32: restOfHeader, at: offset &+ 4)
        return Self.length
    }
}
