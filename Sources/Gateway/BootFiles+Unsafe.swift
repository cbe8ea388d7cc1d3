internal import Boot
internal import CHost
internal import Glibc

/// Files beneath the directory of `--tftp`, by descriptor.
struct BootDirectory {
    /// Whoever made it closes it.
    let fd: Int32

    /// - Throws: a sentence that names the option, when there is no such directory.
    init(path: String) throws {
        fd = unsafe Glibc.open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard fd >= 0 else { throw BootUnavailable(description: "--tftp \(path): \(errorText(errno))") }
    }

    /// A regular file for reading, and its size; nil when there is none of this name in the directory.
    static func open(_ name: String, beneath directory: Int32) -> (file: Int32, size: Int)? {
        guard let name = bootFileName(name), case let file = unsafe host_open_beneath(directory, name), file >= 0 else {
            return nil
        }
        var status = stat()
        guard unsafe fstat(file, &status) == 0 else {
            Glibc.close(file)
            return nil
        }
        return (file, Int(status.st_size))
    }

    /// `count` bytes from `offset`; fewer when the file has become shorter.
    static func read(_ file: Int32, offset: Int, count: Int) -> [UInt8] {
        unsafe [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
            while filled < count {
                let got = unsafe pread(
                    file, buffer.baseAddress! + filled, count - filled, off_t(offset + filled))
                if got <= 0 { break }
                filled += got
            }
        }
    }
}

/// Files cannot be served to machines.
package struct BootUnavailable: Error, CustomStringConvertible {
    package let description: String
}
