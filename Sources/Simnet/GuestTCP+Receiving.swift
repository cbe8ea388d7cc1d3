package import Netstack
import Wire

// The receiving half of a GuestTCP: puts text in order, acknowledges every second segment, and lets the application read at its pace.

extension GuestTCP {
    mutating func text(_ bytes: [UInt8], at number: Int, fin: Bool, _ now: Instant) {
        if fin { peerFin = number + bytes.count }
        if number > rcvNxt {
            if !bytes.isEmpty, number + bytes.count <= offeredEdge {
                let at = early.firstIndex { $0.start > number } ?? early.count
                early.insert((number, bytes), at: at)
                newestEarly = number
            }
            sendAck(now)
            return
        }
        let skip = rcvNxt - number
        if !bytes.isEmpty, skip > 0 {
            duplicate = number..<min(number + bytes.count, rcvNxt)
            duplicateBytes += min(skip, bytes.count)
        }
        guard skip < bytes.count || fin && skip == bytes.count && !peerEnded else {
            sendAck(now)
            return
        }
        let had = !early.isEmpty
        append(bytes, skip)
        while let first = early.first, first.start <= rcvNxt {
            early.removeFirst()
            if first.start + first.bytes.count > rcvNxt { append(first.bytes, rcvNxt - first.start) }
        }
        if peerFin == rcvNxt, !peerEnded {
            peerEnded = true
            rcvNxt += 1
        }
        armReading(now)
        sinceAck += bytes.count
        if had || peerEnded || duplicate != nil || sinceAck >= 2 * segmentSize {
            sendAck(now)
        } else if ackAt == .never {
            ackAt = now + .milliseconds(40)
        }
    }

    mutating func append(_ bytes: [UInt8], _ skip: Int) {
        received.append(bytes.raw.extracting(skip..<bytes.count))
        rcvNxt += bytes.count - skip
        if options.readSize != nil { unread += bytes.count - skip }
    }

    mutating func armReading(_ now: Instant) {
        if unread > 0, readAt == .never, options.readSize != 0 { readAt = now + options.readInterval }
    }

    /// The application begins to read everything.
    package mutating func readAll(at now: Instant) {
        unread = 0
        if state == .open { sendAck(now) }
    }
}
