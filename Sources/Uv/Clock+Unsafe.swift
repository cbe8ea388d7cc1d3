internal import Glibc

/// `CLOCK_MONOTONIC` in nanoseconds: the `now` of a turn. libuv's own clock is cut to milliseconds and cached.
package func monotonicNanoseconds() -> Int64 {
    var time = timespec()
    unsafe clock_gettime(CLOCK_MONOTONIC, &time)
    return Int64(time.tv_sec) &* 1_000_000_000 &+ Int64(time.tv_nsec)
}
