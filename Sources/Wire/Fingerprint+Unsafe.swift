extension [UInt8] {
    /// A hash of the bytes under this process's random key, in one pass: as elements they would be hashed one by one.
    var fingerprint: Int {
        var hasher = Hasher()
        unsafe withUnsafeBytes { unsafe hasher.combine(bytes: $0) }
        return hasher.finalize()
    }
}
