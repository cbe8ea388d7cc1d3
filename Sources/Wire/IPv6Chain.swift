// Extension headers of IPv6 (RFC 8200 section 4), walked to the packet that counts.
//
//     IPv6 -> hop-by-hop -> destination options -> routing -> [fragment] -> destination options -> TCP, UDP, ICMPv6 ...
//
// At most 8 headers are walked (RFC 8504 section 5.3 lets a node limit them). Hop-by-hop is known only in first place
// (RFC 8200 section 4.1); elsewhere, as any number the walk does not know, it ends the walk and is the upper protocol,
// so that whoever dispatches answers with "unrecognized next header". The options inside are not judged, and no routing
// is done: we are the last hop.
//
// A real fragment ends the walk at its fragment header: the rest is only meaningful after reassembly, and is then
// walked by `init(nextHeader:payload:)`. An atomic fragment (offset 0, no more; RFC 6946) is walked through.

/// The fragment header (RFC 8200 section 4.5).
package struct IPv6Fragment: Equatable, Sendable, BitwiseCopyable {
    @inlinable package static var length: Int { 8 }

    /// In bytes: 0...65528.
    package var offset: Int
    /// More fragments follow.
    package var more: Bool
    package var identification: UInt32

    @inlinable
    package init(offset: Int, more: Bool, identification: UInt32) {
        self.offset = offset
        self.more = more
        self.identification = identification
    }

    /// Neither preceded nor followed by another fragment.
    @inlinable
    package var isAtomic: Bool { offset == 0 && !more }

    /// Writes 8 bytes, to stand between the IPv6 header (whose next header is then `IPProtocol.fragment`) and a part
    /// of the payload. Traps when they do not fit.
    @inlinable @discardableResult
    package func write(nextHeader: UInt8, to span: inout MutableRawSpan, at position: Int) -> Int {
        span.checkRoom(Self.length, at: position)
        precondition(offset & 7 == 0 && offset >> 16 == 0, "not a fragment offset")
        span.putField(u16: UInt16(nextHeader) << 8, at: position)
        span.putField(u16: UInt16(truncatingIfNeeded: offset) | (more ? 1 : 0), at: position &+ 2)
        span.putField(u32: identification, at: position &+ 4)
        return Self.length
    }
}

/// Where the extension headers of a packet lead.
package struct IPv6Chain: ~Escapable {
    @inlinable package static var limit: Int { 8 }

    /// The number the walk ended at: of the upper layer, or of what follows a real fragment's header.
    package let upperProtocol: UInt8
    /// The upper-layer packet, or the part of it (with remaining extension headers) in a real fragment.
    package let payload: RawSpan
    /// The fragment header, if there is one.
    package let fragment: IPv6Fragment?
    /// Where `upperProtocol` was read, counted from the start of the IPv6 header: the pointer of an ICMPv6 parameter
    /// problem with code "unrecognized next header" (RFC 4443 section 3.4).
    package let nextHeaderOffset: Int

    /// Walks the headers of a packet.
    @inlinable
    @_lifetime(copy packet)
    package init(_ packet: borrowing IPv6View) throws(ParseError) {
        let next = packet.nextHeader
        if next == IPProtocol.tcp || next == IPProtocol.udp || next == IPProtocol.icmpv6 {
            self.init(upperProtocol: next, payload: packet.payload, fragment: nil, nextHeaderOffset: 6)
        } else {
            try self.init(nextHeader: next, payload: packet.payload)
        }
    }

    @inlinable
    @_lifetime(copy payload)
    init(upperProtocol: UInt8, payload: RawSpan, fragment: IPv6Fragment?, nextHeaderOffset: Int) {
        self.upperProtocol = upperProtocol
        self.payload = payload
        self.fragment = fragment
        self.nextHeaderOffset = nextHeaderOffset
    }

    /// Walks the headers of a payload that `nextHeader` announces.
    @_lifetime(copy bytes)
    package init(nextHeader: UInt8, payload bytes: RawSpan) throws(ParseError) {
        var next = nextHeader
        var offset = 0
        var nextOffset = 6
        var fragment: IPv6Fragment?
        var walked = 0
        walk: while true {
            let length: Int
            switch next {
            case IPProtocol.hopByHop where walked == 0, IPProtocol.routing, IPProtocol.destinationOptions:
                guard bytes.byteCount - offset >= 8 else { throw .truncated }
                length = (Int(bytes.field8(at: offset + 1)) + 1) * 8
            case IPProtocol.fragment where fragment == nil:
                guard bytes.byteCount - offset >= IPv6Fragment.length else { throw .truncated }
                length = IPv6Fragment.length
                let field = bytes.field16(at: offset + 2)
                fragment = IPv6Fragment(
                    offset: Int(field & 0xfff8), more: field & 1 != 0, identification: bytes.field32(at: offset + 4))
            default:
                break walk
            }
            guard bytes.byteCount - offset >= length else { throw .truncated }
            walked += 1
            guard walked <= Self.limit else { throw .tooLong }
            let real = next == IPProtocol.fragment && fragment?.isAtomic == false
            next = bytes.field8(at: offset)
            nextOffset = IPv6Header.length + offset
            offset += length
            if real { break walk }
        }
        self.init(
            upperProtocol: next, payload: bytes.part(from: offset, to: bytes.byteCount), fragment: fragment,
            nextHeaderOffset: nextOffset)
    }
}
