internal import CHost
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
        var count = 0
        let bytes = unsafe [UInt8](unsafeUninitializedCapacity: limit) { buffer, filled in
            unsafe count = host_file_read(path, buffer.baseAddress, limit)
            filled = max(0, count)
        }
        return count < 0 ? nil : String(decoding: bytes, as: UTF8.self)
    }

    static func exists(_ path: String) -> Bool { unsafe access(path, F_OK) == 0 }

    /// Where a path leads through all symbolic links; nil when the end does not exist.
    static func resolve(_ path: String) -> String? {
        guard let real = unsafe realpath(path, nil) else { return nil }
        defer { unsafe free(real) }
        return unsafe String(cString: real)
    }
}
