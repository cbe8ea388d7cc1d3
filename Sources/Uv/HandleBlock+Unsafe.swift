internal import CUv

/// Called once per event. `events` is a `PollEvents.rawValue`, `status` 0 or a negative libuv code; see `Poll`.
package typealias PollCallback =
    @convention(c) (
        _ context: UnsafeMutableRawPointer, _ token: UInt64, _ events: Int32, _ status: Int32
    ) -> Void

/// Called when a timer is due, once per turn, after a wake-up or on a signal.
package typealias TimerCallback = @convention(c) (_ context: UnsafeMutableRawPointer, _ token: UInt64) -> Void

/// The memory of one handle of any kind: the libuv handle first (`uv_poll_t` is the largest we use), then ours.
@unsafe
struct HandleBlock {
    var handle: uv_poll_t
    var context: UnsafeMutableRawPointer?
    var token: UInt64
    var callback: Callback
    /// Poll only: the set that libuv has been told. 0: stopped.
    var events: Int32

    /// What is called, by the kind of handle.
    @unsafe
    enum Callback {
        case none
        case poll(PollCallback)
        case turn(TimerCallback)
    }

    /// A fresh block for a handle of `loop`; the libuv handle is zeroed and still to be initialised.
    static func make(
        _ loop: EventLoop, _ context: UnsafeMutableRawPointer, _ token: UInt64, onPoll: PollCallback? = nil,
        onTurn: TimerCallback? = nil
    ) -> UnsafeMutablePointer<HandleBlock> {
        let block = unsafe loop.block.pointee.take()
        unsafe block.initialize(
            to: HandleBlock(
                handle: uv_poll_t(), context: context, token: token,
                callback: unsafe onPoll.map { unsafe .poll($0) } ?? onTurn.map { unsafe .turn($0) } ?? .none, events: 0)
        )
        return unsafe block
    }

    /// The block's libuv handle as the kind `Handle`.
    @inline(__always)
    static func handle<Handle>(
        _ block: UnsafeMutablePointer<HandleBlock>, as _: Handle.Type
    ) -> UnsafeMutablePointer<Handle> {
        unsafe UnsafeMutableRawPointer(block).assumingMemoryBound(to: Handle.self)
    }

    /// Starts to close the handle; the block returns to the free list at the end of the turn.
    static func close(_ block: UnsafeMutablePointer<HandleBlock>) {
        unsafe uv_close(handle(block, as: uv_handle_t.self), blockClosed)
    }
}

/// libuv's close callback for every kind of handle.
func blockClosed(_ handle: UnsafeMutablePointer<uv_handle_t>?) {
    guard let handle = unsafe handle else { return }
    let block = unsafe UnsafeMutableRawPointer(handle).assumingMemoryBound(to: HandleBlock.self)
    let loop = unsafe UnsafeMutableRawPointer(handle.pointee.loop).assumingMemoryBound(to: LoopBlock.self)
    unsafe loop.pointee.give(block)
}

/// Calls the block's `onTurn`: the body of every callback but poll's.
@inline(__always)
func callTurn<Handle>(_ handle: UnsafeMutablePointer<Handle>?) {
    guard let handle = unsafe handle else { return }
    let block = unsafe UnsafeMutableRawPointer(handle).assumingMemoryBound(to: HandleBlock.self)
    guard let context = unsafe block.pointee.context, case .turn(let callback) = unsafe block.pointee.callback else {
        return
    }
    unsafe callback(context, block.pointee.token)
}
