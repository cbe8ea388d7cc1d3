package import Netstack
package import Wire

// A guest's TCP for the simulator, written apart from the core's engine and in another way: sequence numbers are
// absolute integers (SYN 0, first byte 1), streams are arrays, loss recovery is the plainest that works (SACK or
// NewReno for the first hole, go-back-N after a timeout). It checks as it receives: text beyond the window it offered and
// segments larger than its MSS are noted as violations of the core.
//
// It plays either side of one connection, or both sides' SYNs cross. RFC 9293, RFC 2018, RFC 7323.

/// One end of a TCP connection inside the guest.
package struct GuestTCP {
    package struct Options: Sendable {
        package var isV4 = true
        package var mss = 1460
        package var windowScale: UInt8? = 7
        package var sack = true
        /// Sends D-SACKs (RFC 2883).
        package var reportsDuplicates = true
        package var timestamps = true
        /// Offers ECN (RFC 3168); `echoesMark` says when it claims to have seen marks.
        package var ecn = false
        package var receiveBuffer = 256 * 1024
        /// Bytes that the application reads per `readInterval`; nil: everything at once; 0: nothing.
        package var readSize: Int?
        package var readInterval = Int64.milliseconds(1)
        package var iss: UInt32 = 1_000
        /// Segments in one super-frame.
        package var superSegments = 1
        package var sourcePort: UInt16 = 40_000
        package var remote = Endpoint(address: IPAddress(v4: 0xc633_6401), port: 80)
        /// How it meets a SYN while it listens.
        package var welcome = Welcome.accepts
        /// Closes its half when everything is sent.
        package var closes = true
        /// ... only after the peer's end.
        package var closesAfterPeer = false
        package init() {}
    }

    package enum State: Sendable { case idle, listening, synSent, synReceived, open, reset, failed }
    package enum Welcome: Sendable { case accepts, refuses, ignores }

    package let options: Options
    package private(set) var state = State.idle
    package var outbox: [Frame] = []
    package private(set) var violations: [String] = []
    /// What arrived in order.
    package private(set) var received: [UInt8] = []
    package private(set) var peerEnded = false
    /// Our FIN is acknowledged.
    package private(set) var endAcknowledged = false
    package private(set) var retransmissions = 0
    package private(set) var windowProbes = 0
    /// Segments that arrived, for tests that count.
    package private(set) var segmentsReceived = 0
    package private(set) var synAcksReceived = 0
    package private(set) var pureAcksReceived = 0
    package private(set) var synsReceived = 0
    /// The options of the peer's SYN or SYN-ACK.
    package private(set) var answer: TCPOptions?
    /// When false nothing is answered and no timer runs: the guest is gone.
    package var isAlive = true
    package var closes: Bool
    package var echoesMark = false

    private let address: IPAddress
    private let mac: MACAddress
    private let gatewayMAC: MACAddress

    // Sending; absolute numbers.
    package private(set) var stream: [UInt8]
    package private(set) var una = 0
    package private(set) var nxt = 0
    private var highest = 0
    package private(set) var peerWindow = 0
    private var peerShift = 0
    private var peerMSS = 536
    private var cwnd = 0
    private var ssthresh = Int.max
    private var duplicates = 0
    private var recover = 0
    private var recovering = false
    private var resendNext = 0
    private var sacked: [Range<Int>] = []
    private var rto = Int64.seconds(1)
    private var srtt: Int64 = 0
    private var rttvar: Int64 = 0
    private var timed: (number: Int, at: Instant)?
    private var timerAt = Instant.never
    private var backoff = 0

    // Receiving; absolute numbers, 0 is the peer's SYN.
    private var irs: UInt32 = 0
    package private(set) var rcvNxt = 0
    private var early: [(start: Int, bytes: [UInt8])] = []
    private var newestEarly: Int?
    /// What came twice and was not reported yet (RFC 2883).
    private var duplicate: Range<Int>?
    /// Text that came twice.
    package private(set) var duplicateBytes = 0
    private var peerFin: Int?
    private var unread = 0
    private var readAt = Instant.never
    /// Highest right edge ever offered.
    private var offeredEdge = 0
    private var ackAt = Instant.never
    private var sinceAck = 0
    private var tsRecent: UInt32 = 0
    private var usesTimestamps = false
    private var usesSack = false
    private var usesScale = false

    package init(
        _ options: Options, stream: [UInt8], address: IPAddress, mac: MACAddress, gatewayMAC: MACAddress
    ) {
        self.options = options
        self.stream = stream
        self.address = address
        self.mac = mac
        self.gatewayMAC = gatewayMAC
        closes = options.closes
    }

    /// What this end acknowledges.
    package var peerNext: SequenceNumber {
        SequenceNumber(rawValue: irs &+ UInt32(truncatingIfNeeded: rcvNxt))
    }
    private var dataEnd: Int { 1 + stream.count }
    private var finNumber: Int? { closes && (!options.closesAfterPeer || peerEnded) ? dataEnd : nil }
    package var isFinished: Bool { endAcknowledged && peerEnded }
    private var myWindow: Int { max(0, options.receiveBuffer - unread) }
    /// Payload of a full segment: the announced MSS is without options.
    private var segmentSize: Int { min(peerMSS, options.mss) - (usesTimestamps ? 12 : 0) }

    package var next: Instant { isAlive ? min(timerAt, min(ackAt, readAt)) : .never }

    /// More for the peer.
    package mutating func write(_ bytes: [UInt8], at now: Instant, silently: Bool = false) {
        stream += bytes
        if !silently { pump(now) }
    }

    // MARK: Events

    package mutating func connect(at now: Instant) {
        state = .synSent
        sendSyn(now)
    }

    /// Waits for the peer's SYN.
    package mutating func listen() { state = .listening }

    private mutating func sendSyn(_ now: Instant) {
        var syn = TCPOptions(
            maximumSegmentSize: UInt16(options.mss), windowScale: options.windowScale, sackPermitted: options.sack)
        if options.timestamps { syn.timestamps = (value: clock(now), echoReply: 0) }
        emit(options.ecn ? [.syn, .ece, .cwr] : [.syn], number: 0, 0..<0, syn, now)
        nxt = 1
        highest = 1
        timerAt = now + (rto << Int64(min(backoff, 6)))
    }

    package mutating func advance(to now: Instant) {
        guard isAlive else { return }
        if readAt <= now {
            readAt = .never
            let before = myWindow
            unread = max(0, unread - (options.readSize ?? unread))
            if unread > 0 { armReading(now) }
            // Tell of a window that reopened.
            if state == .open, before < segmentSize * 2, myWindow >= segmentSize * 2 { sendAck(now) }
        }
        if ackAt <= now { sendAck(now) }
        if timerAt <= now { timeout(now) }
        pump(now)
    }

    private mutating func timeout(_ now: Instant) {
        timerAt = .never
        backoff += 1
        if state == .synSent || state == .synReceived {
            if backoff > 6 {
                state = .failed
            } else if state == .synSent {
                sendSyn(now)
            } else {
                sendSynAck(now)
            }
            return
        }
        guard state == .open else { return }
        if nxt == una {
            guard waiting else { return }
            // A probe as Linux sends it: what a small window takes, or a number left of a closed one.
            windowProbes += 1
            let size = min(peerWindow, dataEnd - nxt, segmentSize)
            if size > 0 { return sendNew(size, now) }
            emit([.ack], number: una - 1, 0..<0, TCPOptions(), now)
            timerAt = now + min(rto << Int64(min(backoff, 8)), .seconds(60))
            return
        }
        ssthresh = max((nxt - una) / 2, 2 * segmentSize)
        cwnd = segmentSize
        nxt = una
        sacked = []
        recovering = false
        duplicates = 0
        timed = nil
        retransmissions += 1
        timerAt = now + min(rto << Int64(min(backoff, 8)), .seconds(60))
        sendFrom(una, limit: segmentSize, now)
        nxt = max(nxt, min(una + segmentSize, highest))
    }

    private var waiting: Bool { nxt < dataEnd || finNumber == nxt }

    package mutating func receive(_ frame: Frame, at now: Instant) {
        guard isAlive, state != .idle, state != .reset, state != .failed else { return }
        let transport = options.isV4 ? 34 : 54
        let bytes = frame.bytes.raw
        guard let tcp = try? TCPView(bytes.extracting(transport..<bytes.byteCount)),
            tcp.destinationPort == options.sourcePort, tcp.sourcePort == options.remote.port
        else { return }
        segmentsReceived += 1
        let flags = tcp.flags
        let parsed = TCPOptions(parsing: tcp.options)
        if state == .synSent {
            if flags.contains(.rst) {
                if flags.contains(.ack), tcp.acknowledgment.rawValue == options.iss &+ 1 { state = .reset }
                return
            }
            if flags.contains(.syn), !flags.contains(.ack) {
                synsReceived += 1
                take(tcp.sequence.rawValue, parsed, Int(tcp.window))
                return sendSynAck(now)
            }
            guard flags.contains(.syn), flags.contains(.ack), tcp.acknowledgment.rawValue == options.iss &+ 1 else {
                return
            }
            synAcksReceived += 1
            take(tcp.sequence.rawValue, parsed, Int(tcp.window))
            opened()
            sendAck(now)
            return pump(now)
        }
        if state == .listening {
            guard flags.contains(.syn), !flags.contains(.ack), !flags.contains(.rst) else { return }
            return welcome(tcp.sequence.rawValue, parsed, Int(tcp.window), now)
        }
        if state == .synReceived {
            if flags.contains(.syn), !flags.contains(.ack) {
                synsReceived += 1
                return sendSynAck(now)
            }
            if flags.contains(.rst) {
                state = .reset
                timerAt = .never
                return
            }
            guard flags.contains(.ack), tcp.acknowledgment.rawValue == options.iss &+ 1 else { return }
            opened()
            // The window of a SYN-ACK, after two SYNs have crossed, is not scaled.
            if !flags.contains(.syn) { peerWindow = Int(tcp.window) << peerShift }
        }
        let number =
            rcvNxt + Int(Int32(bitPattern: tcp.sequence.rawValue &- (irs &+ UInt32(truncatingIfNeeded: rcvNxt))))
        if flags.contains(.rst) {
            if number == rcvNxt {
                state = .reset
                timerAt = .never
                ackAt = .never
            } else if number > rcvNxt, number <= offeredEdge {
                sendAck(now)
            }
            return
        }
        if flags.contains(.syn) {
            synAcksReceived += 1
            sendAck(now)
            return
        }
        guard flags.contains(.ack) else { return }
        if usesTimestamps {
            guard let stamp = parsed.timestamps else {
                violations.append("a segment without timestamps")
                return
            }
            if number <= rcvNxt, Int32(bitPattern: stamp.value &- tsRecent) >= 0 { tsRecent = stamp.value }
        }
        let length = tcp.payload.byteCount
        if frame.offload.segmentation == .none, 20 + tcp.options.byteCount + length > options.mss + 20 {
            violations.append(
                "a segment of \(length) bytes with \(tcp.options.byteCount) of options beyond an MSS of \(options.mss)")
        }
        if length > 0, number + length > offeredEdge {
            violations.append("text up to \(number + length) beyond the window's edge \(offeredEdge)")
        }
        let ack =
            una
            + Int(Int32(bitPattern: tcp.acknowledgment.rawValue &- (options.iss &+ UInt32(truncatingIfNeeded: una))))
        if ack > highest { violations.append("an ACK of \(ack), sent was \(highest)") }
        let window = Int(tcp.window) << peerShift
        acknowledged(ack, window, parsed, isPure: length == 0 && !flags.contains(.fin), now)
        if length == 0, !flags.contains(.fin) {
            pureAcksReceived += 1
            // A keep-alive or window probe.
            if number < rcvNxt { sendAck(now) }
        } else {
            text(tcp.payload.array, at: number, fin: flags.contains(.fin), now)
        }
        pump(now)
    }

    private mutating func welcome(_ peerISS: UInt32, _ parsed: TCPOptions, _ window: Int, _ now: Instant) {
        synsReceived += 1
        switch options.welcome {
        case .ignores: return
        case .refuses:
            frame(
                .rstAck, SequenceNumber(rawValue: 0), SequenceNumber(rawValue: peerISS &+ 1), 0, TCPOptions(), 0..<0)
        case .accepts:
            take(peerISS, parsed, window)
            sendSynAck(now)
        }
    }

    private mutating func sendSynAck(_ now: Instant) {
        state = .synReceived
        emit(
            .synAck, number: 0, 0..<0,
            TCPOptions(
                maximumSegmentSize: UInt16(options.mss), windowScale: usesScale ? options.windowScale : nil,
                sackPermitted: usesSack), now)
        nxt = 1
        highest = 1
        timerAt = now + (rto << Int64(min(backoff, 6)))
    }

    private mutating func opened() {
        una = 1
        nxt = 1
        state = .open
        backoff = 0
        timerAt = .never
        cwnd = 10 * segmentSize
    }

    /// What the peer's SYN or SYN-ACK says.
    private mutating func take(_ peerISS: UInt32, _ parsed: TCPOptions, _ window: Int) {
        answer = parsed
        irs = peerISS
        rcvNxt = 1
        peerWindow = window
        peerMSS = Int(parsed.maximumSegmentSize ?? 536)
        usesSack = options.sack && parsed.sackPermitted
        usesTimestamps = options.timestamps && parsed.timestamps != nil
        usesScale = options.windowScale != nil && parsed.windowScale != nil
        // Only an answer is bound by what we have said.
        let isAnswer = state == .synSent
        if isAnswer, !options.sack, parsed.sackPermitted { violations.append("SACK permitted without an offer") }
        if isAnswer, !options.timestamps, parsed.timestamps != nil { violations.append("timestamps without an offer") }
        if isAnswer, options.windowScale == nil, parsed.windowScale != nil {
            violations.append("a window scale without an offer")
        }
        peerShift = usesScale ? Int(parsed.windowScale ?? 0) : 0
        tsRecent = parsed.timestamps?.value ?? 0
    }

    // MARK: Sending

    private mutating func acknowledged(
        _ ack: Int, _ window: Int, _ parsed: TCPOptions, isPure: Bool, _ now: Instant
    ) {
        let reported = usesSack && note(parsed)
        if ack > una {
            if let timed, ack > timed.number {
                sample(now - timed.at)
                self.timed = nil
            }
            let acked = ack - una
            una = ack
            nxt = max(nxt, ack)
            backoff = 0
            duplicates = 0
            sacked.removeAll { $0.upperBound <= ack }
            if una > dataEnd { endAcknowledged = true }
            if recovering {
                if ack >= recover {
                    recovering = false
                    cwnd = ssthresh
                } else {
                    resendHole(now, restart: !usesSack)
                }
            } else if cwnd < ssthresh {
                cwnd += acked
            } else {
                cwnd += max(1, segmentSize * acked / cwnd)
            }
            timerAt = una == nxt ? .never : now + rto
        } else if ack == una, nxt > una, usesSack ? reported : isPure && window == peerWindow {
            duplicates += 1
            if recovering {
                resendHole(now, restart: false)
            } else if duplicates == 3 {
                recovering = true
                recover = nxt
                ssthresh = max((nxt - una) / 2, 2 * segmentSize)
                cwnd = ssthresh
                resendNext = una
                timed = nil
                resendHole(now, restart: true)
            }
        }
        if ack >= una {
            if peerWindow == 0, window > 0 { backoff = 0 }
            peerWindow = window
        }
    }

    private mutating func note(_ parsed: TCPOptions) -> Bool {
        var new = false
        for i in 0..<parsed.sackCount {
            let block = parsed.sackBlock(at: i)
            let base = options.iss &+ UInt32(truncatingIfNeeded: una)
            let left = una + Int(Int32(bitPattern: block.left.rawValue &- base))
            let right = una + Int(Int32(bitPattern: block.right.rawValue &- base))
            guard left < right, left > una, right <= highest else {
                if right > highest || left >= right {
                    violations.append("a SACK block \(left)..<\(right), sent \(highest)")
                }
                continue
            }
            if sacked.contains(where: { $0.lowerBound <= left && $0.upperBound >= right }) { continue }
            new = true
            var merged = left..<right
            sacked.removeAll {
                guard $0.overlaps(merged) || $0.upperBound == merged.lowerBound || merged.upperBound == $0.lowerBound
                else { return false }
                merged = min($0.lowerBound, merged.lowerBound)..<max($0.upperBound, merged.upperBound)
                return true
            }
            sacked.append(merged)
            sacked.sort { $0.lowerBound < $1.lowerBound }
        }
        return new
    }

    private mutating func resendHole(_ now: Instant, restart: Bool) {
        if restart { resendNext = una }
        resendNext = max(resendNext, una)
        for range in sacked where range.contains(resendNext) { resendNext = range.upperBound }
        guard resendNext < recover, resendNext == una || resendNext < (sacked.last?.lowerBound ?? 0) else { return }
        let limit = sacked.first { $0.lowerBound > resendNext }?.lowerBound ?? recover
        retransmissions += 1
        let size = min(segmentSize, limit - resendNext)
        sendFrom(resendNext, limit: size, now)
        resendNext += size
    }

    private mutating func pump(_ now: Instant) {
        guard state == .open else { return }
        while nxt < dataEnd {
            let room = min(peerWindow, cwnd) - (nxt - una)
            let size = min(room, dataEnd - nxt, segmentSize * max(1, min(options.superSegments, 64_000 / segmentSize)))
            // Nothing smaller than a segment while more is waiting, not even with nothing in flight: Linux (tcp_snd_wnd_test)
            // leaves a window that is smaller than a segment to the probe.
            if size <= 0 || size < segmentSize && size < dataEnd - nxt { break }
            sendNew(size, now)
        }
        if let fin = finNumber, nxt == fin {
            emit([.fin, .ack], number: fin, 0..<0, TCPOptions(), now)
            nxt += 1
            highest = max(highest, nxt)
            timerAt = now + rto
        }
        if nxt == una, waiting, timerAt == .never { timerAt = now + rto }
    }

    private mutating func sendNew(_ size: Int, _ now: Instant) {
        if timed == nil, nxt == highest { timed = (nxt, now) }
        sendFrom(nxt, limit: size, now)
        nxt += size
        highest = max(highest, nxt)
        if timerAt == .never || una == nxt - size { timerAt = now + rto }
    }

    /// Up to `limit` sequence numbers from `number`: text, and FIN where it stands.
    private mutating func sendFrom(_ number: Int, limit: Int, _ now: Instant) {
        let end = min(number + limit, dataEnd)
        if number < end {
            emit(end == dataEnd ? [.ack, .psh] : [.ack], number: number, number - 1..<end - 1, TCPOptions(), now)
        } else if let fin = finNumber, number == fin {
            emit([.fin, .ack], number: fin, 0..<0, TCPOptions(), now)
        }
    }

    private mutating func sample(_ rtt: Int64) {
        if srtt == 0 {
            srtt = rtt
            rttvar = rtt / 2
        } else {
            rttvar += (abs(srtt - rtt) - rttvar) / 4
            srtt += (rtt - srtt) / 8
        }
        rto = max(.milliseconds(200), srtt + 4 * rttvar)
    }

    // MARK: Receiving

    private mutating func text(_ bytes: [UInt8], at number: Int, fin: Bool, _ now: Instant) {
        if fin { peerFin = number + bytes.count }
        if number > rcvNxt {
            if !bytes.isEmpty, number + bytes.count <= offeredEdge {
                let at = early.firstIndex { $0.start > number } ?? early.count
                early.insert((number, bytes), at: at)
                newestEarly = number
            }
            sendAck(now)
            return
        }
        let skip = rcvNxt - number
        if !bytes.isEmpty, skip > 0 {
            duplicate = number..<min(number + bytes.count, rcvNxt)
            duplicateBytes += min(skip, bytes.count)
        }
        guard skip < bytes.count || fin && skip == bytes.count && !peerEnded else {
            sendAck(now)
            return
        }
        let had = !early.isEmpty
        append(bytes, skip)
        while let first = early.first, first.start <= rcvNxt {
            early.removeFirst()
            if first.start + first.bytes.count > rcvNxt { append(first.bytes, rcvNxt - first.start) }
        }
        if peerFin == rcvNxt, !peerEnded {
            peerEnded = true
            rcvNxt += 1
        }
        armReading(now)
        sinceAck += bytes.count
        if had || peerEnded || duplicate != nil || sinceAck >= 2 * segmentSize {
            sendAck(now)
        } else if ackAt == .never {
            ackAt = now + .milliseconds(40)
        }
    }

    private mutating func append(_ bytes: [UInt8], _ skip: Int) {
        received.append(bytes.raw.extracting(skip..<bytes.count))
        rcvNxt += bytes.count - skip
        if options.readSize != nil { unread += bytes.count - skip }
    }

    private mutating func armReading(_ now: Instant) {
        if unread > 0, readAt == .never, options.readSize != 0 { readAt = now + options.readInterval }
    }

    /// The application begins to read everything.
    package mutating func readAll(at now: Instant) {
        unread = 0
        if state == .open { sendAck(now) }
    }

    // MARK: Frames

    private func clock(_ now: Instant) -> UInt32 {
        UInt32(truncatingIfNeeded: now.nanoseconds / 1_000_000) &+ options.iss
    }

    package mutating func sendAck(_ now: Instant) {
        guard state == .open else { return }
        var parsed = TCPOptions()
        if usesSack, options.reportsDuplicates, let duplicate {
            parsed.appendSack(
                left: SequenceNumber(rawValue: irs &+ UInt32(truncatingIfNeeded: duplicate.lowerBound)),
                right: SequenceNumber(rawValue: irs &+ UInt32(truncatingIfNeeded: duplicate.upperBound)))
        }
        duplicate = nil
        if usesSack, !early.isEmpty {
            var ranges: [Range<Int>] = []
            for piece in early {
                let range = piece.start..<piece.start + piece.bytes.count
                if let last = ranges.last, last.upperBound >= range.lowerBound {
                    ranges[ranges.count - 1] = last.lowerBound..<max(last.upperBound, range.upperBound)
                } else {
                    ranges.append(range)
                }
            }
            if let newestEarly, let i = ranges.firstIndex(where: { $0.contains(newestEarly) }) {
                ranges.insert(ranges.remove(at: i), at: 0)
            }
            for range in ranges.prefix((usesTimestamps ? 3 : 4) - parsed.sackCount) {
                parsed.appendSack(
                    left: SequenceNumber(rawValue: irs &+ UInt32(truncatingIfNeeded: range.lowerBound)),
                    right: SequenceNumber(rawValue: irs &+ UInt32(truncatingIfNeeded: range.upperBound)))
            }
        }
        emit([.ack], number: nxt, 0..<0, parsed, now)
    }

    /// Aborts: <SEQ=SND.NXT><CTL=RST>.
    package mutating func abort(at now: Instant) {
        emit([.rst, .ack], number: nxt, 0..<0, TCPOptions(), now)
        state = .reset
        timerAt = .never
        ackAt = .never
    }

    private mutating func emit(_ flags: TCPFlags, number: Int, _ range: Range<Int>, _ given: TCPOptions, _ now: Instant)
    {
        var parsed = given
        let isSyn = flags.contains(.syn)
        let acknowledges = flags.contains(.ack)
        let flags = echoesMark && !isSyn ? flags.union(.ece) : flags
        if usesTimestamps, acknowledges { parsed.timestamps = (value: clock(now), echoReply: tsRecent) }
        let shift = usesScale && !isSyn ? Int(options.windowScale ?? 0) : 0
        let window = min(65_535, myWindow >> shift)
        if acknowledges { offeredEdge = max(offeredEdge, rcvNxt + window << shift) }
        frame(
            flags, SequenceNumber(rawValue: options.iss &+ UInt32(truncatingIfNeeded: number)),
            !acknowledges
                ? SequenceNumber(rawValue: 0) : SequenceNumber(rawValue: irs &+ UInt32(truncatingIfNeeded: rcvNxt)),
            UInt16(window), parsed, range)
        if !isSyn {
            sinceAck = 0
            ackAt = .never
        }
    }

    /// A segment of any content, for tests that forge.
    package mutating func frame(
        _ flags: TCPFlags, _ sequence: SequenceNumber, _ ack: SequenceNumber, _ window: UInt16, _ parsed: TCPOptions,
        _ range: Range<Int>, urgentPointer: UInt16 = 0, trafficClass: UInt8 = 0
    ) {
        let transport = options.isV4 ? 34 : 54
        let header = transport + 20 + parsed.length
        let segment = 20 + parsed.length + range.count
        let bytes = [UInt8].written(header + range.count) { span in
            EthernetHeader(
                destination: gatewayMAC, source: mac, etherType: options.isV4 ? EtherType.ipv4 : EtherType.ipv6
            ).write(to: &span, at: 0)
            if options.isV4 {
                IPv4Header(
                    source: address, destination: options.remote.address, protocol: IPProtocol.tcp,
                    payloadLength: segment, timeToLive: 64, trafficClass: trafficClass, identification: 0,
                    dontFragment: true,
                    moreFragments: false, fragmentOffset: 0
                ).write(to: &span, at: 14)
            } else {
                IPv6Header(
                    source: address, destination: options.remote.address, nextHeader: IPProtocol.tcp,
                    payloadLength: segment, hopLimit: 64, trafficClass: trafficClass, flowLabel: 0
                ).write(to: &span, at: 14)
            }
            parsed.write(to: &span, at: transport + 20)
            let partial = Checksum.fold(
                Checksum.pseudoHeader(
                    source: address, destination: options.remote.address, protocol: IPProtocol.tcp, length: segment))
            TCPHeader(
                sourcePort: options.sourcePort, destinationPort: options.remote.port, sequence: sequence,
                acknowledgment: ack, flags: flags, window: window, checksum: partial, urgentPointer: urgentPointer
            ).write(to: &span, at: transport, optionsLength: parsed.length)
            // Forged text beyond the stream is zeros.
            if range.upperBound <= stream.count { span.copy(from: stream.raw.extracting(range), at: header) }
        }
        var offload = OffloadHeader()
        offload.needsChecksum = true
        offload.checksumStart = UInt16(transport)
        offload.checksumOffset = 16
        offload.headerLength = UInt16(header)
        if range.count > segmentSize {
            offload.segmentation = options.isV4 ? .tcp4 : .tcp6
            offload.segmentSize = UInt16(segmentSize)
        }
        outbox.append(Frame(bytes, offload))
    }
}
