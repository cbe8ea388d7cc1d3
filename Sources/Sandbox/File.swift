internal import Glibc

/// Small files, without Foundation.
package enum File {
    /// Writes all of `text` to an existing file. 0 or an errno.
    static func write(_ path: String, _ text: String) -> Int32 {
        let fd = unsafe open(path, O_WRONLY | O_CLOEXEC)
        guard fd >= 0 else { return errno }
        defer { close(fd) }
        let bytes = Array(text.utf8)
        let count = unsafe Glibc.write(fd, bytes, bytes.count)
        return count == bytes.count ? 0 : errno
    }

    /// The start of a file, `limit` bytes at most; nil when it cannot be read.
    package static func read(_ path: String, limit: Int = 65_536) -> String? {
        let fd = unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard fd >= 0 else { return nil }
        defer { close(fd) }
        var bytes = [UInt8](repeating: 0, count: limit)
        var filled = 0
        while filled < limit {
            let count = unsafe bytes.withUnsafeMutableBytes { raw in
                unsafe Glibc.read(fd, raw.baseAddress! + filled, limit - filled)
            }
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { return nil }
            if count == 0 { break }
            filled += count
        }
        return String(decoding: bytes[0..<filled], as: UTF8.self)
    }

    static func exists(_ path: String) -> Bool { unsafe access(path, F_OK) == 0 }

    /// Where a path leads through all symbolic links; nil when the end does not exist.
    static func resolve(_ path: String) -> String? {
        guard let real = unsafe realpath(path, nil) else { return nil }
        defer { unsafe free(real) }
        return unsafe String(cString: real)
    }
}
