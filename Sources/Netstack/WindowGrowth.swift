import Wire

// How much of one connection may wait here, in either direction: windows that grow with the path, within what the pool has.
//
// Towards the host, we offer a window. Nearly all of it goes through at once, straight from the frame to the host's socket, so a window
// costs memory only while the socket is full or a gap is open. It starts at 1 MiB. A guest is usually microseconds away and never
// needs more; one that is a router for others, or a VM on another continent, does. So when a quarter of the window came within a
// round trip, the next round trip may bring half of it (slow start doubles), and the window doubles, up to 16 MiB:
//
//     arrived in one round trip  >=  window / 4      ─▶     window * 2
//
// The round trip is the smoothed one (RFC 6298), which a guest that only sends leaves at the SYN-ACK's: the path without the
// queue that the transfer itself builds. Below a millisecond the first window carries more than 1 GB/s and stays. On a busy machine a guest
// next door may have been slow with that one answer; the timestamps that it echoes (RFC 7323) soon tell.
//
// Towards the guest, its window and the congestion window rule, up to 16 MiB.
//
// Either way a connection gets at most an eighth of what is free in the pool (`share`; dynamic thresholds, Choudhury and Hahne, IEEE/ACM
// Transactions on Networking 6(2), 1998): one alone in an empty pool of 128 MiB gets all 16 MiB, and however many want more at the same
// time, what each may take shrinks before the pool is empty. Below a quarter free a window is 64 KiB, below a sixteenth nothing.
//
// A guest resends what we did not take after a time-out only, so what was offered must be taken (`room`) when it comes. To hold a chunk
// makes the share smaller by an eighth of one: of what the share leaves, eight ninths are offered (`window`). Only what
// others take meanwhile can break the promise.

extension Connection {
    /// The window that this connection would offer if the pool were empty.
    @inline(__always)
    var wantedWindow: Int { TCPLimits.receiveWindow << Int(rcv.grade) }

    /// After in-order text arrived.
    @inline(__always)
    mutating func growReceiveWindow(_ segment: Segment, at now: Instant) {
        guard srtt >= 1_000_000, !flags.contains(.nextDoor) else { return }
        if let stamps = segment.options.timestamps, stamps.echoReply == timestamp(at: now) {
            flags.insert(.nextDoor)
            rcv.grade = 0
            return
        }
        guard wantedWindow < TCPLimits.largestWindow else { return }
        let clock = now.millisecondStamp
        let elapsed = Int64(clock &- rcv.markedAt)
        let roundTrip = srtt / 1_000_000
        guard elapsed >= roundTrip else { return }
        let arrived = max(0, rcv.nxt - rcv.mark)
        rcv.mark = rcv.nxt
        rcv.markedAt = clock
        // A pause is no round trip.
        if Int64(arrived) * roundTrip / elapsed * 4 >= wantedWindow { rcv.grade += 1 }
    }
}

extension TCPShared {
    /// Bytes of one connection that may wait in the pool, in one direction; always enough for a super-frame.
    @inline(__always)
    var share: Int { max(ChunkPool.chunkSize, min(TCPLimits.largestWindow, pool.free * (ChunkPool.chunkSize / 8))) }

    /// The window a connection with `held` undelivered bytes may offer, if it wants `wanted`. When the pool runs low, everybody gets
    /// less (RFC 9293 section 3.8.6: the receiver decides).
    @inline(__always)
    func window(held: Int, wanted: Int) -> Int {
        let free = pool.free
        if free * 4 >= pool.capacity {
            // The first and the last chunk may be held for little.
            let left = share - held - ChunkPool.chunkSize / 4
            return max(0, min(wanted - held, max(left - left / 9, ChunkPool.chunkSize - held)))
        }
        return free * 16 >= pool.capacity ? max(0, ChunkPool.chunkSize - held) : 0
    }

    /// What may still be held of a connection with `held` undelivered bytes.
    @inline(__always)
    func room(held: Int) -> Int { pool.free * 16 >= pool.capacity ? max(0, share - held) : 0 }
}
