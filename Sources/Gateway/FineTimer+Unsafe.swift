internal import CHost
internal import Glibc
internal import Uv

/// A one-shot timer of microseconds: libuv's count milliseconds, this one is a timerfd that the loop watches.
struct FineTimer {
    private let fd: Int32
    private let poll: Poll

    /// Nil without a descriptor left. `callback` must call `stop`.
    init?(loop: EventLoop, context: UnsafeMutableRawPointer, callback: PollCallback) {
        fd = host_timer_open()
        guard fd >= 0 else { return nil }
        guard let poll = unsafe try? Poll(loop: loop, fd: fd, context: context, token: 0, callback: callback) else {
            Glibc.close(fd)
            return nil
        }
        self.poll = poll
        poll.start(.readable)
    }

    func start(nanoseconds: Int64) { host_timer_set(fd, Int(nanoseconds)) }

    func stop() { host_timer_set(fd, 0) }

    func close() {
        poll.close()
        Glibc.close(fd)
    }
}
