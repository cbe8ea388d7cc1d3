import Testing
import Wire

/// Bytes of hexadecimal digits; spaces and line ends are skipped.
func hex(_ text: String) -> [UInt8] {
    let digits = text.compactMap(\.hexDigitValue)
    return stride(from: 0, to: digits.count - 1, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) }
}

/// What `body` writes into a buffer of `capacity` bytes: the first of them, as many as it returns. The buffer is full of
/// 0xaa before, so that a byte left out shows.
func written(_ capacity: Int, _ body: (inout MutableRawSpan) -> Int) -> [UInt8] {
    var buffer = [UInt8](repeating: 0xaa, count: capacity)
    let count = editing(&buffer, body)
    return Array(buffer[..<count])
}

/// Lends the buffer as a raw span.
func editing<Result>(_ buffer: inout [UInt8], _ body: (inout MutableRawSpan) -> Result) -> Result {
    var elements = buffer.mutableSpan
    var span = unsafe elements.mutableBytes
    return body(&span)
}

extension RawSpan {
    var array: [UInt8] { (0..<byteCount).map { u8(at: $0) } }
}

/// `#expect(actual == expected)` for values that come out of views, which the macro cannot capture.
func check<Value: Equatable>(
    _ actual: Value, _ expected: Value, _ comment: Comment? = nil, at location: SourceLocation = #_sourceLocation
) {
    #expect(actual == expected, comment, sourceLocation: location)
}

/// Runs `body`, which is to throw `expected`.
func checkThrows(
    _ expected: ParseError, _ comment: Comment? = nil, at location: SourceLocation = #_sourceLocation,
    _ body: () throws(ParseError) -> Void
) {
    do {
        try body()
        Issue.record(comment ?? "nothing was thrown", sourceLocation: location)
    } catch {
        #expect(error == expected, comment, sourceLocation: location)
    }
}

/// Steele, Lea, Flood: "Fast splittable pseudorandom number generators" (2014). Reproducible from its seed.
struct SplitMix64: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ z >> 30) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ z >> 27) &* 0x94d0_49bb_1331_11eb
        return z ^ z >> 31
    }

    mutating func bytes(_ count: Int) -> [UInt8] { (0..<count).map { _ in UInt8(truncatingIfNeeded: next()) } }
}

/// A new seed for a test by chance. It is printed at once, because a trap would leave no time later.
func newSeed(_ test: String) -> UInt64 {
    let seed = UInt64.random(in: .min ... .max)
    print("\(test): seed \(seed)")
    return seed
}
