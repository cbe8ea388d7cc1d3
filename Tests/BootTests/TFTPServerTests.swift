import Simnet
import Testing
import Wire

@testable import Boot

/// Files in memory.
struct MemoryFiles {
    var files: [String: [UInt8]] = [:]
    var opened: [Int: String] = [:]
    var next = 0

    mutating func open(_ name: String) -> (file: Int, size: Int)? {
        guard let name = bootFileName(name), let bytes = files[name] else { return nil }
        next += 1
        opened[next] = name
        return (next, bytes.count)
    }
    mutating func read(_ file: Int, offset: Int, count: Int) -> [UInt8] {
        let bytes = files[opened[file] ?? ""] ?? []
        return offset < bytes.count ? Array(bytes[offset..<min(offset + count, bytes.count)]) : []
    }
    mutating func close(_ file: Int) {
        #expect(opened.removeValue(forKey: file) != nil, "closed twice")
    }
}

/// A server, its files and a client that may lose what it is sent.
struct TFTPBench: ~Copyable {
    var server = TFTPServer(mtu: 1500, seed: 5)
    var files = MemoryFiles()
    var now: Int64 = 1_000_000_000
    /// Jobs are left to the test.
    var isSlow = false

    static func peer(_ port: UInt16 = 2000, mac: UInt64 = 0x5254_0000_0001) -> TFTPPeer {
        TFTPPeer(
            client: Endpoint(address: IPAddress(v4: 0x0a00_0202), port: port), mac: MACAddress(rawValue: mac),
            local: IPAddress(v4: 0x0a00_0201))
    }

    static func request(
        _ name: String, mode: String = "octet", _ options: [(String, String)] = [], operation: UInt8 = 1
    )
        -> [UInt8]
    {
        ([name, mode] + options.flatMap { [$0.0, $0.1] }).reduce(into: [0, operation]) { $0 += Array($1.utf8) + [0] }
    }

    @discardableResult
    mutating func send(_ bytes: [UInt8], from peer: TFTPPeer = peer(), to port: UInt16 = 69) -> [TFTPServer.Answer] {
        #expect(server.receive(bytes.rawSpan, from: peer, port: port, now: now) == true)
        return settle()
    }

    mutating func acknowledge(_ block: Int, to port: UInt16, from peer: TFTPPeer = peer()) -> [TFTPServer.Answer] {
        send([0, 4, UInt8(block >> 8 & 255), UInt8(block & 255)], from: peer, to: port)
    }

    mutating func wait() -> [TFTPServer.Answer] {
        now = server.nextDeadline
        server.advance(to: now)
        return settle()
    }

    /// Does what the server asks for, and returns what it sends.
    mutating func settle() -> [TFTPServer.Answer] {
        while !isSlow, case let jobs = server.takeJobs(), !jobs.isEmpty { for job in jobs { perform(job) } }
        return server.takeAnswers()
    }

    mutating func perform(_ job: TFTPServer.Job) {
        switch job {
        case .open(let port, let name): server.opened(port, files.open(name), now: now)
        case .read(let port, let file, let offset, let count):
            server.read(port, files.read(file, offset: offset, count: count), now: now)
        case .close(let file): files.close(file)
        }
    }

    /// Fetches a file as a client that takes blocks in order. With a `seed`, one datagram of ten does not arrive, in both directions.
    mutating func fetch(_ name: String, _ options: [(String, String)] = [], seed: UInt64? = nil) -> [UInt8]? {
        var content: [UInt8] = []
        var size = 512
        var window = 1
        var expected = 1
        var random = SeededRandom(seed ?? 0)
        func isLost() -> Bool { seed != nil && random.chance(0.1) }
        var queue = send(Self.request(name, options))
        for _ in 0..<1_000_000 {
            guard !queue.isEmpty else {
                guard server.nextDeadline != .max else { return nil }
                queue = wait()
                continue
            }
            var acknowledgment: Int?
            var port: UInt16 = 0
            var isDone = false
            for answer in queue where !isLost() {
                port = answer.port
                let bytes = answer.bytes
                switch bytes[1] {
                case 6:
                    let words = bytes[2...].split(separator: 0).map { String(decoding: $0, as: UTF8.self) }
                    for i in stride(from: 0, to: words.count - 1, by: 2) {
                        if words[i] == "blksize" { size = Int(words[i + 1]) ?? 0 }
                        if words[i] == "windowsize" { window = Int(words[i + 1]) ?? 0 }
                    }
                    acknowledgment = 0
                case 3:
                    let block = Int(bytes[2]) << 8 | Int(bytes[3])
                    if block == expected & 0xffff {
                        content += bytes[4...]
                        expected += 1
                        isDone = bytes.count - 4 < size
                    }
                    acknowledgment = expected - 1
                default: return nil
                }
            }
            queue = []
            #expect(window >= 1)
            guard let acknowledgment, isDone || !isLost() else { continue }
            queue = acknowledge(acknowledgment, to: port)
            if isDone { return content }
        }
        return nil
    }
}

@Suite struct TFTPServerTests {
    static func content(_ count: Int) -> [UInt8] { (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31 ^ $0 >> 8) } }

    @Test(arguments: [0, 1, 511, 512, 513, 1024, 5000], [1, 2, 7])
    func filesArriveWhole(size: Int, window: Int) {
        var bench = TFTPBench()
        bench.files.files["a/b"] = Self.content(size)
        #expect(bench.fetch("/a/b") == Self.content(size))
        let options = [("blksize", "100"), ("windowsize", "\(window)"), ("tsize", "0")]
        #expect(bench.fetch("a\\b", options) == Self.content(size))
        for seed in UInt64(1)...8 { #expect(bench.fetch("a/b", options, seed: seed) == Self.content(size)) }
        #expect(bench.server.count == 0 && bench.files.opened.isEmpty)
    }

    @Test func blockNumbersWrap() {
        var bench = TFTPBench()
        bench.files.files["big"] = Self.content(8 * 70_000 + 3)
        #expect(bench.fetch("big", [("blksize", "8"), ("windowsize", "32")]) == bench.files.files["big"])
    }

    @Test func optionsAreGrantedWithinLimits() {
        var bench = TFTPBench()
        bench.files.files["f"] = Self.content(3000)
        let answer = bench.send(
            TFTPBench.request(
                "f", [("BLKSIZE", "65464"), ("tsize", "0"), ("timeout", "3"), ("windowsize", "64"), ("other", "1")]))
        #expect(
            answer.map(\.bytes) == [
                [0, 6] + Array("blksize\01468\0timeout\03\0tsize\03000\0windowsize\032\0".utf8)
            ])
        let port = answer[0].port
        #expect(port >= TFTPServer.firstPort)
        #expect(bench.server.nextDeadline == bench.now + 3_000_000_000)
        let blocks = bench.acknowledge(0, to: port)
        #expect(blocks.map(\.bytes.count) == [1472, 1472, 68])
        // Nonsense is as if it were not there.
        let plain = bench.send(
            TFTPBench.request("f", [("blksize", "7"), ("timeout", "0"), ("windowsize", "x")]),
            from: TFTPBench.peer(2001))
        #expect(plain.map(\.bytes.count) == [516])
    }

    @Test func aLostBlockIsSentAgainFromThere() {
        var bench = TFTPBench()
        bench.files.files["f"] = Self.content(5000)
        let port = bench.send(TFTPBench.request("f", [("windowsize", "4")]))[0].port
        #expect(bench.acknowledge(0, to: port).count == 4)
        #expect(bench.acknowledge(2, to: port).map { $0.bytes[3] } == [3, 4, 5, 6])
        #expect(bench.acknowledge(2, to: port).map { $0.bytes[3] } == [3, 4, 5, 6])
        // What was never sent cannot be acknowledged.
        #expect(bench.acknowledge(7, to: port).isEmpty && bench.acknowledge(1, to: port).isEmpty)
    }

    @Test func theApprenticeIsNotCalled() {
        var bench = TFTPBench()
        bench.files.files["f"] = Self.content(5000)
        let port = bench.send(TFTPBench.request("f"))[0].port
        #expect(bench.acknowledge(1, to: port).count == 1)
        #expect(bench.acknowledge(1, to: port).isEmpty)
    }

    @Test func silenceEndsATransfer() {
        var bench = TFTPBench()
        bench.files.files["f"] = Self.content(5000)
        let first = bench.send(TFTPBench.request("f"))
        for _ in 1..<TFTPServer.tries { #expect(bench.wait() == first) }
        #expect(bench.wait().isEmpty)
        #expect(bench.server.count == 0 && bench.files.opened.isEmpty && bench.server.nextDeadline == .max)
    }

    @Test(
        arguments: [
            (TFTPBench.request("none"), 1), (TFTPBench.request("../f"), 1), (TFTPBench.request("a/../f"), 1),
            (TFTPBench.request(""), 1), (TFTPBench.request("f", mode: "netascii"), 0),
            (TFTPBench.request("f", operation: 2), 2), ([0, 9, 1, 1], 4), ([0, 1, 102, 0], 4), ([0, 1, 102, 102], 4),
        ] as [([UInt8], UInt8)])
    func refusals(request: [UInt8], code: UInt8) {
        var bench = TFTPBench()
        bench.files.files["f"] = [1]
        let answers = bench.send(request)
        #expect(answers.count == 1 && answers.first?.bytes.prefix(4) == [0, 5, 0, code])
        #expect(bench.server.count == 0)
    }

    @Test func anothersDatagramDoesNotDisturb() {
        var bench = TFTPBench()
        bench.files.files["f"] = Self.content(1000)
        let port = bench.send(TFTPBench.request("f"))[0].port
        let stranger = bench.acknowledge(1, to: port, from: TFTPBench.peer(2001))
        #expect(stranger.first?.bytes.prefix(4) == [0, 5, 0, 5])
        #expect(bench.acknowledge(1, to: port).count == 1)
        #expect(bench.send([0, 5, 0, 0, 0], to: port).isEmpty)
        #expect(bench.server.count == 0)
        #expect(
            bench.server.receive(
                [0, 4, 0, 1].rawSpan, from: TFTPBench.peer(), port: port, now: 0) == false)
    }

    @Test func transfersAreBounded() {
        var bench = TFTPBench()
        bench.files.files["f"] = Self.content(1000)
        for station in UInt64(0)..<40 {
            for port in UInt16(2000)..<2010 {
                bench.send(TFTPBench.request("f"), from: TFTPBench.peer(port, mac: station))
            }
            #expect(bench.server.count == min(Int(station + 1) * TFTPServer.perStation, TFTPServer.capacity))
        }
        // One that begins anew takes no further place.
        bench.send(TFTPBench.request("f"), from: TFTPBench.peer(2000, mac: 0))
        #expect(bench.server.count == TFTPServer.capacity && bench.files.opened.count == TFTPServer.capacity)
    }

    /// A read of a link may bring thousands of small datagrams, each of which asks for a window of large ones.
    @Test(arguments: [false, true])
    func whatWaitsToBeSentIsBounded(moves: Bool) {
        var bench = TFTPBench()
        bench.files.files["f"] = TFTPServerTests.content(10_000_000)
        let port = bench.send(TFTPBench.request("f", [("windowsize", "32"), ("blksize", "1428")]))[0].port
        for i in 0..<5000 {
            let block = moves ? i : 0
            let bytes: [UInt8] = [0, 4, UInt8(block >> 8 & 255), UInt8(block & 255)]
            let isHeard = bench.server.receive(
                bytes.rawSpan, from: TFTPBench.peer(), port: port, now: bench.now)
            #expect(isHeard)
        }
        #expect(bench.settle().count <= 2048)
        // It goes on after the time-out.
        #expect(!bench.wait().isEmpty)
    }

    @Test func aSlowDiskHoldsUpItsTransferAlone() {
        var bench = TFTPBench()
        bench.files.files["f"] = Self.content(3000)
        bench.isSlow = true
        let request = TFTPBench.request("f", [("windowsize", "3")])
        // Asked once more while the file is being opened, it is opened once, and nothing is due.
        #expect(bench.send(request).isEmpty && bench.send(request).isEmpty)
        let jobs = bench.server.takeJobs()
        #expect(jobs.count == 1 && bench.server.count == 1 && bench.server.nextDeadline == .max)
        // Another's is opened and sent meanwhile.
        bench.isSlow = false
        #expect(bench.send(TFTPBench.request("f"), from: TFTPBench.peer(2001)).count == 1)
        bench.perform(jobs[0])
        let port = bench.settle()[0].port
        #expect(bench.acknowledge(0, to: port).map { $0.bytes[3] } == [1, 2, 3])
        // What is acknowledged while a window is being read is not sent.
        bench.isSlow = true
        #expect(bench.acknowledge(1, to: port).isEmpty && bench.acknowledge(2, to: port).isEmpty)
        let reads = bench.server.takeJobs()
        #expect(reads.count == 1)
        bench.isSlow = false
        bench.perform(reads[0])
        #expect(bench.settle().map { $0.bytes[3] } == [3, 4, 5])
    }

    /// However often clients change their minds.
    @Test func jobsAreBounded() {
        var bench = TFTPBench()
        bench.files.files["f"] = Self.content(3000)
        bench.isSlow = true
        for i in 0..<1000 {
            let request = TFTPBench.request("f", [("blksize", "\(i + 8)")])
            bench.send(request, from: TFTPBench.peer(2000, mac: UInt64(i % 100)))
        }
        #expect(bench.server.count == TFTPServer.capacity)
        let jobs = bench.server.takeJobs()
        #expect(jobs.count == TFTPServer.capacity)
        bench.server.endAll()
        #expect(bench.server.count == TFTPServer.capacity)
        bench.isSlow = false
        for job in jobs { bench.perform(job) }
        _ = bench.settle()
        #expect(bench.server.count == 0 && bench.files.opened.isEmpty)
    }

    @Test func aFileIsNotClosedWhileItIsRead() {
        var bench = TFTPBench()
        bench.files.files["f"] = Self.content(3000)
        let port = bench.send(TFTPBench.request("f"))[0].port
        bench.isSlow = true
        #expect(bench.acknowledge(1, to: port).isEmpty)
        let jobs = bench.server.takeJobs()
        #expect(jobs.count == 1)
        bench.send([0, 5, 0, 0, 0], to: port)
        #expect(bench.server.takeJobs() == [] && bench.server.count == 1)
        // Nobody is at the port any more.
        let isHeard = bench.server.receive([0, 4, 0, 1].rawSpan, from: TFTPBench.peer(), port: port, now: bench.now)
        #expect(!isHeard)
        bench.isSlow = false
        bench.perform(jobs[0])
        #expect(bench.settle().isEmpty && bench.server.count == 0 && bench.files.opened.isEmpty)
    }

    @Test func aFileThatShrinksIsAnError() {
        var bench = TFTPBench()
        bench.files.files["f"] = Self.content(2000)
        let port = bench.send(TFTPBench.request("f"))[0].port
        bench.files.files["f"] = [1]
        #expect(bench.acknowledge(1, to: port).map { $0.bytes[1] } == [5])
        _ = bench.wait()
        #expect(bench.server.count == 0)
    }

    @Test func whateverComesIsHarmless() {
        var bench = TFTPBench()
        bench.files.files["f"] = Self.content(3000)
        let request = TFTPBench.request("f", [("blksize", "1000"), ("windowsize", "3")])
        for length in 0..<request.count { bench.send(Array(request[..<length])) }
        var random = SeededRandom(3)
        for _ in 0..<20_000 {
            var bytes = request
            for _ in 0..<3 {
                bytes[Int.random(in: 1..<bytes.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
            }
            bench.send(bytes)
            let port = UInt16.random(in: TFTPServer.firstPort...TFTPServer.firstPort + 100, using: &random)
            _ = bench.server.receive(
                bytes.rawSpan, from: TFTPBench.peer(), port: port, now: bench.now)
            _ = bench.settle()
        }
        #expect(bench.server.count <= TFTPServer.perStation)
    }
}

@Suite struct ByteRangeTests {
    @Test(
        arguments: [
            (nil, ByteRange.whole), ("bytes=0-", .part(0..<100)), ("bytes=10-19", .part(10..<20)),
            ("bytes=90-1000", .part(90..<100)),
            ("bytes=-10", .part(90..<100)), ("bytes=-1000", .part(0..<100)), ("bytes=100-", .unsatisfiable),
            ("bytes=-0", .unsatisfiable),
            ("bytes=5-4", .whole), ("bytes=-", .whole), ("bytes=a-b", .whole), ("bytes=0-1,3-4", .whole),
            ("items=0-1", .whole),
            ("bytes=99999999999999999999-", .whole), ("", .whole),
        ] as [(String?, ByteRange)])
    func ranges(header: String?, range: ByteRange) {
        #expect(ByteRange(header, size: 100) == range)
    }

    @Test func ofAnEmptyFile() {
        #expect(ByteRange("bytes=0-", size: 0) == .unsatisfiable && ByteRange("bytes=-5", size: 0) == .unsatisfiable)
    }

    @Test(
        arguments: [
            ("/a", "a"), ("a//b", "a/b"), ("\\x\\y.efi", "x/y.efi"), ("", nil), ("/", nil), ("..", nil),
            ("a/../b", nil), ("a\\..\\b", nil),
            ("a\0b", nil), (".hidden", ".hidden"), ("a..b", "a..b"),
        ] as [(String, String?)])
    func names(text: String, name: String?) {
        #expect(bootFileName(text) == name)
    }
}
