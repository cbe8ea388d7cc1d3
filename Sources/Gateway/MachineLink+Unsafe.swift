internal import CHost
internal import Glibc
internal import Netstack
internal import Uv
internal import Wire

// One virtual machine's socket: bytes in, bytes out, and what is left of either.
//
//   in     partial    the start of a frame whose rest has not come                  at most one frame
//   out    backlog    what the socket did not take; nothing else is sent before     at most one batch of the switch
//
// Both exist only while they are needed: an idle machine's link is this object and a libuv handle. A link with a backlog is busy;
// whoever wants to send to it has to wait or to drop. No link waits for another.
//
// A datagram socket's peer is whoever sent last: a machine that comes back is heard at once. The kernel tells an unconnected
// socket nothing about its peer's queue (10 messages by default, net.unix.max_dgram_qlen), and to connect and disconnect it would
// throw away what it has received (unix(7), unix_dgram_disconnected). So a backlog is tried again when the machine sends
// something, and after a pause that doubles from 1 to 64 ms.

/// A link to one virtual machine. Owns its descriptor.
@safe
final class MachineLink {
    enum Kind { case stream, packets, datagram, tap, shared }

    /// What happened to frames and framing. `lost`: the machine's socket was full.
    struct Counters: Equatable {
        var received = 0
        var sent = 0
        var lost = 0
        var empty = 0
        var oversized = 0
        /// Noise on a serial line.
        var damaged = 0
        /// It did not introduce itself as its link's protocol asks, or not in time.
        var unintroduced = 0
        /// The peer went in the middle of a frame.
        var truncated = 0
        /// Sent with the MAC address of the gateway or of another machine.
        var spoofed = 0
        /// Claimed what is another's, by reason.
        var refused = [Int](repeating: 0, count: AddressBindings.Refusal.allCases.count)
    }

    let fd: Int32
    let kind: Kind
    let framing: LinkFraming
    /// Its peer leaves checksums and segmentation undone.
    let trustsChecksums: Bool
    /// The longest frame that it takes.
    let limit: Int
    /// Where it is in its introduction; nil when frames pass.
    var handshake: VmnetHandshake?
    /// By when it has to have introduced itself, once the turn has ended.
    var introducesUntil = Instant.never
    /// The MAC address that it was given.
    var mac: MACAddress?
    /// Nobody will have this MAC address again.
    var isNameless = false
    /// It is not sent what is for many: it has not introduced itself, or the same machine has connected again since.
    var isQuiet = false
    /// A tap with virtio headers: what it leaves to us and takes from us, and its frames' own headers.
    let offloads: TapOffloads?
    /// Its frames pass through memory that the machine shares.
    let device: VhostDevice?
    /// Its frames bring virtio headers.
    var hasHeaders: Bool { offloads != nil || device != nil }
    /// Its place among the addresses to listen on.
    let origin: Int
    private let poll: Poll
    /// For stdio: writing is another descriptor's.
    private let writeFD: Int32
    private let writePoll: Poll?
    private var partial: [UInt8] = []
    private var backlog: [UInt8] = []
    private var backlogStart = 0
    private var peer: host_link_peer?
    /// For a datagram socket: when to try the backlog again, and the pause after that.
    private(set) var retryAt = Instant.never
    private var pause = MachineLink.shortestPause
    private static let shortestPause = Int64.milliseconds(1)
    private static let longestPause = Int64.milliseconds(64)
    /// The peer's socket has permissions that keep us from writing to it.
    private(set) var isForbidden = false
    var counters = Counters()
    /// The last station that was found to be this port's, so that the table is not asked for every frame.
    var lastSource = MACAddress.zero

    init(
        loop: EventLoop, fd: Int32, writeFD: Int32? = nil, kind: Kind, framing: LinkFraming,
        trustsChecksums: Bool = false, limit: Int, handshake: VmnetHandshake? = nil, offloads: TapOffloads? = nil,
        device: VhostDevice? = nil,
        origin: Int, context: UnsafeMutableRawPointer, token: UInt64,
        callback: PollCallback
    ) throws {
        self.fd = fd
        self.kind = kind
        self.framing = framing
        self.trustsChecksums = trustsChecksums
        self.origin = origin
        self.limit = limit
        self.handshake = handshake
        self.offloads = offloads
        self.device = device
        isQuiet = handshake != nil
        self.writeFD = writeFD ?? fd
        if let writeFD, writeFD != fd {
            writePoll = try unsafe Poll(loop: loop, fd: writeFD, context: context, token: token, callback: callback)
        } else {
            writePoll = nil
        }
        poll = try unsafe Poll(loop: loop, fd: fd, context: context, token: token, callback: callback)
        if kind != .tap, kind != .shared { host_link_buffers(fd) }
    }

    func start() { poll.start(.readable) }

    func close() {
        poll.close()
        writePoll?.close()
        device?.close()
        host_link_close(fd)
        if writeFD != fd { Glibc.close(writeFD) }
        if !partial.isEmpty { counters.truncated += 1 }
        partial = []
        backlog = []
    }

    // MARK: Out

    /// Nothing can be sent now.
    var isBusy: Bool { device?.lacksBuffers ?? !backlog.isEmpty }

    /// Sends framed frames. What the socket does not take is kept. False when the peer is gone.
    func send(_ bytes: RawSpan) -> Bool {
        var taken = 0
        let isAlive = write(bytes, &taken)
        if taken < bytes.byteCount, isAlive {
            let rest = bytes.extracting(taken..<bytes.byteCount)
            unsafe backlog = rest.withUnsafeBytes { unsafe [UInt8]($0) }
            backlogStart = 0
            watchWriting(true)
        }
        return isAlive
    }

    /// Sends of the backlog what the socket takes. False when the peer is gone. See `isBusy` for whether all has left.
    func drain(at now: Instant) -> Bool {
        guard isBusy else { return true }
        var taken = 0
        let isAlive = unsafe write(backlog.span.bytes.extracting(backlogStart..<backlog.count), &taken)
        backlogStart += taken
        if backlogStart == backlog.count || !isAlive {
            backlog = []
            backlogStart = 0
            watchWriting(false)
        }
        pause = taken > 0 ? Self.shortestPause : min(2 * pause, Self.longestPause)
        armRetry(at: now)
        return isAlive
    }

    /// The turn ends: a datagram socket's backlog has to be tried again.
    func armRetry(at now: Instant) { retryAt = isBusy && kind == .datagram ? now + pause : .never }

    private func write(_ bytes: RawSpan, _ taken: inout Int) -> Bool {
        while taken < bytes.byteCount {
            let rest = bytes.extracting(taken..<bytes.byteCount)
            let count = unsafe rest.withUnsafeBytes { raw -> Int in
                guard kind != .stream else { return unsafe host_write(writeFD, raw.baseAddress, raw.count) }
                guard kind != .tap else { return unsafe host_tap_write(fd, raw.baseAddress, raw.count) }
                guard kind == .datagram else {
                    return unsafe host_link_send(fd, nil, raw.baseAddress, raw.count)
                }
                guard var peer, peer.length > 0 else { return raw.count }
                return unsafe host_link_send(fd, &peer, raw.baseAddress, raw.count)
            }
            if count > 0 {
                taken += count
                continue
            }
            switch -count {
            case Int(EINTR): continue
            case Int(EAGAIN), Int(ENOBUFS): return true
            // Nobody is at the datagram's address any more, or nobody that we may write to: it goes the way of frames on a cut wire,
            // and somebody may come back.
            case let code where kind == .datagram:
                if code == Int(EACCES) { isForbidden = true }
                counters.lost += 1
                taken = bytes.byteCount
                return true
            default: return false
            }
        }
        return true
    }

    private func watchWriting(_ isOn: Bool) {
        if let writePoll {
            writePoll.start(isOn ? .writable : [])
        } else if kind != .datagram {
            poll.start(isOn ? .readableWritable : .readable)
        }
    }

    // MARK: In

    enum Read {
        /// So many bytes of a stream from the start of the space on, those of `partial` included.
        case bytes(Int)
        /// So many messages, at multiples of the stride.
        case messages(Int)
        case nothing, ended
    }

    /// Reads once into `space`, behind what was left of the last read.
    func read(
        into space: UnsafeMutableRawPointer, size: Int, stride: Int, lengths: UnsafeMutablePointer<UInt32>, count: Int
    ) -> Read {
        if let device {
            return unsafe .messages(device.read(into: space, stride: stride, lengths: lengths, most: count))
        }
        if kind == .tap {
            let frames = unsafe Int(host_tap_read(fd, space, stride, lengths, UInt32(count)))
            if frames > 0 { return .messages(frames) }
            return frames == -Int(EAGAIN) || frames == -Int(EINTR) ? .nothing : .ended
        }
        guard kind == .stream else {
            var sender = host_link_peer()
            var messages = unsafe Int(host_receive_many(fd, space, stride, lengths, UInt32(count), &sender))
            if messages > 0 {
                if kind == .datagram { peer = sender }
                if kind == .packets {
                    // The end of a packet socket is a message without bytes, again and again.
                    while messages > 0, unsafe lengths[messages - 1] == 0 { messages -= 1 }
                    if messages == 0 { return .ended }
                }
                return .messages(messages)
            }
            if messages == 0 { return .ended }
            switch -messages {
            case Int(EAGAIN), Int(EINTR): return .nothing
            // An error of an earlier send: the peer was not there.
            case Int(ECONNREFUSED) where kind == .datagram, Int(ECONNRESET) where kind == .datagram: return .nothing
            default: return .ended
            }
        }
        let kept = partial.count
        unsafe partial.withUnsafeBytes {
            unsafe space.copyMemory(from: $0.baseAddress ?? UnsafeRawPointer(space), byteCount: kept)
        }
        let bytes = unsafe host_read(fd, space + kept, size - kept)
        if bytes > 0 { return .bytes(kept + bytes) }
        return bytes == -Int(EAGAIN) || bytes == -Int(EINTR) ? .nothing : .ended
    }

    /// Keeps the start of a frame until its rest comes.
    func keep(_ rest: RawSpan) {
        if rest.byteCount == 0, partial.isEmpty { return }
        unsafe partial = rest.withUnsafeBytes { unsafe [UInt8]($0) }
    }
}
