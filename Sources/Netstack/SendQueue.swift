import Wire

// The bytes between `snd.una` and `queuedEnd`: a list of chunks, appended at the tail by reads from the host's socket and
// given back at the head as the guest acknowledges. `cursor` remembers the chunk of `snd.nxt`, so that new data is found
// without a walk; a resend walks from the head.

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
        guard chunk != sendTail else { return }
        if sendTail == ChunkPool.none {
            sendHead = chunk
            headSequence = queuedEnd
        } else {
            shared.pool[next: sendTail] = chunk
        }
        sendTail = chunk
        if cursor == ChunkPool.none {
            cursor = chunk
            cursorSequence = queuedEnd
        }
    }

    /// Up to `length` bytes at `snd.nxt`.
    mutating func nextPiece(length: Int, in shared: borrowing TCPShared) -> Piece? {
        guard cursor != ChunkPool.none else { return nil }
        // Move on past a chunk that is sent.
        while snd.nxt - cursorSequence >= shared.pool[fill: cursor] {
            let next = shared.pool[next: cursor]
            guard next != ChunkPool.none else { return nil }
            cursorSequence += shared.pool[fill: cursor]
            cursor = next
        }
        let at = snd.nxt - cursorSequence
        guard at >= 0 else { return nil }
        return Piece(chunk: cursor, start: at, count: min(length, shared.pool[fill: cursor] - at))
    }

    /// Up to `length` bytes at any sequence number that is queued.
    func piece(at sequence: SequenceNumber, length: Int, in shared: borrowing TCPShared) -> Piece? {
        var chunk = sendHead
        var start = headSequence
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

    /// Gives back the chunks that lie wholly below `snd.una`.
    mutating func releaseAcknowledged(_ shared: inout TCPShared) {
        while sendHead != ChunkPool.none, snd.una - headSequence >= shared.pool[fill: sendHead] {
            let chunk = sendHead
            headSequence += shared.pool[fill: chunk]
            sendHead = shared.pool[next: chunk]
            if cursor == chunk {
                cursor = sendHead
                cursorSequence = headSequence
            }
            if sendHead == ChunkPool.none { sendTail = ChunkPool.none }
            shared.pool.give(chunk)
        }
    }

    /// Gives back everything.
    mutating func releaseSendQueue(_ shared: inout TCPShared) {
        while sendHead != ChunkPool.none {
            let chunk = sendHead
            sendHead = shared.pool[next: chunk]
            shared.pool.give(chunk)
        }
        sendTail = ChunkPool.none
        cursor = ChunkPool.none
    }
}
