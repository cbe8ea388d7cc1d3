internal import Capture
internal import Glibc
internal import Netstack

// The guest's link, a tap or the switch of several machines, with an optional tap on it: when a capture is on, every frame that
// passes between it and the core in either direction is also written to the file; when it is off, that costs one branch.

@safe
struct GuestLink: ~Copyable {
    /// Closed (-1) when there is a switch.
    var tap: GuestTap
    /// Unmanaged, so that a frame costs no reference count: the network holds it.
    let machines: Unmanaged<VirtualSwitch>?
    var capture: CaptureFile?
    /// Bytes of frames that passed, both ways.
    var bytes: UInt64 = 0

    init(tap: consuming GuestTap, machines: VirtualSwitch?, capture: CaptureFile?) {
        self.tap = tap
        unsafe self.machines = machines.map { unsafe Unmanaged.passUnretained($0) }
        self.capture = capture
    }

    mutating func transmit(_ offload: OffloadHeader, header: RawSpan, payload: RawSpan) -> Bool {
        guard write(offload, header, payload) else { return false }
        bytes &+= UInt64(header.byteCount + payload.byteCount)
        if capture != nil { record(header, payload) }
        return true
    }

    private func write(_ offload: OffloadHeader, _ header: RawSpan, _ payload: RawSpan) -> Bool {
        guard let machines = unsafe machines else { return tap.write(offload, header: header, payload: payload) }
        return unsafe machines._withUnsafeGuaranteedRef { $0.transmit(offload, header: header, payload: payload) }
    }

    /// Captures one frame, with the wall clock that a reader of captures expects.
    func record(_ header: RawSpan, _ payload: RawSpan) {
        var time = timespec()
        unsafe clock_gettime(CLOCK_REALTIME, &time)
        capture?.write(seconds: time.tv_sec, nanoseconds: time.tv_nsec, header: header, payload: payload)
    }
}
