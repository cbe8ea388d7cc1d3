internal import CUv

// Hooks that run once per turn of the loop, each at its place: idle, prepare, epoll_wait, check.
// A started hook keeps `EventLoop.run()` from returning, like any other active handle.

/// Called once per turn, right before the loop waits in epoll: the place to flush what the turn has produced.
@safe
package struct Prepare: BitwiseCopyable {
    private let block: UnsafeMutablePointer<HandleBlock>

    package init(loop: EventLoop, context: UnsafeMutableRawPointer, token: UInt64, callback: TimerCallback) {
        unsafe block = HandleBlock.make(loop, context, token, onTurn: callback)
        _ = unsafe uv_prepare_init(LoopBlock.loop(loop.block), HandleBlock.handle(block, as: uv_prepare_t.self))
    }

    package func start() { _ = unsafe uv_prepare_start(HandleBlock.handle(block, as: uv_prepare_t.self), prepareDue) }
    package func stop() { _ = unsafe uv_prepare_stop(HandleBlock.handle(block, as: uv_prepare_t.self)) }
    package func close() { unsafe HandleBlock.close(block) }
}

private func prepareDue(_ handle: UnsafeMutablePointer<uv_prepare_t>?) { unsafe callTurn(handle) }

/// Called once per turn, right after the callbacks of all ready descriptors.
@safe
package struct Check: BitwiseCopyable {
    private let block: UnsafeMutablePointer<HandleBlock>

    package init(loop: EventLoop, context: UnsafeMutableRawPointer, token: UInt64, callback: TimerCallback) {
        unsafe block = HandleBlock.make(loop, context, token, onTurn: callback)
        _ = unsafe uv_check_init(LoopBlock.loop(loop.block), HandleBlock.handle(block, as: uv_check_t.self))
    }

    package func start() { _ = unsafe uv_check_start(HandleBlock.handle(block, as: uv_check_t.self), checkDue) }
    package func stop() { _ = unsafe uv_check_stop(HandleBlock.handle(block, as: uv_check_t.self)) }
    package func close() { unsafe HandleBlock.close(block) }
}

private func checkDue(_ handle: UnsafeMutablePointer<uv_check_t>?) { unsafe callTurn(handle) }

/// Called once per turn before `Prepare`; while started, the loop does not wait in epoll at all.
@safe
package struct Idle: BitwiseCopyable {
    private let block: UnsafeMutablePointer<HandleBlock>

    package init(loop: EventLoop, context: UnsafeMutableRawPointer, token: UInt64, callback: TimerCallback) {
        unsafe block = HandleBlock.make(loop, context, token, onTurn: callback)
        _ = unsafe uv_idle_init(LoopBlock.loop(loop.block), HandleBlock.handle(block, as: uv_idle_t.self))
    }

    package func start() { _ = unsafe uv_idle_start(HandleBlock.handle(block, as: uv_idle_t.self), idleDue) }
    package func stop() { _ = unsafe uv_idle_stop(HandleBlock.handle(block, as: uv_idle_t.self)) }
    package func close() { unsafe HandleBlock.close(block) }
}

private func idleDue(_ handle: UnsafeMutablePointer<uv_idle_t>?) { unsafe callTurn(handle) }
