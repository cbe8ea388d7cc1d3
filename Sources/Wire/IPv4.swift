// Internet Protocol, version 4 (RFC 791; RFC 6864 for the identification; RFC 2474 and 3168 for the second byte).
//
//      0       4       8              16                             32
//     +-------+-------+--------------+-----------------------------+
//     | 4     | words | traffic class|        total length         |  0
//     +-------+-------+--------------+-----+-----------------------+
//     |        identification        |0 D M| fragment offset / 8   |  4
//     +--------------+---------------+-----+-----------------------+
//     | time to live |   protocol    |       header checksum       |  8
//     +--------------+---------------+-----------------------------+
//     |                       source address                       | 12
//     |                     destination address                    | 16
//     +------------------------------------------------------------+
//     | options, up to 40 bytes                                    | 20
//     +------------------------------------------------------------+
//
// The view checks version and lengths, not the header checksum: that is a method, since a link may vouch for it. What
// follows the total length (padding of short frames) is dropped. A total length of 0 (Linux "BIG TCP") is refused;
// super-frames have a true length of at most 65535.

/// An IPv4 packet, complete with header and payload.
package struct IPv4View: ~Escapable {
    /// Header and payload, without what follows the packet.
    package let bytes: RawSpan
    /// With options: 20...60.
    package let headerLength: Int

    @inlinable
    @_lifetime(copy bytes)
    package init(_ bytes: RawSpan) throws(ParseError) {
        guard bytes.byteCount >= IPv4Header.length else { throw .truncated }
        let first = bytes.field8(at: 0)
        guard first >> 4 == 4 else { throw .badVersion }
        let headerLength = Int(first & 0xf) &* 4
        let totalLength = Int(bytes.field16(at: 2))
        guard headerLength >= IPv4Header.length, totalLength >= headerLength else { throw .badLength }
        guard totalLength <= bytes.byteCount else { throw .truncated }
        self.bytes = bytes.part(from: 0, to: totalLength)
        self.headerLength = headerLength
    }

    /// The packet in an ICMP error: the header must be complete, the payload may be cut short (RFC 792, RFC 1812
    /// section 4.3.2.3).
    @inlinable
    @_lifetime(copy bytes)
    package init(quoted bytes: RawSpan) throws(ParseError) {
        guard bytes.byteCount >= IPv4Header.length else { throw .truncated }
        let first = bytes.field8(at: 0)
        guard first >> 4 == 4 else { throw .badVersion }
        let headerLength = Int(first & 0xf) &* 4
        let totalLength = Int(bytes.field16(at: 2))
        guard headerLength >= IPv4Header.length, totalLength >= headerLength else { throw .badLength }
        guard headerLength <= bytes.byteCount else { throw .truncated }
        self.bytes = bytes.part(from: 0, to: min(totalLength, bytes.byteCount))
        self.headerLength = headerLength
    }

    /// Differentiated services (6 bits) and ECN (2 bits): the former TOS byte.
    @inlinable
    package var trafficClass: UInt8 { bytes.field8(at: 1) }

    /// Header and payload, in bytes.
    @inlinable
    package var totalLength: Int { Int(bytes.field16(at: 2)) }

    @inlinable
    package var identification: UInt16 { bytes.field16(at: 4) }

    @inlinable
    package var dontFragment: Bool { bytes.field8(at: 6) & 0x40 != 0 }

    @inlinable
    package var moreFragments: Bool { bytes.field8(at: 6) & 0x20 != 0 }

    /// In bytes: 0...65528.
    @inlinable
    package var fragmentOffset: Int { Int(bytes.field16(at: 6) & 0x1fff) &* 8 }

    /// True for any fragment, the first one included.
    @inlinable
    package var isFragment: Bool { bytes.field16(at: 6) & 0x3fff != 0 }

    @inlinable
    package var timeToLive: UInt8 { bytes.field8(at: 8) }

    @inlinable
    package var `protocol`: UInt8 { bytes.field8(at: 9) }

    @inlinable
    package var checksum: UInt16 { bytes.field16(at: 10) }

    @inlinable
    package var source: IPAddress { IPAddress(v4: bytes.field32(at: 12)) }

    @inlinable
    package var destination: IPAddress { IPAddress(v4: bytes.field32(at: 16)) }

    /// The header after its 20 fixed bytes; not parsed.
    @inlinable
    package var options: RawSpan {
        @_lifetime(copy self) get { bytes.part(from: IPv4Header.length, to: headerLength) }
    }

    @inlinable
    package var payload: RawSpan {
        @_lifetime(copy self) get { bytes.part(from: headerLength, to: bytes.byteCount) }
    }

    /// True if the header's checksum is right.
    @inlinable
    package func verifyChecksum() -> Bool {
        var sum: UInt64 = 0
        var offset = 0
        while offset < headerLength {
            sum &+= UInt64(bytes.field32(at: offset))
            offset &+= 4
        }
        return Checksum.fold(sum) == 0xffff
    }
}

/// An IPv4 header without options.
package struct IPv4Header: Equatable, Sendable, BitwiseCopyable {
    @inlinable package static var length: Int { 20 }

    package var source: IPAddress
    package var destination: IPAddress
    package var `protocol`: UInt8
    /// In bytes: 0...65515.
    package var payloadLength: Int
    package var timeToLive: UInt8
    package var trafficClass: UInt8
    package var identification: UInt16
    package var dontFragment: Bool
    package var moreFragments: Bool
    /// In bytes, a multiple of 8.
    package var fragmentOffset: Int

    @inlinable
    package init(
        source: IPAddress, destination: IPAddress, protocol: UInt8, payloadLength: Int, timeToLive: UInt8 = 64,
        trafficClass: UInt8 = 0, identification: UInt16 = 0, dontFragment: Bool = true, moreFragments: Bool = false,
        fragmentOffset: Int = 0
    ) {
        self.source = source
        self.destination = destination
        self.protocol = `protocol`
        self.payloadLength = payloadLength
        self.timeToLive = timeToLive
        self.trafficClass = trafficClass
        self.identification = identification
        self.dontFragment = dontFragment
        self.moreFragments = moreFragments
        self.fragmentOffset = fragmentOffset
    }

    /// Writes 20 bytes, the checksum filled in. Traps when they do not fit or the length or offset is out of range.
    /// - Returns: the bytes written.
    @inlinable @discardableResult
    package func write(to span: inout MutableRawSpan, at offset: Int) -> Int {
        span.checkRoom(Self.length, at: offset)
        precondition(payloadLength >= 0 && payloadLength <= 0xffff &- Self.length, "payload too long for IPv4")
        precondition(fragmentOffset & 7 == 0 && fragmentOffset >> 16 == 0, "not a fragment offset")
        let first = 0x4500_0000 | UInt32(trafficClass) << 16 | UInt32(truncatingIfNeeded: payloadLength &+ Self.length)
        let flags: UInt32 = (dontFragment ? 0x4000 : 0) | (moreFragments ? 0x2000 : 0)
        let second = UInt32(identification) << 16 | flags | UInt32(truncatingIfNeeded: fragmentOffset >> 3)
        let third = UInt32(timeToLive) << 24 | UInt32(`protocol`) << 16
        let sum =
            UInt64(first) &+ UInt64(second) &+ UInt64(third) &+ UInt64(source.v4) &+ UInt64(destination.v4)
        span.putField(u32: first, at: offset)
        span.putField(u32: second, at: offset &+ 4)
        span.putField(u32: third | UInt32(Checksum.finish(sum)), at: offset &+ 8)
        span.putField(u32: source.v4, at: offset &+ 12)
        span.putField(u32: destination.v4, at: offset &+ 16)
        return Self.length
    }
}
