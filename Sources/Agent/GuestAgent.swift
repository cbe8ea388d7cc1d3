internal import CHost
internal import Glibc
package import Logging

// The life of the agent: it connects, carries frames, and when the connection ends connects again, while the tap and its addresses stay.
//
// Between tries it waits 100 ms, and twice as long each time up to 5 s; a connection that has lasted 10 s makes it start from the beginning.
// While there is none the interface has no carrier, as if its cable were pulled: DHCP clients notice, and ask again when it is back.

/// Carries the frames of a tap to whoever gives network.
package struct GuestAgent: ~Copyable {
    private let tap: Int32
    private let peer: AgentPeer
    private let logger: Logger
    private static let shortestPause: Int32 = 100
    private static let longestPause: Int32 = 5000
    private static let steady = 10

    /// - Parameter tap: non-blocking, without virtio headers; stays the caller's.
    package init(tap: Int32, peer: AgentPeer, logger: Logger) {
        self.tap = tap
        self.peer = peer
        self.logger = logger
    }

    /// Blocks until the tap is gone, or the connection if it cannot be made again.
    /// - Parameter connected: called after the first connection.
    package func run(connected: () -> Void) {
        var relay = FrameRelay(tap: tap, framing: peer.framing)
        var pause = Self.shortestPause
        var lastError: Int32 = 0
        var isFirst = true
        host_tap_carrier(tap, 0)
        while true {
            var code: Int32 = 0
            let began = time(nil)
            if let connection = AgentConnection.open(peer, &code) {
                lastError = 0
                relay.reset()
                host_tap_carrier(tap, 1)
                logger.notice("connected to \(peer.text)")
                if isFirst { connected() }
                isFirst = false
                let end = relay.run(connection)
                host_tap_carrier(tap, 0)
                switch end {
                case .tap: return logger.notice("the interface is gone")
                case .stream: logger.notice("the connection to \(peer.text) has ended")
                case .nonsense: logger.warning("\(peer.text) sends no frames: its other end is not of the same kind")
                }
                if !peer.comesBack { return }
            } else if code != lastError {
                lastError = code
                logger.warning(
                    "cannot connect to \(peer.text): \(unsafe String(cString: strerror(code))); trying again")
                if !peer.comesBack { return }
            }
            if time(nil) - began >= Self.steady { pause = Self.shortestPause }
            if !wait(pause) { return logger.notice("the interface is gone") }
            pause = min(2 * pause, Self.longestPause)
        }
    }

    /// False when the tap goes meanwhile.
    private func wait(_ milliseconds: Int32) -> Bool {
        var watched = pollfd(fd: tap, events: 0, revents: 0)
        return unsafe poll(&watched, 1, milliseconds) <= 0
    }
}
