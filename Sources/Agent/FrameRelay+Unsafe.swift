internal import CHost
internal import Gateway
internal import Glibc
internal import Wire

// Frames between a tap and a stream, in a VM that has nothing better.
//
//   tap ── read, a frame each ──▶ out, one behind the other in the wire's form ── one write ──▶ stream
//   tap ◀── write, a frame each ── in ◀── one read ── stream
//
// The tap is read only while `out` is empty: what the stream does not take waits there, and everything behind it in the tap's own
// queue, where the kernel drops what is too much. So a peer that stands still costs no memory, and two buffers are all there is.
//
// A serial line is slow, so `out` is kept short for it, or a full buffer would be many seconds of delay.

/// Carries frames until one of the two ends.
@safe
struct FrameRelay: ~Copyable {
    enum End: Equatable { case stream, tap, nonsense }

    /// The longest frame of a tap: its largest MTU, and a header.
    private static let frameLimit = 65_535
    private static let inSize = 256 * 1024

    private let tap: Int32
    private let framing: LinkFraming
    private let out: UnsafeMutableRawPointer
    private let outSize: Int
    /// Where reading of the tap stops.
    private let outEnough: Int
    private var outStart = 0
    private var outEnd = 0
    private let input: UnsafeMutableRawPointer
    private var inEnd = 0
    /// A frame that has yet to be escaped.
    private let scratch: UnsafeMutableRawPointer
    /// What is waited for: the stream's two sides and the tap.
    private let watched: UnsafeMutablePointer<pollfd>

    init(tap: Int32, framing: LinkFraming) {
        self.tap = tap
        self.framing = framing
        outEnough = framing == .serial ? 4096 : 192 * 1024
        outSize = outEnough + framing.room(1, Self.frameLimit)
        unsafe out = .allocate(byteCount: outSize, alignment: 64)
        unsafe input = .allocate(byteCount: Self.inSize, alignment: 64)
        unsafe scratch = .allocate(byteCount: Self.frameLimit, alignment: 64)
        unsafe watched = .allocate(capacity: 3)
    }

    deinit {
        unsafe out.deallocate()
        unsafe input.deallocate()
        unsafe scratch.deallocate()
        unsafe watched.deallocate()
    }

    /// Forgets what is left of an earlier connection, and what the tap's queue has kept since: nobody waits for that any more.
    mutating func reset() {
        (outStart, outEnd, inEnd) = (0, 0, 0)
        for _ in 0..<4096 where unsafe host_read(tap, scratch, Self.frameLimit) <= 0 { break }
    }

    /// Blocks.
    mutating func run(_ connection: borrowing AgentConnection) -> End {
        while true {
            let isFull = outEnd > 0
            unsafe watched[0] = pollfd(fd: connection.input, events: Int16(POLLIN), revents: 0)
            unsafe watched[1] = pollfd(fd: connection.output, events: isFull ? Int16(POLLOUT) : 0, revents: 0)
            unsafe watched[2] = pollfd(fd: tap, events: isFull ? 0 : Int16(POLLIN), revents: 0)
            if unsafe poll(watched, 3, -1) < 0 {
                if errno == EINTR { continue }
                return .stream
            }
            let isReadable = unsafe watched[0].revents != 0
            let isWritable = unsafe watched[1].revents != 0
            let tapSpeaks = unsafe watched[2].revents != 0
            if tapSpeaks, !takeFromTap() { return .tap }
            if outEnd > 0, isWritable || tapSpeaks, !give(connection.output) { return .stream }
            // The reader of stdout has gone: nothing else is told of an output that is not waited for.
            if isWritable, !isFull, connection.output != connection.input { return .stream }
            if isReadable, let end = take(connection.input) { return end }
        }
    }

    // MARK: Out

    /// False when the tap is gone.
    private mutating func takeFromTap() -> Bool {
        while outEnd < outEnough {
            let isSerial = framing == .serial
            let count = unsafe host_read(tap, isSerial ? scratch : out + outEnd + framing.prefix, Self.frameLimit)
            if count <= 0 { return count == -Int(EAGAIN) || count == -Int(EINTR) }
            var span = unsafe MutableRawSpan(_unsafeStart: out, byteCount: outSize)
            if isSerial {
                outEnd += unsafe SerialFraming.write(
                    RawSpan(_unsafeStart: scratch, byteCount: count), to: &span, at: outEnd)
            } else {
                framing.write(count, to: &span, at: outEnd)
                outEnd += framing.prefix + count
            }
        }
        return true
    }

    /// False when the stream is gone.
    private mutating func give(_ fd: Int32) -> Bool {
        while outStart < outEnd {
            let count = unsafe host_write(fd, out + outStart, outEnd - outStart)
            if count < 0 { return count == -Int(EAGAIN) || count == -Int(EINTR) }
            outStart += count
        }
        (outStart, outEnd) = (0, 0)
        return true
    }

    // MARK: In

    private mutating func take(_ fd: Int32) -> End? {
        let count = unsafe host_read(fd, input + inEnd, Self.inSize - inEnd)
        if count <= 0 { return count == -Int(EAGAIN) || count == -Int(EINTR) ? nil : .stream }
        inEnd += count
        var at = 0
        while true {
            switch next(at) {
            case .frame(let range, let next):
                at = next
                if !deliver(range) { return .tap }
            case .none(let next): at = next
            case .nonsense: return .nonsense
            case .more:
                // Noise without end is not kept.
                if framing == .serial, inEnd - at > SerialFraming.room(Self.frameLimit) { at = inEnd }
                if at > 0 { unsafe memmove(input, input + at, inEnd - at) }
                inEnd -= at
                return nil
            }
        }
    }

    private enum Next { case frame(Range<Int>, Int), none(Int), nonsense, more }

    private func next(_ at: Int) -> Next {
        if framing == .serial {
            var span = unsafe MutableRawSpan(_unsafeStart: input, byteCount: inEnd)
            switch SerialFraming.next(in: &span, from: at, to: inEnd) {
            case .frame(let range, let next): return .frame(range, next)
            case .empty(let next), .damaged(let next): return .none(next)
            case .more: return .more
            }
        }
        switch unsafe framing.next(in: RawSpan(_unsafeStart: input, byteCount: inEnd), at: at) {
        case .frame(let range): return .frame(range, range.upperBound)
        case .empty(let next): return .none(next)
        case .more: return .more
        case .bad: return .nonsense
        }
    }

    /// False when the tap is gone. While the interface is down, frames are lost.
    private func deliver(_ range: Range<Int>) -> Bool {
        let header = EthernetHeader.length
        guard range.count >= header else { return true }
        let start = unsafe input + range.lowerBound
        let count = unsafe host_frame_write(tap, start, header, start + header, range.count - header, nil, 0)
        return count > 0 || count != -Int(EBADFD)
    }
}
