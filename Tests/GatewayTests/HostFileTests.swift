import Glibc
import Testing

@testable import Gateway

/// A host's file is read again when it may have changed, however it changed, and not otherwise.
@Suite struct HostFileTests {
    /// A folder of the test's own, removed with it.
    private final class Folder {
        let path: String
        init() {
            var template = Array("/tmp/portolan-hostfile-XXXXXX".utf8CString)
            path = unsafe template.withUnsafeMutableBufferPointer { buffer in
                unsafe String(cString: mkdtemp(buffer.baseAddress!))
            }
        }
        deinit {
            for name in ["file", "other", "link"] { _ = unsafe unlink("\(path)/\(name)") }
            _ = unsafe rmdir(path)
        }
        func write(_ name: String, _ text: String) {
            let fd = unsafe open("\(path)/\(name)", O_WRONLY | O_CREAT | O_TRUNC, 0o600)
            let bytes = Array(text.utf8)
            _ = unsafe Glibc.write(fd, bytes, bytes.count)
            close(fd)
        }
    }

    private func text(_ file: inout HostFile) -> String? {
        file.changed().map { String(decoding: $0, as: UTF8.self) }
    }

    @Test func aFileThatStaysIsReadOnce() {
        let folder = Folder()
        folder.write("file", "one")
        var file = HostFile(path: folder.path + "/file", limit: 100)
        #expect(text(&file) == "one")
        #expect(text(&file) == nil)
    }

    @Test func aFileReplacedByRenameIsSeen() {
        let folder = Folder()
        folder.write("file", "one")
        var file = HostFile(path: folder.path + "/file", limit: 100)
        _ = file.changed()
        // The same length and perhaps the same second: the inode tells.
        folder.write("other", "two")
        _ = unsafe rename(folder.path + "/other", folder.path + "/file")
        #expect(text(&file) == "two")
    }

    @Test func aLinkTurnedElsewhereIsSeen() {
        let folder = Folder()
        folder.write("file", "one")
        folder.write("other", "two")
        _ = unsafe symlink(folder.path + "/file", folder.path + "/link")
        var file = HostFile(path: folder.path + "/link", limit: 100)
        #expect(text(&file) == "one")
        _ = unsafe unlink(folder.path + "/link")
        _ = unsafe symlink(folder.path + "/other", folder.path + "/link")
        #expect(text(&file) == "two")
    }

    @Test func aFileThatGoesIsEmptyAndMayComeBack() {
        let folder = Folder()
        var file = HostFile(path: folder.path + "/file", limit: 100)
        #expect(text(&file) == "")
        #expect(text(&file) == nil)
        folder.write("file", "one")
        #expect(text(&file) == "one")
        _ = unsafe unlink(folder.path + "/file")
        #expect(text(&file) == "")
    }

    @Test func noMoreThanTheLimitIsRead() {
        let folder = Folder()
        folder.write("file", "0123456789")
        var file = HostFile(path: folder.path + "/file", limit: 4)
        #expect(text(&file) == "0123")
    }
}
