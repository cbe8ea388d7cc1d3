// Internet Protocol, version 6 (RFC 8200).
//
//      0       4              12      16              24             32
//     +-------+--------------+-------+------------------------------+
//     | 6     | traffic class|             flow label               |  0
//     +-------+--------------+-------+--------------+---------------+
//     |        payload length        | next header  |   hop limit   |  4
//     +------------------------------+--------------+---------------+
//     |                  source address (16 bytes)                  |  8
//     |                destination address (16 bytes)               | 24
//     +-------------------------------------------------------------+
//
// What follows the payload length is dropped. Jumbograms (RFC 2675) are refused: their payload length of 0 leaves an
// empty packet. Extension headers are in IPv6Chain.swift.

/// An IPv6 packet, complete with header and payload.
package struct IPv6View: ~Escapable {
    /// Header and payload, without what follows the packet.
    package let bytes: RawSpan

    @inlinable
    @_lifetime(copy bytes)
    package init(_ bytes: RawSpan) throws(ParseError) {
        guard bytes.byteCount >= IPv6Header.length else { throw .truncated }
        guard bytes.field8(at: 0) >> 4 == 6 else { throw .badVersion }
        let totalLength = Int(bytes.field16(at: 4)) &+ IPv6Header.length
        guard totalLength <= bytes.byteCount else { throw .truncated }
        self.bytes = bytes.part(from: 0, to: totalLength)
    }

    /// The packet in an ICMPv6 error: the payload may be cut short (RFC 4443 section 2.4 (c)).
    @inlinable
    @_lifetime(copy bytes)
    package init(quoted bytes: RawSpan) throws(ParseError) {
        guard bytes.byteCount >= IPv6Header.length else { throw .truncated }
        guard bytes.field8(at: 0) >> 4 == 6 else { throw .badVersion }
        let totalLength = Int(bytes.field16(at: 4)) &+ IPv6Header.length
        self.bytes = bytes.part(from: 0, to: min(totalLength, bytes.byteCount))
    }

    /// Differentiated services (6 bits) and ECN (2 bits).
    @inlinable
    package var trafficClass: UInt8 { UInt8(truncatingIfNeeded: bytes.field16(at: 0) >> 4) }

    /// 20 bits.
    @inlinable
    package var flowLabel: UInt32 { bytes.field32(at: 0) & 0xfffff }

    /// Extension headers and upper-layer packet, in bytes.
    @inlinable
    package var payloadLength: Int { Int(bytes.field16(at: 4)) }

    @inlinable
    package var nextHeader: UInt8 { bytes.field8(at: 6) }

    @inlinable
    package var hopLimit: UInt8 { bytes.field8(at: 7) }

    @inlinable
    package var source: IPAddress { IPAddress(hi: bytes.field64(at: 8), lo: bytes.field64(at: 16)) }

    @inlinable
    package var destination: IPAddress { IPAddress(hi: bytes.field64(at: 24), lo: bytes.field64(at: 32)) }

    @inlinable
    package var payload: RawSpan {
        @_lifetime(copy self) get { bytes.part(from: IPv6Header.length, to: bytes.byteCount) }
    }
}

/// An IPv6 header. Extension headers are not written.
package struct IPv6Header: Equatable, Sendable, BitwiseCopyable {
    @inlinable package static var length: Int { 40 }

    package var source: IPAddress
    package var destination: IPAddress
    package var nextHeader: UInt8
    /// In bytes: 0...65535.
    package var payloadLength: Int
    package var hopLimit: UInt8
    package var trafficClass: UInt8
    /// 20 bits; the rest is cut off.
    package var flowLabel: UInt32

    @inlinable
    package init(
        source: IPAddress, destination: IPAddress, nextHeader: UInt8, payloadLength: Int, hopLimit: UInt8 = 64,
        trafficClass: UInt8 = 0, flowLabel: UInt32 = 0
    ) {
        self.source = source
        self.destination = destination
        self.nextHeader = nextHeader
        self.payloadLength = payloadLength
        self.hopLimit = hopLimit
        self.trafficClass = trafficClass
        self.flowLabel = flowLabel
    }

    /// Writes 40 bytes. Traps when they do not fit or the length is out of range.
    /// - Returns: the bytes written.
    @inlinable @discardableResult
    package func write(to span: inout MutableRawSpan, at offset: Int) -> Int {
        span.checkRoom(Self.length, at: offset)
        precondition(payloadLength >= 0 && payloadLength <= 0xffff, "payload too long for IPv6")
        let first = 0x6000_0000 | UInt32(trafficClass) << 20 | flowLabel & 0xfffff
        let second = UInt32(truncatingIfNeeded: payloadLength) << 16 | UInt32(nextHeader) << 8 | UInt32(hopLimit)
        span.putField(u32: first, at: offset)
        span.putField(u32: second, at: offset &+ 4)
        span.putField(u64: source.hi, at: offset &+ 8)
        span.putField(u64: source.lo, at: offset &+ 16)
        span.putField(u64: destination.hi, at: offset &+ 24)
        span.putField(u64: destination.lo, at: offset &+ 32)
        return Self.length
    }
}
