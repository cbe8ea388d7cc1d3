// Internet Control Message Protocol for IPv6 (RFC 4443); neighbour discovery's bodies are in NDP.swift.
//
//      0              8               16                             32
//     +--------------+---------------+------------------------------+
//     |     type     |     code      |           checksum           |  0
//     +--------------+---------------+------------------------------+
//     |  rest of header: identifier and sequence, MTU, pointer ...  |  4
//     +-------------------------------------------------------------+
//     |  payload: the echo's data, the quoted packet, NDP           |  8
//
// The checksum covers the pseudo-header and the whole message. Types below 128 are errors.

/// Message types (RFC 4443, RFC 4861, RFC 2710, RFC 3810).
package enum ICMPv6Type {
    @inlinable package static var destinationUnreachable: UInt8 { 1 }
    @inlinable package static var packetTooBig: UInt8 { 2 }
    @inlinable package static var timeExceeded: UInt8 { 3 }
    @inlinable package static var parameterProblem: UInt8 { 4 }
    @inlinable package static var echoRequest: UInt8 { 128 }
    @inlinable package static var echoReply: UInt8 { 129 }
    @inlinable package static var multicastListenerQuery: UInt8 { 130 }
    @inlinable package static var multicastListenerReport: UInt8 { 131 }
    @inlinable package static var multicastListenerDone: UInt8 { 132 }
    @inlinable package static var routerSolicitation: UInt8 { 133 }
    @inlinable package static var routerAdvertisement: UInt8 { 134 }
    @inlinable package static var neighborSolicitation: UInt8 { 135 }
    @inlinable package static var neighborAdvertisement: UInt8 { 136 }
    @inlinable package static var redirect: UInt8 { 137 }
    @inlinable package static var multicastListenerReportV2: UInt8 { 143 }
}

/// Codes of "destination unreachable", "time exceeded" and "parameter problem".
package enum ICMPv6Code {
    @inlinable package static var noRoute: UInt8 { 0 }
    @inlinable package static var communicationProhibited: UInt8 { 1 }
    @inlinable package static var beyondScope: UInt8 { 2 }
    @inlinable package static var addressUnreachable: UInt8 { 3 }
    @inlinable package static var portUnreachable: UInt8 { 4 }
    @inlinable package static var sourcePolicyFailed: UInt8 { 5 }
    @inlinable package static var rejectRoute: UInt8 { 6 }
    /// Of "time exceeded": the hop limit reached zero in transit.
    @inlinable package static var hopLimitExceeded: UInt8 { 0 }
    /// Of "time exceeded": fragments were missing.
    @inlinable package static var reassemblyTimeExceeded: UInt8 { 1 }
    /// Of "parameter problem".
    @inlinable package static var unrecognizedNextHeader: UInt8 { 1 }
}

/// An ICMPv6 message of at least 8 bytes.
package struct ICMPv6View: ~Escapable {
    package let bytes: RawSpan

    @inlinable
    @_lifetime(copy bytes)
    package init(_ bytes: RawSpan) throws(ParseError) {
        guard bytes.byteCount >= ICMPv6Header.length else { throw .truncated }
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

    /// Of "packet too big".
    @inlinable
    package var mtu: UInt32 { bytes.field32(at: 4) }

    /// What follows the first 8 bytes.
    @inlinable
    package var payload: RawSpan {
        @_lifetime(copy self) get { bytes.part(from: ICMPv6Header.length, to: bytes.byteCount) }
    }

    /// True if the checksum over pseudo-header and message is right.
    @inlinable
    package func verifyChecksum(source: IPAddress, destination: IPAddress) -> Bool {
        let pseudo = Checksum.pseudoHeader(
            source: source, destination: destination, protocol: IPProtocol.icmpv6, length: bytes.byteCount)
        return Checksum.fold(Checksum.sum(bytes, pseudo)) == 0xffff
    }
}

/// The first 8 bytes of an ICMPv6 message.
package struct ICMPv6Header: Equatable, Sendable, BitwiseCopyable {
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

    /// Writes 8 bytes, with the checksum over pseudo-header, them and `payload`, which is not written. Traps when they
    /// do not fit.
    /// - Returns: the bytes written.
    @inlinable @discardableResult
    package func write(
        to span: inout MutableRawSpan, at offset: Int, source: IPAddress, destination: IPAddress, payload: RawSpan
    ) -> Int {
        write(
            to: &span, at: offset, source: source, destination: destination, payloadSum: Checksum.sum(payload),
            payloadLength: payload.byteCount)
    }

    /// Writes 8 bytes, with the checksum over pseudo-header, them and a payload whose `Checksum.sum` is known.
    /// - Returns: the bytes written.
    @inlinable @discardableResult
    package func write(
        to span: inout MutableRawSpan, at offset: Int, source: IPAddress, destination: IPAddress, payloadSum: UInt64,
        payloadLength: Int
    ) -> Int {
        span.checkRoom(Self.length, at: offset)
        let first = UInt32(type) << 24 | UInt32(code) << 16
        let pseudo = Checksum.pseudoHeader(
            source: source, destination: destination, protocol: IPProtocol.icmpv6, length: Self.length &+ payloadLength)
        let sum = payloadSum &+ pseudo &+ UInt64(first) &+ UInt64(restOfHeader)
        span.putField(u32: first | UInt32(Checksum.finish(sum)), at: offset)
        span.putField(u32: restOfHeader, at: offset &+ 4)
        return Self.length
    }
}
