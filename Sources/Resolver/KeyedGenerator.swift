/// Random numbers that cannot be guessed from earlier ones without the key: SipHash-2-4 (Aumasson, Bernstein 2012) of a
/// counter. Message ids are half of what protects a resolver from forged answers (RFC 5452 section 9.2), so the shell
/// hands in a key from the kernel; tests hand in a fixed one and get a fixed sequence.
package struct KeyedGenerator: RandomNumberGenerator, Sendable {
    private let k0: UInt64
    private let k1: UInt64
    private var counter: UInt64 = 0

    package init(key: (UInt64, UInt64)) { (k0, k1) = key }

    package mutating func next() -> UInt64 {
        counter &+= 1
        return Self.sipHash(k0, k1, counter)
    }

    /// SipHash-2-4 of the eight bytes of `word` (little-endian).
    static func sipHash(_ k0: UInt64, _ k1: UInt64, _ word: UInt64) -> UInt64 {
        var v0 = k0 ^ 0x736f_6d65_7073_6575
        var v1 = k1 ^ 0x646f_7261_6e64_6f6d
        var v2 = k0 ^ 0x6c79_6765_6e65_7261
        var v3 = k1 ^ 0x7465_6462_7974_6573
        func rotate(_ x: UInt64, _ n: UInt64) -> UInt64 { x << n | x >> (64 - n) }
        func round() {
            v0 = v0 &+ v1
            v1 = rotate(v1, 13) ^ v0
            v0 = rotate(v0, 32)
            v2 = v2 &+ v3
            v3 = rotate(v3, 16) ^ v2
            v0 = v0 &+ v3
            v3 = rotate(v3, 21) ^ v0
            v2 = v2 &+ v1
            v1 = rotate(v1, 17) ^ v2
            v2 = rotate(v2, 32)
        }
        for block in [word, 8 << 56] {
            v3 ^= block
            round()
            round()
            v0 ^= block
        }
        v2 ^= 0xff
        for _ in 0..<4 { round() }
        return v0 ^ v1 ^ v2 ^ v3
    }
}
