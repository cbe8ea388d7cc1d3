// Bulk copies between spans and arrays: a loop over bytes is too slow in a debug build.

extension RawSpan {
    /// A copy of the bytes.
    package var array: [UInt8] { unsafe withUnsafeBytes { unsafe [UInt8]($0) } }
}

extension [UInt8] {
    /// The bytes in place.
    package var raw: RawSpan {
        @_lifetime(borrow self) get { unsafe span.bytes }
    }

    /// Appends the bytes.
    package mutating func append(_ bytes: RawSpan) { unsafe bytes.withUnsafeBytes { unsafe append(contentsOf: $0) } }

    /// An array of `count` bytes that `body` writes to.
    package static func written(_ count: Int, _ body: (inout MutableRawSpan) -> Void) -> [UInt8] {
        var array = [UInt8](repeating: 0, count: count)
        var span = array.mutableSpan
        var bytes = unsafe span.mutableBytes
        body(&bytes)
        return array
    }
}

extension [UInt64] {
    /// Their bytes as they lie in memory.
    var bytes: [UInt8] { unsafe withUnsafeBytes { unsafe [UInt8]($0) } }
}
