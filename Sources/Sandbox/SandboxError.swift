internal import Glibc

/// Why a sandbox could not be started: one sentence that says what is wrong and, where known, what to do.
package struct SandboxError: Error, Equatable, CustomStringConvertible {
    package let description: String

    package init(_ sentence: String) { description = sentence }

    /// - Parameter errno: a positive errno, whose text is appended.
    package init(_ sentence: String, errno code: Int32) {
        description = unsafe "\(sentence): \(String(cString: strerror(code)))"
    }
}
