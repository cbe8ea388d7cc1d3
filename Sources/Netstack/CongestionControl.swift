import Wire

// How much may be in flight to the guest: slow start and congestion avoidance (RFC 5681), CUBIC (RFC 9438) or NewReno's growth,
// the reduction at a loss. What is lost is LossRecovery's affair.
//
//   slow start            cwnd += acked bytes, whole super-frames at once (RFC 9438 leaves the limit open; RFC 3465's L)
//                         with CUBIC the first one ends when the round trip grows (HyStart.swift)
//   avoidance, Reno       cwnd += MSS per window acknowledged
//   avoidance, CUBIC      cwnd follows C (t - K)^3 + W_max, or Reno's estimate where that is more (section 4.3)
//   loss, ECE             ssthresh = 0.7 (CUBIC) or 0.5 (Reno) of what is in flight; never below two segments
//
// A window that is not used does not grow (RFC 9438 section 5.8, RFC 7661): an ACK counts only when what was in flight came
// close to the window. After a pause of more than a retransmission timeout sending starts again with the initial window
// (RFC 5681 section 4.1). The guest is microseconds away, so that costs little.
//
// CUBIC's epoch is in the flight, W_max in the connection. An epoch that ends because the queue ran empty begins again on the same
// curve: K is computed from where the window stands. All arithmetic is in integers: bytes and milliseconds.

extension Connection {
    /// RFC 6928: ten segments, or what fits in about 14,600 bytes. A guest's link is memory, so the larger of both.
    var initialWindow: Int { max(10 * snd.mss, 14_600) }

    /// After a reduction at least this (RFC 5681, equation 4).
    private var smallestThreshold: Int { 2 * snd.mss }

    /// An ACK for `acked` bytes while `inFlight` bytes were in flight before it.
    mutating func growWindow(by acked: Int, inFlight: Int, now: Instant, shared: inout TCPShared) {
        guard cwnd < TCPLimits.sendLimit else { return }
        if cwnd < ssthresh {
            // Twice what was used: the next round trip may need it.
            let isCareful = flight != .max && shared.flights[flight].hyStart.isCareful && isFirstSlowStart
            if inFlight * 2 >= cwnd { cwnd += isCareful ? acked / HyStart.growthDivisor : acked }
            return
        }
        guard isWindowLimited(inFlight) else {
            if flight != .max { shared.flights[flight].cubic = Cubic.Epoch() }
            return
        }
        switch shared.congestion {
        case .reno: cwnd += max(1, snd.mss * min(acked, cwnd) / cwnd)
        case .cubic:
            guard flight != .max else { return }
            cwnd = shared.flights[flight].cubic.window(
                cwnd, maximum: maxCwnd, acked: acked, mss: snd.mss, srtt: srtt, now: now)
        }
        if cwnd > TCPLimits.sendLimit { cwnd = TCPLimits.sendLimit }
    }

    /// No loss has set a threshold yet.
    @inline(__always)
    private var isFirstSlowStart: Bool { ssthresh >= Int(UInt32.max) }

    /// A round trip was measured, in microseconds.
    @inline(__always)
    mutating func watchSlowStart(_ rtt: UInt32, shared: inout TCPShared) {
        guard isFirstSlowStart, shared.congestion == .cubic else { return }
        if shared.flights[flight].hyStart.measured(rtt, una: snd.una, nxt: snd.nxt) { ssthresh = cwnd }
    }

    /// Reading from the host waits for a useful burst, so a window is used up when less than that is left of it.
    private func isWindowLimited(_ inFlight: Int) -> Bool { inFlight + max(snd.mss, cwnd / 4) >= cwnd }

    /// A loss or a mark: the threshold falls; the caller says what becomes of the window.
    mutating func reduceThreshold(_ shared: inout TCPShared) {
        let used = min(cwnd, max(snd.nxt - snd.una, snd.mss))
        // RFC 3168 section 6.1.2: whatever the reason, the guest is told.
        if flags.contains(.ecn) { flags.insert(.windowReduced) }
        switch shared.congestion {
        case .reno: ssthresh = max(used / 2, smallestThreshold)
        case .cubic:
            ssthresh = max(used * 7 / 10, smallestThreshold)
            // Fast convergence (section 4.7): a window that shrank twice in a row makes room for newcomers.
            maxCwnd = cwnd < maxCwnd ? cwnd * 17 / 20 : cwnd
            if flight != .max { shared.flights[flight].cubic = Cubic.Epoch() }
        }
    }

    /// RFC 5681 section 4.1, before new text is sent with nothing in flight.
    mutating func restartAfterIdle(at now: Instant) {
        let elapsed = Int64(now.millisecondStamp &- lastSent) * 1_000_000
        guard elapsed > rto, snd.nxt - snd.iss != 1 else { return }
        cwnd = min(cwnd, initialWindow)
        // The path may have changed meanwhile.
        minRTT = srtt
    }
}

/// RFC 9438 in integers.
enum Cubic {
    /// One stretch of congestion avoidance without a reduction.
    struct Epoch: BitwiseCopyable {
        private var isRunning = false
        /// Milliseconds modulo 2^32.
        private var start: UInt32 = 0
        /// Milliseconds from the start until the curve is back at `origin` (section 4.2, K).
        private var k: UInt32 = 0
        @Word private var origin = 0
        /// What Reno's window would be (section 4.3, W_est).
        @Word private var estimate = 0
        /// Bytes acknowledged that have not made a byte of `estimate` yet, in thousandths.
        private var rest: UInt32 = 0

        /// The window after an ACK for `acked` bytes.
        /// - Parameters:
        ///   - maximum: W_max in bytes.
        ///   - srtt: in nanoseconds.
        mutating func window(_ cwnd: Int, maximum: Int, acked: Int, mss: Int, srtt: Int64, now: Instant) -> Int {
            if !isRunning {
                isRunning = true
                start = now.millisecondStamp
                origin = max(maximum, cwnd)
                estimate = cwnd
                k = Cubic.inflection(gap: origin - cwnd, mss: mss)
            }
            let elapsed = Int(now.millisecondStamp &- start)
            let acked = min(acked, cwnd)

            // Section 4.3: alpha is 3 (1 - 0.7) / (1 + 0.7) until the old window is reached, then 1.
            let alpha = estimate < origin ? 529 : 1000
            let grown = alpha * mss * acked / cwnd + Int(rest)
            estimate += grown / 1000
            rest = UInt32(grown % 1000)
            if Cubic.curve(elapsed - Int(k), mss: mss) + origin < estimate { return max(cwnd, estimate) }

            // Sections 4.4 and 4.5: towards where the curve is a round trip from now, at most half again as much.
            let ahead = Cubic.curve(elapsed + Int(srtt / 1_000_000) - Int(k), mss: mss) + origin
            let target = min(max(ahead, cwnd), cwnd + cwnd / 2)
            return cwnd + (target - cwnd) * acked / cwnd
        }
    }

    /// C t^3 in bytes for t in milliseconds, C = 0.4 segments per second cubed (section 4.1.1 and 5.1).
    static func curve(_ t: Int, mss: Int) -> Int {
        // A hundred seconds away from the inflection is beyond any window.
        let t = min(max(t, -100_000), 100_000)
        // Thousandths of a segment: 0.4 t^3 / 10^9 * 10^3.
        return t * t * t / 2_500_000 * mss / 1000
    }

    /// K in milliseconds: the cube root of (W_max - cwnd) / C (section 4.2, equation 2).
    static func inflection(gap: Int, mss: Int) -> UInt32 {
        guard gap > 0 else { return 0 }
        // (gap / mss) / 0.4 s^3 = gap * 2.5 * 10^9 / mss ms^3.
        return cubeRoot(UInt64(gap) &* 2_500_000_000 / UInt64(max(1, mss)))
    }

    /// The integer cube root, digit by digit in base 2.
    static func cubeRoot(_ value: UInt64) -> UInt32 {
        var rest = value
        var root: UInt64 = 0
        var shift = 63
        while shift >= 0 {
            root <<= 1
            let step = 3 &* root &* (root &+ 1) &+ 1
            if rest >> UInt64(shift) >= step {
                rest &-= step << UInt64(shift)
                root += 1
            }
            shift -= 3
        }
        return UInt32(truncatingIfNeeded: root)
    }
}
