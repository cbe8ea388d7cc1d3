internal import CHost
internal import Glibc
internal import Netstack
internal import Wire

// Leases as text, so that machines find their addresses again after a restart. A line is a lease, as in dnsmasq's file:
//
//   1795646400 52:54:00:12:34:56 10.0.2.2 web 0
//   end (seconds of Unix time; 0: never, as dnsmasq's infinite leases), MAC address, IP address, name or *, IAID (0 for IPv4)
//
// Empty lines and lines that begin with # say nothing. A file with any other line is not read at all: it may be somebody
// else's. It is replaced as a whole, by a rename, so that whoever reads it, or a process that dies, finds the old or the new one; and
// the new one is on the disk before it has the name, so a power cut leaves no empty one (fsync(2); rename alone promises no order).

/// The file of `--lease-file`.
struct LeaseFile {
    struct Record: Equatable {
        /// Seconds of Unix time, or `never`.
        var end: Int64
        var mac: MACAddress
        var address: IPAddress
        var name = ""
        var association: UInt32 = 0
    }

    static let never: Int64 = 0
    /// Longer than 2,048 leases need.
    private static let maximumBytes = 1 << 20
    let path: String

    /// The records of the file; none when it is not there.
    func read() throws(LeaseFileUnusable) -> [Record] {
        var count = 0
        let bytes = unsafe [UInt8](unsafeUninitializedCapacity: Self.maximumBytes + 1) { buffer, filled in
            unsafe count = host_file_read(path, buffer.baseAddress, buffer.count)
            filled = max(0, count)
        }
        if count == -Int(ENOENT) { return [] }
        guard count >= 0 else {
            throw LeaseFileUnusable(description: "--lease-file \(path): \(errorText(Int32(-count)))")
        }
        guard count <= Self.maximumBytes else {
            throw LeaseFileUnusable(description: "--lease-file \(path): too long to be a file of leases")
        }
        switch Self.parse(String(decoding: bytes, as: UTF8.self)) {
        case .records(let records): return records
        case .bad(let line):
            throw LeaseFileUnusable(
                description:
                    "--lease-file \(path): line \(line) is not a lease, such as '1795646400 52:54:00:12:34:56 10.0.2.2 web 0'; mend or remove the file"
            )
        }
    }

    enum Parsed: Equatable {
        case records([Record])
        case bad(line: Int)
    }

    static func parse(_ text: String) -> Parsed {
        var records: [Record] = []
        for (number, line) in text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline)
            .enumerated()
        {
            let words = line.split(whereSeparator: { $0 == " " || $0 == "\t" || $0 == "\r" })
            guard let first = words.first, !first.hasPrefix("#") else { continue }
            guard words.count == 5, let end = Int64(first), end >= 0, let mac = MACAddress(words[1]),
                !mac.isMulticast, let address = IPAddress(String(words[2])), let association = UInt32(words[4]),
                words[3] == "*" || HostName.isLabel(String(words[3]))
            else { return .bad(line: number + 1) }
            records.append(
                Record(
                    end: end, mac: mac, address: address, name: words[3] == "*" ? "" : String(words[3]),
                    association: association))
        }
        return .records(records)
    }

    static func text(_ records: [Record]) -> String {
        var text = "# Leases of a network of Portolan: end, MAC address, IP address, name, IAID.\n"
        for record in records.sorted(by: { $0.address < $1.address }) {
            text += "\(record.end) \(record.mac) \(record.address) "
            text += "\(record.name.isEmpty ? "*" : record.name) \(record.association)\n"
        }
        return text
    }

    /// Replaces the file. Blocks until the disk has it.
    func write(_ records: [Record]) throws(LeaseFileUnusable) {
        let new = path + ".new"
        func fail(_ fd: Int32) -> LeaseFileUnusable {
            let code = errno
            if fd >= 0 {
                close(fd)
                _ = unsafe unlink(new)
            }
            return LeaseFileUnusable(description: "--lease-file \(path): it cannot be written: \(errorText(code))")
        }
        let fd = unsafe open(new, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
        guard fd >= 0 else { throw fail(-1) }
        let bytes = Array(Self.text(records).utf8)
        var written = 0
        while written < bytes.count {
            let count = unsafe bytes.withUnsafeBytes { raw in
                unsafe Glibc.write(fd, raw.baseAddress! + written, raw.count - written)
            }
            guard count > 0 else { throw fail(fd) }
            written += count
        }
        guard fsync(fd) == 0, unsafe rename(new, path) == 0 else { throw fail(fd) }
        close(fd)
        // The name is the directory's. One that may be written but not read cannot be opened, and some file systems sync no directories.
        let directory = unsafe open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard directory >= 0 else { return }
        defer { close(directory) }
        guard fsync(directory) == 0 || errno == EINVAL else { throw fail(-1) }
    }

    private var folder: String {
        guard let slash = path.lastIndex(of: "/") else { return "." }
        return String(path[...slash])
    }
}

/// The file of leases cannot be read or written.
package struct LeaseFileUnusable: Error, CustomStringConvertible {
    package let description: String
}
