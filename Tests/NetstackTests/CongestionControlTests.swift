@testable import Netstack
import Testing
import Wire

/// CUBIC's integers against the formulas of RFC 9438 in floating point, and the reductions.
@Suite struct CongestionControlTests {
    @Test func cubeRootsAreExact() {
        for root in [0, 1, 2, 3, 10, 255, 1000, 65_535, 1_000_000] as [UInt64] {
            #expect(Cubic.cubeRoot(root * root * root) == UInt32(root))
            if root > 1 { #expect(Cubic.cubeRoot(root * root * root - 1) == UInt32(root - 1)) }
        }
        #expect(Cubic.cubeRoot(.max) == 2_642_245)
    }

    /// HyStart++ over rounds of `count` samples with these round trips; the round in which slow start ended, and those of careful growth.
    static func hyStart(_ trips: [UInt32], count: Int = 10) -> (end: Int?, careful: [Int]) {
        var next = SequenceNumber(rawValue: 1)
        var state = HyStart(at: next)
        var careful: [Int] = []
        for (round, rtt) in trips.enumerated() {
            let end = next + count
            for i in 1...count {
                if state.measured(rtt, una: next + i, nxt: end + i) { return (round, careful) }
            }
            if state.isCareful { careful.append(round) }
            next = end
        }
        return (nil, careful)
    }

    @Test func slowStartGoesOnWhileTheRoundTripStays() {
        let steady = Self.hyStart(Array(repeating: 100_000, count: 30))
        #expect(steady.end == nil && steady.careful.isEmpty)
        // Less than an eighth more, and less than 4 ms more.
        #expect(Self.hyStart((0..<30).map { UInt32(100_000 + 12_000 * $0) }).careful.isEmpty)
        #expect(Self.hyStart((0..<30).map { UInt32(500 + 3_900 * $0) }).careful.isEmpty)
    }

    @Test func slowStartEndsFiveRoundsAfterTheQueueShows() {
        let grown = Self.hyStart([50_000, 50_000] + Array(repeating: 57_000, count: 20))
        #expect(grown.careful.first == 2)
        #expect(grown.end == 7)
        // Next door, 4 ms are as much as any growth can be overlooked.
        #expect(Self.hyStart([100, 100] + Array(repeating: 4_200, count: 20)).end == 7)
        // 16 ms at most, however long the path is.
        #expect(Self.hyStart([400_000, 400_000] + Array(repeating: 416_000, count: 20)).end == 7)
    }

    @Test func aChanceGrowthIsTakenBack() {
        let chance = Self.hyStart([50_000, 50_000, 60_000, 50_000] + Array(repeating: 50_000, count: 20))
        #expect(chance.end == nil && chance.careful == [2])
    }

    @Test func fewSamplesSayNothing() {
        #expect(Self.hyStart([50_000, 50_000] + Array(repeating: 90_000, count: 20), count: 7).careful.isEmpty)
    }

    @Test(arguments: [536, 1448, 8948, 65_483])
    func theCurveIsTheRFCs(mss: Int) {
        for milliseconds in [-100_000, -5_000, -1_000, -50, 0, 50, 700, 3_000, 20_000] {
            let t = Double(milliseconds) / 1000
            let exact = 0.4 * t * t * t * Double(mss)
            #expect(abs(Double(Cubic.curve(milliseconds, mss: mss)) - exact) <= abs(exact) / 100 + Double(mss) / 100)
        }
        // No time and no size overflows.
        #expect(Cubic.curve(.max, mss: mss) > 0)
        #expect(Cubic.curve(.min, mss: mss) < 0)
    }

    /// The window after `seconds` of round trips of `rtt` milliseconds from a reduction at `peak` bytes.
    static func window(peak: Int, seconds: Int, rtt: Int, mss: Int = 1448) -> Int {
        var epoch = Cubic.Epoch()
        var cwnd = peak * 7 / 10
        var now = Instant(nanoseconds: 5_000_000_000)
        for _ in 0..<(seconds * 1000 / rtt) {
            // A window's worth of ACKs, each for two segments.
            for _ in 0..<max(1, cwnd / (2 * mss)) {
                cwnd = epoch.window(
                    cwnd, maximum: peak, acked: 2 * mss, mss: mss, srtt: .milliseconds(Int64(rtt)), now: now)
            }
            now = now + .milliseconds(Int64(rtt))
        }
        return cwnd
    }

    @Test func theWindowFollowsTheCurveOnALongPath() {
        // 1000 segments lost 300: K is the cube root of 300 / 0.4, 9.09 s.
        let peak = 1000 * 1448
        #expect(Cubic.inflection(gap: 300 * 1448, mss: 1448) == 9_085)
        let early = Self.window(peak: peak, seconds: 3, rtt: 100)
        let exact = 1448.0 * (1000 + 0.4 * (3.0 - 9.085) * (3.0 - 9.085) * (3.0 - 9.085))
        #expect(abs(Double(early) - exact) < 0.03 * exact, "\(early), \(exact)")
        let plateau = Self.window(peak: peak, seconds: 9, rtt: 100)
        #expect(abs(plateau - peak) < peak / 50)
        // Beyond it the curve is convex.
        #expect(Self.window(peak: peak, seconds: 15, rtt: 100) > peak * 105 / 100)
    }

    @Test func aShortPathGrowsAsRenoWould() {
        // Section 4.3: at 1 ms the curve would need K = 2.9 s for this; Reno's estimate is faster.
        let peak = 100 * 1448
        let grown = Self.window(peak: peak, seconds: 1, rtt: 1)
        // 70 segments and half a segment a round trip up to 100, then one.
        #expect(grown > 600 * 1448, "\(grown / 1448)")
    }

    static func connection(cwnd: Int, inFlight: Int) -> (Connection, Configuration) {
        let key = FlowKey(
            guest: Endpoint(address: IPAddress(v4: 1), port: 1), remote: Endpoint(address: IPAddress(v4: 2), port: 2))
        var connection = Connection(key: key, guestMAC: MACAddress(rawValue: 2))
        connection.snd.mss = 1000
        connection.cwnd = cwnd
        connection.snd.una = SequenceNumber(rawValue: 0)
        connection.snd.nxt = SequenceNumber(rawValue: UInt32(inFlight))
        let configuration = Configuration(
            v4: nil, v6: nil, gatewayLinkLocal: IPAddress(v4: 1), gatewayMAC: MACAddress(rawValue: 2))
        return (connection, configuration)
    }

    @Test(arguments: [(CongestionControl.cubic, 70_000), (.reno, 50_000)])
    func aLossReduces(algorithm: CongestionControl, threshold: Int) {
        var (connection, configuration) = Self.connection(cwnd: 100_000, inFlight: 100_000)
        configuration.congestion = algorithm
        var shared = TCPShared(configuration, secret: 1)
        connection.reduceThreshold(&shared)
        #expect(connection.ssthresh == threshold)
        // Never below two segments.
        connection.snd.nxt = connection.snd.una + 100
        connection.reduceThreshold(&shared)
        #expect(connection.ssthresh == 2_000)
    }

    @Test func fastConvergenceLowersThePeak() {
        var (connection, configuration) = Self.connection(cwnd: 100_000, inFlight: 100_000)
        configuration.congestion = .cubic
        var shared = TCPShared(configuration, secret: 1)
        connection.reduceThreshold(&shared)
        #expect(connection.maxCwnd == 100_000)
        connection.cwnd = 80_000
        connection.reduceThreshold(&shared)
        #expect(connection.maxCwnd == 68_000)
    }

    @Test func aWindowThatIsNotUsedDoesNotGrow() {
        var (connection, configuration) = Self.connection(cwnd: 100_000, inFlight: 10_000)
        configuration.congestion = .reno
        var shared = TCPShared(configuration, secret: 1)
        connection.growWindow(by: 10_000, inFlight: 10_000, now: Instant(nanoseconds: 0), shared: &shared)
        #expect(connection.cwnd == 100_000)
        connection.ssthresh = 50_000
        connection.growWindow(by: 10_000, inFlight: 40_000, now: Instant(nanoseconds: 0), shared: &shared)
        #expect(connection.cwnd == 100_000)
        connection.growWindow(by: 10_000, inFlight: 100_000, now: Instant(nanoseconds: 0), shared: &shared)
        #expect(connection.cwnd == 100_100)
    }

    @Test func aPauseBeginsAgainWithTheInitialWindow() {
        var (connection, _) = Self.connection(cwnd: 500_000, inFlight: 0)
        connection.rto = .milliseconds(200)
        connection.lastSent = 1_000
        connection.snd.iss = connection.snd.una - 1_000
        connection.restartAfterIdle(at: Instant(nanoseconds: .milliseconds(1_150)))
        #expect(connection.cwnd == 500_000)
        connection.restartAfterIdle(at: Instant(nanoseconds: .milliseconds(1_250)))
        #expect(connection.cwnd == 14_600)
    }
}
