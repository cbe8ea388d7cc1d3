import Glibc
import Uv

/// What callbacks saw, in order. Tests hand it to handles as their context.
final class Recorder {
    struct Event: Equatable {
        var token: UInt64
        var events: Int32 = 0
        var status: Int32 = 0
    }
    var seen: [Event] = []
    /// Run inside the next poll callback, for tests that act from there.
    var onEvent: ((Event) -> Void)?

    var context: UnsafeMutableRawPointer { unsafe Unmanaged.passUnretained(self).toOpaque() }
    var tokens: [UInt64] { seen.map(\.token) }

    static let poll: PollCallback = { context, token, events, status in
        let recorder = unsafe Unmanaged<Recorder>.fromOpaque(context).takeUnretainedValue()
        recorder.seen.append(Event(token: token, events: events, status: status))
        recorder.onEvent?(recorder.seen[recorder.seen.count - 1])
    }
    static let turn: TimerCallback = { context, token in
        let recorder = unsafe Unmanaged<Recorder>.fromOpaque(context).takeUnretainedValue()
        recorder.seen.append(Event(token: token))
        recorder.onEvent?(recorder.seen[recorder.seen.count - 1])
    }
}

/// A pair of connected descriptors, closed with the object.
final class Pair {
    var a: Int32 = -1
    var b: Int32 = -1

    init(type: Int32 = Int32(SOCK_STREAM.rawValue)) {
        var ends: [Int32] = [-1, -1]
        let code = unsafe socketpair(AF_UNIX, type, 0, &ends)
        precondition(code == 0)
        (a, b) = (ends[0], ends[1])
    }
    deinit {
        if a >= 0 { Glibc.close(a) }
        if b >= 0 { Glibc.close(b) }
    }
    func sendFromB(_ count: Int = 1) {
        let bytes = [UInt8](repeating: 1, count: count)
        _ = unsafe send(b, bytes, count, 0)
    }
}

/// A UDP socket connected to 127.0.0.1 port 1 (tcpmux), where nobody listens.
func datagramSocketToNowhere() -> Int32 {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = UInt16(1).bigEndian
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    let fd = socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0)
    unsafe withUnsafePointer(to: address) {
        unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            _ = unsafe connect(fd, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
        }
    }
    setOption(fd, Int32(IPPROTO_IP), 11 /* IP_RECVERR */, 1)
    return fd
}

func setOption(_ fd: Int32, _ level: Int32, _ name: Int32, _ value: Int32) {
    var value = value
    let code = unsafe setsockopt(fd, level, name, &value, socklen_t(MemoryLayout<Int32>.size))
    precondition(code == 0, "setsockopt \(name) errno \(errno)")
}

/// Whether `fd` is in the loop's epoll set now.
func isInEpoll(_ loop: EventLoop, _ fd: Int32) -> Bool {
    let file = unsafe open("/proc/self/fdinfo/\(loop.backendDescriptor)", O_RDONLY)
    defer { Glibc.close(file) }
    var bytes = [UInt8](repeating: 0, count: 16384)
    let count = unsafe read(file, &bytes, bytes.count)
    return String(decoding: bytes[..<max(0, count)], as: UTF8.self).split(separator: "\n").contains {
        let words = $0.split(separator: " ")
        return words.first == "tfd:" && words.dropFirst().first.flatMap { Int32($0) } == fd
    }
}
