package import Netstack
package import Wire

// The frames of a GuestTCP: ACKs with their SACK blocks (RFC 2018), and any segment, with the checksum left to the link.

extension GuestTCP {
    func clock(_ now: Instant) -> UInt32 {
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

    mutating func emit(_ flags: TCPFlags, number: Int, _ range: Range<Int>, _ given: TCPOptions, _ now: Instant) {
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
