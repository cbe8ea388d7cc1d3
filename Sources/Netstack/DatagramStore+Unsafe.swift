// Plain memory of a fixed size, owned by one struct and seen through spans: the one place where the datagram side of
// the stack holds a pointer. The pages are touched on first use only, so a store may be as large as its worst case.

/// A fixed number of bytes, freed with its owner. Their first content is arbitrary.
@safe
package struct DatagramStore: ~Copyable {
    private let memory: UnsafeMutableRawBufferPointer

    package init(byteCount: Int) {
        unsafe memory = .allocate(byteCount: byteCount, alignment: 16)
    }

    deinit { unsafe memory.deallocate() }

    package var byteCount: Int { unsafe memory.count }

    package var bytes: RawSpan {
        @_lifetime(borrow self)
        get { unsafe _overrideLifetime(RawSpan(_unsafeBytes: UnsafeRawBufferPointer(memory)), borrowing: self) }
    }

    package var mutableBytes: MutableRawSpan {
        @_lifetime(&self)
        mutating get { unsafe _overrideLifetime(MutableRawSpan(_unsafeBytes: memory), mutating: &self) }
    }

    /// A part of the bytes. Traps outside the store.
    @_lifetime(&self)
    package mutating func mutableBytes(_ range: Range<Int>) -> MutableRawSpan {
        let part = unsafe UnsafeMutableRawBufferPointer(rebasing: memory[range])
        return unsafe _overrideLifetime(MutableRawSpan(_unsafeBytes: part), mutating: &self)
    }
}
