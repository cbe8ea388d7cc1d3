// Who gets a turn: connections whose timer is due, and connections with something to say.
//
//   queue      those that may have something to send, each once (`Flags.queued`); a flush gives each a burst, and who needs another
//              goes to the back
//   stalled    those whose frame the link did not take, until it has room
//   starving   those that found no chunk for what the host has, until one comes back

extension TCPTranslator {
    mutating func advance<O: Outside & ~Copyable>(to now: Instant, outside: inout O) {
        while let index = timers.popDue(at: now) {
            guard connections.isLive(index) else { continue }
            let fate = connections[index].advance(to: now, shared: &shared, outside: &outside)
            settle(index, fate, now: now, outside: &outside)
        }
        timeWaits.advance(to: now)
        if poolRestsAt <= now { rest(at: now, outside: &outside) }
    }

    /// Gives back the memory of a pool that has had nothing to do: without, a sandbox that once had much under way would hold up to 128 MiB
    /// for good.
    private mutating func rest<O: Outside & ~Copyable>(at now: Instant, outside: inout O) {
        if shared.pool.isIdle() {
            var rest = shared.pool.reclaim()
            outside.discard(&rest)
        }
        poolRestsAt = shared.pool.holdsRest ? now + TCPLimits.poolRest : .never
    }

    /// Lets every queued connection send one burst. What could not be finished stays queued.
    mutating func flush<O: Outside & ~Copyable>(now: Instant, outside: inout O) {
        if !starving.isEmpty, shared.pool.free > 0 { feedStarving() }
        guard !queue.isEmpty else { return }
        if poolRestsAt == .never, shared.pool.holdsRest { poolRestsAt = now + TCPLimits.poolRest }
        swap(&queue, &nextQueue)
        var i = 0
        while i < nextQueue.count {
            let index = nextQueue[i]
            i += 1
            guard connections.isLive(index), connections[index].flags.contains(.queued) else { continue }
            connections[index].flags.remove(.queued)
            let id = identity(index)
            let starved = connections[index].flags.contains(.starved)
            switch connections[index].output(id: id, now: now, shared: &shared, outside: &outside) {
            case .idle:
                if !starved, connections[index].flags.contains(.starved) {
                    outside.note(.tableFull(.buffers))
                    starving.append(id, among: connections)
                }
            case .more: enqueue(index)
            case .blocked: stall(index)
            case .failed:
                drop(index, reset: false, outside: &outside)
                continue
            }
            timers.set(index, connections[index].deadline)
        }
        nextQueue.removeAll(keepingCapacity: true)
    }

    /// Waits for the link. Others go on: behind a switch one machine's link may be full and the others' not.
    private mutating func stall(_ index: UInt32) {
        connections[index].flags.insert(.queued)
        stalled.append(identity(index), among: connections)
    }

    mutating func linkHasRoom() {
        for i in stalled.indices {
            guard let index = connections.find(stalled[i]), connections[index].flags.contains(.queued) else { continue }
            queue.append(index)
        }
        stalled.removeAll()
    }

    private mutating func feedStarving() {
        for i in starving.indices {
            guard let index = connections.find(starving[i]), connections[index].flags.contains(.starved) else {
                continue
            }
            connections[index].flags.remove(.starved)
            enqueue(index)
        }
        starving.removeAll()
    }

    mutating func enqueue(_ index: UInt32) {
        guard !connections[index].flags.contains(.queued) else { return }
        connections[index].flags.insert(.queued)
        queue.append(index)
    }
}
