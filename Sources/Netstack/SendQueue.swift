import Wire

// The bytes between `snd.una` and `queuedEnd`: a list of chunks, appended at the tail by reads from the host's socket and
// given back at the head as the guest acknowledges. `cursor` remembers the chunk of `snd.nxt`, so that new data is found
// without a walk; a resend walks from the head. The list's ends are in the connection's `Flight`, which exists while the queue does.

extension Connection {
    /// Consecutive bytes within one chunk.
    struct Piece: BitwiseCopyable {
        var chunk: UInt32
        var start: Int
        var count: Int
        var range: Range<Int> { start..<start + count }
    }

    /// Notes that `chunk` now holds `fill` bytes; links it at the tail when it is new.
    mutating func append(_ chunk: UInt32, _ fill: Int, shared: inout TCPShared) {
        shared.pool[fill: chunk] = fill
        let tail = shared.flights[flight].sendTail
        guard chunk != tail else { return }
        if tail == ChunkPool.none {
            shared.flights[flight].sendHead = chunk
            shared.flights[flight].headSequence = queuedEnd
        } else {
            shared.pool[next: tail] = chunk
        }
        shared.flights[flight].sendTail = chunk
        if shared.flights[flight].cursor == ChunkPool.none {
            shared.flights[flight].cursor = chunk
            shared.flights[flight].cursorSequence = queuedEnd
        }
    }

    /// Up to `length` bytes at `snd.nxt`.
    mutating func nextPiece(length: Int, in shared: inout TCPShared) -> Piece? {
        guard flight != .max else { return nil }
        var chunk = shared.flights[flight].cursor
        guard chunk != ChunkPool.none else { return nil }
        var start = shared.flights[flight].cursorSequence
        // Move on past a chunk that is sent.
        while snd.nxt - start >= shared.pool[fill: chunk] {
            let next = shared.pool[next: chunk]
            guard next != ChunkPool.none else { return nil }
            start += shared.pool[fill: chunk]
            chunk = next
            shared.flights[flight].cursor = chunk
            shared.flights[flight].cursorSequence = start
        }
        let at = snd.nxt - start
        guard at >= 0 else { return nil }
        return Piece(chunk: chunk, start: at, count: min(length, shared.pool[fill: chunk] - at))
    }

    /// Up to `length` bytes at any sequence number that is queued.
    func piece(at sequence: SequenceNumber, length: Int, in shared: borrowing TCPShared) -> Piece? {
        guard flight != .max else { return nil }
        var chunk = shared.flights[flight].sendHead
        var start = shared.flights[flight].headSequence
        while chunk != ChunkPool.none {
            let fill = shared.pool[fill: chunk]
            let at = sequence - start
            if at < 0 || length <= 0 { return nil }
            if at < fill { return Piece(chunk: chunk, start: at, count: min(length, fill - at)) }
            start += fill
            chunk = shared.pool[next: chunk]
        }
        return nil
    }

    /// Gives back the chunks that lie wholly below `snd.una`, and the flight with the last.
    mutating func releaseAcknowledged(_ shared: inout TCPShared) {
        var chunk = shared.flights[flight].sendHead
        var start = shared.flights[flight].headSequence
        guard chunk != ChunkPool.none, snd.una - start >= shared.pool[fill: chunk] else { return }
        while chunk != ChunkPool.none, snd.una - start >= shared.pool[fill: chunk] {
            start += shared.pool[fill: chunk]
            let next = shared.pool[next: chunk]
            if shared.flights[flight].cursor == chunk {
                shared.flights[flight].cursor = next
                shared.flights[flight].cursorSequence = start
            }
            shared.pool.give(chunk)
            chunk = next
        }
        shared.flights[flight].sendHead = chunk
        shared.flights[flight].headSequence = start
        if chunk == ChunkPool.none { shared.flights[flight].sendTail = ChunkPool.none }
    }

    /// Gives back everything.
    mutating func releaseSendQueue(_ shared: inout TCPShared) {
        guard flight != .max else { return }
        var chunk = shared.flights[flight].sendHead
        while chunk != ChunkPool.none {
            let next = shared.pool[next: chunk]
            shared.pool.give(chunk)
            chunk = next
        }
        closeFlight(&shared)
    }
}
