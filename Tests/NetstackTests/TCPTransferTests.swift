@testable import Netstack
import Simnet
import Testing
import Wire

// Byte-identical transfer in both directions at once over wires with every fault, hundreds of seeds. A failing row names
// its seed, and the seed alone repeats it.

/// What a seed stands for.
struct TransferCase: CustomTestStringConvertible, Sendable {
    var seed: UInt64
    var size: Int
    var guest = GuestTCP.Options()
    var faults = WireFaults()
    var script = HostScript()
    var mtu = 1500

    var testDescription: String { "seed \(seed), \(size) bytes" }

    init(seed: UInt64, size: Int) {
        self.seed = seed
        self.size = size
        var random = SeededRandom(seed)
        guest.sack = random.chance(0.7)
        guest.timestamps = random.chance(0.6)
        guest.windowScale = random.chance(0.8) ? UInt8(random.below(10)) : nil
        guest.mss = [1460, 1460, 1440, 536, 100, 9000][random.below(6)]
        guest.receiveBuffer = [4_000, 20_000, 64_000, 256_000][random.below(4)]
        guest.superSegments = [1, 1, 4, 20][random.below(4)]
        guest.isV4 = random.chance(0.7)
        if !guest.isV4 { guest.remote.address = IPAddress("2001:db8::7")! }
        // Sequence numbers wrap early in half of the runs.
        guest.iss =
            random.chance(0.5) ? UInt32.max - UInt32(random.below(20_000)) : UInt32(truncatingIfNeeded: random.next())
        if random.chance(0.3) {
            guest.readSize = 3_000 + random.below(30_000)
            guest.readInterval = .milliseconds(Int64(1 + random.below(20)))
        }
        guest.closesAfterPeer = random.chance(0.3)
        faults.loss = [0, 0.005, 0.02, 0.05, 0.1][random.below(5)]
        let burst = [1, 1, 3, 8][random.below(4)]
        if burst > 1 {
            faults.bursts = GilbertElliott(share: faults.loss, length: Double(burst))
            faults.loss = 0
        }
        faults.duplication = [0, 0.01, 0.05][random.below(3)]
        faults.reordering = [0, 0.02, 0.2][random.below(3)]
        faults.reorderDelay = .milliseconds(Int64(1 + random.below(20)))
        if random.chance(0.2) { faults.jitter = .milliseconds(Int64(1 + random.below(10))) }
        faults.delay = [Int64](arrayLiteral: 10_000, 1_000_000, 20_000_000, 100_000_000)[random.below(4)]
        if random.chance(0.3) {
            faults.bandwidth = 2_000_000 + random.below(20_000_000)
            faults.queue = 30_000 + random.below(200_000)
        }
        mtu = [1500, 1500, 9000, 576 + 800][random.below(4)]
        script.sendBuffer = [5_000, 50_000, 500_000][random.below(3)]
        if random.chance(0.5) {
            script.readSize = 2_000 + random.below(60_000)
            script.readInterval = .milliseconds(Int64(1 + random.below(10)))
        }
        if random.chance(0.3) { script.largestSend = 1 + random.below(5_000) }
        if random.chance(0.3) { script.largestReceive = 100 + random.below(5_000) }
        if random.chance(0.2) { script.spuriousEvery = 2 + random.below(5) }
        script.endsAfterGuest = !guest.closesAfterPeer && random.chance(0.3)
        script.stream = random.bytes(size)
    }

    /// - Returns: the most that one read of the host's socket took.
    @discardableResult
    func run() -> Int {
        var random = SeededRandom(seed ^ 0xabcdef)
        let stream = random.bytes(size)
        var simulation = Simulation(Simulation.configuration(mtu: mtu), up: faults, down: faults, seed: seed)
        simulation.host.script = script
        let guest = simulation.connect(guest, stream: stream)
        let limit = Int64.seconds(7_000)
        let done = simulation.run(for: limit) { $0.guests[guest].isFinished && $0.host.sockets.first?.closed == true }
        let end = simulation.guests[guest]
        if !done {
            Issue.record(
                "\(self): stuck at \(simulation.now): \(end.state), guest has \(end.received.count), ended \(end.peerEnded), sent \(end.una)..\(end.nxt), host has \(simulation.host.sockets.first?.received.count ?? -1)"
            )
        }
        // Not in the macro, which would describe every byte of a failure.
        let toGuest = end.received == script.stream
        #expect(toGuest, "\(self): host to guest")
        let toHost = simulation.host.sockets.first?.received == stream
        #expect(toHost, "\(self): guest to host")
        #expect(simulation.violations.isEmpty, "\(self): \(simulation.violations.prefix(4))")
        // Nothing stays behind.
        simulation.run(for: .seconds(400))
        #expect(simulation.core.connectionCount == 0, "\(self): connections")
        #expect(simulation.core.chunksInUse == 0, "\(self): chunks")
        #expect(simulation.core.timeWaitCount == 0, "\(self): TIME-WAITs")
        return simulation.host.largestRead
    }
}

@Suite struct TCPTransferTests {
    @Test("a clean wire", arguments: [1, 1_000, 100_000, 1_000_000])
    func clean(size: Int) {
        var row = TransferCase(seed: 1, size: size)
        row.faults = WireFaults()
        row.guest = GuestTCP.Options()
        row.script = HostScript()
        row.script.stream = [UInt8](repeating: 7, count: size)
        row.run()
    }

    @Test("faulty wires, small transfers", arguments: 1...300)
    func small(seed: Int) { TransferCase(seed: UInt64(seed), size: 20_000).run() }

    @Test("faulty wires, 200 KB each way", arguments: 1_001...1_060)
    func large(seed: Int) { TransferCase(seed: UInt64(seed), size: 200_000).run() }

    /// Enough for reads into several chunks, whose pieces get lost like any others.
    @Test("bulk", arguments: 2_001...2_024)
    func bulk(seed: Int) {
        var row = TransferCase(seed: UInt64(seed), size: 2_000_000)
        row.guest.receiveBuffer = 3_000_000
        row.guest.windowScale = 8
        row.guest.mss = max(row.guest.mss, 1440)
        row.guest.readSize = nil
        row.script.largestReceive = .max
        row.faults = WireFaults()
        row.faults.loss = seed % 2 == 0 ? 0.001 : 0
        row.faults.reordering = seed % 3 == 0 ? 0.001 : 0
        row.faults.reorderDelay = .milliseconds(1)
        row.faults.delay = .milliseconds(1)
        let largest = row.run()
        if seed % 2 == 1, seed % 3 != 0 {
            #expect(largest > ChunkPool.chunkSize, "\(row): no read took more than a chunk")
        }
    }
}
