internal import Glibc

/// How many threads of the machine are running or want to: the fourth field of /proc/loadavg (proc(5)), which the kernel counts
/// at each read. A read costs about two microseconds.
struct RunQueue: ~Copyable {
    private let fd: Int32
    private let cores: Int

    init() {
        unsafe fd = open("/proc/loadavg", O_RDONLY | O_CLOEXEC)
        cores = sysconf(Int32(_SC_NPROCESSORS_ONLN))
    }

    deinit { if fd >= 0 { close(fd) } }

    /// More threads want to run than there are cores. Without /proc, never.
    var isCrowded: Bool {
        guard fd >= 0 else { return false }
        var text = InlineArray<64, UInt8>(repeating: 0)
        var span = text.mutableSpan
        let count = unsafe span.withUnsafeMutableBytes { unsafe pread(fd, $0.baseAddress, $0.count, 0) }
        return (Self.running(text.span.extracting(0..<max(0, count))) ?? 0) > cores
    }

    /// `0.20 0.18 0.12 2/412 9123`: the 2.
    static func running(_ text: Span<UInt8>) -> Int? {
        var spaces = 0
        var number: Int?
        for i in text.indices {
            switch text[i] {
            case UInt8(ascii: " "): spaces += 1
            case UInt8(ascii: "/"): return number
            case let digit where spaces == 3 && digit >= 0x30 && digit <= 0x39:
                number = (number ?? 0) &* 10 &+ Int(digit &- 0x30)
            default: break
            }
        }
        return nil
    }
}
