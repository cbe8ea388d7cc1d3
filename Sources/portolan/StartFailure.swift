import Glibc

/// The sandbox or its network could not be started: one sentence for stderr, exit status 125.
struct StartFailure: Error, CustomStringConvertible {
    let description: String
    init(_ error: any Error) { description = "\(error)" }
    init(_ sentence: String) { description = sentence }
}

/// Writes all of `text` to stderr, unbuffered.
func writeError(_ text: String) {
    let bytes = Array(text.utf8)
    _ = unsafe write(2, bytes, bytes.count)
}
