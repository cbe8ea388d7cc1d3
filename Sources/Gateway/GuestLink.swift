internal import Capture
internal import Glibc
internal import Netstack

// The guest's link with an optional tap on it: when a capture is on, every frame that passes in either direction is
// also written to the file; when it is off, that costs one branch.

struct GuestLink: ~Copyable {
    var tap: GuestTap
    var capture: CaptureFile?
    /// Bytes of frames that passed, both ways.
    var bytes: UInt64 = 0

    init(tap: consuming GuestTap, capture: CaptureFile?) {
        self.tap = tap
        self.capture = capture
    }

    mutating func transmit(_ offload: OffloadHeader, header: RawSpan, payload: RawSpan) -> Bool {
        guard tap.write(offload, header: header, payload: payload) else { return false }
        bytes &+= UInt64(header.byteCount + payload.byteCount)
        if capture != nil { record(header, payload) }
        return true
    }

    /// Captures one frame, with the wall clock that a reader of captures expects.
    func record(_ header: RawSpan, _ payload: RawSpan) {
        var time = timespec()
        unsafe clock_gettime(CLOCK_REALTIME, &time)
        capture?.write(seconds: time.tv_sec, nanoseconds: time.tv_nsec, header: header, payload: payload)
    }
}
