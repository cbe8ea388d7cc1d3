import Wire

// Path MTU without ICMP (RFC 4821, RFC 8899): a router behind the guest that drops what is too big and says nothing.
//
//   black hole   three timeouts in a row with full segments in flight (as Linux' tcp_retries1): the size falls to 1024 (IPv4) or 1280 (IPv6) bytes a packet, after
//                two more to the least that a path must take (RFC 4821 section 7.7)
//   search       from there up, one segment of new text at a time, halfway to what is known to be too big. It arrives: the size is
//                raised. It is lost: it is sent again in pieces, which is no sign of congestion (RFC 4821 section 7.6.2)
//   rest         within 16 bytes the search ends; ten minutes later it begins anew, since a path may have widened (section 7.3;
//                the same after a router's complaint, RFC 8201 section 4)
//
// The bounds are in the connection, six bytes; a probe on its way is in the flight.

extension Connection {
    /// Bytes of the headers of a segment with text.
    var headers: Int { key.headersLength + (flags.contains(.timestamps) ? 12 : 0) }

    /// What every path is tried with first once bigger packets vanish.
    private var baseSize: Int { (key.isV4 ? 1024 : 1280) - headers }

    /// RFC 8200 section 5; PacketTooBig.minimum.
    private var leastSize: Int { PacketTooBig.minimum(isV4: key.isV4) - headers }

    /// Packets closer to the bound than this are not searched for.
    private static let grain = 16
    /// RFC 8899 section 5.1.1, PMTU_RAISE_TIMER, milliseconds.
    private static let rest: UInt32 = 600_000

    /// A timeout: after the third and the fifth in a row smaller segments are tried.
    mutating func narrowAfterTimeout(at now: Instant) {
        guard expiries == 3 || expiries == 5, snd.nxt - snd.una >= snd.mss else { return }
        let size = expiries == 3 ? baseSize : leastSize
        guard size < snd.mss else { return }
        tooBig = snd.mss
        snd.mss = size
        probePathAt = now.millisecondStamp
    }

    /// The path was said to take `size` bytes and no more.
    mutating func pathIsKnown(size: Int, at now: Instant) {
        snd.mss = size
        tooBig = size + 1
        probePathAt = now.millisecondStamp &+ Self.rest
    }

    /// The size of a probe to send now; nil when there is nothing to find out.
    mutating func pathProbe(waiting: Int, room: Int, at now: Instant, shared: borrowing TCPShared) -> Int? {
        guard shared.flights[flight].recovery == .none, shared.flights[flight].pathProbe == 0,
            Int32(bitPattern: now.millisecondStamp &- probePathAt) >= 0
        else { return nil }
        if tooBig - snd.mss <= Self.grain { tooBig = ceiling + 1 }
        // Nothing known to be too big: the whole of it is the likeliest to pass.
        let size = tooBig > ceiling ? ceiling : (snd.mss + tooBig) / 2
        return size > snd.mss && waiting >= size && room >= size ? size : nil
    }

    /// Everything up to a probe's end is acknowledged.
    mutating func pathProbeArrived(at now: Instant, shared: inout TCPShared) {
        snd.mss = max(snd.mss, shared.flights[flight].pathProbe)
        endPathProbe(at: now, shared: &shared)
    }

    /// Whether what is lost is a probe and nothing else; it is remembered as too big.
    mutating func pathProbeIsLost(at now: Instant, shared: inout TCPShared) -> Bool {
        let size = shared.flights[flight].pathProbe
        guard size > 0, let lost = shared.flights[flight].transmissions.firstLost,
            lost.left < shared.flights[flight].pathProbeEnd, lost.right > shared.flights[flight].pathProbeEnd - size
        else { return false }
        let isAll = shared.flights[flight].transmissions.lost <= size
        tooBig = min(tooBig, size)
        endPathProbe(at: now, shared: &shared)
        return isAll
    }

    /// The search goes on, or rests.
    private mutating func endPathProbe(at now: Instant, shared: inout TCPShared) {
        shared.flights[flight].pathProbe = 0
        if tooBig - snd.mss <= Self.grain { probePathAt = now.millisecondStamp &+ Self.rest }
    }
}
