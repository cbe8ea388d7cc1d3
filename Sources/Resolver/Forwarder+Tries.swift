extension Forwarder {
    /// Takes a query into flight and makes its first try.
    mutating func forward(_ query: InFlight, _ now: Int64) {
        while inFlight > 0, inFlight >= limits.inFlight || inFlightBytes + query.message.count > limits.inFlightBytes {
            dropOldest()
        }
        statistics.forwarded += 1
        inFlightBytes += query.message.count
        let slot: Int
        if let free = freeSlots.popLast() {
            slot = free
            slots[slot] = query
        } else {
            slot = slots.count
            slots.append(query)
            due.append(.max)
        }
        // Taken from here on, whatever happens to the try.
        setDue(slot, now)
        rotation &+= 1
        makeTry(slot, now: now)
    }

    /// Asks the next upstream, or finishes the query when none is left and none is listened to.
    mutating func makeTry(_ slot: Int, now: Int64) {
        guard let upstream = nextUpstream(slot, now) else {
            slots[slot].exhausted = true
            if slots[slot].tries.isEmpty { return fail(slot) }
            // Those that are silent get the rest of the time, or a little of it when there is a failure to pass on.
            return setDue(slot, slots[slot].failure == nil ? end(slot) : min(end(slot), now + step))
        }
        var id = UInt16(truncatingIfNeeded: generator.next())
        while slotByID[id] != nil { id = UInt16(truncatingIfNeeded: generator.next()) }
        let transport: Transport = configuration.useTCP ? .tcp : slots[slot].transport
        slotByID[id] = slot
        slots[slot].asked |= 1 << upstream
        slots[slot].tries.append(.init(upstream: upstream, id: id, transport: transport, sent: now, channel: nil))
        var message = slots[slot].message
        message.store16(Int(id), 0)
        push(.send(upstream: upstream, transport: transport, bytes: message, id: id))
        setDue(slot, min(end(slot), now + step))
    }

    /// The upstream to ask: of those not yet asked in this round the first that is not avoided, else the first.
    private mutating func nextUpstream(_ slot: Int, _ now: Int64) -> Int? {
        let count = upstreams.count
        let first = configuration.rotate && count > 0 ? abs(rotation % count) : 0
        while count > 0 {
            let excluded = slots[slot].asked | slots[slot].settled
            var avoided: Int?
            for offset in 0..<count {
                let upstream = (first + offset) % count
                if excluded & 1 << upstream != 0 { continue }
                if upstreams[upstream].avoidUntil <= now { return upstream }
                avoided = avoided ?? upstream
            }
            if let avoided { return avoided }
            if slots[slot].round + 1 >= configuration.attempts || slots[slot].settled.nonzeroBitCount == count {
                return nil
            }
            slots[slot].round += 1
            slots[slot].asked = 0
        }
        return nil
    }

    /// Silence that makes the next try.
    private var step: Int64 { min(Self.patience, timeout) }
    private var timeout: Int64 { Int64(configuration.timeout) * 1_000_000_000 }
    private func end(_ slot: Int) -> Int64 {
        slots[slot].started + min(timeout * Int64(configuration.attempts), Self.longestLife)
    }

    // MARK: Time and failures

    /// Does what is due at `now`.
    package mutating func advance(to now: Int64) {
        if now < earliest { return }
        for slot in due.indices where due[slot] <= now && due[slot] != .max {
            if slots[slot].streaming {
                finish(slot, nil)
                continue
            }
            if let last = slots[slot].tries.last { upstreams[last.upstream].failed(sent: last.sent, now: now) }
            if now >= end(slot) || slots[slot].exhausted { fail(slot) } else { makeTry(slot, now: now) }
        }
        earliest = due.min() ?? .max
    }

    /// A channel failed: every try that went out by it has failed.
    package mutating func upstreamFailed(
        _ upstream: Int, transport: Transport, via channel: UInt32, _ failure: Failure, now: Int64
    ) {
        for slot in slots.indices where due[slot] != .max {
            while due[slot] != .max,
                let index = slots[slot].tries.firstIndex(where: {
                    $0.upstream == upstream && $0.transport == transport && $0.channel == channel
                })
            {
                failTry(slot, index, failure, now: now)
            }
        }
    }

    /// A `.send` could not be carried out.
    package mutating func sendFailed(id: UInt16, _ failure: Failure, now: Int64) {
        guard let slot = slotByID[id], let index = slots[slot].tries.firstIndex(where: { $0.id == id }) else { return }
        failTry(slot, index, failure, now: now)
    }

    private mutating func failTry(_ slot: Int, _ index: Int, _ failure: Failure, now: Int64) {
        let failed = slots[slot].tries.remove(at: index)
        slotByID[failed.id] = nil
        if slots[slot].streaming { return finish(slot, nil) }
        if failure == .closed, !slots[slot].forgaveClosing {
            slots[slot].forgaveClosing = true
            slots[slot].exhausted = false
            slots[slot].asked &= ~(1 << failed.upstream)
        } else {
            slots[slot].settled |= 1 << failed.upstream
            if upstreams.indices.contains(failed.upstream) {
                upstreams[failed.upstream].failed(sent: failed.sent, now: now)
            }
        }
        makeTry(slot, now: now)
    }

    private mutating func dropOldest() {
        var oldest = -1
        for slot in due.indices where due[slot] != .max {
            if oldest < 0 || slots[slot].started < slots[oldest].started { oldest = slot }
        }
        if oldest < 0 { return }
        statistics.overflowed += 1
        finish(oldest, Reply.bare(to: slots[oldest].message, query: slots[oldest].query, rcode: DNS.serverFailure))
    }

    // MARK: The end of a query

    /// All upstreams failed.
    private mutating func fail(_ slot: Int) {
        statistics.failed += 1
        let failure = slots[slot].failure
        finish(
            slot,
            failure ?? Reply.bare(to: slots[slot].message, query: slots[slot].query, rcode: DNS.serverFailure))
    }

    /// Answers the client, or drops it, and frees the record.
    mutating func finish(_ slot: Int, _ answer: Octets?) {
        let client = slots[slot].client
        if let answer {
            let overDatagram = slots[slot].transport == .udp
            let fitted =
                overDatagram ? Reply.fitted(answer, to: slots[slot].message, query: slots[slot].query) : answer
            push(.answer(client: client, bytes: fitted, isLast: true))
        } else {
            push(.drop(client: client))
        }
        release(slot)
    }

    mutating func release(_ slot: Int) {
        for attempt in slots[slot].tries where slotByID[attempt.id] == slot { slotByID[attempt.id] = nil }
        inFlightBytes -= slots[slot].message.count
        slots[slot].tries = []
        slots[slot].message = []
        slots[slot].failure = nil
        due[slot] = .max
        freeSlots.append(slot)
    }

    mutating func setDue(_ slot: Int, _ time: Int64) {
        due[slot] = time
        earliest = min(earliest, time)
    }
}
