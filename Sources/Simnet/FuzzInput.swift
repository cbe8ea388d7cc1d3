/// Bytes that a fuzzer chose, read as decisions. At the end everything is zero.
package struct FuzzInput {
    private let bytes: [UInt8]
    private var at = 0

    package init(_ bytes: [UInt8]) { self.bytes = bytes }

    package var isEmpty: Bool { at >= bytes.count }

    package mutating func byte() -> UInt8 {
        guard !isEmpty else { return 0 }
        at += 1
        return bytes[at - 1]
    }

    package mutating func word() -> UInt16 { UInt16(byte()) << 8 | UInt16(byte()) }

    /// Up to `count` bytes.
    package mutating func take(_ count: Int) -> [UInt8] {
        let end = min(bytes.count, at + count)
        defer { at = end }
        return Array(bytes[at..<end])
    }

    /// One of the choices.
    package mutating func choice<T>(_ choices: [T]) -> T { choices[Int(byte()) % choices.count] }
}
