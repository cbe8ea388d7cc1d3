import Netstack
import Wire

// The sending half of a GuestTCP: Reno (RFC 5681) with the plainest recovery of RFC 2018 or RFC 6582, and RFC 6298's estimate.

extension GuestTCP {
    mutating func acknowledged(
        _ ack: Int, _ window: Int, _ parsed: TCPOptions, isPure: Bool, _ now: Instant
    ) {
        let reported = usesSack && note(parsed)
        if ack > una {
            if let timed, ack > timed.number {
                sample(now - timed.at)
                self.timed = nil
            }
            let acked = ack - una
            una = ack
            nxt = max(nxt, ack)
            backoff = 0
            duplicates = 0
            sacked.removeAll { $0.upperBound <= ack }
            if una > dataEnd { endAcknowledged = true }
            if recovering {
                if ack >= recover {
                    recovering = false
                    cwnd = ssthresh
                } else {
                    resendHole(now, restart: !usesSack)
                }
            } else if cwnd < ssthresh {
                cwnd += acked
            } else {
                cwnd += max(1, segmentSize * acked / cwnd)
            }
            timerAt = una == nxt ? .never : now + rto
        } else if ack == una, nxt > una, usesSack ? reported : isPure && window == peerWindow {
            duplicates += 1
            if recovering {
                resendHole(now, restart: false)
            } else if duplicates == 3 {
                recovering = true
                recover = nxt
                ssthresh = max((nxt - una) / 2, 2 * segmentSize)
                cwnd = ssthresh
                resendNext = una
                timed = nil
                resendHole(now, restart: true)
            }
        }
        if ack >= una {
            if peerWindow == 0, window > 0 { backoff = 0 }
            peerWindow = window
        }
    }

    private mutating func note(_ parsed: TCPOptions) -> Bool {
        var new = false
        for i in 0..<parsed.sackCount {
            let block = parsed.sackBlock(at: i)
            let base = options.iss &+ UInt32(truncatingIfNeeded: una)
            let left = una + Int(Int32(bitPattern: block.left.rawValue &- base))
            let right = una + Int(Int32(bitPattern: block.right.rawValue &- base))
            guard left < right, left > una, right <= highest else {
                if right > highest || left >= right {
                    violations.append("a SACK block \(left)..<\(right), sent \(highest)")
                }
                continue
            }
            if sacked.contains(where: { $0.lowerBound <= left && $0.upperBound >= right }) { continue }
            new = true
            var merged = left..<right
            sacked.removeAll {
                guard $0.overlaps(merged) || $0.upperBound == merged.lowerBound || merged.upperBound == $0.lowerBound
                else { return false }
                merged = min($0.lowerBound, merged.lowerBound)..<max($0.upperBound, merged.upperBound)
                return true
            }
            sacked.append(merged)
            sacked.sort { $0.lowerBound < $1.lowerBound }
        }
        return new
    }

    private mutating func resendHole(_ now: Instant, restart: Bool) {
        if restart { resendNext = una }
        resendNext = max(resendNext, una)
        for range in sacked where range.contains(resendNext) { resendNext = range.upperBound }
        guard resendNext < recover, resendNext == una || resendNext < (sacked.last?.lowerBound ?? 0) else { return }
        let limit = sacked.first { $0.lowerBound > resendNext }?.lowerBound ?? recover
        retransmissions += 1
        let size = min(segmentSize, limit - resendNext)
        sendFrom(resendNext, limit: size, now)
        resendNext += size
    }

    mutating func pump(_ now: Instant) {
        guard state == .open else { return }
        while nxt < dataEnd {
            let room = min(peerWindow, cwnd) - (nxt - una)
            let size = min(room, dataEnd - nxt, segmentSize * max(1, min(options.superSegments, 64_000 / segmentSize)))
            // Nothing smaller than a segment while more is waiting, not even with nothing in flight: Linux (tcp_snd_wnd_test)
            // leaves a window that is smaller than a segment to the probe.
            if size <= 0 || size < segmentSize && size < dataEnd - nxt { break }
            sendNew(size, now)
        }
        if let fin = finNumber, nxt == fin {
            emit([.fin, .ack], number: fin, 0..<0, TCPOptions(), now)
            nxt += 1
            highest = max(highest, nxt)
            timerAt = now + rto
        }
        if nxt == una, waiting, timerAt == .never { timerAt = now + rto }
    }

    mutating func sendNew(_ size: Int, _ now: Instant) {
        if timed == nil, nxt == highest { timed = (nxt, now) }
        sendFrom(nxt, limit: size, now)
        nxt += size
        highest = max(highest, nxt)
        if timerAt == .never || una == nxt - size { timerAt = now + rto }
    }

    /// Up to `limit` sequence numbers from `number`: text, and FIN where it stands.
    mutating func sendFrom(_ number: Int, limit: Int, _ now: Instant) {
        let end = min(number + limit, dataEnd)
        if number < end {
            emit(end == dataEnd ? [.ack, .psh] : [.ack], number: number, number - 1..<end - 1, TCPOptions(), now)
        } else if let fin = finNumber, number == fin {
            emit([.fin, .ack], number: fin, 0..<0, TCPOptions(), now)
        }
    }

    private mutating func sample(_ rtt: Int64) {
        if srtt == 0 {
            srtt = rtt
            rttvar = rtt / 2
        } else {
            rttvar += (abs(srtt - rtt) - rttvar) / 4
            srtt += (rtt - srtt) / 8
        }
        rto = max(.milliseconds(200), srtt + 4 * rttvar)
    }
}
