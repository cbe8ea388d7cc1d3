import Glibc
import Testing

@testable import Gateway

/// Names that machines send never lead out of the directory.
@Suite struct BootDirectoryTests {
    @Test func namesStayBeneathTheDirectory() throws {
        var template = Array("/tmp/portolan-boot-XXXXXX".utf8CString)
        let folder = unsafe template.withUnsafeMutableBufferPointer { unsafe String(cString: mkdtemp($0.baseAddress!)) }
        defer {
            for name in ["in/sub/file", "in/good", "in/out", "in/up", "in/absolute", "in/fifo", "secret"] {
                _ = unsafe unlink("\(folder)/\(name)")
            }
            for name in ["in/sub", "in", ""] { _ = unsafe rmdir("\(folder)/\(name)") }
        }
        for name in ["in", "in/sub"] { #expect(unsafe mkdir("\(folder)/\(name)", 0o755) == 0) }
        for name in ["in/sub/file", "secret"] {
            let fd = unsafe open("\(folder)/\(name)", O_WRONLY | O_CREAT, 0o644)
            #expect(unsafe write(fd, "hello", 5) == 5)
            close(fd)
        }
        for (name, target) in [
            ("good", "sub/file"), ("out", "../secret"), ("up", ".."), ("absolute", "\(folder)/in/sub/file"),
        ] {
            #expect(unsafe symlink(target, "\(folder)/in/\(name)") == 0)
        }
        #expect(unsafe mkfifo("\(folder)/in/fifo", 0o644) == 0)
        let directory = try BootDirectory(path: folder + "/in")
        defer { close(directory.fd) }
        for name in ["sub/file", "/sub//file", "\\sub\\file", "good"] {
            guard let (file, size) = BootDirectory.open(name, beneath: directory.fd) else {
                Issue.record("\(name) cannot be opened")
                continue
            }
            #expect(size == 5)
            #expect(BootDirectory.read(file, offset: 1, count: 3) == Array("ell".utf8))
            #expect(BootDirectory.read(file, offset: 3, count: 30) == Array("lo".utf8))
            close(file)
        }
        for name in ["out", "up/secret", "absolute", "fifo", "sub", "", "..", "../secret", "none", "sub/file/x"] {
            #expect(BootDirectory.open(name, beneath: directory.fd) == nil, "\(name)")
        }
        #expect(throws: BootUnavailable.self) { try BootDirectory(path: folder + "/none") }
        #expect(throws: BootUnavailable.self) { try BootDirectory(path: folder + "/secret") }
    }
}
