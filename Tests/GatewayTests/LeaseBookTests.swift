import Glibc
import Logging
import Netstack
import Testing
import Uv
import Wire

@testable import Gateway

/// The lease file of a network, without the network.
@Suite struct LeaseBookTests {
    static let mac = MACAddress(rawValue: 0x5254_0012_3456)

    /// What a file's leases become, and what the file says afterwards.
    private static func restored(_ text: String) throws -> (leases: [Lease], text: String) {
        var template = Array("/tmp/portolan-book-XXXXXX".utf8CString)
        let folder = unsafe template.withUnsafeMutableBufferPointer { unsafe String(cString: mkdtemp($0.baseAddress!)) }
        let path = folder + "/leases"
        defer {
            _ = unsafe unlink(path)
            _ = unsafe rmdir(folder)
        }
        let fd = unsafe open(path, O_WRONLY | O_CREAT, 0o644)
        #expect(unsafe write(fd, text, text.utf8.count) == text.utf8.count)
        close(fd)
        let family = Configuration.Family(
            prefix: try #require(Prefix("10.0.2.0/24")), gateway: try #require(IPAddress("10.0.2.1")),
            guest: try #require(IPAddress("10.0.2.2")), hostAlias: try #require(IPAddress("10.0.2.254")))
        var configuration = NetworkConfiguration(
            core: Configuration(
                v4: family, v6: nil, gatewayLinkLocal: try #require(IPAddress("fe80::1")), gatewayMAC: .broadcast))
        configuration.leaseFile = path
        let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        let loop = try EventLoop()
        let names = NameService(loop: loop, configuration: configuration, logger: logger)
        let book = try LeaseBook(configuration, loop: loop, names: names, machines: nil, logger: logger)
        var leases: [Lease] = []
        try book.restore {
            leases.append($0)
            book.changed(.granted($0))
            return true
        }
        book.close()
        names.close()
        loop.close()
        return (leases, try LeaseFile.text(LeaseFile(path: path).read()))
    }

    /// As dnsmasq has them (`infinite` in its option `dhcp-host`).
    @Test func anEndOfZeroIsNone() throws {
        let restored = try Self.restored("0 \(Self.mac) 10.0.2.7 web 0\n")
        #expect(restored.leases.map(\.expires) == [.never])
        #expect(restored.text.hasSuffix("\n0 \(Self.mac) 10.0.2.7 web 0\n"))
    }

    @Test func whatHasEndedIsForgotten() throws {
        let restored = try Self.restored("1 \(Self.mac) 10.0.2.7 web 0\n")
        #expect(restored.leases == [])
        #expect(!restored.text.contains("10.0.2.7"))
    }

    @Test func theEndIsKept() throws {
        var time = timespec()
        unsafe clock_gettime(CLOCK_REALTIME, &time)
        let end = Int64(time.tv_sec) + 1000
        let restored = try Self.restored("\(end) \(Self.mac) 10.0.2.7 web 0\n")
        let left = try #require(restored.leases.first).expires.nanoseconds - monotonicNanoseconds()
        #expect(left > 900 * 1_000_000_000 && left <= 1000 * 1_000_000_000)
        #expect(restored.text.contains("\n\(end) ") || restored.text.contains("\n\(end - 1) "))
    }
}
