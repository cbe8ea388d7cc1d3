package import Wire

// Fragments of the guest's datagrams, put together again (RFC 791 section 3.2, RFC 815; RFC 8200 section 4.5, RFC 5722).
//
//   slot:  | header room (40) | payload, each fragment at its offset (65535) |      64 slots
//   map:   1 bit per 8 bytes of payload: received                                1 KiB each
//
// A fragment is copied to its place and its bits are set. When the last fragment has named the end and every bit up to
// it is set, a new IP header is put in front, without options, extension headers or fragment fields, and the whole
// is handed to the ordinary path as if it had come in one piece:
//
//     if reassembler.receive(packet, from: mac, ...) {
//         let whole = reassembler.takeFinished()
//         receiveIP(whole.bytes)              // by value: the reassembler is not borrowed meanwhile
//         reassembler.giveBack(whole)
//     }
//
// The bitmap (rather than RFC 815's list of holes) makes the work per fragment bounded by the fragment's length, whatever
// holes a guest leaves, and makes overlap exact: a fragment whose range is all there already with the same bytes is a
// duplicate and ignored; any other overlap spoils the datagram (RFC 5722 for IPv6, and here for IPv4 too), which then
// swallows its further fragments until its time is up. A fragment in a fragment is malformed (RFC 8200 section 4.1).
//
// Limits: 64 datagrams and 1 MiB of payload at once. When either is exceeded the oldest datagram gives way, counted as
// `fragmentsFull`. Resident memory follows use, 4 MiB at the very most. Time: 30 seconds for IPv4 (RFC 1122
// section 3.3.2 asks for a fixed value), 60 for IPv6 (RFC 8200 section 4.5), from the first fragment to arrive; then
// "reassembly time exceeded" if the fragment with the transport header had come, and the counter `fragmentTimeout`.

/// A datagram that was put together, from its IP header on. Give it back to the reassembler after use.
package struct ReassembledDatagram: ~Copyable {
    fileprivate var store: DatagramStore
    fileprivate var end: Int

    package var bytes: RawSpan {
        @_lifetime(borrow self)
        get { store.bytes.extracting(0..<end) }
    }

    fileprivate mutating func fill(_ bytes: RawSpan) {
        var target = store.mutableBytes
        target.copy(from: bytes, at: 0)
        end = bytes.byteCount
    }
}

/// Reassembles the guest's fragments.
package struct Reassembler: ~Copyable {
    package static let capacity = 64
    package static let maximumBytes = 1 << 20
    package static let timeout4 = Int64.seconds(30)
    package static let timeout6 = Int64.seconds(60)

    private static let headerRoom = 40
    private static let maximumPayload = 65_535
    /// Bytes of memory per slot; a multiple of 64.
    private static let stride = 65_600
    private static let words = 65_536 / 8 / 64

    /// RFC 791 section 3.2: source, destination, protocol, identification; RFC 8200: without the protocol, which is in
    /// `proto` as 0 then.
    private struct Key: Equatable, BitwiseCopyable {
        var source: IPAddress
        var destination: IPAddress
        var identification: UInt32
        var proto: UInt8
    }

    private struct Slot: BitwiseCopyable {
        var key: Key
        var inUse = false
        /// Overlapped or contradictory: swallows what still comes.
        var isSpoiled = false
        /// Payload length, once the last fragment has come; -1 before.
        var end = -1
        /// The highest byte received, exclusive.
        var highest = 0
        var received = 0
        var started = Instant.never
        var mac = MACAddress.broadcast
        // Of the first fragment (RFC 791 section 3.2; RFC 8200 section 4.5: "Next Header ... of the first fragment").
        var hasFirst = false
        var proto: UInt8 = 0
        var hopLimit: UInt8 = 0
        var trafficClass: UInt8 = 0
    }

    private var slots: [Slot]
    private var maps: [UInt64]
    private var memory = DatagramStore(byteCount: Reassembler.capacity * Reassembler.stride)
    private var finished: ReassembledDatagram?
    /// Datagrams that are waiting.
    package private(set) var count = 0
    /// Payload bytes that are held.
    package private(set) var byteCount = 0

    package init() {
        let nobody = Key(source: .anyV6, destination: .anyV6, identification: 0, proto: 0)
        slots = [Slot](repeating: Slot(key: nobody), count: Self.capacity)
        maps = [UInt64](repeating: 0, count: Self.capacity * Self.words)
        finished = ReassembledDatagram(store: DatagramStore(byteCount: Self.stride), end: 0)
    }

    /// The completed datagram, after `receive` has returned true.
    package mutating func takeFinished() -> ReassembledDatagram {
        guard let whole = finished.take() else {
            return ReassembledDatagram(store: DatagramStore(byteCount: Self.stride), end: 0)
        }
        return whole
    }

    package mutating func giveBack(_ datagram: consuming ReassembledDatagram) {
        finished = .some(datagram)
    }

    // MARK: Fragments

    /// A fragment of the guest.
    /// - Parameter packet: from the IP header on; a fragment by its IPv4 header or its IPv6 fragment header.
    /// - Returns: whether it completed a datagram, which `takeFinished` then gives.
    package mutating func receive<O: Outside & ~Copyable>(
        _ packet: RawSpan, from mac: MACAddress, at now: Instant, counters: inout Counters, outside: inout O
    ) -> Bool {
        if let header = try? IPv4View(packet) {
            var slot = Slot(
                key: Key(
                    source: header.source, destination: header.destination,
                    identification: UInt32(header.identification), proto: header.protocol))
            slot.proto = header.protocol
            slot.hopLimit = header.timeToLive
            slot.trafficClass = header.trafficClass
            slot.mac = mac
            return add(
                slot, header.payload, offset: header.fragmentOffset, more: header.moreFragments,
                limit: Self.maximumPayload - IPv4Header.length, at: now, counters: &counters, outside: &outside)
        }
        guard let header = try? IPv6View(packet), let chain = try? IPv6Chain(header), let fragment = chain.fragment,
            !fragment.isAtomic, chain.upperProtocol != IPProtocol.fragment
        else {
            counters.drop(.malformedFragment)
            return false
        }
        var slot = Slot(
            key: Key(
                source: header.source, destination: header.destination, identification: fragment.identification,
                proto: 0))
        slot.proto = chain.upperProtocol
        slot.hopLimit = header.hopLimit
        slot.trafficClass = header.trafficClass
        slot.mac = mac
        return add(
            slot, chain.payload, offset: fragment.offset, more: fragment.more, limit: Self.maximumPayload, at: now,
            counters: &counters, outside: &outside)
    }

    private mutating func add<O: Outside & ~Copyable>(
        _ fresh: Slot, _ payload: RawSpan, offset: Int, more: Bool, limit: Int, at now: Instant,
        counters: inout Counters, outside: inout O
    ) -> Bool {
        let length = payload.byteCount
        let end = offset + length
        // RFC 791 section 3.2, RFC 8200 section 4.5: pieces but the last are multiples of eight bytes; nothing ends behind
        // the longest packet. An empty piece says nothing.
        guard length > 0, !more || length & 7 == 0, end <= limit else {
            counters.drop(.malformedFragment)
            return false
        }
        let index = find(fresh.key) ?? start(fresh, at: now, counters: &counters, outside: &outside)
        if slots[index].isSpoiled {
            counters.drop(.overlappingFragment)
            return false
        }
        let units = offset / 8..<(end + 7) / 8
        let present = countBits(index, units)
        if present > 0 {
            if present == units.count, more || slots[index].end == end, end <= slots[index].highest,
                holds(index, payload, at: offset)
            {
                return false
            }
            spoil(index, .overlappingFragment, &counters)
            return false
        }
        let known = slots[index].end
        // Two ends, or bytes behind the end.
        if known >= 0 && (!more || end > known) || !more && slots[index].highest > end {
            spoil(index, .malformedFragment, &counters)
            return false
        }
        while byteCount + length > Self.maximumBytes {
            guard let victim = oldest(except: index) else { break }
            counters.drop(.fragmentsFull)
            free(victim)
        }
        if !more { slots[index].end = end }
        if offset == 0 {
            slots[index].hasFirst = true
            slots[index].proto = fresh.proto
            slots[index].hopLimit = fresh.hopLimit
            slots[index].trafficClass = fresh.trafficClass
        }
        var bytes = memory.mutableBytes
        bytes.copy(from: payload, at: index * Self.stride + Self.headerRoom + offset)
        setBits(index, units)
        slots[index].highest = max(slots[index].highest, end)
        slots[index].received += length
        byteCount += length
        guard slots[index].received == slots[index].end else { return false }
        finish(index)
        return true
    }

    private func find(_ key: Key) -> Int? {
        guard count > 0 else { return nil }
        for index in 0..<Self.capacity where slots[index].inUse && slots[index].key == key { return index }
        return nil
    }

    /// A cleared slot for a new datagram; the lowest free one, so that few pages are ever touched.
    private mutating func start<O: Outside & ~Copyable>(
        _ fresh: Slot, at now: Instant, counters: inout Counters, outside: inout O
    ) -> Int {
        var free = -1
        for index in 0..<Self.capacity where !slots[index].inUse {
            free = index
            break
        }
        if free < 0 {
            free = oldest(except: -1) ?? 0
            counters.drop(.fragmentsFull)
            outside.note(.tableFull(.fragments))
            self.free(free)
        }
        slots[free] = fresh
        slots[free].inUse = true
        slots[free].started = now
        count += 1
        for word in free * Self.words..<(free + 1) * Self.words { maps[word] = 0 }
        return free
    }

    private mutating func free(_ index: Int) {
        byteCount -= slots[index].received
        slots[index].inUse = false
        count -= 1
    }

    private mutating func spoil(_ index: Int, _ reason: DropReason, _ counters: inout Counters) {
        counters.drop(reason)
        byteCount -= slots[index].received
        slots[index].received = 0
        slots[index].isSpoiled = true
    }

    private func oldest(except index: Int) -> Int? {
        var best: Int?
        for other in 0..<Self.capacity where slots[other].inUse && other != index {
            if let known = best, slots[known].started <= slots[other].started { continue }
            best = other
        }
        return best
    }

    // MARK: The map

    private func countBits(_ index: Int, _ units: Range<Int>) -> Int {
        var total = 0
        var unit = units.lowerBound
        while unit < units.upperBound {
            let (word, mask, next) = part(index, unit, units.upperBound)
            total += (maps[word] & mask).nonzeroBitCount
            unit = next
        }
        return total
    }

    private mutating func setBits(_ index: Int, _ units: Range<Int>) {
        var unit = units.lowerBound
        while unit < units.upperBound {
            let (word, mask, next) = part(index, unit, units.upperBound)
            maps[word] |= mask
            unit = next
        }
    }

    /// The word that holds `unit`, the bits of it below `end`, and the first unit of the next word.
    private func part(_ index: Int, _ unit: Int, _ end: Int) -> (word: Int, mask: UInt64, next: Int) {
        let next = min((unit & ~63) + 64, end)
        let low = UInt64.max << UInt64(unit & 63)
        let high = UInt64.max >> UInt64(63 - (next - 1) & 63)
        return (index * Self.words + unit / 64, low & high, next)
    }

    /// Whether the bytes at `offset` are those of `payload`.
    private func holds(_ index: Int, _ payload: RawSpan, at offset: Int) -> Bool {
        let start = index * Self.stride + Self.headerRoom + offset
        let bytes = memory.bytes
        for i in 0..<payload.byteCount where bytes.u8(at: start + i) != payload.u8(at: i) { return false }
        return true
    }

    // MARK: The end

    /// Puts a header in front of the slot's first `length` payload bytes.
    /// - Returns: where it starts, in the slot.
    private mutating func writeHeader(_ index: Int, length: Int) -> Int {
        let slot = slots[index]
        let isV4 = slot.key.destination.isV4
        let start = Self.headerRoom - (isV4 ? IPv4Header.length : IPv6Header.length)
        var bytes = memory.mutableBytes
        if isV4 {
            IPv4Header(
                source: slot.key.source, destination: slot.key.destination, protocol: slot.proto,
                payloadLength: length, timeToLive: slot.hopLimit, trafficClass: slot.trafficClass,
                identification: UInt16(truncatingIfNeeded: slot.key.identification), dontFragment: false,
                moreFragments: false, fragmentOffset: 0
            ).write(to: &bytes, at: index * Self.stride + start)
        } else {
            IPv6Header(
                source: slot.key.source, destination: slot.key.destination, nextHeader: slot.proto,
                payloadLength: length, hopLimit: slot.hopLimit, trafficClass: slot.trafficClass, flowLabel: 0
            ).write(to: &bytes, at: index * Self.stride + start)
        }
        return start
    }

    /// Copies the complete datagram out, so that the slot is free before anything is done with it.
    private mutating func finish(_ index: Int) {
        let length = slots[index].end
        let start = writeHeader(index, length: length)
        var target = takeFinished()
        target.fill(
            memory.bytes.extracting(index * Self.stride + start..<index * Self.stride + Self.headerRoom + length))
        finished = .some(target)
        free(index)
    }

    // MARK: Time

    /// When the next datagram runs out of time.
    package var nextDeadline: Instant {
        guard count > 0 else { return .never }
        var next = Instant.never
        for index in 0..<Self.capacity where slots[index].inUse { next = min(next, deadline(index)) }
        return next
    }

    private func deadline(_ index: Int) -> Instant {
        slots[index].started + (slots[index].key.destination.isV4 ? Self.timeout4 : Self.timeout6)
    }

    /// Gives up the datagrams whose time has passed.
    package mutating func advance<O: Outside & ~Copyable>(
        to now: Instant, configuration: Configuration, errors: inout ICMPErrors, egress: inout Egress,
        counters: inout Counters, outside: inout O
    ) {
        guard count > 0 else { return }
        for index in 0..<Self.capacity where slots[index].inUse && deadline(index) <= now {
            counters.drop(.fragmentTimeout)
            let slot = slots[index]
            free(index)
            // RFC 792, RFC 8200 section 4.5: only if the first fragment has come; it is what is quoted.
            guard slot.hasFirst, !slot.isSpoiled else { continue }
            var length = 0
            while length < 1232, countBits(index, length / 8..<length / 8 + 1) == 1 { length += 8 }
            length = min(length, slot.highest)
            let start = index * Self.stride + writeHeader(index, length: length)
            let info = PacketInfo(
                guestMAC: slot.mac, source: slot.key.source, destination: slot.key.destination, proto: slot.proto,
                hopLimit: slot.hopLimit, trafficClass: slot.trafficClass)
            errors.send(
                .reassemblyTimeExceeded, about: info,
                original: memory.bytes.extracting(start..<(index * Self.stride + Self.headerRoom + length)), at: now,
                configuration: configuration, egress: &egress, counters: &counters, outside: &outside)
        }
    }
}
