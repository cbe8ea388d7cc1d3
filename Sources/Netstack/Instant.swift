/// A point in time that the shell hands in: nanoseconds of a monotonic clock. The core never asks for the time.
package struct Instant: Comparable, Hashable, Sendable, BitwiseCopyable {
    package var nanoseconds: Int64
    package init(nanoseconds: Int64) { self.nanoseconds = nanoseconds }
    package static let never = Instant(nanoseconds: .max)
    package static func < (a: Instant, b: Instant) -> Bool { a.nanoseconds < b.nanoseconds }
    /// Adds nanoseconds; saturates at `never`.
    package static func + (a: Instant, b: Int64) -> Instant {
        let (sum, overflow) = a.nanoseconds.addingReportingOverflow(b)
        return overflow ? .never : Instant(nanoseconds: sum)
    }
    package static func - (a: Instant, b: Instant) -> Int64 { a.nanoseconds &- b.nanoseconds }

    /// Milliseconds modulo 2^32.
    @inline(__always)
    var millisecondStamp: UInt32 { UInt32(truncatingIfNeeded: nanoseconds / 1_000_000) }
    /// Microseconds modulo 2^32, as `Transmissions` keeps them.
    @inline(__always)
    var stamp: UInt32 { UInt32(truncatingIfNeeded: nanoseconds / 1000) }
}

extension Int64 {
    package static func milliseconds(_ n: Int64) -> Int64 { n &* 1_000_000 }
    package static func seconds(_ n: Int64) -> Int64 { n &* 1_000_000_000 }
}
