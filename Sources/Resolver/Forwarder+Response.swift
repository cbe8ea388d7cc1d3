extension Forwarder {
    /// A message from an upstream. What answers no try is counted and forgotten.
    package mutating func response(
        _ bytes: RawSpan, from upstream: Int, transport: Transport, via channel: UInt32, now: Int64
    ) {
        var answer = Octets(copying: bytes)
        guard let id = answer.load16(0), let flags = answer.load16(2), answer.count >= DNS.headerLength,
            flags & DNS.response != 0, let slot = slotByID[UInt16(id)],
            let index = slots[slot].tries.firstIndex(where: {
                $0.id == UInt16(id) && $0.upstream == upstream && $0.transport == transport && $0.channel == channel
            }),
            answersQuestion(answer, slot)
        else {
            statistics.unexpected += 1
            return
        }
        upstreams[upstream].heard(now)
        answer.store16(slots[slot].query.id, 0)
        let rcode = flags & DNS.rcodeMask
        if rcode == DNS.serverFailure || rcode == DNS.refused, !slots[slot].streaming {
            // Another upstream may know better; the client hears of this one when none does.
            slotByID[UInt16(id)] = nil
            slots[slot].tries.remove(at: index)
            slots[slot].settled |= 1 << upstream
            if slots[slot].failure == nil, answer.count <= 4096 { slots[slot].failure = answer }
            return makeTry(slot, now: now)
        }
        statistics.answered += 1
        if slots[slot].isTransfer, rcode == DNS.noError { return stream(slot, index, answer, now: now) }
        cache.store(slots[slot].query, answer, now: now)
        finish(slot, answer)
    }

    /// One message of a zone transfer: passed on, and the next one awaited for as long as a try may be silent.
    private mutating func stream(_ slot: Int, _ index: Int, _ answer: Octets, now: Int64) {
        let taken = slots[slot].tries[index]
        for other in slots[slot].tries where other.id != taken.id { slotByID[other.id] = nil }
        slots[slot].tries = [taken]
        slots[slot].streaming = true
        push(.answer(client: slots[slot].client, bytes: answer, isLast: false))
        setDue(slot, now + Int64(configuration.timeout) * 1_000_000_000)
    }

    /// Whether the message has the query's question (RFC 5452 section 9.1), letters compared without case.
    ///
    /// Without a question are accepted: the bare headers with which old servers refuse what they do not know, and the later
    /// messages of a zone transfer (RFC 5936 section 2.2.1).
    private func answersQuestion(_ message: Octets, _ slot: Int) -> Bool {
        if message.load16(4) == 0 {
            if slots[slot].streaming { return true }
            let rcode = (message.load16(2) ?? 0) & DNS.rcodeMask
            return message.count == DNS.headerLength && rcode != DNS.noError && rcode != DNS.nameError
        }
        return message.load16(4) == 1 && slots[slot].query.question.stands(in: message)
    }
}
