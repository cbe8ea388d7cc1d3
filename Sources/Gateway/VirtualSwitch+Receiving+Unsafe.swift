internal import Logging
internal import Netstack
internal import Uv
internal import Wire

// The switch's reading half: one read of a link, its frames one by one, each sent on to the ports it is for or given to the core. A frame for
// the core lies in the switch's space until the next read; what continues it is joined to it (SegmentJoiner).

extension VirtualSwitch {
    /// Reads once from a link. `next` gives its frames.
    func read(_ port: Int) {
        readPort = -1
        readAt = 0
        waiting = nil
        guard port < links.count, let link = links[port] else { return }
        let stride = stride(of: link)
        let outcome = unsafe link.read(
            into: space, size: Self.readSize, stride: stride, lengths: lengths, count: Self.messages)
        tellOfBrokenRing(link)
        switch outcome {
        case .nothing: return
        case .ended: return end(port)
        case .bytes(let count): readEnd = count
        case .messages(let count): readCount = count
        }
        readPort = port
    }

    /// Something is wrong with the descriptor itself.
    func fail(_ port: Int) {
        if port < links.count, links[port] != nil { end(port) }
    }

    /// The next frame of the read that is for the core, with those joined to it that continue it. It lies in `frame(range)` until
    /// the next read.
    func next() -> Range<Int>? {
        guard readPort >= 0 else { return nil }
        let port = readPort
        while let link = links[port], let range = nextFrame(link) {
            link.counters.received += 1
            if route(range, from: port, link) { return join(range, link) }
        }
        readPort = -1
        return nil
    }

    /// Joins to a frame for the core what comes next on its link, while it continues it. Sets `offload`.
    private func join(_ range: Range<Int>, _ link: MachineLink) -> Range<Int> {
        if link.hasHeaders {
            offload = given
            return range
        }
        var bytes = unsafe MutableRawSpan(_unsafeStart: space, byteCount: spaceSize)
        guard joins, var joiner = SegmentJoiner(range, in: bytes.bytes, isTrusted: link.trustsChecksums) else {
            offload = OffloadHeader()
            offload.checksumValid = link.trustsChecksums
            return range
        }
        while let next = nextFrame(link) {
            guard joiner.join(next, in: &bytes) else {
                waiting = next
                break
            }
            link.counters.received += 1
        }
        offload = joiner.finish(in: &bytes)
        return joiner.range
    }

    @_lifetime(borrow self)
    func frame(_ range: Range<Int>) -> RawSpan {
        let span = unsafe RawSpan(_unsafeStart: space + range.lowerBound, byteCount: range.count)
        return unsafe _overrideLifetime(span, borrowing: self)
    }

    /// Where the next frame lies; what is not whole is kept.
    private func nextFrame(_ link: MachineLink) -> Range<Int>? {
        if let range = waiting {
            waiting = nil
            return range
        }
        if link.kind != .stream { return nextMessage(link) }
        if link.handshake != nil, !introduce(link, readPort) { return nil }
        if link.framing == .serial { return nextSerial(link) }
        let bytes = unsafe RawSpan(_unsafeStart: space, byteCount: readEnd)
        while true {
            switch link.framing.next(in: bytes, at: readAt) {
            case .frame(let range):
                readAt = range.upperBound
                return range
            case .empty(let next):
                link.counters.empty += 1
                readAt = next
            case .more:
                link.keep(bytes.extracting(readAt..<readEnd))
                return nil
            case .bad:
                link.counters.oversized += 1
                logger.warning(
                    "a machine on \(addresses[link.origin].text) was sent away: it does not speak this link's protocol")
                end(readPort)
                return nil
            }
        }
    }

    /// The next frame of a serial line, which is unescaped where it lies. Noise is skipped; without end it is not kept.
    private func nextSerial(_ link: MachineLink) -> Range<Int>? {
        var bytes = unsafe MutableRawSpan(_unsafeStart: space, byteCount: readEnd)
        while true {
            switch SerialFraming.next(in: &bytes, from: readAt, to: readEnd) {
            case .frame(let range, let next):
                readAt = next
                return range
            case .empty(let next): readAt = next
            case .damaged(let next):
                link.counters.damaged += 1
                readAt = next
            case .more:
                if readEnd - readAt > SerialFraming.room(link.limit) {
                    link.counters.damaged += 1
                    readAt = readEnd
                }
                link.keep(bytes.bytes.extracting(readAt..<readEnd))
                return nil
            }
        }
    }

    private func nextMessage(_ link: MachineLink) -> Range<Int>? {
        let stride = stride(of: link)
        while readAt < readCount {
            var length = unsafe Int(lengths[readAt])
            var start = readAt * stride
            readAt += 1
            if length == Int(UInt32.max) {
                link.counters.oversized += 1
                continue
            }
            if link.hasHeaders, length >= GuestTap.offloadLength {
                unsafe given = GuestTap.decode(space + start)
                start += GuestTap.offloadLength
                length -= GuestTap.offloadLength
            }
            // "VFKT" introduces some peers of vfkit links; like any other shred of a frame it is of no further use.
            if length < EthernetHeader.length {
                link.counters.empty += 1
                continue
            }
            return start..<start + length
        }
        return nil
    }

    /// Learns, and hands a frame on to the ports it is for. Whether it is for the core.
    private func route(_ range: Range<Int>, from port: Int, _ link: MachineLink) -> Bool {
        let frame = unsafe RawSpan(_unsafeStart: space + range.lowerBound, byteCount: range.count)
        guard let ethernet = try? EthernetView(frame) else { return true }  // for the core to count
        let source = ethernet.source
        if source != link.lastSource {
            guard source != gatewayMAC, !source.isMulticast, stations.learn(source, port: port) else {
                link.counters.spoofed += 1
                return false
            }
            link.lastSource = source
        }
        if let refusal = bindings.refusal(of: ethernet, port: port, now: Instant(nanoseconds: monotonicNanoseconds())) {
            refuse(refusal, ethernet, link)
            return false
        }
        let destination = ethernet.destination
        if destination == gatewayMAC { return true }
        if isolates { return destination.isMulticast }
        let offload = link.hasHeaders ? given : OffloadHeader()
        guard let split = SuperFrame.headerLength(frame, offload) else {
            link.counters.lost += 1
            return false
        }
        let header = frame.extracting(0..<split)
        let payload = frame.extracting(split..<frame.byteCount)
        if !destination.isMulticast, let other = stations.port(of: destination) {
            guard other != port, let target = links[other] else { return false }
            if !put(offload, header, payload, other, target) { target.counters.lost += 1 }
            return false
        }
        flood(offload, header, payload, except: port)
        return destination.isMulticast
    }
}
