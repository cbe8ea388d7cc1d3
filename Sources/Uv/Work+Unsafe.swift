internal import CUv

// What may block, done on libuv's thread pool: four threads of the process (UV_THREADPOOL_SIZE), which all loops share and which start
// with the first work. They are for files, since no file is ever "not ready" for epoll: a slow disk then holds up no frame.
//
//   loop's thread   offload ─────▶ queue                               after(result)
//   pool                             └▶ a free thread: work() ─ wake-up ─┘
//
// Work under way keeps `EventLoop.run()` running unless it is stopped, and `EventLoop.close()` waits for it, so what comes after it is always called.
// Nothing bounds the queue: whoever offloads keeps count.

extension EventLoop {
    /// Starts the pool's threads. When there are none to be had libuv ends the process: better at its start than in the middle.
    package func startPool() { offload({}, then: {}) }

    /// Calls `work` on a thread of the pool and then `after`, with its result, on the loop's thread in a later turn.
    package func offload<Result: Sendable>(
        _ work: @escaping @Sendable () -> Result, then after: @escaping (Result) -> Void
    ) {
        var result: Result?
        let job = WorkJob(work: { result = work() }, after: { if let result { after(result) } })
        let request = UnsafeMutablePointer<uv_work_t>.allocate(capacity: 1)
        unsafe request.initialize(to: uv_work_t())
        unsafe request.pointee.data = unsafe Unmanaged.passRetained(job).toOpaque()
        let code = unsafe uv_queue_work(LoopBlock.loop(block), request, workBegins, workEnded)
        precondition(code == 0, "uv_queue_work refuses nothing but a missing callback")
    }
}

/// The thread that runs `work` has it alone until libuv hands it back to the loop.
private final class WorkJob {
    let work: () -> Void
    let after: () -> Void

    init(work: @escaping () -> Void, after: @escaping () -> Void) {
        self.work = work
        self.after = after
    }
}

private func workBegins(_ request: UnsafeMutablePointer<uv_work_t>?) {
    guard let data = unsafe request?.pointee.data else { return }
    unsafe Unmanaged<WorkJob>.fromOpaque(data).takeUnretainedValue().work()
}

private func workEnded(_ request: UnsafeMutablePointer<uv_work_t>?, _: Int32) {
    guard let request = unsafe request, let data = unsafe request.pointee.data else { return }
    unsafe request.deallocate()
    unsafe Unmanaged<WorkJob>.fromOpaque(data).takeRetainedValue().after()
}
