extension Octets {
    /// A copy of a message that the caller owns.
    init(copying bytes: RawSpan) { self = unsafe bytes.withUnsafeBytes { unsafe Octets($0) } }

    /// A hash of the bytes, under this process's random key (SipHash).
    var fingerprint: Int {
        var hasher = Hasher()
        unsafe withUnsafeBytes { unsafe hasher.combine(bytes: $0) }
        return hasher.finalize()
    }
}
