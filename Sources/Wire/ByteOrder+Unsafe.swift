// Byte order: the one file that loads integers from the wire and stores them there.
//
// Everything on the wire is big-endian; everything in our values is in host order. There are two families:
//
// - `u8(at:)` ... `u64(at:)` and `store(u8:at:)` ...: for code that computes offsets. A load or store outside the span
//   traps. A parser of guest bytes checks first; the trap is for our own bugs.
// - `field8(at:)` ... and `putField(u8:at:)` ...: for views and writers at constant offsets below a length that was
//   checked once. Checked again in debug builds only. Only this module uses them.
//
// Alignment never matters. No other file of this module uses an unsafe construct.

extension RawSpan {
    // MARK: Checked loads

    /// The byte at `offset`. Traps outside the span.
    @inlinable
    package func u8(at offset: Int) -> UInt8 {
        precondition(offset >= 0 && offset < byteCount, "load outside of the span")
        return unsafe unsafeLoadUnaligned(fromUncheckedByteOffset: offset, as: UInt8.self)
    }

    /// The big-endian 16 bits at `offset`, in host order. Traps outside the span.
    @inlinable
    package func u16(at offset: Int) -> UInt16 {
        precondition(offset >= 0 && offset <= byteCount &- 2, "load outside of the span")
        return unsafe UInt16(bigEndian: unsafeLoadUnaligned(fromUncheckedByteOffset: offset, as: UInt16.self))
    }

    /// The big-endian 32 bits at `offset`, in host order. Traps outside the span.
    @inlinable
    package func u32(at offset: Int) -> UInt32 {
        precondition(offset >= 0 && offset <= byteCount &- 4, "load outside of the span")
        return unsafe UInt32(bigEndian: unsafeLoadUnaligned(fromUncheckedByteOffset: offset, as: UInt32.self))
    }

    /// The big-endian 64 bits at `offset`, in host order. Traps outside the span.
    @inlinable
    package func u64(at offset: Int) -> UInt64 {
        precondition(offset >= 0 && offset <= byteCount &- 8, "load outside of the span")
        return unsafe UInt64(bigEndian: unsafeLoadUnaligned(fromUncheckedByteOffset: offset, as: UInt64.self))
    }

    // MARK: Loads below a checked length

    /// The byte at `offset`, which the caller has checked to lie in the span.
    @inlinable @safe
    package func field8(at offset: Int) -> UInt8 {
        assert(offset >= 0 && offset < byteCount)
        return unsafe unsafeLoadUnaligned(fromUncheckedByteOffset: offset, as: UInt8.self)
    }

    /// The big-endian 16 bits at `offset`, which the caller has checked to lie in the span.
    @inlinable @safe
    package func field16(at offset: Int) -> UInt16 {
        assert(offset >= 0 && offset <= byteCount - 2)
        return unsafe UInt16(bigEndian: unsafeLoadUnaligned(fromUncheckedByteOffset: offset, as: UInt16.self))
    }

    /// The big-endian 32 bits at `offset`, which the caller has checked to lie in the span.
    @inlinable @safe
    package func field32(at offset: Int) -> UInt32 {
        assert(offset >= 0 && offset <= byteCount - 4)
        return unsafe UInt32(bigEndian: unsafeLoadUnaligned(fromUncheckedByteOffset: offset, as: UInt32.self))
    }

    /// The big-endian 64 bits at `offset`, which the caller has checked to lie in the span.
    @inlinable @safe
    package func field64(at offset: Int) -> UInt64 {
        assert(offset >= 0 && offset <= byteCount - 8)
        return unsafe UInt64(bigEndian: unsafeLoadUnaligned(fromUncheckedByteOffset: offset, as: UInt64.self))
    }

    /// The 64 bits at `offset` in the host's own order, for sums that do not care (RFC 1071 section 2 (B)).
    @inlinable @safe
    package func nativeField64(at offset: Int) -> UInt64 {
        assert(offset >= 0 && offset <= byteCount - 8)
        return unsafe unsafeLoadUnaligned(fromUncheckedByteOffset: offset, as: UInt64.self)
    }

    /// The 256 bits at `offset` as four words in the host's own order.
    @inlinable @safe
    package func nativeField256(at offset: Int) -> SIMD4<UInt64> {
        assert(offset >= 0 && offset <= byteCount - 32)
        return unsafe unsafeLoadUnaligned(fromUncheckedByteOffset: offset, as: SIMD4<UInt64>.self)
    }

    /// The 32 bits at `offset` in the host's own order.
    @inlinable @safe
    package func nativeField32(at offset: Int) -> UInt32 {
        assert(offset >= 0 && offset <= byteCount - 4)
        return unsafe unsafeLoadUnaligned(fromUncheckedByteOffset: offset, as: UInt32.self)
    }

    /// The 16 bits at `offset` in the host's own order.
    @inlinable @safe
    package func nativeField16(at offset: Int) -> UInt16 {
        assert(offset >= 0 && offset <= byteCount - 2)
        return unsafe unsafeLoadUnaligned(fromUncheckedByteOffset: offset, as: UInt16.self)
    }

    // MARK: Parts below a checked length

    /// The bytes from `start` up to `end`, which the caller has checked to lie in the span in this order.
    @inlinable @safe
    @_lifetime(copy self)
    package func part(from start: Int, to end: Int) -> RawSpan {
        assert(start >= 0 && start <= end && end <= byteCount)
        return unsafe extracting(unchecked: Range(uncheckedBounds: (lower: start, upper: end)))
    }
}

extension MutableRawSpan {
    // MARK: Checked stores

    /// Stores one byte at `offset`. Traps outside the span.
    @inlinable
    @_lifetime(self: copy self)
    package mutating func store(u8 value: UInt8, at offset: Int) {
        precondition(offset >= 0 && offset < byteCount, "store outside of the span")
        unsafe storeBytes(of: value, toUncheckedByteOffset: offset, as: UInt8.self)
    }

    /// Stores 16 bits big-endian at `offset`. Traps outside the span.
    @inlinable
    @_lifetime(self: copy self)
    package mutating func store(u16 value: UInt16, at offset: Int) {
        precondition(offset >= 0 && offset <= byteCount &- 2, "store outside of the span")
        unsafe storeBytes(of: value.bigEndian, toUncheckedByteOffset: offset, as: UInt16.self)
    }

    /// Stores 32 bits big-endian at `offset`. Traps outside the span.
    @inlinable
    @_lifetime(self: copy self)
    package mutating func store(u32 value: UInt32, at offset: Int) {
        precondition(offset >= 0 && offset <= byteCount &- 4, "store outside of the span")
        unsafe storeBytes(of: value.bigEndian, toUncheckedByteOffset: offset, as: UInt32.self)
    }

    /// Stores 64 bits big-endian at `offset`. Traps outside the span.
    @inlinable
    @_lifetime(self: copy self)
    package mutating func store(u64 value: UInt64, at offset: Int) {
        precondition(offset >= 0 && offset <= byteCount &- 8, "store outside of the span")
        unsafe storeBytes(of: value.bigEndian, toUncheckedByteOffset: offset, as: UInt64.self)
    }

    /// Copies all of `source` to `offset`. Traps when it does not fit. The two may not overlap (and cannot, by exclusivity).
    @inlinable
    @_lifetime(self: copy self)
    package mutating func copy(from source: RawSpan, at offset: Int) {
        let count = source.byteCount
        precondition(offset >= 0 && count <= byteCount &- offset, "copy outside of the span")
        if count == 0 { return }
        unsafe withUnsafeMutableBytes { target in
            unsafe source.withUnsafeBytes { bytes in
                unsafe (target.baseAddress! + offset).copyMemory(from: bytes.baseAddress!, byteCount: count)
            }
        }
    }

    /// Moves the bytes of `source` to `offset`; the two places may overlap. Traps when either is not in the span.
    @inlinable
    @_lifetime(self: copy self)
    package mutating func move(_ source: Range<Int>, to offset: Int) {
        precondition(
            source.lowerBound >= 0 && source.upperBound <= byteCount && offset >= 0
                && source.count <= byteCount &- offset, "move outside of the span")
        if source.isEmpty { return }
        unsafe withUnsafeMutableBytes { bytes in
            let base = bytes.baseAddress!
            unsafe (base + offset).copyMemory(from: base + source.lowerBound, byteCount: source.count)
        }
    }

    /// Sets `count` bytes from `offset` to zero. Traps when they are not all in the span.
    @inlinable
    @_lifetime(self: copy self)
    package mutating func clear(at offset: Int, count: Int) {
        precondition(offset >= 0 && count >= 0 && count <= byteCount &- offset, "clear outside of the span")
        for index in offset..<(offset &+ count) {
            unsafe storeBytes(of: 0, toUncheckedByteOffset: index, as: UInt8.self)
        }
    }

    // MARK: Stores below a checked length

    /// Stores one byte at `offset`, which the caller has checked to lie in the span.
    @inlinable @safe
    @_lifetime(self: copy self)
    package mutating func putField(u8 value: UInt8, at offset: Int) {
        assert(offset >= 0 && offset < byteCount)
        unsafe storeBytes(of: value, toUncheckedByteOffset: offset, as: UInt8.self)
    }

    /// Stores 16 bits big-endian at `offset`, which the caller has checked to lie in the span.
    @inlinable @safe
    @_lifetime(self: copy self)
    package mutating func putField(u16 value: UInt16, at offset: Int) {
        assert(offset >= 0 && offset <= byteCount - 2)
        unsafe storeBytes(of: value.bigEndian, toUncheckedByteOffset: offset, as: UInt16.self)
    }

    /// Stores 32 bits big-endian at `offset`, which the caller has checked to lie in the span.
    @inlinable @safe
    @_lifetime(self: copy self)
    package mutating func putField(u32 value: UInt32, at offset: Int) {
        assert(offset >= 0 && offset <= byteCount - 4)
        unsafe storeBytes(of: value.bigEndian, toUncheckedByteOffset: offset, as: UInt32.self)
    }

    /// Stores 64 bits big-endian at `offset`, which the caller has checked to lie in the span.
    @inlinable @safe
    @_lifetime(self: copy self)
    package mutating func putField(u64 value: UInt64, at offset: Int) {
        assert(offset >= 0 && offset <= byteCount - 8)
        unsafe storeBytes(of: value.bigEndian, toUncheckedByteOffset: offset, as: UInt64.self)
    }

    /// Traps unless `count` bytes from `offset` lie in the span: the one check of a writer, before its stores.
    @inlinable
    package func checkRoom(_ count: Int, at offset: Int) {
        precondition(offset >= 0 && count <= byteCount &- offset, "buffer too short for a header")
    }
}

extension Array where Element == UInt8 {
    /// The bytes as a raw span. (`Span.bytes` counts as unsafe for types with padding; a byte has none.)
    @inlinable
    package var rawSpan: RawSpan {
        @_lifetime(borrow self) get { unsafe span.bytes }
    }
}
