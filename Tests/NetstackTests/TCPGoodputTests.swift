import Netstack
import Simnet
import Testing
import Wire

#if canImport(Glibc)
    import Glibc
#endif

// Bytes a second from host to guest by loss and delay: the committed table goodput.txt, which a change may better but not
// worsen by more than a quarter. UPDATE_GOODPUT=1 writes it anew.

@Suite struct TCPGoodputTests {
    static let losses = [0.0, 0.001, 0.01, 0.05]
    static let delays: [Int64] = [50_000, 1_000_000, 10_000_000]

    /// Mean over seeds, in KB/s of virtual time.
    static func goodput(loss: Double, delay: Int64, toGuest: Bool) -> Int {
        var total = 0.0
        for seed in 1...5 {
            var faults = WireFaults()
            faults.delay = delay
            faults.loss = loss
            faults.bandwidth = 125_000_000
            faults.queue = 1 << 20
            var simulation = Simulation(up: faults, down: faults, seed: UInt64(seed))
            let stream = [UInt8](repeating: 1, count: 2_000_000)
            simulation.host.script.stream = toGuest ? stream : []
            var options = GuestTCP.Options()
            options.receiveBuffer = 2 << 20
            simulation.connect(options, stream: toGuest ? [] : stream)
            let start = simulation.now
            simulation.run(for: .seconds(600)) {
                $0.guests[0].received.count + ($0.host.sockets.first?.received.count ?? 0) == 2_000_000
            }
            total += 2_000_000 / Double(simulation.now - start) * 1e6
        }
        return Int(total / 5)
    }

    @Test func theTableHolds() throws {
        var lines = ["host to guest, KB/s, by loss (rows) and one-way delay (columns: 0.05, 1, 10 ms); 1 Gbit/s, 2 MB"]
        for loss in Self.losses {
            let row = Self.delays.map { String(Self.goodput(loss: loss, delay: $0, toGuest: true)) }
            lines.append("\(loss) " + row.joined(separator: " "))
        }
        let table = lines.joined(separator: "\n") + "\n"
        print(table)
        let path = String(#filePath.dropLast("TCPGoodputTests.swift".count)) + "goodput.txt"
        guard let committed = Self.read(path), unsafe getenv("UPDATE_GOODPUT") == nil else {
            Self.write(path, table)
            return
        }
        for (now, then) in zip(lines.dropFirst(), committed.split(separator: "\n").dropFirst()) {
            let values = zip(now.split(separator: " "), then.split(separator: " "))
            for (a, b) in values.dropFirst() {
                let (new, old) = (try #require(Int(a)), try #require(Int(b)))
                #expect(new * 4 >= old * 3, "now \(now), was \(then)")
            }
        }
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
