/// SplitMix64: the simulator's only randomness. The same seed gives the same run.
package struct SeededGenerator: RandomNumberGenerator, Sendable {
    private var state: UInt64
    package init(seed: UInt64) { state = seed }

    package mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ z >> 30) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ z >> 27) &* 0x94d0_49bb_1331_11eb
        return z ^ z >> 31
    }

    /// True with this probability.
    package mutating func chance(_ probability: Double) -> Bool { Double.random(in: 0..<1, using: &self) < probability }
}

/// The bytes of a stream by position: what was sent is known without being stored, and every byte is checked where it
/// arrives.
package struct StreamPattern: Sendable {
    package let seed: UInt64
    package init(seed: UInt64) { self.seed = seed }
    package subscript(position: Int) -> UInt8 {
        let mixed = (UInt64(truncatingIfNeeded: position) &+ seed) &* 0x9e37_79b9_7f4a_7c15
        return UInt8(truncatingIfNeeded: mixed >> 56)
    }
    package func bytes(_ range: Range<Int>) -> [UInt8] { range.map { self[$0] } }
}
