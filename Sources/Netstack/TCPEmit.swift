import Wire

// Composing one TCP frame towards the guest: Ethernet, IP and TCP headers in the shared scratch, payload behind them as
// it lies. The TCP checksum is always left to the link as a partial one (the pseudo-header's sum): a tap with offloads
// never needs more, and a link without them completes it at its edge.

/// Sends a segment. `mss` cuts a super-frame's payload; `ecn` is the IP header's codepoint (RFC 3168 section 5). False when the link is full.
func emitTCP<O: Outside & ~Copyable>(
    key: FlowKey, mac: MACAddress, seq: SequenceNumber, ack: SequenceNumber, flags: TCPFlags, window: UInt16,
    options: TCPOptions, mss: Int, piece: Connection.Piece?, urgentPointer: UInt16 = 0, ecn: UInt8 = 0,
    shared: inout TCPShared, outside: inout O
) -> Bool {
    let isV4 = key.isV4
    let length = piece?.count ?? 0
    let transport = 14 + (isV4 ? 20 : 40)
    let identification = shared.nextIdentification()
    let optionsLength: Int
    do {
        var span = shared.scratch.mutableSpan
        var header = unsafe span.mutableBytes
        optionsLength = options.write(to: &header, at: transport + 20)
        let segmentLength = 20 + optionsLength + length
        _ = EthernetHeader(
            destination: mac, source: shared.gatewayMAC, etherType: isV4 ? EtherType.ipv4 : EtherType.ipv6
        ).write(to: &header, at: 0)
        if isV4 {
            _ = IPv4Header(
                source: key.remote.address, destination: key.guest.address, protocol: IPProtocol.tcp,
                payloadLength: segmentLength, timeToLive: 64, trafficClass: ecn, identification: identification,
                dontFragment: true, moreFragments: false, fragmentOffset: 0
            ).write(to: &header, at: 14)
        } else {
            _ = IPv6Header(
                source: key.remote.address, destination: key.guest.address, nextHeader: IPProtocol.tcp,
                payloadLength: segmentLength, hopLimit: 64, trafficClass: ecn, flowLabel: 0
            ).write(to: &header, at: 14)
        }
        let partial = Checksum.fold(
            Checksum.pseudoHeader(
                source: key.remote.address, destination: key.guest.address, protocol: IPProtocol.tcp,
                length: segmentLength))
        _ = TCPHeader(
            sourcePort: key.remote.port, destinationPort: key.guest.port, sequence: seq, acknowledgment: ack,
            flags: flags, window: window, checksum: partial, urgentPointer: urgentPointer
        ).write(to: &header, at: transport, optionsLength: optionsLength)
    }

    var offload = OffloadHeader()
    offload.needsChecksum = true
    offload.checksumStart = UInt16(transport)
    offload.checksumOffset = 16
    offload.headerLength = UInt16(transport + 20 + optionsLength)
    if length > mss {
        offload.segmentation = isV4 ? .tcp4 : .tcp6
        offload.segmentSize = UInt16(clamping: mss)
    }
    let header = unsafe shared.scratch.span.bytes.extracting(0..<Int(offload.headerLength))
    if let piece {
        return outside.transmit(offload, header: header, payload: shared.pool.bytes(piece.chunk, piece.range))
    }
    return outside.transmit(offload, header: header, payload: RawSpan())
}

/// Sends a RST. With `ack` it is <SEQ=seq><ACK=ack><CTL=RST,ACK>, without <SEQ=seq><CTL=RST> (RFC 9293 section 3.5.2).
func emitReset<O: Outside & ~Copyable>(
    key: FlowKey, mac: MACAddress, seq: SequenceNumber, ack: SequenceNumber?, shared: inout TCPShared,
    outside: inout O
) {
    shared.counters.resetsSent &+= 1
    _ = emitTCP(
        key: key, mac: mac, seq: seq, ack: ack ?? SequenceNumber(rawValue: 0),
        flags: ack == nil ? .rst : .rstAck,
        window: 0, options: TCPOptions(), mss: 1, piece: nil, shared: &shared, outside: &outside)
}
