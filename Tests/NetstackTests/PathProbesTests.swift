import Simnet
import Testing
import Wire

@testable import Netstack

/// A narrow router that says nothing (RFC 4821).
@Suite struct PathProbesTests {
    struct Row: CustomTestStringConvertible, Sendable {
        var isV4 = true
        var mtu: Int
        var link = 1500
        var sack = true
        var timestamps = true
        var loss = 0.0
        var testDescription: String {
            "IPv\(isV4 ? 4 : 6) \(link) to \(mtu)\(timestamps ? " ts" : "")\(sack ? " sack" : "") loss \(loss)"
        }
    }

    static let rows: [Row] = [
        Row(mtu: 1400), Row(mtu: 1400, sack: false), Row(mtu: 1400, timestamps: false), Row(mtu: 600),
        Row(mtu: 1500, link: 9000), Row(mtu: 1500, link: 65_520), Row(isV4: false, mtu: 1280),
        Row(isV4: false, mtu: 1400, link: 9000), Row(mtu: 1400, loss: 0.01), Row(isV4: false, mtu: 1300, loss: 0.01),
    ]

    static func start(_ row: Row, bytes: Int) -> Simulation {
        var down = WireFaults()
        down.loss = row.loss
        down.bandwidth = 20_000_000
        down.queue = 1 << 21
        var simulation = Simulation(Simulation.configuration(mtu: row.link) { _ in }, down: down)
        simulation.router = NarrowRouter(mtu: row.mtu)
        simulation.router?.isSilent = true
        simulation.host.script.stream = TCPScenarioTests.bytes(bytes)
        var options = GuestTCP.Options()
        options.isV4 = row.isV4
        options.timestamps = row.timestamps
        options.sack = row.sack
        options.mss = row.link - (row.isV4 ? 40 : 60)
        options.receiveBuffer = 1 << 18
        if !row.isV4 { options.remote.address = IPAddress("2001:db8::7")! }
        simulation.connect(options)
        return simulation
    }

    /// The largest packet of the last frames that the guest got.
    static func largest(_ simulation: borrowing Simulation) -> Int {
        (simulation.trace ?? []).suffix(40).flatMap(\.segments).map { $0.bytes.count - 14 }.filter {
            $0 <= simulation.router?.mtu ?? .max
        }.max() ?? 0
    }

    @Test("a black hole is noticed and its size found", arguments: rows)
    func blackHole(_ row: Row) {
        let bytes = row.link > 9000 ? 8_000_000 : 3_000_000
        var simulation = Self.start(row, bytes: bytes)
        simulation.trace = []
        simulation.run(for: .seconds(120)) { $0.guests[0].isFinished }
        let isSame = simulation.guests[0].received == TCPScenarioTests.bytes(bytes)
        #expect(isSame, "\(simulation.guests[0].received.count)")
        #expect(simulation.violations.isEmpty, "\(simulation.violations.prefix(3))")
        if row.loss == 0 {
            #expect(simulation.core.tcpCounters.timeouts <= (row.mtu < 1024 ? 5 : 3), "\(simulation.core.tcpCounters)")
            // Within the grain of what the path takes.
            let found = Self.largest(simulation)
            #expect(found > row.mtu - 32, "\(found)")
        }
    }

    @Test func aPathThatWidensIsNoticed() {
        var simulation = Self.start(Row(mtu: 1400), bytes: 0)
        simulation.host.script.ends = false
        simulation.host.sockets.removeAll()
        simulation.run(for: .milliseconds(50))
        simulation.host.sockets[0].script.ends = false
        simulation.host.sockets[0].script.stream = TCPScenarioTests.bytes(500_000)
        simulation.run(for: .seconds(60))
        #expect(simulation.guests[0].received.count == 500_000)
        simulation.router = nil
        simulation.run(for: .seconds(601))
        simulation.trace = []
        simulation.host.sockets[0].script.stream += TCPScenarioTests.bytes(500_000)
        simulation.run(for: .seconds(60))
        #expect(simulation.guests[0].received.count == 1_000_000)
        #expect(simulation.trace?.contains { $0.offload.segmentSize == 1448 } == true)
    }

    @Test func aLostProbeIsNoCongestion() {
        var simulation = Self.start(Row(mtu: 1400), bytes: 3_000_000)
        simulation.run(for: .seconds(120)) { $0.guests[0].isFinished }
        // The one before the black hole was noticed: the runt at the first flight's end had passed.
        #expect(simulation.core.tcpCounters.recoveries <= 1, "\(simulation.core.tcpCounters)")
    }
}
