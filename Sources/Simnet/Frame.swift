package import Netstack
import Wire

/// A frame on the simulated link, with what its virtio-net header would say.
package struct Frame: Sendable {
    package var bytes: [UInt8]
    package var offload: OffloadHeader

    package init(_ bytes: [UInt8], _ offload: OffloadHeader = OffloadHeader()) {
        self.bytes = bytes
        self.offload = offload
    }

    /// What segmentation makes of a super-frame: one frame per segment, checksums still left to the receiver's trust
    /// (`needsChecksum`). FIN and PSH stand on the last only (RFC 9293 section 3.8.2, Linux tcp_gso_segment).
    package var segments: [Frame] {
        guard offload.segmentation != .none, offload.segmentSize > 0 else { return [self] }
        let header = Int(offload.headerLength)
        let size = Int(offload.segmentSize)
        let transport = Int(offload.checksumStart)
        let isV4 = bytes[12] == 0x08
        var result: [Frame] = []
        var start = header
        let first = bytes.raw.u32(at: transport + 4)
        while start < bytes.count {
            let end = min(start + size, bytes.count)
            let isLast = end == bytes.count
            let whole = bytes.raw
            let piece = [UInt8].written(header + end - start) { span in
                span.copy(from: whole.extracting(0..<header), at: 0)
                span.copy(from: whole.extracting(start..<end), at: header)
                span.store(u32: first &+ UInt32(start - header), at: transport + 4)
                if !isLast {
                    span.store(u8: whole.u8(at: transport + 13) & ~0x09, at: transport + 13)
                }
                let ipLength = header + (end - start) - 14
                if isV4 {
                    span.store(u16: UInt16(ipLength), at: 16)
                    span.store(u16: 0, at: 24)
                } else {
                    span.store(u16: UInt16(ipLength - 40), at: 18)
                }
            }
            var frame = Frame(piece, offload)
            if isV4 {
                let sum = Checksum.finish(Checksum.sum(frame.bytes.raw.extracting(14..<transport)))
                frame.bytes[24] = UInt8(sum >> 8)
                frame.bytes[25] = UInt8(sum & 0xff)
            }
            frame.offload.segmentation = .none
            frame.offload.segmentSize = 0
            result.append(frame)
            start = end
        }
        return result
    }

    /// Sets "congestion experienced" (RFC 3168 section 5) on a packet of an ECN-capable transport. False for others.
    mutating func markCongestion() -> Bool {
        if bytes[12] == 0x08 {
            guard bytes[15] & 3 != 0 else { return false }
            bytes[15] |= 3
            bytes[24] = 0
            bytes[25] = 0
            let header = 14 + Int(bytes[14] & 15) * 4
            let sum = Checksum.finish(Checksum.sum(bytes.raw.extracting(14..<header)))
            bytes[24] = UInt8(sum >> 8)
            bytes[25] = UInt8(sum & 0xff)
            return true
        }
        guard bytes[12] == 0x86, bytes[13] == 0xdd, bytes[15] >> 4 & 3 != 0 else { return false }
        bytes[15] |= 0x30
        return true
    }
}
