internal import CHost
internal import Glibc

/// Passes signals on to the sandbox's command through its init.
package struct SignalForwarder: Sendable {
    let signalFD: Int32
    let control: Int32

    /// Passes on what has arrived. Call when the sandbox's `signalFD` is readable.
    package func forward() {
        while true {
            let number = host_signal_next(signalFD)
            guard number > 0 else { return }
            var byte = UInt8(truncatingIfNeeded: number)
            _ = unsafe host_send_fd(control, -1, &byte, 1)
        }
    }
}

/// SIGINT, SIGTERM and SIGHUP as a descriptor that becomes readable.
package struct StopSignals: Sendable {
    package let fd: Int32
    package init() { fd = host_stop_signals() }
}
