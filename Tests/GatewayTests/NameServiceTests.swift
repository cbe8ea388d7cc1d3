import CHost
import Glibc
import Logging
import Netstack
import Testing
import Uv
import Wire

@testable import Gateway

/// The name service on real sockets, with an upstream on 127.0.0.1 that the test itself plays, on one loop.
@Suite struct NameServiceTests {
    /// UDP and TCP on one port of the loopback, non-blocking.
    final class Upstream {
        let udp = socket(AF_INET, Int32(SOCK_DGRAM.rawValue | SOCK_NONBLOCK.rawValue), 0)
        let tcp = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue), 0)
        private(set) var port: UInt16 = 0

        init() {
            var address = sockaddr_in()
            address.sin_family = sa_family_t(AF_INET)
            address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
            var length = socklen_t(MemoryLayout<sockaddr_in>.size)
            unsafe withUnsafeMutablePointer(to: &address) {
                unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    _ = unsafe bind(tcp, $0, length)
                    _ = unsafe getsockname(tcp, $0, &length)
                    _ = unsafe bind(udp, $0, length)
                }
            }
            listen(tcp, 8)
            port = UInt16(bigEndian: address.sin_port)
        }
        deinit {
            close(udp)
            close(tcp)
        }
    }

    let loop: EventLoop
    let upstream = Upstream()
    let service: NameService
    let guest: GuestPort

    init() throws {
        loop = try EventLoop()
        let here = try #require(IPAddress("127.0.0.1"))
        let gateway = try #require(IPAddress("10.0.2.1"))
        let family = Configuration.Family(
            prefix: try #require(Prefix("10.0.2.0/24")), gateway: gateway, guest: try #require(IPAddress("10.0.2.2")),
            hostAlias: try #require(IPAddress("10.0.2.254")))
        let core = Configuration(
            v4: family, v6: nil, gatewayLinkLocal: try #require(IPAddress("fe80::1")), gatewayMAC: .broadcast)
        service = NameService(
            loop: loop,
            configuration: NetworkConfiguration(
                core: core, resolvers: [Endpoint(address: here, port: upstream.port)]),
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        guest = GuestPort(
            guest: Endpoint(address: family.guest, port: 4000), local: Endpoint(address: gateway, port: 53),
            mac: .broadcast)
    }

    /// A query for the A record of `name`.test.
    static func query(_ id: UInt8, _ name: String) -> [UInt8] {
        [0, id, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, UInt8(name.utf8.count)] + Array(name.utf8) + [4]
            + Array("test".utf8) + [0, 0, 1, 0, 1]
    }

    /// NXDOMAIN to `query`, so that nothing is cached.
    static func answer(_ query: [UInt8]) -> [UInt8] { query[0..<2] + [0x81, 0x83] + query[4...] }
    static func framed(_ message: [UInt8]) -> [UInt8] { [0, UInt8(message.count)] + message }

    /// Turns the loop until `body` yields something.
    private func wait<Value>(_ body: () -> Value?) throws -> Value {
        let end = monotonicNanoseconds() + 10_000_000_000
        while monotonicNanoseconds() < end {
            loop.runOnce(noWait: true)
            if let value = body() { return value }
        }
        Issue.record("nothing came within 10 seconds")
        throw CancellationError()
    }

    /// What `fd` has now: empty at the end of the stream, nil while there is nothing.
    private func read(_ fd: Int32) -> [UInt8]? {
        var bytes = [UInt8](repeating: 0, count: 4096)
        let count = unsafe recv(fd, &bytes, bytes.count, Int32(MSG_DONTWAIT))
        return count < 0 ? nil : Array(bytes[..<count])
    }

    @Test("a UDP query reaches the upstream and its answer the guest")
    func datagram() throws {
        let query = Self.query(7, "a")
        unsafe service.query(query.span.bytes, from: guest)
        var from = sockaddr_in()
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        var bytes = [UInt8](repeating: 0, count: 512)
        let count = try wait {
            let count = unsafe withUnsafeMutablePointer(to: &from) {
                unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    unsafe recvfrom(upstream.udp, &bytes, bytes.count, 0, $0, &length)
                }
            }
            return count > 0 ? count : nil
        }
        let arrived = Array(bytes[..<count])
        #expect(arrived[2...] == query[2...])
        unsafe withUnsafePointer(to: from) {
            unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                _ = unsafe sendto(upstream.udp, Self.answer(arrived), count, 0, $0, length)
            }
        }
        let answers = try wait {
            let answers = service.takeAnswers()
            return answers.isEmpty ? nil : answers
        }
        #expect(answers.map(\.bytes) == [Self.answer(query)])
        #expect(answers[0].client == guest)
        service.close()
        loop.close()
    }

    @Test("pipelined TCP queries are all answered, in any order, also after the guest's FIN; then the stream ends")
    func stream() throws {
        var pair: [Int32] = [-1, -1]
        let made = unsafe host_stream_pair(&pair)
        #expect(made == 0)
        service.serve(stream: pair[1])
        let queries = [Self.query(1, "a"), Self.query(2, "bb")]
        let sent = queries.flatMap(Self.framed)
        // Cut anywhere.
        _ = unsafe send(pair[0], sent, 5, 0)
        loop.runOnce(noWait: true)
        _ = unsafe send(pair[0], Array(sent[5...]), sent.count - 5, 0)
        shutdown(pair[0], Int32(SHUT_WR))

        let connection = try wait {
            let fd = accept(upstream.tcp, nil, nil)
            return fd >= 0 ? fd : nil
        }
        var arrived: [UInt8] = []
        _ = try wait {
            arrived += read(connection) ?? []
            return arrived.count == sent.count ? true : nil
        }
        let first = Array(arrived[2..<2 + queries[0].count])
        let second = Array(arrived[(4 + first.count)...])
        let replies = [second, first].flatMap { Self.framed(Self.answer($0)) }
        _ = unsafe send(connection, replies, replies.count, 0)

        var received: [UInt8] = []
        _ = try wait { () -> Bool? in
            guard let bytes = read(pair[0]) else { return nil }
            received += bytes
            return bytes.isEmpty ? true : nil
        }
        #expect(received == [queries[1], queries[0]].flatMap { Self.framed(Self.answer($0)) })
        close(connection)
        close(pair[0])
        service.close()
        loop.close()
    }

    @Test("a connection that the upstream closes before answering is opened once more")
    func reopened() throws {
        var pair: [Int32] = [-1, -1]
        let made = unsafe host_stream_pair(&pair)
        #expect(made == 0)
        service.serve(stream: pair[1])
        let query = Self.framed(Self.query(1, "a"))
        _ = unsafe send(pair[0], query, query.count, 0)
        let accepted = { () -> Int32? in
            let fd = accept(upstream.tcp, nil, nil)
            return fd >= 0 ? fd : nil
        }
        close(try wait(accepted))
        let connection = try wait(accepted)
        let arrived = try wait { read(connection) }
        let reply = Self.framed(Self.answer(Array(arrived[2...])))
        _ = unsafe send(connection, reply, reply.count, 0)
        let answer = try wait { read(pair[0]) }
        #expect(answer == Self.framed(Self.answer(Self.query(1, "a"))))
        close(connection)
        close(pair[0])
        service.close()
        loop.close()
    }
}
