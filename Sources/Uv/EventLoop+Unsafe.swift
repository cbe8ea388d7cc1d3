// Module Uv: libuv seen from Swift, and nothing more.
//
// Purpose. The shell (`Gateway`) needs readiness of descriptors, one timer, hooks once per turn, signals, a wake-up
// from other threads, and threads for what blocks (Work+Unsafe.swift). This module gives it those as small values over libuv handles and is the only Swift module
// that imports CUv.
//
//     EventLoop (class, one per thread) ──▶ LoopBlock: uv_loop_t, free list of HandleBlocks
//     Poll, Timer, Prepare, Check, Idle, Async, Signal ──▶ HandleBlock: uv_xxx_t, context, token, callback
//
// A handle value is one pointer to a heap block that starts with the libuv handle, so a C callback finds its context
// without a lookup, an allocation, or a reference count. Callbacks are capture-free `@convention(c)` functions;
// `context` is the caller's pointer (it must outlive the handle), `token` the caller's 64 bits.
//
// Life cycle of a handle: init → start ⇄ stop → close. The block goes back to the loop's free list in libuv's close
// callback, at the end of the turn; after `close()` returns no callback comes. A handle value is a plain copy: using
// any copy after `close()` is a bug that nothing detects.
//
// Order of one turn (uv_run of libuv 1.44): timers, pending, idle, prepare, poll (epoll_wait and its callbacks),
// check, closing callbacks. The loop's clock is read before the timers and after epoll_wait.
//
// Limits. One thread per loop, except `Async.send()`. At most `freeListLimit` idle blocks are kept for reuse.
// What it does not do: own descriptors (the caller closes them), or resolve names.
internal import CUv

/// One libuv loop. Everything about it, `Async.send()` excepted, belongs to one thread at a time.
@safe
package final class EventLoop {
    let block: UnsafeMutablePointer<LoopBlock>
    private var closed = false

    package init() throws(UvError) {
        unsafe precondition(MemoryLayout<uv_timer_t>.size <= MemoryLayout<uv_poll_t>.size)
        unsafe precondition(MemoryLayout<uv_signal_t>.size <= MemoryLayout<uv_poll_t>.size)
        unsafe precondition(MemoryLayout<uv_async_t>.size <= MemoryLayout<uv_poll_t>.size)
        let block = UnsafeMutablePointer<LoopBlock>.allocate(capacity: 1)
        unsafe block.initialize(to: LoopBlock())
        let code = unsafe uv_loop_init(LoopBlock.loop(block))
        if code < 0 {
            unsafe block.deallocate()
            throw UvError(code: code)
        }
        unsafe self.block = block
    }

    deinit { close() }

    /// Runs turns until no handle is active or `stop()` was called.
    package func run() { _ = unsafe uv_run(LoopBlock.loop(block), UV_RUN_DEFAULT) }

    /// Runs one turn. Unless `noWait`, it blocks in epoll_wait until something happens.
    /// - Returns: whether the loop still has active handles or closing ones.
    @discardableResult
    package func runOnce(noWait: Bool) -> Bool {
        unsafe uv_run(LoopBlock.loop(block), noWait ? UV_RUN_NOWAIT : UV_RUN_ONCE) != 0
    }

    /// Makes `run()` return at the end of the turn it is in; called before `run()`, that returns after one turn.
    package func stop() { unsafe uv_stop(LoopBlock.loop(block)) }

    /// Reads the loop's cached clock afresh, from which `Timer.start` counts: for use late in a long turn.
    package func updateTime() { unsafe uv_update_time(LoopBlock.loop(block)) }

    /// The loop's epoll descriptor, for tests that look at `/proc/self/fdinfo`.
    package var backendDescriptor: Int32 { unsafe uv_backend_fd(LoopBlock.loop(block)) }

    /// Closes every handle, runs the loop until they are gone and frees it. Not from inside a callback.
    package func close() {
        if closed { return }
        closed = true
        let loop = unsafe LoopBlock.loop(block)
        unsafe uv_walk(loop, closeWalked, nil)
        repeat { _ = unsafe uv_run(loop, UV_RUN_DEFAULT) } while unsafe uv_loop_close(loop) == UV_EBUSY.rawValue
        unsafe block.pointee.freeAll()
        unsafe block.deallocate()
    }
}

private func closeWalked(_ handle: UnsafeMutablePointer<uv_handle_t>?, _: UnsafeMutableRawPointer?) {
    if unsafe uv_is_closing(handle) == 0 { unsafe uv_close(handle, blockClosed) }
}

/// The loop's memory: libuv's loop first, so that a handle's `loop` pointer leads here.
@unsafe
struct LoopBlock {
    static let freeListLimit = 4096

    var loop = unsafe uv_loop_t()
    /// Linked through `HandleBlock.context`.
    var free: UnsafeMutablePointer<HandleBlock>?
    var freeCount = 0

    static func loop(_ block: UnsafeMutablePointer<LoopBlock>) -> UnsafeMutablePointer<uv_loop_t> {
        unsafe UnsafeMutableRawPointer(block).assumingMemoryBound(to: uv_loop_t.self)
    }

    mutating func take() -> UnsafeMutablePointer<HandleBlock> {
        guard let block = unsafe free else { return UnsafeMutablePointer<HandleBlock>.allocate(capacity: 1) }
        unsafe free = unsafe block.pointee.context?.assumingMemoryBound(to: HandleBlock.self)
        unsafe freeCount -= 1
        return unsafe block
    }

    mutating func give(_ block: UnsafeMutablePointer<HandleBlock>) {
        if unsafe freeCount >= Self.freeListLimit {
            unsafe block.deallocate()
            return
        }
        unsafe block.pointee.context = unsafe UnsafeMutableRawPointer(free)
        unsafe free = unsafe block
        unsafe freeCount += 1
    }

    mutating func freeAll() {
        while unsafe freeCount > 0 {
            let block = unsafe take()
            unsafe block.deallocate()
        }
    }
}
