internal import Wire

// The cache: whole answers, kept for as long as their shortest TTL.
//
// An entry is an upstream's message without its OPT record, under the question's lower-case name, type, class and the bits
// that change an answer (DO, CD, AD). On the way out the TTLs are reduced by the entry's age (RFC 1035 section 7.4), the
// client's id and spelling of the question are put in, and an OPT record of our own is added for clients that sent one.
//
// Kept: NOERROR with answers; NXDOMAIN and NODATA with an SOA record, for min(SOA TTL, SOA MINIMUM) (RFC 2308 section 5).
// Not kept: truncated messages, other rcodes, referrals, anything with a TTL of 0, messages with a TSIG record or an OPT
// record that is not last, messages over 16 KiB, and malformed ones.
//
// Limits: `maximumEntries` and `maximumBytes` (each entry counts 128 bytes on top of its message and key). When full, the
// least recently used entries go. Expired entries go when met or by that rule: there is no timer.
//
// Entries lie in a slab, chained by bucket and by order of use. (A Dictionary hashes anew, and retains, every key that a removal
// moves: a fifth of the forwarder's own time under a flood of new names.)

struct AnswerCache {
    struct Key: Equatable {
        /// Of all that follows, under this process's random key (SipHash): a guest chooses it all.
        let hash: Int
        var name: DNSName
        var type: Int
        var `class`: Int
        /// The query's CD and AD bits, and 1 for DO.
        var bits: Int

        init(_ query: Query) {
            name = query.question.name
            type = query.question.type
            `class` = query.question.class
            bits =
                query.flags & (DNS.checkingDisabled | DNS.authenticData) | (query.edns?.dnssecOK == true ? 1 : 0)
            var hasher = Hasher()
            hasher.combine(name)
            hasher.combine(type << 32 ^ `class` << 16 ^ bits)
            hash = hasher.finalize()
        }
    }

    private struct Entry {
        var key: Key
        var message: Octets
        var stored: Int64
        var expires: Int64
        /// Neighbours in order of use; -1 at the ends.
        var newer = -1
        var older = -1
        /// The next one in the same bucket; -1 at the end.
        var next = -1
    }

    static let maximumMessage = 16 << 10
    /// RFC 8767 section 4 suggests a day at most for positive answers, RFC 2308 section 5 one to three hours for negative ones.
    static let longestPositive = 86_400
    static let longestNegative = 3_600
    private static let overhead = 128

    let maximumEntries: Int
    let maximumBytes: Int
    private(set) var bytes = 0

    private var entries: [Entry] = []
    private var free: [Int] = []
    /// The first entry of each bucket, -1 for none; made with the first entry.
    private var buckets: [Int] = []
    private var newest = -1
    private var oldest = -1

    var count: Int { entries.count - free.count }

    init(maximumEntries: Int, maximumBytes: Int) {
        self.maximumEntries = maximumEntries
        self.maximumBytes = maximumBytes
    }

    mutating func removeAll() {
        entries = []
        free = []
        buckets = []
        (newest, oldest, bytes) = (-1, -1, 0)
    }

    /// The answer to `query`, ready to send but for its length.
    mutating func answer(_ query: Query, _ message: Octets, now: Int64) -> Octets? {
        guard query.cacheable, let slot = find(Key(query)) else { return nil }
        if now >= entries[slot].expires || now < entries[slot].stored {
            remove(slot)
            return nil
        }
        unlink(slot)
        linkNewest(slot)
        var reply = entries[slot].message
        let age = Int((now - entries[slot].stored) / 1_000_000_000)
        guard let walker = RecordWalker(reply, start: query.question.end), Self.age(&reply, walker, by: age) else {
            remove(slot)
            return nil
        }
        reply.replaceSubrange(0..<2, with: message[0..<2])
        let end = query.question.end
        reply.replaceSubrange(DNS.headerLength..<end, with: message[DNS.headerLength..<end])
        Reply.appendOPT(&reply, query)
        return reply
    }

    private static func age(_ reply: inout Octets, _ walker: RecordWalker, by age: Int) -> Bool {
        var walker = walker
        while true {
            switch walker.next() {
            case .malformed: return false
            case .end: return true
            case .record(let record): reply.store32(max(0, record.ttl - age), record.ttlOffset)
            }
        }
    }

    /// Keeps an upstream's answer to `query` if it may be kept.
    mutating func store(_ query: Query, _ message: Octets, now: Int64) {
        guard query.cacheable, message.count <= Self.maximumMessage, let kept = Self.keepable(message, query) else {
            return
        }
        let key = Key(query)
        if let slot = find(key) { remove(slot) }
        let cost = Self.cost(key, kept.message)
        while count >= maximumEntries || bytes + cost > maximumBytes {
            if oldest < 0 { return }
            remove(oldest)
        }
        insert(
            Entry(key: key, message: kept.message, stored: now, expires: now + Int64(kept.seconds) * 1_000_000_000))
        bytes += cost
    }

    /// The message without OPT and its life in seconds (at least 1), or nil.
    static func keepable(_ message: Octets, _ query: Query) -> (message: Octets, seconds: Int)? {
        guard let flags = message.load16(2), flags & DNS.truncated == 0, let answers = message.load16(6),
            let additional = message.load16(10), var walker = RecordWalker(message, start: query.question.end)
        else { return nil }
        let rcode = flags & DNS.rcodeMask
        guard rcode == DNS.noError || rcode == DNS.nameError else { return nil }
        var seconds = longestPositive
        var hasSOA = false
        var opt: RecordWalker.Record?
        walk: while true {
            switch walker.next() {
            case .malformed: return nil
            case .end: break walk
            case .record(let record):
                // Nothing may follow OPT: it is cut off, and names behind it would point elsewhere.
                if opt != nil || record.type == DNS.typeTSIG { return nil }
                if record.type == DNS.typeOPT {
                    // The upper bits of an extended rcode (RFC 6891 section 6.1.3).
                    if record.section != .additional || record.ttl >> 24 != 0 { return nil }
                    opt = record
                    continue
                }
                // RFC 2181 section 8: a TTL with the top bit set is 0.
                seconds = min(seconds, record.ttl >= 1 << 31 ? 0 : record.ttl)
                if record.section == .authority, record.type == DNS.typeSOA, record.end - record.dataOffset >= 22 {
                    hasSOA = true
                    if rcode == DNS.nameError || answers == 0 || query.question.type != DNS.typeSOA {
                        seconds = min(seconds, message.load32(record.end - 4) ?? 0, longestNegative)
                    }
                }
            }
        }
        if (rcode == DNS.nameError || answers == 0) && !hasSOA { return nil }
        if seconds <= 0 || walker.at != message.count { return nil }
        guard let opt else { return (message, seconds) }
        var kept = Octets(message[..<opt.start])
        kept.store16(additional - 1, 10)
        return (kept, seconds)
    }

    private static func cost(_ key: Key, _ message: Octets) -> Int { overhead + key.name.octets.count + message.count }

    // MARK: The order of use

    private mutating func linkNewest(_ slot: Int) {
        entries[slot].newer = -1
        entries[slot].older = newest
        if newest >= 0 { entries[newest].newer = slot }
        newest = slot
        if oldest < 0 { oldest = slot }
    }

    private mutating func unlink(_ slot: Int) {
        let (newer, older) = (entries[slot].newer, entries[slot].older)
        if newer >= 0 { entries[newer].older = older } else { newest = older }
        if older >= 0 { entries[older].newer = newer } else { oldest = newer }
    }

    // MARK: The table

    private func bucket(_ hash: Int) -> Int { hash & (buckets.count - 1) }

    private func find(_ key: Key) -> Int? {
        if buckets.isEmpty { return nil }
        var slot = buckets[bucket(key.hash)]
        while slot >= 0 {
            if entries[slot].key.hash == key.hash, entries[slot].key == key { return slot }
            slot = entries[slot].next
        }
        return nil
    }

    private mutating func insert(_ entry: Entry) {
        if buckets.isEmpty {
            var size = 16
            while size < maximumEntries { size *= 2 }
            buckets = [Int](repeating: -1, count: size)
        }
        let slot: Int
        if let reused = free.popLast() {
            slot = reused
            entries[slot] = entry
        } else {
            slot = entries.count
            entries.append(entry)
        }
        let bucket = bucket(entry.key.hash)
        entries[slot].next = buckets[bucket]
        buckets[bucket] = slot
        linkNewest(slot)
    }

    private mutating func remove(_ slot: Int) {
        unlink(slot)
        bytes -= Self.cost(entries[slot].key, entries[slot].message)
        let next = entries[slot].next
        let bucket = bucket(entries[slot].key.hash)
        if buckets[bucket] == slot {
            buckets[bucket] = next
        } else {
            var before = buckets[bucket]
            while entries[before].next != slot { before = entries[before].next }
            entries[before].next = next
        }
        entries[slot].message = []
        free.append(slot)
    }
}
