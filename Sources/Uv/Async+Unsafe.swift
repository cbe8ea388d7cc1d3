internal import CUv

/// A wake-up from any thread. Several `send()`s before the loop gets to it make one callback.
///
/// It counts as an active handle for as long as it is open: it keeps `EventLoop.run()` running.
@safe
package struct Async: BitwiseCopyable, @unchecked Sendable {
    private let block: UnsafeMutablePointer<HandleBlock>

    package init(
        loop: EventLoop, context: UnsafeMutableRawPointer, token: UInt64, callback: TimerCallback
    ) throws(UvError) {
        unsafe block = HandleBlock.make(loop, context, token, onTurn: callback)
        let code = unsafe uv_async_init(
            LoopBlock.loop(loop.block), HandleBlock.handle(block, as: uv_async_t.self), asyncSent)
        if code < 0 {
            unsafe loop.block.pointee.give(block)
            throw UvError(code: code)
        }
    }

    /// From any thread, also from a signal handler; not once `close()` may have been called.
    package func send() { _ = unsafe uv_async_send(HandleBlock.handle(block, as: uv_async_t.self)) }
    /// On the loop's thread.
    package func close() { unsafe HandleBlock.close(block) }
}

private func asyncSent(_ handle: UnsafeMutablePointer<uv_async_t>?) { unsafe callTurn(handle) }
