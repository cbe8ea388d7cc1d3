internal import CUv

/// Delivery of a Unix signal as a callback of the loop (libuv installs the handler and passes it on by a pipe).
///
/// The handler is process-wide: every loop that watches the number is called. Signals that arrive faster than the
/// loop turns are merged as the kernel merges them.
@safe
package struct Signal: BitwiseCopyable {
    private let block: UnsafeMutablePointer<HandleBlock>

    package init(
        loop: EventLoop, context: UnsafeMutableRawPointer, token: UInt64, callback: TimerCallback
    ) throws(UvError) {
        unsafe block = HandleBlock.make(loop, context, token, onTurn: callback)
        let code = unsafe uv_signal_init(LoopBlock.loop(loop.block), HandleBlock.handle(block, as: uv_signal_t.self))
        if code < 0 {
            unsafe loop.block.pointee.give(block)
            throw UvError(code: code)
        }
    }

    /// - Throws: EINVAL for SIGKILL, SIGSTOP and numbers that are no signals.
    package func start(_ number: Int32) throws(UvError) {
        try UvError.check(unsafe uv_signal_start(HandleBlock.handle(block, as: uv_signal_t.self), signalled, number))
    }

    package func stop() { _ = unsafe uv_signal_stop(HandleBlock.handle(block, as: uv_signal_t.self)) }
    package func close() { unsafe HandleBlock.close(block) }
}

private func signalled(_ handle: UnsafeMutablePointer<uv_signal_t>?, _: Int32) { unsafe callTurn(handle) }
