/// A DNS message is handled as an array of bytes: names resolve a few thousand times a second at most, and every message
/// has to outlive the call that brought it. Loads are checked: nil beyond the end.
typealias Octets = [UInt8]

extension Octets {
    func load8(_ at: Int) -> Int? { at >= 0 && at < count ? Int(self[at]) : nil }

    func load16(_ at: Int) -> Int? {
        at >= 0 && at <= count - 2 ? Int(self[at]) << 8 | Int(self[at + 1]) : nil
    }

    func load32(_ at: Int) -> Int? {
        guard let high = load16(at), let low = load16(at + 2) else { return nil }
        return high << 16 | low
    }

    /// Our own messages only: traps beyond the end.
    mutating func store16(_ value: Int, _ at: Int) {
        self[at] = UInt8(truncatingIfNeeded: value >> 8)
        self[at + 1] = UInt8(truncatingIfNeeded: value)
    }

    mutating func store32(_ value: Int, _ at: Int) {
        store16(value >> 16, at)
        store16(value, at + 2)
    }

    mutating func append16(_ value: Int) {
        append(UInt8(truncatingIfNeeded: value >> 8))
        append(UInt8(truncatingIfNeeded: value))
    }

    mutating func append32(_ value: Int) {
        append16(value >> 16)
        append16(value)
    }
}
