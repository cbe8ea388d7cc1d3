// The Internet checksum (RFC 1071): the ones'-complement sum of 16-bit big-endian words.
//
// A sum is carried as a UInt64 that is congruent, modulo 2^16 - 1, to the sum of the words; `fold` brings it to 16
// bits, `finish` complements it. Two properties of RFC 1071 section 2 make it fast: since 2^16 = 1 (mod 2^16 - 1), wider
// words can be summed and folded later, and since byte order only rotates the result, the sum is taken in the host's
// order and swapped once at the end. 32-bit words in 64-bit accumulators cannot overflow below 2^32 words (16 GiB).
//
// Parts are chained by passing the sum of one as `initial` of the next; every part but the last has an even length (an
// odd one is padded with a zero byte, as at the end of a packet).

package enum Checksum {
    /// `initial` plus the sum of `bytes`. The result is below `initial` + 2^16, so sums can be chained without care.
    package static func sum(_ bytes: RawSpan, _ initial: UInt64 = 0) -> UInt64 {
        let count = bytes.byteCount
        var offset = 0
        // Four accumulators for the low and high halves, so that no addition waits for another; the compiler turns
        // this into vector code.
        var a: UInt64 = 0
        var b: UInt64 = 0
        var c: UInt64 = 0
        var d: UInt64 = 0
        while offset <= count &- 32 {
            let w = bytes.nativeField64(at: offset)
            let x = bytes.nativeField64(at: offset &+ 8)
            let y = bytes.nativeField64(at: offset &+ 16)
            let z = bytes.nativeField64(at: offset &+ 24)
            a &+= (w & 0xffff_ffff) &+ (w >> 32)
            b &+= (x & 0xffff_ffff) &+ (x >> 32)
            c &+= (y & 0xffff_ffff) &+ (y >> 32)
            d &+= (z & 0xffff_ffff) &+ (z >> 32)
            offset &+= 32
        }
        while offset <= count &- 8 {
            let w = bytes.nativeField64(at: offset)
            a &+= (w & 0xffff_ffff) &+ (w >> 32)
            offset &+= 8
        }
        // Below 8 bytes are left: gather them big-endian, left-aligned as if followed by zeros.
        var rest: UInt64 = 0
        var shift: UInt64 = 56
        while offset < count {
            rest |= UInt64(bytes.field8(at: offset)) &<< shift
            shift &-= 8
            offset &+= 1
        }
        let native = UInt16(bigEndian: fold(a &+ b &+ c &+ d))
        return initial &+ UInt64(native) &+ UInt64(fold(rest))
    }

    /// The sum of the pseudo-header of TCP, UDP (RFC 9293 section 3.1, RFC 768) or, for IPv6, RFC 8200 section 8.1.
    /// - Parameter length: of the transport header and payload, in bytes.
    @inlinable
    package static func pseudoHeader(
        source: IPAddress, destination: IPAddress, protocol number: UInt8, length: Int
    ) -> UInt64 {
        let tail = UInt64(number) &+ UInt64(truncatingIfNeeded: UInt32(truncatingIfNeeded: length))
        if source.isV4 && destination.isV4 {
            return UInt64(source.v4) &+ UInt64(destination.v4) &+ tail
        }
        let halves =
            (source.hi >> 32) &+ (source.hi & 0xffff_ffff) &+ (source.lo >> 32) &+ (source.lo & 0xffff_ffff)
            &+ (destination.hi >> 32) &+ (destination.hi & 0xffff_ffff) &+ (destination.lo >> 32)
            &+ (destination.lo & 0xffff_ffff)
        return halves &+ tail
    }

    /// The sum in 16 bits, not complemented, as a number to be stored big-endian. Zero only for a sum of zero.
    @inlinable
    package static func fold(_ sum: UInt64) -> UInt16 {
        var sum = (sum >> 32) &+ (sum & 0xffff_ffff)
        sum = (sum >> 16) &+ (sum & 0xffff)
        sum = (sum >> 16) &+ (sum & 0xffff)
        sum = (sum >> 16) &+ (sum & 0xffff)
        return UInt16(truncatingIfNeeded: sum)
    }

    /// The checksum to put in a header: the complement of the folded sum.
    @inlinable
    package static func finish(_ sum: UInt64) -> UInt16 { ~fold(sum) }
}
