package import Netstack
package import Wire

// The guest of the simulator: a small TCP endpoint written apart from the engine it talks to. It sends the bytes of a
// pattern and then FIN, checks the bytes that come by their position, keeps what is early as ranges only (the bytes are
// checked on arrival), acknowledges every segment, reports SACK blocks, and retransmits by timeout (go back N) and by
// three duplicate ACKs. What it does badly (congestion control) does not matter here; what it checks does:
//   - every header the engine sends parses, with the partial checksum that belongs to it
//   - nothing beyond the window that was offered, nothing longer than the MSS
//   - the engine's window never moves left

package struct GuestTCP: Sendable {
    package struct Options: Sendable {
        package var sack = true
        package var timestamps = true
        package var windowScale: UInt8? = 7
        package var mss = 1460
        package var window = 1 << 18
        package var outgoing = 0
        package var iss: UInt32 = 1000
        package init() {}
    }

    package enum State: Sendable { case synSent, established, reset }

    package let options: Options
    package private(set) var state = State.synSent
    package private(set) var received = 0
    package private(set) var mismatch: Int?
    package private(set) var sawFin = false
    package private(set) var complaints: [String] = []
    package private(set) var mss: Int
    private let endpoint: Endpoint
    private let remote: Endpoint
    private let mac: MACAddress
    private let gatewayMAC: MACAddress
    private let toHost: StreamPattern
    private let fromHost: StreamPattern

    // Positions count from the first byte of each stream; FIN is position `outgoing`.
    private var una = 0
    private var nxt = 0
    private var highest = 0
    private var irs = SequenceNumber(rawValue: 0)
    private var peerEdge = 0
    private var peerShift = 0
    private var early: [Range<Int>] = []
    private var finAt: Int?
    private var duplicates = 0
    private var rto: Int64 = .milliseconds(300)
    package private(set) var deadline = Instant.never
    private var window = 0
    private var tsRecent: UInt32 = 0
    /// Segments to be sent, in order.
    package var outbox: [[UInt8]] = []
    package var windowOverride: Int?

    package init(
        options: Options, from endpoint: Endpoint, to remote: Endpoint, mac: MACAddress, gatewayMAC: MACAddress,
        toHost: StreamPattern, fromHost: StreamPattern
    ) {
        self.options = options
        self.endpoint = endpoint
        self.remote = remote
        self.mac = mac
        self.gatewayMAC = gatewayMAC
        self.toHost = toHost
        self.fromHost = fromHost
        mss = options.mss
        window = options.window
    }

    /// Everything was sent and acknowledged, everything came.
    package var isDone: Bool { una == options.outgoing + 1 && sawFin }
    package var acknowledged: Int { min(una, options.outgoing) }

    // MARK: Sending

    package mutating func open(at now: Instant) {
        var syn = TCPOptions()
        syn.maximumSegmentSize = UInt16(options.mss)
        syn.windowScale = options.windowScale
        syn.sackPermitted = options.sack
        emit([.syn], position: -1, payload: 0..<0, syn, now)
        deadline = now + rto
    }

    package mutating func expire(at now: Instant) {
        guard deadline <= now else { return }
        rto = min(rto * 2, .seconds(20))
        switch state {
        case .synSent: open(at: now)
        case .established:
            nxt = una
            duplicates = 0
            deadline = .never
            send(at: now, force: true)
        case .reset: deadline = .never
        }
    }

    private mutating func send(at now: Instant, force: Bool = false) {
        let end = options.outgoing
        var forced = force
        while nxt < end {
            let room = min(peerEdge, una + 64 * mss) - nxt
            var length = min(mss, end - nxt, room)
            // A probe of one byte when the window is closed.
            if length <= 0, forced { length = 1 }
            guard length > 0 else { break }
            forced = false
            emit([.ack, .psh], position: nxt, payload: nxt..<nxt + length, TCPOptions(), now)
            nxt += length
        }
        if nxt == end {
            emit([.ack, .fin], position: nxt, payload: 0..<0, TCPOptions(), now)
            nxt += 1
        }
        highest = max(highest, nxt)
        if deadline == .never, una < nxt || una < end { deadline = now + rto }
    }

    package mutating func sendReset(at now: Instant) {
        emit([.rst, .ack], position: nxt, payload: 0..<0, TCPOptions(), now)
    }

    package mutating func reopen(window: Int, at now: Instant) {
        windowOverride = window
        acknowledge(now)
    }

    private mutating func acknowledge(_ now: Instant) { emit([.ack], position: nxt, payload: 0..<0, TCPOptions(), now) }

    private mutating func emit(
        _ flags: TCPFlags, position: Int, payload: Range<Int>, _ extra: TCPOptions, _ now: Instant
    ) {
        var tcp = extra
        if options.timestamps {
            tcp.timestamps = (value: UInt32(truncatingIfNeeded: now.nanoseconds / 1_000_000 + 7), echoReply: tsRecent)
        }
        if options.sack, !flags.contains(.syn) {
            for range in early.reversed() {
                tcp.appendSack(left: irs + 1 + range.lowerBound, right: irs + 1 + range.upperBound)
            }
        }
        let current = windowOverride ?? window
        let shift = flags.contains(.syn) || options.windowScale == nil ? 0 : Int(options.windowScale ?? 0)
        let isV4 = remote.address.isV4
        let ip = isV4 ? 20 : 40
        let length = 20 + tcp.length + payload.count
        var bytes = [UInt8](repeating: 0, count: 14 + ip + length)
        var span = bytes.mutableSpan
        var raw = unsafe span.mutableBytes
        _ = EthernetHeader(destination: gatewayMAC, source: mac, etherType: isV4 ? EtherType.ipv4 : EtherType.ipv6)
            .write(to: &raw, at: 0)
        if isV4 {
            _ = IPv4Header(
                source: endpoint.address, destination: remote.address, protocol: IPProtocol.tcp, payloadLength: length,
                timeToLive: 64, trafficClass: 0, identification: 0, dontFragment: true, moreFragments: false,
                fragmentOffset: 0
            ).write(to: &raw, at: 14)
        } else {
            _ = IPv6Header(
                source: endpoint.address, destination: remote.address, nextHeader: IPProtocol.tcp,
                payloadLength: length, hopLimit: 64, trafficClass: 0, flowLabel: 0
            ).write(to: &raw, at: 14)
        }
        let ack = flags.contains(.ack) ? irs + 1 + received + (sawFin ? 1 : 0) : SequenceNumber(rawValue: 0)
        func header(_ checksum: UInt16) -> TCPHeader {
            TCPHeader(
                sourcePort: endpoint.port, destinationPort: remote.port,
                sequence: SequenceNumber(rawValue: options.iss) + 1 + position, acknowledgment: ack, flags: flags,
                window: UInt16(clamping: current >> shift), checksum: checksum, urgentPointer: 0)
        }
        let written = tcp.write(to: &raw, at: 14 + ip + 20)
        _ = header(0).write(to: &raw, at: 14 + ip, optionsLength: written)
        for (i, p) in payload.enumerated() { raw.store(u8: toHost[p], at: 14 + ip + 20 + written + i) }
        let pseudo = Checksum.pseudoHeader(
            source: endpoint.address, destination: remote.address, protocol: IPProtocol.tcp, length: length)
        let sum = Checksum.finish(Checksum.sum(raw.bytes.extracting(14 + ip..<14 + ip + length), pseudo))
        _ = header(sum).write(to: &raw, at: 14 + ip, optionsLength: written)
        outbox.append(bytes)
    }

    // MARK: Receiving

    /// A segment from the engine, already cut to size by the wire.
    package mutating func receive(_ segment: WireSegment, at now: Instant) {
        guard state != .reset else { return }
        if segment.flags.contains(.rst) {
            state = .reset
            deadline = .never
            return
        }
        if state == .synSent {
            guard segment.flags.contains(.syn), segment.flags.contains(.ack) else { return }
            irs = segment.sequence
            if segment.options.windowScale != nil, options.windowScale != nil {
                peerShift = Int(segment.options.windowScale ?? 0)
            }
            if let offered = segment.options.maximumSegmentSize { mss = min(mss, Int(offered)) }
            if options.timestamps {
                mss -= 12
                if segment.options.timestamps == nil { complaints.append("no timestamps on SYN-ACK") }
                tsRecent = segment.options.timestamps?.value ?? 0
            }
            peerEdge = Int(segment.window)
            state = .established
            rto = .milliseconds(300)
            deadline = .never
            acknowledge(now)
            send(at: now)
            return
        }
        if segment.flags.contains(.syn) { return acknowledge(now) }
        if let value = segment.options.timestamps?.value { tsRecent = value }
        takeAck(segment, now)
        takeText(segment, now)
    }

    private mutating func takeAck(_ segment: WireSegment, _ now: Instant) {
        let ack = segment.acknowledgment - (SequenceNumber(rawValue: options.iss) + 1)
        let edge = ack + Int(segment.window) << peerShift
        if ack > highest { complaints.append("ACK \(ack) of what was never sent (\(highest))") }
        // Reordered segments may carry an older edge; a new ACK may not take room back.
        if ack > una, edge < peerEdge - (1 << peerShift) {
            complaints.append("window shrank from \(peerEdge) to \(edge)")
        }
        let opened = edge > peerEdge
        if edge > peerEdge { peerEdge = edge }
        if ack > una {
            una = ack
            if nxt < una { nxt = una }
            duplicates = 0
            rto = .milliseconds(300)
            deadline = una < highest || una <= options.outgoing ? now + rto : .never
        } else if ack == una, segment.payload.isEmpty, una < nxt, !opened {
            duplicates += 1
            if duplicates == 3 {
                let end = min(una + mss, options.outgoing)
                if una < end {
                    emit([.ack], position: una, payload: una..<end, TCPOptions(), now)
                } else {
                    emit([.ack, .fin], position: una, payload: 0..<0, TCPOptions(), now)
                }
            }
        }
        if una > options.outgoing { deadline = .never }
        send(at: now)
    }

    private mutating func takeText(_ segment: WireSegment, _ now: Instant) {
        let start = segment.sequence - (irs + 1)
        let end = start + segment.payload.count
        if segment.payload.count > mss { complaints.append("segment of \(segment.payload.count), MSS \(mss)") }
        let offered = max(received + (windowOverride ?? window), received)
        if windowOverride == nil, end > offered { complaints.append("byte \(end) beyond the window \(offered)") }
        if segment.flags.contains(.fin) { finAt = end }
        if !segment.payload.isEmpty {
            for (i, byte) in segment.payload.enumerated() where byte != fromHost[start + i] {
                mismatch = mismatch ?? start + i
            }
            note(start..<end)
        }
        if let finAt, finAt == received { sawFin = true }
        // A bare ACK is not answered, unless it is a probe left of the window.
        if !segment.payload.isEmpty || segment.flags.contains(.fin) || start < received { acknowledge(now) }
    }

    private mutating func note(_ range: Range<Int>) {
        early.append(range)
        early.sort { $0.lowerBound < $1.lowerBound }
        var merged: [Range<Int>] = []
        for r in early {
            if let last = merged.last, r.lowerBound <= last.upperBound {
                merged[merged.count - 1] = last.lowerBound..<max(last.upperBound, r.upperBound)
            } else {
                merged.append(r)
            }
        }
        if let first = merged.first, first.lowerBound <= received {
            received = max(received, first.upperBound)
            merged.removeFirst()
        }
        early = merged
    }
}
