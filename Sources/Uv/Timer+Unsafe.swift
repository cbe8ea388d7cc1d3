internal import CUv

/// One-shot or repeating timer with a granularity of a millisecond.
///
/// What libuv does, asserted in `TimerPlatformTests`:
/// - The delay counts from the loop's cached clock (start of the turn), which is CLOCK_MONOTONIC, or its coarse variant
///   where that ticks in milliseconds, cut to milliseconds. A timer may therefore fire a little **early**, by up to 2 ms,
///   measured by `monotonicNanoseconds()`: whoever waits for a deadline looks at the clock and arms again.
/// - A delay of 0 fires in the next turn, without waiting.
/// - `start` on a running timer re-arms it. A stopped or closed timer does not fire, not even in the same turn.
/// - A one-shot timer that fired is stopped.
@safe
package struct Timer: BitwiseCopyable {
    private let block: UnsafeMutablePointer<HandleBlock>

    package init(loop: EventLoop, context: UnsafeMutableRawPointer, token: UInt64, callback: TimerCallback) {
        unsafe block = HandleBlock.make(loop, context, token, onTurn: callback)
        _ = unsafe uv_timer_init(LoopBlock.loop(loop.block), HandleBlock.handle(block, as: uv_timer_t.self))
    }

    package func start(afterMilliseconds delay: UInt64, repeatMilliseconds interval: UInt64 = 0) {
        _ = unsafe uv_timer_start(HandleBlock.handle(block, as: uv_timer_t.self), timerDue, delay, interval)
    }

    package func stop() { _ = unsafe uv_timer_stop(HandleBlock.handle(block, as: uv_timer_t.self)) }
    package func close() { unsafe HandleBlock.close(block) }

    /// A delay for `start` that is not before `nanoseconds` from now: rounded up, 0 when it is past.
    package static func milliseconds(roundingUp nanoseconds: Int64) -> UInt64 {
        nanoseconds <= 0 ? 0 : UInt64(nanoseconds - 1) / 1_000_000 + 1
    }
}

private func timerDue(_ handle: UnsafeMutablePointer<uv_timer_t>?) { unsafe callTurn(handle) }
