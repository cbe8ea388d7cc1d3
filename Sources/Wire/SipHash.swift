// SipHash-2-4 (Aumasson and Bernstein, 2012): a keyed pseudorandom function for short inputs. What it gives tells nothing of the key
// nor of what it would give for another input, which is what RFC 6528 asks of the function behind initial sequence
// numbers. Swift's own Hasher is SipHash-1-3 today, but promises no algorithm and keys itself once a process; this one has test
// vectors, and a core that is given its seed gives the same numbers again.

/// SipHash-2-4 over words of eight bytes, least significant first.
package struct SipHash: BitwiseCopyable {
    private var v0: UInt64
    private var v1: UInt64
    private var v2: UInt64
    private var v3: UInt64

    package init(key: (UInt64, UInt64)) {
        v0 = key.0 ^ 0x736f_6d65_7073_6575
        v1 = key.1 ^ 0x646f_7261_6e64_6f6d
        v2 = key.0 ^ 0x6c79_6765_6e65_7261
        v3 = key.1 ^ 0x7465_6462_7974_6573
    }

    private mutating func round() {
        v0 &+= v1
        v1 = v1 << 13 | v1 >> 51
        v1 ^= v0
        v0 = v0 << 32 | v0 >> 32
        v2 &+= v3
        v3 = v3 << 16 | v3 >> 48
        v3 ^= v2
        v0 &+= v3
        v3 = v3 << 21 | v3 >> 43
        v3 ^= v0
        v2 &+= v1
        v1 = v1 << 17 | v1 >> 47
        v1 ^= v2
        v2 = v2 << 32 | v2 >> 32
    }

    /// Eight more bytes.
    package mutating func add(_ word: UInt64) {
        v3 ^= word
        round()
        round()
        v0 ^= word
    }

    /// The hash.
    /// - Parameters:
    ///   - rest: the last 0 to 7 bytes, least significant first.
    ///   - length: of the whole input in bytes.
    package mutating func finish(_ rest: UInt64, length: Int) -> UInt64 {
        add(UInt64(truncatingIfNeeded: length) << 56 | rest)
        v2 ^= 0xff
        for _ in 0..<4 { round() }
        return v0 ^ v1 ^ v2 ^ v3
    }
}
