import CHost
import Glibc
import Testing
import Wire

@testable import Gateway

/// Batches on real sockets of the loopback.
@Suite struct DatagramBatchTests {
    /// An unconnected socket to receive with, its port, and sockets connected to it.
    struct Ends: ~Copyable {
        let receiver: Int32
        let senders: [Int32]

        init(_ count: Int) {
            receiver = host_udp_open(1, 0)
            var name = sockaddr_in()
            var length = socklen_t(MemoryLayout<sockaddr_in>.size)
            let fd = receiver
            unsafe withUnsafeMutablePointer(to: &name) {
                unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { unsafe _ = getsockname(fd, $0, &length) }
            }
            var address = host_address(
                Endpoint(address: IPAddress(v4: 0x7f00_0001), port: UInt16(bigEndian: name.sin_port)))
            senders = (0..<count).map { _ in unsafe host_udp_connect(&address) }
        }

        deinit { for fd in senders + [receiver] { close(fd) } }

        func send(_ bytes: [UInt8], from sender: Int = 0) {
            #expect(unsafe host_send(senders[sender], bytes, bytes.count) == bytes.count)
        }
    }

    static func bytes(_ count: Int, _ seed: Int) -> [UInt8] {
        (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ seed) }
    }

    /// Everything that is there, as runs of datagrams.
    static func runs(_ batch: DatagramBatch, _ fd: Int32) -> [[[UInt8]]] {
        var runs: [[[UInt8]]] = []
        while true {
            let count = batch.receive(from: fd)
            if count == 0 { return runs }
            var i = 0
            while i < count {
                let range = batch.run(from: i)
                let bytes = batch.bytes(range)
                var pieces: [[UInt8]] = []
                var start = 0
                for _ in range {
                    let end = range.count == 1 ? bytes.byteCount : min(start + batch.size, bytes.byteCount)
                    pieces.append((start..<end).map { bytes.u8(at: $0) })
                    start = end
                }
                runs.append(pieces)
                i = range.upperBound
            }
        }
    }

    @Test func datagramsOfTheExpectedSizeMakeRuns() {
        let ends = Ends(2)
        let batch = DatagramBatch()
        ends.send(Self.bytes(100, 0))
        #expect(Self.runs(batch, ends.receiver).map(\.count) == [1], "nothing is known of the first")
        let sizes = [100, 100, 100, 60, 100, 100, 101, 100, 0, 100, 3000, 100]
        for (i, size) in sizes.enumerated() { ends.send(Self.bytes(size, i)) }
        let runs = Self.runs(batch, ends.receiver)
        #expect(runs.map(\.count) == [4, 2, 1, 1, 1, 1, 1, 1])
        #expect(runs.flatMap { $0 } == sizes.enumerated().map { Self.bytes($1, $0) })
    }

    @Test func anotherSourceEndsARun() {
        let ends = Ends(2)
        let batch = DatagramBatch()
        ends.send(Self.bytes(50, 0))
        _ = Self.runs(batch, ends.receiver)
        for (i, sender) in [0, 0, 1, 1, 1, 0].enumerated() { ends.send(Self.bytes(50, i), from: sender) }
        #expect(Self.runs(batch, ends.receiver).map(\.count) == [2, 3, 1])
    }

    @Test func whateverTheSizesEveryByteArrives() {
        let ends = Ends(2)
        let batch = DatagramBatch()
        var random = SystemRandomNumberGenerator()
        for _ in 0..<60 {
            let common = Int.random(in: 0...1500, using: &random)
            var sent: [[UInt8]] = []
            for i in 0..<Int.random(in: 1...30, using: &random) {
                let size = Bool.random(using: &random) ? common : Int.random(in: 0...4000, using: &random)
                sent.append(Self.bytes(size, i))
                ends.send(sent[i], from: Int.random(in: 0...1, using: &random))
            }
            #expect(Self.runs(batch, ends.receiver).flatMap { $0 } == sent)
        }
    }
}
