extension Octets {
    /// A copy of a message that the caller owns.
    init(copying bytes: RawSpan) { self = unsafe bytes.withUnsafeBytes { unsafe Octets($0) } }
}
