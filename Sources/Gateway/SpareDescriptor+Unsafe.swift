internal import CHost
internal import Glibc

/// A descriptor kept for when the process has none left. A listener whose client cannot be accepted stays readable and would spin; the
/// spare is given up for a moment to accept the client and reset it, which tells it more than a connect that never ends.
struct SpareDescriptor: ~Copyable {
    private var fd: Int32 = -1

    /// - Parameter isNeeded: without it nothing is kept and `sendAway` does nothing.
    init(isNeeded: Bool) { if isNeeded { open() } }

    private mutating func open() { unsafe fd = Glibc.open("/dev/null", O_RDONLY | O_CLOEXEC) }

    /// Resets the next client of a listener. False when there was none, or no spare.
    mutating func sendAway(from listener: Int32) -> Bool {
        guard fd >= 0 else { return false }
        Glibc.close(fd)
        let client = host_stream_accept(listener, nil)
        if client >= 0 { host_close(client, 1) }
        open()
        return client >= 0
    }

    mutating func close() {
        if fd >= 0 { Glibc.close(fd) }
        fd = -1
    }
}
