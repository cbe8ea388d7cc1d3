/// Names a flow for as long as it lives: an index into its kind's slab and the slab entry's generation, so that a
/// late event for a flow that is gone meets nobody. An integer, not an object: it fits a libuv handle's data pointer.
package struct FlowID: Hashable, Sendable, BitwiseCopyable {
    package enum Kind: UInt8, Sendable, BitwiseCopyable { case tcp = 0, udp = 1, echo = 2 }

    /// generation << 32 | kind << 28 | index.
    package let rawValue: UInt64

    package init(rawValue: UInt64) { self.rawValue = rawValue }

    package init(_ kind: Kind, index: UInt32, generation: UInt32) {
        rawValue = UInt64(generation) << 32 | UInt64(kind.rawValue) << 28 | UInt64(index & 0x0fff_ffff)
    }

    package var kind: Kind { Kind(rawValue: UInt8(rawValue >> 28 & 0xf)) ?? .tcp }
    package var index: UInt32 { UInt32(rawValue & 0x0fff_ffff) }
    package var generation: UInt32 { UInt32(rawValue >> 32) }
}
