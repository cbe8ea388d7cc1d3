import Wire

// Text that was offered a window and found no room: asking for it again.
//
// The pool is short when many hosts stop reading, and then text is refused (WindowGrowth). To the guest it is lost: its retransmission timer
// backs off for as long as the host stands still, and when the host goes on, up to another minute passes before the guest tries again. No window
// update helps, nor a duplicate ACK: they move no sender that has timed out. An ACK of something new does. It ends the back-off
// (RFC 6298 section 5.7, and every stack), and slow start sends the rest (RFC 5681 section 3.1). So from the moment at which a refusal is to be
// expected, one segment's ACK is kept back:
//
//        delivered                   rcv.nxt
//     ......|############################|======|
//           |  held and acknowledged     | held, withheld from the guest
//
// The guest sends that segment again meanwhile, after each time-out, and learns by a duplicate ACK that we are there. That is the price, also when it
// has nothing more to send: a segment now and then, while the pool is short and the host does not read. Its FIN releases all.

extension Connection {
    /// Bytes from `rcv.nxt` on that are held in order and not acknowledged.
    @inline(__always)
    func withheld(in shared: borrowing TCPShared) -> Int { hold == .max ? 0 : shared.holds[hold].withheld }

    /// After `rcv.nxt` moved from `before`: takes back up to a segment of that if text was refused or soon may be, because the rest of what
    /// was offered could not be held. Not where early text makes it a gap that there would not be otherwise.
    mutating func withhold(from before: SequenceNumber, isRefused: Bool, shared: inout TCPShared) {
        let held = rcv.nxt - shared.holds[hold].delivered
        var count = 0
        if isRefused || shared.holds[hold].early.isEmpty && receiveWindow > shared.room(held: held) {
            count = max(0, min(held, rcv.nxt - before, shared.mtu - key.headersLength))
        }
        shared.holds[hold].withheld = count
        rcv.nxt += -count
    }

    mutating func acknowledgeWithheld(_ shared: inout TCPShared) {
        guard hold != .max, shared.holds[hold].withheld > 0 else { return }
        rcv.nxt += shared.holds[hold].withheld
        shared.holds[hold].withheld = 0
        absorbEarly(shared: &shared)
        flags.insert(.ackNow)
    }

    /// The host's socket takes bytes again.
    mutating func hostGoesOn<O: Outside & ~Copyable>(
        id: FlowID, shared: inout TCPShared, outside: inout O
    ) -> Fate? {
        flags.remove(.hostFull)
        if let fate = drainHold(id: id, shared: &shared, outside: &outside) { return fate }
        // What the guest sends then must find room.
        guard
            withheld(in: shared) > 0,
            !flags.contains(.hostFull) || shared.room(held: heldBytes(in: shared)) >= ChunkPool.chunkSize / 2
        else { return nil }
        acknowledgeWithheld(&shared)
        return drainHold(id: id, shared: &shared, outside: &outside)
    }
}
