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
        service = try Self.service(loop, [upstream.port])
        guest = GuestPort(
            guest: Endpoint(address: try #require(IPAddress("10.0.2.2")), port: 4000),
            local: Endpoint(address: try #require(IPAddress("10.0.2.1")), port: 53), mac: .broadcast)
    }

    /// A service whose upstreams are these ports of 127.0.0.1.
    static func service(_ loop: EventLoop, _ ports: [UInt16]) throws -> NameService {
        let here = try #require(IPAddress("127.0.0.1"))
        let family = Configuration.Family(
            prefix: try #require(Prefix("10.0.2.0/24")), gateway: try #require(IPAddress("10.0.2.1")),
            guest: try #require(IPAddress("10.0.2.2")), hostAlias: try #require(IPAddress("10.0.2.254")))
        let core = Configuration(
            v4: family, v6: nil, gatewayLinkLocal: try #require(IPAddress("fe80::1")), gatewayMAC: .broadcast)
        var configuration = NetworkConfiguration(
            core: core, resolvers: ports.map { Endpoint(address: here, port: $0) })
        configuration.joinsDatagrams = true
        return NameService(
            loop: loop, configuration: configuration,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
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

    /// What the upstream has received, in order, with the port that it came from.
    private func receive(
        _ count: Int, of service: NameService
    ) throws -> [(query: [UInt8], from: sockaddr_in)] {
        var arrived: [(query: [UInt8], from: sockaddr_in)] = []
        return try wait {
            var none = AnswerBatch()
            service.endTurn(&none, now: monotonicNanoseconds())
            var from = sockaddr_in()
            var length = socklen_t(MemoryLayout<sockaddr_in>.size)
            var bytes = [UInt8](repeating: 0, count: 2048)
            let got = unsafe withUnsafeMutablePointer(to: &from) {
                unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    unsafe recvfrom(upstream.udp, &bytes, bytes.count, 0, $0, &length)
                }
            }
            // On a machine that stands still for 1.5 s, queries are tried again.
            let query = Array(bytes[..<max(0, got)])
            if got > 0, !arrived.contains(where: { $0.query[2...] == query[2...] }) { arrived.append((query, from)) }
            return arrived.count == count ? arrived : nil
        }
    }

    private func reply(_ query: [UInt8], to address: sockaddr_in) {
        let bytes = Self.answer(query)
        let length = socklen_t(MemoryLayout<sockaddr_in>.size)
        unsafe withUnsafePointer(to: address) {
            unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                _ = unsafe sendto(upstream.udp, bytes, bytes.count, 0, $0, length)
            }
        }
    }

    @Test(
        "UDP queries of any sizes reach the upstream in order, and their answers the guest", arguments: [true, false])
    func datagrams(joined: Bool) throws {
        // With equal sizes, shorter and longer ones, and more than one socket takes.
        let names = ["a", "b", "c", "dd", "e", "f", "gg", "hh", "i"] + (0..<70).map { "n\(10 + $0)" }
        let queries = names.enumerated().map { Self.query(UInt8($0.offset), $0.element) }
        for query in queries {
            unsafe service.query(query.span.bytes, from: guest)
            var none = AnswerBatch()
            if !joined { service.endTurn(&none, now: monotonicNanoseconds()) }
        }
        let arrived = try receive(queries.count, of: service)
        #expect(arrived.map { $0.query[2...] } == queries.map { $0[2...] })
        #expect(Set(arrived.map(\.from.sin_port)).count >= 2)
        for (query, from) in arrived { reply(query, to: from) }
        // In the order of the sockets that are ready.
        var answers = Set<[UInt8]>()
        _ = try wait { () -> Bool? in
            var batch = AnswerBatch()
            service.endTurn(&batch, now: monotonicNanoseconds())
            for run in batch.runs {
                #expect(run.client == guest)
                for start in stride(
                    from: run.range.lowerBound, to: run.range.upperBound, by: run.size ?? run.range.count)
                {
                    answers.insert(
                        Array(batch.bytes[start..<min(start + (run.size ?? run.range.count), run.range.upperBound)]))
                }
            }
            return answers.count == queries.count ? true : nil
        }
        #expect(answers == Set(queries.map(Self.answer)))
        service.close()
        loop.close()
    }

    @Test("queries that leave together for an upstream that is not there are asked of the next one")
    func absent() throws {
        // Closed again as soon as it has a port.
        let absent = Upstream().port
        let service = try Self.service(loop, [absent, upstream.port])
        let queries = (0..<9).map { Self.query($0, "a\($0)") }
        for query in queries { unsafe service.query(query.span.bytes, from: guest) }
        let arrived = try receive(queries.count, of: service)
        #expect(Set(arrived.map { $0.query[2...] }) == Set(queries.map { $0[2...] }))
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
