internal import CHost
internal import Glibc
internal import Netstack

// Frames through the rings: gathered from the guest's descriptors into the switch's space, scattered from the core's frames into the guest's
// buffers. One look at a ring takes many; the guest is told once.

extension VhostDevice {
    enum Outcome { case sent, busy, lost }

    /// Chains for one frame: the smallest mergeable buffers of Linux have 1536 bytes.
    private static var mostChains: Int { 64 }
    /// Each further one is a buffer that came between two looks.
    private static var mostTries: Int { 64 }

    // MARK: To the guest

    /// Puts a frame into the guest's buffers. The guest learns of it at `tell`.
    func write(_ offload: OffloadHeader, header: RawSpan, payload: RawSpan) -> Outcome {
        guard runs(0) else { return .lost }
        var offload = offload
        // VIRTIO 1.2 section 5.1.6.4.1: not for a driver that does not know the flag.
        if !knowsChecksums { offload.checksumValid = false }
        for _ in 0..<Self.mostTries {
            if let outcome = tryToWrite(offload, header: header, payload: payload) { return outcome }
        }
        return .lost
    }

    /// nil when buffers came just now: try again.
    private func tryToWrite(_ offload: OffloadHeader, header: RawSpan, payload: RawSpan) -> Outcome? {
        let total = headerLength + header.byteCount + payload.byteCount
        var heads = InlineArray<64, UInt16>(repeating: 0)
        var capacities = InlineArray<64, Int>(repeating: 0)
        var chains = 0
        var pieceCount = 0
        var room = 0
        while room < total {
            guard chains < (merges ? Self.mostChains : 1), pieceCount <= SplitRing.mostPieces else {
                queues[0].ring!.putBack(chains)
                return .lost
            }
            guard
                let chain = unsafe queues[0].ring!.take(into: pieces + pieceCount, isWritten: true, in: memory)
            else {
                queues[0].ring!.putBack(chains)
                if queues[0].ring!.isBroken { return .lost }
                // Buffers that came meanwhile bring no kick.
                if queues[0].ring!.asksToBeTold(after: chains) { return nil }
                lacksBuffers = true
                return .busy
            }
            var capacity = 0
            for index in pieceCount..<pieceCount + chain.count { capacity += unsafe pieces[index].length }
            heads[chains] = chain.head
            capacities[chains] = capacity
            chains += 1
            pieceCount += chain.count
            room += capacity
        }
        var words = (UInt64(0), UInt32(0))
        unsafe withUnsafeMutableBytes(of: &words) { raw in
            guard let start = raw.baseAddress else { return }
            unsafe GuestTap.encode(offload, to: start)
            unsafe start.storeBytes(of: UInt16(chains), toByteOffset: 10, as: UInt16.self)
            var cursor = Cursor()
            unsafe scatter(UnsafeRawBufferPointer(start: start, count: headerLength), &cursor)
            unsafe header.withUnsafeBytes { unsafe scatter($0, &cursor) }
            unsafe payload.withUnsafeBytes { unsafe scatter($0, &cursor) }
        }
        var left = total
        for index in 0..<chains {
            let written = min(left, capacities[index])
            queues[0].ring!.give(heads[index], length: written)
            left -= written
        }
        queues[0].ring!.publish()
        return .sent
    }

    private struct Cursor {
        var piece = 0
        var at = 0
    }

    private func scatter(_ bytes: UnsafeRawBufferPointer, _ cursor: inout Cursor) {
        var done = 0
        while done < bytes.count {
            let piece = unsafe pieces[cursor.piece]
            let count = min(bytes.count - done, piece.length - cursor.at)
            unsafe (piece.start + cursor.at).copyMemory(from: bytes.baseAddress! + done, byteCount: count)
            done += count
            cursor.at += count
            if cursor.at == piece.length { cursor = Cursor(piece: cursor.piece + 1, at: 0) }
        }
    }

    /// The guest has more buffers, or has gone on without being asked. True when a frame may go again.
    func buffersCame() -> Bool {
        clearKick(0)
        let lacked = lacksBuffers
        lacksBuffers = false
        return lacked
    }

    // MARK: From the guest

    /// Takes frames: each with a virtio header of 10 bytes before it, at multiples of `stride`; a length of `UInt32.max` is one that did
    /// not fit.
    /// - Returns: how many, at most `most`.
    func read(
        into space: UnsafeMutableRawPointer, stride: Int, lengths: UnsafeMutablePointer<UInt32>, most: Int
    ) -> Int {
        guard runs(1) else {
            // Level-triggered: it would tell again at once.
            clearKick(1)
            return 0
        }
        var frames = 0
        while true {
            if frames == most {
                // The kick is still to be seen, or is made to be: the rest comes with the next turn.
                if queues[1].ring!.hasMore { ring(queues[1].kick) }
                break
            }
            guard let chain = unsafe queues[1].ring!.take(into: pieces, isWritten: false, in: memory) else {
                clearKick(1)
                if queues[1].ring!.asksToBeTold() { continue }
                break
            }
            unsafe lengths[frames] = unsafe gather(chain.count, into: space + frames * stride, room: stride)
            queues[1].ring!.give(chain.head, length: 0)
            frames += 1
        }
        queues[1].ring!.publish()
        tell(1)
        return frames
    }

    /// Copies a chain, of the header only what a tap has.
    private func gather(_ count: Int, into space: UnsafeMutableRawPointer, room: Int) -> UInt32 {
        let skipped = GuestTap.offloadLength..<headerLength
        var from = 0
        var filled = 0
        for index in 0..<count {
            let piece = unsafe pieces[index]
            var at = 0
            while at < piece.length {
                var size = piece.length - at
                if from < skipped.lowerBound {
                    size = min(size, skipped.lowerBound - from)
                } else if from < skipped.upperBound {
                    size = min(size, skipped.upperBound - from)
                    from += size
                    at += size
                    continue
                }
                guard filled + size <= room else { return .max }
                unsafe (space + filled).copyMemory(from: piece.start + at, byteCount: size)
                filled += size
                from += size
                at += size
            }
        }
        return UInt32(filled)
    }

    // MARK: Telling

    /// Tells the guest what was put into, or taken from, a ring, if it wants to know.
    func tell(_ index: Int) {
        guard queues[index].ring != nil, queues[index].ring!.shouldTell(), queues[index].call >= 0 else { return }
        ring(queues[index].call)
    }

    private func ring(_ fd: Int32) {
        var one: UInt64 = 1
        _ = unsafe Glibc.write(fd, &one, 8)
    }

    private func clearKick(_ index: Int) {
        var count: UInt64 = 0
        if queues[index].kick >= 0 { _ = unsafe Glibc.read(queues[index].kick, &count, 8) }
    }

    /// A ring that its driver has broken.
    var isBroken: Bool { queues[0].ring?.isBroken ?? false || queues[1].ring?.isBroken ?? false }
}
