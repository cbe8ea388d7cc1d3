import Wire

// When the first slow start has gone far enough: HyStart++ (RFC 9406). A queue that builds at the bottleneck shows as a round trip that
// grows, long before it overflows and a whole window's worth is lost at once.
//
//                round trip grew by max(4 ms, min(last / 8, 16 ms))            five rounds
//     slow start ──────────────────────────────────────────────────▶ careful ─────────────▶ ssthresh = cwnd
//         ▲                                                             │
//         └───────── it is below what it was then: that was chance ─────┘
//
// Careful growth is a quarter of the acknowledged bytes. A round ends when what was sent last as it began is acknowledged; it counts only with
// eight samples. A guest next door, with round trips far below 4 ms, hardly ever gets here. Only before the first loss (section 4.3).

/// HyStart++'s view of one slow start. Times are in microseconds.
struct HyStart: BitwiseCopyable {
    /// RFC 9406 section 4.3.
    private static let samplesPerRound: UInt8 = 8
    private static let carefulRounds: UInt8 = 5
    static let growthDivisor = 4

    private var roundEnd = SequenceNumber(rawValue: 0)
    private var lastMinimum = UInt32.max
    private var minimum = UInt32.max
    /// The minimum with which careful growth began.
    private var baseline = UInt32.max
    private var samples: UInt8 = 0
    private var rounds: UInt8 = 0
    private(set) var isCareful = false

    init(at sequence: SequenceNumber) { roundEnd = sequence }

    /// A round trip of `rtt` was measured by an ACK up to `una`, while everything before `nxt` was sent. True when slow start is over.
    mutating func measured(_ rtt: UInt32, una: SequenceNumber, nxt: SequenceNumber) -> Bool {
        minimum = min(minimum, rtt)
        if samples < .max { samples += 1 }
        if samples >= Self.samplesPerRound {
            if isCareful {
                if minimum < baseline {
                    isCareful = false
                    baseline = .max
                }
            } else if lastMinimum != .max, minimum >= lastMinimum &+ min(max(lastMinimum / 8, 4_000), 16_000) {
                isCareful = true
                baseline = minimum
                rounds = 0
            }
        }
        guard una >= roundEnd else { return false }
        roundEnd = nxt
        lastMinimum = minimum
        minimum = .max
        samples = 0
        guard isCareful else { return false }
        rounds += 1
        return rounds >= Self.carefulRounds
    }
}
