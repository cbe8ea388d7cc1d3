/// Why a capture could not be opened or had to end: one sentence for a person.
package struct CaptureError: Error, Equatable, Sendable, CustomStringConvertible {
    package let description: String
}
