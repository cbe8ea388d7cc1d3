import Netstack
import Testing
import Wire

@testable import Gateway

@Suite struct AnswerBatchTests {
    static func client(_ port: UInt16) throws -> GuestPort {
        let address = try #require(IPAddress("10.0.2.2"))
        return GuestPort(
            guest: Endpoint(address: address, port: port), local: Endpoint(address: address, port: 53), mac: .broadcast)
    }

    static func runs(_ sizes: [(port: UInt16, size: Int)], joins: Bool = true) throws -> [[Int]] {
        var batch = AnswerBatch()
        for (number, answer) in sizes.enumerated() {
            batch.append(
                [UInt8](repeating: UInt8(number), count: answer.size), for: try client(answer.port), joins: joins)
        }
        return batch.runs.map { run in
            stride(from: run.range.lowerBound, to: run.range.upperBound, by: run.size ?? run.range.count)
                .map { Int(batch.bytes[$0]) }
        }
    }

    @Test(
        "neighbours of one client and one size are joined, with a shorter one at the end",
        arguments: [
            ([(1, 40), (1, 40), (1, 40)], [[0, 1, 2]]),
            ([(1, 40), (1, 39), (1, 39)], [[0, 1], [2]]),
            ([(1, 39), (1, 40)], [[0], [1]]),
            ([(1, 40), (2, 40), (1, 40)], [[0], [1], [2]]),
            ([(1, 40)], [[0]]),
            ([(1, 30_000), (1, 30_000), (1, 30_000)], [[0, 1], [2]]),
            ([], []),
        ] as [([(port: UInt16, size: Int)], [[Int]])])
    func joined(sizes: [(port: UInt16, size: Int)], expected: [[Int]]) throws {
        #expect(try Self.runs(sizes) == expected)
    }

    @Test("a link without USO gets each by itself")
    func apart() throws {
        #expect(try Self.runs([(1, 40), (1, 40)], joins: false) == [[0], [1]])
    }
}
