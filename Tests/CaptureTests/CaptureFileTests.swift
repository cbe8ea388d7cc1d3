import Capture
import Glibc
import Testing

extension CaptureFile {
    fileprivate func write(_ seconds: Int, _ nanoseconds: Int, _ frame: (header: [UInt8], payload: [UInt8])) {
        unsafe write(
            seconds: seconds, nanoseconds: nanoseconds, header: frame.header.span.bytes,
            payload: frame.payload.span.bytes)
    }
}

@Suite struct CaptureFileTests {
    /// A file name of this test alone, removed at the end.
    final class TemporaryFile {
        let path: String
        init(_ name: String = #function) {
            path = "/tmp/portolan-capture-\(getpid())-\(name.filter { $0.isLetter })-\(UInt32.random(in: 0 ... .max))"
        }
        deinit { unsafe unlink(path) }

        /// Reads at most 1 MiB.
        var bytes: [UInt8] {
            let fd = unsafe open(path, O_RDONLY)
            defer { Glibc.close(fd) }
            var bytes = [UInt8](repeating: 0, count: 1 << 20)
            let count = unsafe read(fd, &bytes, bytes.count)
            return Array(bytes[..<max(0, count)])
        }
    }

    /// An Ethernet + IPv4 + UDP frame, its checksums left out, with `payload` bytes after it.
    static func frame(payload: Int) -> (header: [UInt8], payload: [UInt8]) {
        let total = 28 + payload
        let header: [UInt8] =
            [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0]
            + [0x45, 0, UInt8(total >> 8), UInt8(total & 255), 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 2, 2, 10, 0, 2, 1]
            + [0x30, 0x39, 0x27, 0x0f, UInt8((total - 20) >> 8), UInt8((total - 20) & 255), 0, 0]
        return (header, (0..<payload).map { UInt8(truncatingIfNeeded: $0) })
    }

    @Test("records come back through libpcap byte for byte with their nanoseconds")
    func roundTrip() throws {
        let file = TemporaryFile()
        let capture = try CaptureFile(path: file.path)
        let sizes = [0, 1, 1400, 65_507]
        for (index, size) in sizes.enumerated() {
            let frame = Self.frame(payload: size)
            capture.write(1_700_000_000 + index, 999_999_999, frame)
        }
        capture.close()
        #expect(capture.written == sizes.count)
        #expect(capture.dropped == 0 && capture.failure == nil)
        let records = try PcapReader.read(file.path)
        try #require(records.count == sizes.count)
        for (index, size) in sizes.enumerated() {
            let frame = Self.frame(payload: size)
            #expect(records[index].bytes == frame.header + frame.payload, "payload of \(size)")
            #expect(records[index].seconds == 1_700_000_000 + index)
            #expect(records[index].nanoseconds == 999_999_999)
        }
    }

    @Test("the file header says nanoseconds, Ethernet and the snap length, and only the user may read it")
    func fileHeader() throws {
        let file = TemporaryFile()
        let capture = try CaptureFile(path: file.path)
        capture.flush()
        let bytes = file.bytes
        try #require(bytes.count == 24)
        func word(_ at: Int) -> UInt32 { (0..<4).reduce(0) { $0 | UInt32(bytes[at + $1]) << (8 * UInt32($1)) } }
        #expect(word(0) == 0xa1b2_3c4d)
        #expect(word(16) == 262_144)
        #expect(word(20) == 1)
        var status = stat()
        #expect(unsafe stat(file.path, &status) == 0)
        #expect(status.st_mode & 0o777 == 0o600)
    }

    @Test("a frame beyond the snap length is cut, its length kept")
    func cut() throws {
        let file = TemporaryFile()
        let capture = try CaptureFile(path: file.path)
        let payload = [UInt8](repeating: 7, count: 300_000)
        capture.write(1, 0, ([UInt8](repeating: 1, count: 54), payload))
        capture.close()
        let records = try PcapReader.read(file.path)
        #expect(records.first?.bytes.count == CaptureFile.snapLength)
        #expect(records.first?.length == 300_054)
    }

    @Test("a full disk ends the capture, is told once and counted")
    func fullDisk() throws {
        let capture = try CaptureFile(path: "/dev/full")
        let frame = Self.frame(payload: 60_000)
        for _ in 0..<20 {
            capture.write(1, 0, frame)
        }
        #expect(capture.written + capture.dropped == 20)
        #expect(capture.dropped >= 14)
        let failure = try #require(capture.takeFailure())
        #expect(
            failure.description
                == "The capture ends early: cannot write to /dev/full: no space left on device; the network goes on.")
        #expect(capture.takeFailure() == nil)
        capture.flush()
        capture.close()
        capture.close()
    }

    @Test("a full disk found at the last flush is told too")
    func fullDiskAtClose() throws {
        let capture = try CaptureFile(path: "/dev/full")
        capture.close()
        #expect(capture.takeFailure() != nil)
    }

    @Test(
        "names that cannot be written give one sentence",
        arguments: [
            ("/nonexistent/a.pcap", "no such file or directory"), ("/tmp", "is a directory"), ("", "standard output"),
            ("-", "standard output"),
        ])
    func refusedNames(path: String, reason: String) {
        do {
            _ = try CaptureFile(path: path)
            Issue.record("\(path) was accepted")
        } catch {
            #expect(error.description.contains(reason))
            #expect(error.description.hasSuffix(".") && !error.description.contains("\n"))
        }
    }

    @Test("tcpdump reads it")
    func tcpdump() throws {
        let file = TemporaryFile()
        let capture = try CaptureFile(path: file.path)
        for size in [10, 65_507] {
            let frame = Self.frame(payload: size)
            capture.write(1_700_000_000, 123_456_789, frame)
        }
        capture.close()
        guard unsafe access("/usr/bin/tcpdump", X_OK) == 0 else {
            print("tcpdump is not installed: its reading of a capture was not tested (apt-get install tcpdump)")
            return
        }
        guard let pipe = unsafe popen("TZ=UTC /usr/bin/tcpdump -n --nano -r \(file.path) 2>&1", "r") else {
            Issue.record("popen failed")
            return
        }
        var text = ""
        var line = [CChar](repeating: 0, count: 4096)
        while unsafe fgets(&line, Int32(line.count), pipe) != nil {
            text += String(decoding: line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        }
        #expect(unsafe pclose(pipe) == 0, "\(text)")
        #expect(text.contains("22:13:20.123456789 IP 10.0.2.2.12345 > 10.0.2.1.9999: UDP, length 10"), "\(text)")
        #expect(text.contains("UDP, length 65507"), "\(text)")
    }
}
