// A capture: every frame on a guest's link, both ways, as a pcap file.
//
// Purpose. `--capture FILE` leaves a file that tcpdump and Wireshark open: classic pcap with nanosecond time stamps and
// LINKTYPE_ETHERNET, written by libpcap on a dead handle.
//
// What is in it. Frames as they crossed the link. A super-frame (up to 64 KiB of TCP or UDP payload behind one header,
// OffloadHeader.segmentation) is one record, and a frame whose checksum was left to the link carries the
// pseudo-header's sum only: what a capture on any host with an offloading card shows. `tcpdump -vv` then calls the
// checksum incorrect.
//
//     header span ─┐
//                  ├─ copied behind each other ─▶ pcap_dump ─▶ stdio, 256 KiB ─▶ file
//     payload span ┘
//
// Life cycle: init → write… (flush now and then) → close. The first error of the file, such as a full disk, ends it: the
// network goes on, later frames are counted in `dropped`, and `takeFailure()` yields the sentence once. Whole records
// before the failure stay readable.
//
// Limits. A record holds at most `snapLength` bytes; the rest is cut as with any capture. Writing blocks as the file
// does: a pipe with a slow reader stalls the network, and one without a reader needs SIGPIPE ignored.
// What it does not do: filter, rotate, or write pcapng.
internal import CPcap
internal import Glibc

@safe
package final class CaptureFile {
    /// libpcap's own maximum for Ethernet (MAXIMUM_SNAPLEN): room for any super-frame.
    package static let snapLength = 262_144

    /// Records handed to the file.
    package private(set) var written = 0
    /// Frames not recorded because the file had failed.
    package private(set) var dropped = 0
    /// Why the capture ended before its time.
    package private(set) var failure: CaptureError?

    private let path: String
    private let pcap: pcap_functions
    private let handle: OpaquePointer
    private var dumper: OpaquePointer?
    private let scratch: UnsafeMutableRawPointer
    private var failureTaken = false

    /// Creates `path`, or empties it, readable by the user alone (a capture holds secrets), and writes the file's header.
    package init(path: String) throws(CaptureError) {
        if path.isEmpty || path == "-" {
            throw CaptureError(
                description: "A capture needs the name of a file: standard output belongs to the command.")
        }
        // Before the file is emptied.
        var pcap = pcap_functions()
        if let missing = unsafe pcap_load(&pcap) {
            throw CaptureError(
                description: unsafe "A capture needs libpcap (Debian's libpcap0.8): \(String(cString: missing)).")
        }
        let fd = unsafe open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        if fd < 0 {
            throw CaptureError(
                description:
                    "Cannot write the capture file \(path): \(Self.errorText()); name a file that can be created.")
        }
        guard let stream = unsafe fdopen(fd, "wb") else {
            let text = Self.errorText()
            Glibc.close(fd)
            throw CaptureError(description: "Cannot write the capture file \(path): \(text).")
        }
        _ = unsafe setvbuf(stream, nil, _IOFBF, 256 << 10)
        guard
            let handle = unsafe pcap.open_dead(
                DLT_EN10MB, Int32(Self.snapLength), UInt32(PCAP_TSTAMP_PRECISION_NANO))
        else {
            _ = unsafe fclose(stream)
            throw CaptureError(description: "Cannot write the capture file \(path): libpcap is out of memory.")
        }
        guard let dumper = unsafe pcap.dump_fopen(handle, stream) else {
            let text = unsafe String(cString: pcap.geterr(handle)!)
            _ = unsafe fclose(stream)
            unsafe pcap.close(handle)
            throw CaptureError(description: "Cannot write the capture file \(path): \(text).")
        }
        self.path = path
        self.pcap = pcap
        unsafe self.handle = handle
        unsafe self.dumper = dumper
        unsafe scratch = UnsafeMutableRawPointer.allocate(byteCount: Self.snapLength, alignment: 16)
    }

    deinit {
        close()
        unsafe pcap.close(handle)
        unsafe scratch.deallocate()
    }

    /// Records one frame, `header` followed by `payload`.
    /// - Parameters:
    ///   - seconds: of the calendar clock (CLOCK_REALTIME), 0...2^32-1 in the file.
    ///   - nanoseconds: 0..<1,000,000,000.
    package func write(seconds: Int, nanoseconds: Int, header: RawSpan, payload: RawSpan) {
        guard let dumper = unsafe dumper, failure == nil else {
            dropped += 1
            return
        }
        let length = header.byteCount + payload.byteCount
        let first = min(header.byteCount, Self.snapLength)
        let second = min(payload.byteCount, Self.snapLength - first)
        unsafe header.withUnsafeBytes { source in
            if let base = source.baseAddress { unsafe scratch.copyMemory(from: base, byteCount: first) }
        }
        unsafe payload.withUnsafeBytes { source in
            if let base = source.baseAddress {
                unsafe (scratch + first).copyMemory(from: base, byteCount: second)
            }
        }
        // With nanosecond precision libpcap takes nanoseconds in the field named for microseconds.
        var record = pcap_pkthdr(
            ts: timeval(tv_sec: seconds, tv_usec: nanoseconds), caplen: UInt32(first + second),
            len: UInt32(clamping: length))
        unsafe pcap.dump(
            UnsafeMutableRawPointer(dumper).assumingMemoryBound(to: UInt8.self), &record,
            scratch.assumingMemoryBound(to: UInt8.self))
        written += 1
        // pcap_dump reports nothing; stdio remembers.
        if unsafe ferror(pcap.dump_file(dumper)) != 0 { fail() }
    }

    /// Brings what was written to the file, for a reader that follows it.
    package func flush() {
        guard let dumper = unsafe dumper, failure == nil else { return }
        if unsafe pcap.dump_flush(dumper) != 0 { fail() }
    }

    /// Flushes and closes the file. Frames written afterwards count as dropped.
    package func close() {
        guard let dumper = unsafe dumper else { return }
        flush()
        unsafe pcap.dump_close(dumper)
        unsafe self.dumper = nil
    }

    /// The failure the first time it is asked for, nil ever after: the caller logs what it gets.
    package func takeFailure() -> CaptureError? {
        guard let failure, !failureTaken else { return nil }
        failureTaken = true
        return failure
    }

    private func fail() {
        failure = CaptureError(
            description: "The capture ends early: cannot write to \(path): \(Self.errorText()); the network goes on.")
    }

    private static func errorText() -> String {
        let text = unsafe String(cString: strerror(errno))
        return text.isEmpty ? "unknown error" : text.prefix(1).lowercased() + text.dropFirst()
    }
}
