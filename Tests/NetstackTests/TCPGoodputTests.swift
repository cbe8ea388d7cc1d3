@testable import Netstack
import Simnet
import Testing
import Wire

#if canImport(Glibc)
    import Glibc
#endif

// Bytes a second through a bottleneck of 1 Gbit/s, by MTU, direction, loss, delay and the bottleneck's buffer: the committed table
// goodput.txt, which a change may better but not worsen by more than a quarter. UPDATE_GOODPUT=1 writes it anew.

@Suite struct TCPGoodputTests {
    /// 1 Gbit/s, in bytes.
    static let rate = 125_000_000

    struct Loss: Sendable {
        var name: String
        var single = 0.0
        var bursts: GilbertElliott?
    }
    static let losses = [
        Loss(name: "none"), Loss(name: "0.1 %", single: 0.001), Loss(name: "1 %", single: 0.01),
        Loss(name: "3 %", single: 0.03),
        Loss(name: "bursts of 4, 0.5 %", bursts: GilbertElliott(share: 0.005, length: 4)),
    ]
    /// Round trips in microseconds.
    static let delays = [100, 10_000, 100_000]

    enum Buffer: String, CaseIterable, Sendable {
        case small, bdp, large

        /// In bytes, never below what two packets need.
        func bytes(roundTrip: Int, mtu: Int) -> Int {
            let bdp = rate / 1_000_000 * roundTrip
            let wanted =
                switch self {
                case .small: bdp / 8
                case .bdp: bdp
                case .large: bdp * 4
                }
            return max(wanted, 3 * mtu)
        }
    }

    /// Median over seeds, in KB/s of virtual time. `secondHalf`: the second half of the transfer only, when windows have grown.
    static func goodput(
        mtu: Int, loss: Loss, roundTrip: Int, buffer: Buffer, toGuest: Bool, size: Int, secondHalf: Bool = false,
        seeds: ClosedRange<UInt64> = 1...3
    ) -> Int {
        let results = seeds.map { seed in
            var faults = WireFaults()
            faults.delay = Int64(roundTrip) * 500
            faults.loss = loss.single
            faults.bursts = loss.bursts
            var narrow = faults
            narrow.bandwidth = rate
            narrow.queue = buffer.bytes(roundTrip: roundTrip, mtu: mtu)
            // Data passes the bottleneck, ACKs come back by a wire that only delays and loses.
            var simulation = Simulation(
                Simulation.configuration(mtu: mtu) { $0.chunks = 2048 }, up: toGuest ? faults : narrow,
                down: toGuest ? narrow : faults, seed: seed)
            let stream = [UInt8](repeating: 1, count: size)
            simulation.host.script.stream = toGuest ? stream : []
            simulation.host.script.ends = false
            var options = GuestTCP.Options()
            options.mss = mtu - 40
            options.receiveBuffer = 32 << 20
            options.windowScale = 10
            options.closes = false
            options.superSegments = 1
            simulation.connect(options, stream: toGuest ? [] : stream)
            func moved(_ simulation: borrowing Simulation) -> Int {
                toGuest ? simulation.guests[0].received.count : simulation.host.sockets.first?.received.count ?? 0
            }
            var start = simulation.now
            if secondHalf {
                simulation.run(for: .seconds(3000)) { moved($0) * 2 >= size }
                start = simulation.now
            }
            let before = moved(simulation)
            simulation.run(for: .seconds(3000)) { moved($0) == size }
            return Int(Double(moved(simulation) - before) / Double(simulation.now - start) * 1e6)
        }
        return results.sorted()[results.count / 2]
    }

    @Test func theTableHolds() throws {
        let header = [
            "# KB/s through 1 Gbit/s by MTU, loss and round trip; the three columns are a buffer of an eighth of the bandwidth-delay",
            "# product, one, and four (three packets at least). 2 MB at MTU 1500, 16 MB at 65520, from host to guest; median of 3 seeds.",
            "# The last row is the second half of 200 MB, when windows have grown: a path of 12.5 MB that fills.",
            "# Written by: UPDATE_GOODPUT=1 swift test --filter TCPGoodputTests",
            "# mtu | loss | round trip, ms | small | bdp | large",
        ]
        var lines: [String] = []
        for mtu in [1500, 65_520] {
            for loss in Self.losses {
                for delay in Self.delays {
                    let row = Buffer.allCases.map {
                        String(
                            Self.goodput(
                                mtu: mtu, loss: loss, roundTrip: delay, buffer: $0, toGuest: true,
                                size: mtu == 1500 ? 2_000_000 : 16_000_000))
                    }
                    lines.append("\(mtu) | \(loss.name) | \(Double(delay) / 1000) | " + row.joined(separator: " | "))
                }
            }
        }
        let filled = Buffer.allCases.map {
            String(
                Self.goodput(
                    mtu: 65_520, loss: Self.losses[0], roundTrip: 100_000, buffer: $0, toGuest: true,
                    size: 200_000_000, secondHalf: true, seeds: 1...1))
        }
        lines.append("65520 | none, windows grown | 100.0 | " + filled.joined(separator: " | "))
        let table = (header + lines).joined(separator: "\n") + "\n"
        #expect(filled.contains { Int($0)! * 1000 >= Self.rate * 9 / 10 }, "\(filled)")
        let path = String(#filePath.dropLast("TCPGoodputTests.swift".count)) + "goodput.txt"
        guard unsafe getenv("UPDATE_GOODPUT") == nil, let committed = Self.read(path) else {
            Self.write(path, table)
            return
        }
        let was = committed.split(separator: "\n").filter { !$0.hasPrefix("#") }
        try #require(was.count == lines.count)
        for (now, then) in zip(lines, was) {
            let (new, old) = (now.split(separator: " | "), then.split(separator: " | "))
            #expect(new.prefix(3) == old.prefix(3))
            for (a, b) in zip(new, old).dropFirst(3) {
                let (new, old) = (try #require(Int(a)), try #require(Int(b)))
                #expect(new * 4 >= old * 3, "now \(now), was \(then)")
            }
        }
    }

    /// Windows grow with the path: 100 ms by 1 Gbit/s holds 12.5 MB, and is full once slow start is over. From the guest here; to it in
    /// the table's last row, which says so of itself as well.
    @Test func aLongFatPathFillsFromTheGuest() {
        let rate = Self.goodput(
            mtu: 65_520, loss: Self.losses[0], roundTrip: 100_000, buffer: .bdp, toGuest: false, size: 200_000_000,
            secondHalf: true, seeds: 1...1)
        #expect(rate * 1000 >= Self.rate * 9 / 10, "\(rate) KB/s")
    }

    static func read(_ path: String) -> String? {
        guard let file = unsafe fopen(path, "r") else { return nil }
        defer { unsafe fclose(file) }
        var buffer = [UInt8](repeating: 0, count: 65_536)
        let count = unsafe fread(&buffer, 1, buffer.count, file)
        return String(decoding: buffer.prefix(count), as: UTF8.self)
    }

    static func write(_ path: String, _ text: String) {
        guard let file = unsafe fopen(path, "w") else { return }
        unsafe fputs(text, file)
        unsafe fclose(file)
    }
}
