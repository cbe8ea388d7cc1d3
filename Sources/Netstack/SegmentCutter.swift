import Wire

// What a link without offloads has to do for the core's frames: complete checksums and cut super-frames, at the link's edge
// and nowhere else. (A tap with IFF_VNET_HDR leaves both to the kernel.)
//
//   header | payload (up to 64 KiB)   ──▶   header' | piece 0    header'' | piece 1    ...    each a frame of its own
//
// For each piece: IP's length and, for IPv4, identification (one more each, as Linux does) and header checksum; TCP's sequence number,
// FIN and PSH on the last piece only, CWR on the first only (RFC 3168 section 6.1.2); UDP's length; and the transport checksum,
// in one pass over the piece where it was written. The copy and the sum are the link's price for a peer that knows no offloads.
//
// It trusts its input, which is the core's own: Ethernet, IPv4 without options or IPv6 without extension headers.

/// The frames that one frame of the core stands for.
package struct SegmentCutter: ~Escapable {
    private let header: RawSpan
    private let payload: RawSpan
    private let offload: OffloadHeader
    private let size: Int
    /// How many frames.
    package let count: Int

    @_lifetime(copy header, copy payload)
    package init(_ offload: OffloadHeader, header: RawSpan, payload: RawSpan) {
        self.offload = offload
        self.header = header
        self.payload = payload
        let whole = payload.byteCount
        size = offload.segmentation == .none ? max(whole, 1) : max(1, Int(offload.segmentSize))
        count = whole <= size ? 1 : (whole + size - 1) / size
    }

    /// Bytes of frame number `index`.
    package func length(of index: Int) -> Int {
        header.byteCount + min(size, payload.byteCount - index * size)
    }

    /// Bytes of all frames together.
    package var totalLength: Int { count * header.byteCount + payload.byteCount }

    /// Writes frame number `index` at `offset`, where `length(of:)` bytes must fit.
    /// - Returns: the bytes written.
    @discardableResult
    package func write(_ index: Int, to span: inout MutableRawSpan, at offset: Int) -> Int {
        let start = index * size
        let end = min(start + size, payload.byteCount)
        let length = header.byteCount + end - start
        span.copy(from: header, at: offset)
        if end > start { span.copy(from: payload.extracting(start..<end), at: offset + header.byteCount) }
        guard offload.needsChecksum else { return length }
        let transport = Int(offload.checksumStart)
        let field = offset + transport + Int(offload.checksumOffset)
        if count > 1 { patch(index, &span, offset, length: length, transport: transport, field: field) }
        // The field holds the pseudo-header's sum, which thereby is part of what is summed.
        let sum = Checksum.finish(Checksum.sum(span.bytes.extracting(offset + transport..<offset + length)))
        // RFC 768: a UDP checksum of zero means "none"; all ones is the same number.
        span.store(u16: sum == 0 && offload.checksumOffset == 6 ? 0xffff : sum, at: field)
        return length
    }

    /// What differs from the super-frame's header.
    private func patch(
        _ index: Int, _ span: inout MutableRawSpan, _ offset: Int, length: Int, transport: Int, field: Int
    ) {
        let network = offset + EthernetHeader.length
        let segment = length - transport
        let isV4 = header.u16(at: 12) == EtherType.ipv4
        let pseudo: UInt64
        if isV4 {
            span.store(u16: UInt16(truncatingIfNeeded: offset + length - network), at: network + 2)
            span.store(u16: header.u16(at: 18) &+ UInt16(truncatingIfNeeded: index), at: network + 4)
            span.store(u16: 0, at: network + 10)
            let sum = Checksum.sum(span.bytes.extracting(network..<offset + transport))
            span.store(u16: Checksum.finish(sum), at: network + 10)
            pseudo = Checksum.pseudoHeader(
                source: IPAddress(v4: header.u32(at: 26)), destination: IPAddress(v4: header.u32(at: 30)),
                protocol: header.u8(at: 23), length: segment)
        } else {
            span.store(u16: UInt16(truncatingIfNeeded: segment), at: network + 4)
            pseudo = Checksum.pseudoHeader(
                source: IPAddress(hi: header.u64(at: 22), lo: header.u64(at: 30)),
                destination: IPAddress(hi: header.u64(at: 38), lo: header.u64(at: 46)), protocol: header.u8(at: 20),
                length: segment)
        }
        span.store(u16: Checksum.fold(pseudo), at: field)
        if offload.segmentation == .udp {
            span.store(u16: UInt16(truncatingIfNeeded: segment), at: offset + transport + 4)
            return
        }
        let sequence = header.u32(at: transport + 4) &+ UInt32(truncatingIfNeeded: index * size)
        span.store(u32: sequence, at: offset + transport + 4)
        var flags = header.u8(at: transport + 13)
        if index < count - 1 { flags &= ~(TCPFlags.fin.rawValue | TCPFlags.psh.rawValue) }
        if index > 0 { flags &= ~TCPFlags.cwr.rawValue }
        span.store(u8: flags, at: offset + transport + 13)
    }
}
