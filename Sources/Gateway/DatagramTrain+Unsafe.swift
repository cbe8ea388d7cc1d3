internal import CHost
internal import Glibc
internal import Netstack
internal import Wire

// Runs of datagrams from one guest socket to one destination, as a guest under load sends them: the first of a turn is
// sent at once, so that its error is known; those that follow in the same turn with the same fields wait and leave together in
// one system call with UDP_SEGMENT (udp(7)), which crosses the host's stack once for all of them.
//
// A train takes datagrams of one size and at most one shorter one at its end, up to 64 of them and 60 KB. It never waits longer
// than the turn in which its first datagram was read. Where the kernel does not take it (a device without checksum
// offload, a size beyond the path's MTU), its datagrams are sent one by one, and what fails then is lost as UDP may be.

/// Datagrams waiting to leave together.
@safe
struct DatagramTrain: ~Copyable {
    /// UDP_MAX_SEGMENTS before Linux 6.9.
    static let limit = 64

    private var flow = FlowID(rawValue: .max)
    private var fd: Int32 = -1
    private var target = Endpoint(address: IPAddress(hi: 0, lo: 0), port: 0)
    private var options = DatagramOptions()
    private let buffer: UnsafeMutableRawPointer
    private var run = DatagramRun()
    private var count = 0

    init() { unsafe buffer = .allocate(byteCount: DatagramRun.longest, alignment: 64) }
    deinit { unsafe buffer.deallocate() }

    /// A datagram was sent at once and well: like ones may follow in a train.
    mutating func start(_ flow: FlowID, fd: Int32, _ target: Endpoint, _ options: DatagramOptions) {
        self.flow = flow
        self.fd = fd
        self.target = target
        self.options = options
    }

    /// Whether a datagram may join.
    func accepts(_ flow: FlowID, _ target: Endpoint, _ options: DatagramOptions, length: Int) -> Bool {
        self.flow == flow && self.target == target && self.options == options
            && (1...DatagramRun.largestPart).contains(length)
    }

    /// Adds a datagram that `accepts` let in.
    mutating func add(_ bytes: RawSpan) {
        if !run.takes(bytes.byteCount) { send() }
        unsafe bytes.withUnsafeBytes { raw in
            if let start = raw.baseAddress { unsafe memcpy(buffer + run.bytes, start, raw.count) }
        }
        run.add(bytes.byteCount)
        count += 1
        if count == Self.limit { send() }
    }

    /// Sends what waits.
    mutating func send() {
        guard count > 0 else { return }
        var address = host_address(target)
        let sent =
            count == 1
            ? -1 : unsafe host_udp_send_train(fd, &address, buffer, run.bytes, UInt16(truncatingIfNeeded: run.size))
        // A full socket loses them, as it would have lost them one by one.
        if sent < 0, count == 1 || sent != -Int(EAGAIN) { sendSingly(&address) }
        run = DatagramRun()
        count = 0
    }

    private func sendSingly(_ address: inout host_address) {
        var at = 0
        while at < run.bytes {
            let length = min(run.size, run.bytes - at)
            _ = unsafe host_udp_send(fd, &address, buffer + at, length)
            at += length
        }
    }

    /// Sends what waits and forgets the flow: the turn, or the flow's socket, has ended.
    mutating func end() {
        send()
        flow = FlowID(rawValue: .max)
        fd = -1
    }
}
