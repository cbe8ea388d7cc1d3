internal import CHost
internal import Glibc
internal import Uv

// DNS over a stream (RFC 1035 section 4.2.2, RFC 7766): each message behind its length in two bytes. One side is a guest's
// connection (our end of a socket pair), the other a connection to an upstream; the framing is the same.
//
// A peer that has sent its FIN may still wait for answers: `hasEnded` then says that nothing more comes in, and the owner closes
// the stream when `isIdle`.
//
// Bounds: input never holds more than one message and what one read brought; output is capped, and a peer that lets it fill is
// cut off.

/// One framed, non-blocking stream. Owns the descriptor.
@safe
final class DNSStream {
    static let outputLimit = 1 << 20

    let fd: Int32
    private let poll: Poll
    private var input: [UInt8] = []
    private var output: [UInt8] = []
    private(set) var isConnecting: Bool
    /// The peer's FIN has been read.
    private(set) var hasEnded = false
    /// Messages delivered whose answers are still to be sent: kept by the owner.
    var pending = 0
    /// When something last passed, nanoseconds of the monotonic clock.
    private(set) var lastUsed: Int64

    init?(
        loop: EventLoop, fd: Int32, isConnecting: Bool, context: UnsafeMutableRawPointer, token: UInt64,
        callback: PollCallback, now: Int64
    ) {
        guard let poll = unsafe try? Poll(loop: loop, fd: fd, context: context, token: token, callback: callback) else {
            Glibc.close(fd)
            return nil
        }
        self.fd = fd
        self.poll = poll
        self.isConnecting = isConnecting
        lastUsed = now
        watch()
    }

    func close() {
        poll.close()
        Glibc.close(fd)
    }

    /// Nothing is owed to the peer.
    var isIdle: Bool { pending == 0 && output.isEmpty }

    private func watch() {
        var events: PollEvents = output.isEmpty && !isConnecting ? [] : .writable
        // The end of the stream stays readable for ever.
        if !isConnecting && !hasEnded { events.insert(.readable) }
        poll.start(events)
    }

    /// Queues a message. False when the peer does not read.
    func send(_ message: [UInt8], now: Int64) -> Bool {
        guard message.count <= 65_535, output.count + message.count + 2 <= Self.outputLimit else { return false }
        output += [UInt8(message.count >> 8), UInt8(message.count & 0xff)]
        output += message
        lastUsed = now
        return isConnecting ? true : flush()
    }

    /// Handles readiness. `deliver` gets each whole message. False when the stream is broken; see also `hasEnded`.
    func ready(status: Int32, now: Int64, deliver: ([UInt8]) -> Void) -> Bool {
        guard status == 0 else { return false }
        if isConnecting {
            guard host_stream_error(fd) == 0 else { return false }
            isConnecting = false
        }
        guard flush() else { return false }
        if hasEnded { return true }
        var buffer = [UInt8](repeating: 0, count: 16_384)
        let count = unsafe host_receive(fd, &buffer, buffer.count)
        if count == 0 {
            hasEnded = true
            watch()
            return true
        }
        if count < 0 { return count == -Int(EAGAIN) || count == -Int(EINTR) }
        lastUsed = now
        input += buffer[0..<count]
        var start = 0
        while input.count - start >= 2 {
            let length = Int(input[start]) << 8 | Int(input[start + 1])
            guard input.count - start - 2 >= length else { break }
            deliver(Array(input[start + 2..<start + 2 + length]))
            start += 2 + length
        }
        input.removeFirst(start)
        return true
    }

    private func flush() -> Bool {
        while !output.isEmpty {
            let count = unsafe host_send(fd, output, output.count)
            if count < 0 {
                guard count == -Int(EAGAIN) || count == -Int(EINTR) else { return false }
                break
            }
            output.removeFirst(count)
        }
        watch()
        return true
    }
}
