internal import CHost
internal import Glibc

// Following /etc/resolv.conf and /etc/hosts as they change, without waking up for it: when somebody asks for a name, and at
// most once a second, the files are looked at (stat(2), through symbolic links, so that a file replaced by rename or
// a link turned elsewhere is seen), and read again when device, inode, size or time of change differ.

/// A small text file of the host that may change.
struct HostFile {
    private struct Mark: Equatable {
        var device: UInt = 0
        var inode: UInt = 0
        var size = 0
        var seconds = 0
        var nanoseconds = 0
    }

    let path: String
    private let limit: Int
    private var seen: Mark?
    private var wasRead = false

    init(path: String, limit: Int) {
        self.path = path
        self.limit = limit
    }

    /// The file's bytes when they may have changed since the last call, else nil. A file that is gone is empty.
    mutating func changed() -> [UInt8]? {
        var status = stat()
        let found = unsafe stat(path, &status) == 0
        let mark =
            found
            ? Mark(
                device: UInt(status.st_dev), inode: UInt(status.st_ino), size: Int(status.st_size),
                seconds: status.st_mtim.tv_sec, nanoseconds: status.st_mtim.tv_nsec) : nil
        if wasRead, mark == seen { return nil }
        seen = mark
        wasRead = true
        return found ? read() : []
    }

    private func read() -> [UInt8] {
        unsafe [UInt8](unsafeUninitializedCapacity: limit) { buffer, filled in
            unsafe filled = max(0, host_file_read(path, buffer.baseAddress, limit))
        }
    }
}
