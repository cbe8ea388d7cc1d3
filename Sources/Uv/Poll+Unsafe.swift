internal import CUv

/// What a descriptor can be ready for; the values are libuv's.
package struct PollEvents: OptionSet, Sendable, BitwiseCopyable {
    package let rawValue: Int32
    package init(rawValue: Int32) { self.rawValue = rawValue }

    package static let readable = PollEvents(rawValue: 1)
    package static let writable = PollEvents(rawValue: 2)
    package static let readableWritable = PollEvents(rawValue: 3)
    /// The peer has shut down its half (EPOLLRDHUP).
    package static let disconnect = PollEvents(rawValue: 4)
    /// EPOLLPRI: urgent data, or a non-empty error queue (see `Poll`).
    package static let prioritized = PollEvents(rawValue: 8)
}

/// Readiness of one descriptor, level-triggered.
///
/// What libuv 1.44 does, each asserted in `PollPlatformTests`:
/// - **Errors stop the handle.** When epoll reports EPOLLERR without EPOLLPRI, libuv stops the handle and calls back
///   once with `status` UV_EBADF and no events, although the descriptor is fine: a refused connect, or a datagram
///   socket with an ICMP error in its error queue. Drain the cause (SO_ERROR, MSG_ERRQUEUE) and `start` again.
/// - **Or not**: a datagram socket with the option SO_SELECT_ERR_QUEUE reports EPOLLERR *and* EPOLLPRI for its error
///   queue; watched with `.prioritized`, the callback then comes as an ordinary `.prioritized` event and nothing stops.
///   TCP sockets do not know this option's effect.
/// - **EPOLLHUP** alone arrives as all the watched events at once. A hang-up nobody reads spins the loop: close.
/// - **A change costs two system calls**: `uv_poll_start` removes the descriptor from epoll at once (EPOLL_CTL_DEL) and
///   adds it lazily, before the next epoll_wait. `start` with the set already watched therefore does nothing at all.
///   Events of the descriptor that the current epoll_wait has already delivered to libuv are dropped by a change.
/// - **One handle per descriptor**: a second one throws UV_EEXIST while the first is started.
/// - `init` makes the descriptor non-blocking and probes it with epoll: regular files throw EPERM.
/// - The descriptor may be closed, and its number reused for another `Poll`, right after `stop()` or `close()`.
@safe
package struct Poll: BitwiseCopyable {
    private let block: UnsafeMutablePointer<HandleBlock>

    /// - Parameters:
    ///   - fd: stays the caller's; it must stay open until `stop()` or `close()`.
    ///   - context: handed to `callback`; must live until `close()`.
    package init(
        loop: EventLoop, fd: Int32, context: UnsafeMutableRawPointer, token: UInt64, callback: PollCallback
    ) throws(UvError) {
        unsafe block = HandleBlock.make(loop, context, token, onPoll: callback)
        let code = unsafe uv_poll_init(LoopBlock.loop(loop.block), HandleBlock.handle(block, as: uv_poll_t.self), fd)
        if code < 0 {
            unsafe loop.block.pointee.give(block)
            throw UvError(code: code)
        }
    }

    /// The set being watched; empty when stopped, by us or by an error.
    package var events: PollEvents { PollEvents(rawValue: unsafe block.pointee.events) }

    /// Watches exactly `events` from the next epoll_wait on; nothing happens when that is the set already watched.
    package func start(_ events: PollEvents) {
        if unsafe events.rawValue == block.pointee.events { return }
        let code = unsafe uv_poll_start(HandleBlock.handle(block, as: uv_poll_t.self), events.rawValue, pollReady)
        precondition(code == 0, "two Poll handles started on one descriptor")
        unsafe block.pointee.events = events.rawValue
    }

    package func stop() { start([]) }

    /// No callback comes afterwards, not even for events of this turn.
    package func close() { unsafe HandleBlock.close(block) }
}

private func pollReady(_ handle: UnsafeMutablePointer<uv_poll_t>?, _ status: Int32, _ events: Int32) {
    guard let handle = unsafe handle else { return }
    let block = unsafe UnsafeMutableRawPointer(handle).assumingMemoryBound(to: HandleBlock.self)
    // libuv has stopped the handle: without this the next `start` of the same set would look like no change.
    if status < 0 { unsafe block.pointee.events = 0 }
    guard let context = unsafe block.pointee.context, case .poll(let callback) = unsafe block.pointee.callback else {
        return
    }
    unsafe callback(context, block.pointee.token, events, status)
}
