/// A TCP sequence number: a point on a circle of 2^32 (RFC 9293 section 3.4).
///
/// The order is that of RFC 9293: `a < b` means that going forward from a to b is the shorter way, so it is an order
/// only for numbers less than 2^31 apart and the type is not `Comparable`. All arithmetic wraps.
package struct SequenceNumber: Hashable, Sendable, BitwiseCopyable, CustomStringConvertible {
    package var rawValue: UInt32

    @inlinable
    package init(rawValue: UInt32) { self.rawValue = rawValue }

    package var description: String { String(rawValue) }

    /// The number `distance` bytes further on (or back, if negative).
    @inlinable
    package static func + (number: SequenceNumber, distance: Int) -> SequenceNumber {
        SequenceNumber(rawValue: number.rawValue &+ UInt32(truncatingIfNeeded: distance))
    }

    @inlinable
    package static func - (number: SequenceNumber, distance: Int) -> SequenceNumber {
        SequenceNumber(rawValue: number.rawValue &- UInt32(truncatingIfNeeded: distance))
    }

    @inlinable
    package static func += (number: inout SequenceNumber, distance: Int) { number = number + distance }

    @inlinable
    package static func -= (number: inout SequenceNumber, distance: Int) { number = number - distance }

    /// The signed way from `b` to `a`, -2^31 ..< 2^31: positive if `a` is ahead.
    @inlinable
    package static func - (a: SequenceNumber, b: SequenceNumber) -> Int {
        Int(Int32(bitPattern: a.rawValue &- b.rawValue))
    }

    @inlinable
    package static func < (a: SequenceNumber, b: SequenceNumber) -> Bool { a - b < 0 }
    @inlinable
    package static func <= (a: SequenceNumber, b: SequenceNumber) -> Bool { a - b <= 0 }
    @inlinable
    package static func > (a: SequenceNumber, b: SequenceNumber) -> Bool { a - b > 0 }
    @inlinable
    package static func >= (a: SequenceNumber, b: SequenceNumber) -> Bool { a - b >= 0 }
}
