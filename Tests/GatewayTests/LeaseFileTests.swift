import Glibc
import Netstack
import Testing
import Wire

@testable import Gateway

@Suite struct LeaseFileTests {
    static let records = [
        LeaseFile.Record(
            end: 1_795_646_400, mac: MACAddress(rawValue: 0x5254_0012_3456), address: IPAddress(v4: 0x0a00_0202),
            name: "web"),
        LeaseFile.Record(
            end: 1, mac: MACAddress(rawValue: 0x5254_0012_3457), address: IPAddress(hi: 0xfd00 << 48, lo: 2),
            association: 4_294_967_295),
    ]

    @Test func whatIsWrittenIsRead() {
        #expect(
            LeaseFile.parse(LeaseFile.text(Self.records)) == .records(Self.records.sorted { $0.address < $1.address }))
        #expect(LeaseFile.parse("") == .records([]))
        #expect(LeaseFile.parse("# x\n\n \r\n") == .records([]))
    }

    @Test(arguments: [
        "x", "1 52:54:00:12:34:56 10.0.2.2 web", "1 52:54:00:12:34:56 10.0.2.2 web 0 1",
        "-1 52:54:00:12:34:56 10.0.2.2 web 0",
        "1 52:54:00:12:34 10.0.2.2 web 0", "1 ff:ff:ff:ff:ff:ff 10.0.2.2 web 0", "1 52:54:00:12:34:56 10.0.2 web 0",
        "1 52:54:00:12:34:56 10.0.2.2 -web 0", "1 52:54:00:12:34:56 10.0.2.2 web 4294967296",
        "99999999999999999999 52:54:00:12:34:56 10.0.2.2 web 0",
    ])
    func anyOtherLineIsNamed(line: String) {
        #expect(LeaseFile.parse("# first\n\(line)\n") == .bad(line: 2))
    }

    @Test func cutAnywhereItIsNoTrap() {
        let text = Array(LeaseFile.text(Self.records).utf8)
        for length in 0...text.count {
            if case .records(let records) = LeaseFile.parse(String(decoding: text[..<length], as: UTF8.self)) {
                #expect(records.count <= 2)
            }
        }
    }

    @Test func theFileIsReplacedAsAWhole() throws {
        var template = Array("/tmp/portolan-leases-XXXXXX".utf8CString)
        let folder = unsafe template.withUnsafeMutableBufferPointer { unsafe String(cString: mkdtemp($0.baseAddress!)) }
        let file = LeaseFile(path: folder + "/leases")
        defer {
            _ = unsafe unlink(file.path)
            _ = unsafe rmdir(folder)
        }
        #expect(try file.read() == [])
        try file.write(Self.records)
        #expect(try file.read().count == 2)
        try file.write([])
        #expect(try file.read() == [])
        #expect(throws: LeaseFileUnusable.self) { try LeaseFile(path: folder + "/none/leases").write([]) }
        // A disk that is full: what was there stays, and nothing half-written.
        try file.write(Self.records)
        #expect(unsafe symlink("/dev/full", file.path + ".new") == 0)
        #expect(throws: LeaseFileUnusable.self) { try file.write([]) }
        #expect(try file.read().count == 2)
        #expect(unsafe access(file.path + ".new", F_OK) != 0)
        // What cannot be synced does not get the name: /dev/null takes bytes, but has no fsync.
        #expect(unsafe symlink("/dev/null", file.path + ".new") == 0)
        #expect(throws: LeaseFileUnusable.self) { try file.write([]) }
        #expect(try file.read().count == 2)
        #expect(unsafe access(file.path + ".new", F_OK) != 0)
        #expect(throws: LeaseFileUnusable.self) { try LeaseFile(path: folder).read() }
    }
}
