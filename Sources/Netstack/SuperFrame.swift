internal import Wire

/// A frame with an offload header from a machine, on its way to another machine: where its headers end, so that `SegmentCutter` can cut
/// it. That trusts its input; this is what makes a stranger's frame fit for it.
package enum SuperFrame {
    /// - Returns: the length of the headers; nil when the frame is not what its offload header says, or nothing that can be cut.
    package static func headerLength(_ frame: RawSpan, _ offload: OffloadHeader) -> Int? {
        let length = frame.byteCount
        guard offload.needsChecksum else { return offload.segmentation == .none ? length : nil }
        let start = Int(offload.checksumStart)
        let field = start + Int(offload.checksumOffset)
        guard start >= EthernetHeader.length, field + 2 <= length else { return nil }
        if offload.segmentation == .none { return length }
        guard length >= EthernetHeader.length + 40, offload.segmentSize > 0 else { return nil }
        let transport: UInt8
        switch frame.u16(at: 12) {
        case EtherType.ipv4:
            guard frame.u8(at: 14) == 0x45, start == 34, frame.u16(at: 20) & 0x3fff == 0 else { return nil }
            transport = frame.u8(at: 23)
        case EtherType.ipv6:
            guard frame.u8(at: 14) >> 4 == 6, start == 54 else { return nil }
            transport = frame.u8(at: 20)
        default: return nil
        }
        let headers: Int
        switch offload.segmentation {
        case .tcp4, .tcp6:
            guard transport == IPProtocol.tcp, offload.checksumOffset == 16, length >= start + 20 else { return nil }
            headers = start + 4 * Int(frame.u8(at: start + 12) >> 4)
            guard headers >= start + 20 else { return nil }
        case .udp:
            guard transport == IPProtocol.udp, offload.checksumOffset == 6, length >= start + 8 else { return nil }
            headers = start + 8
        case .none: return nil
        }
        return headers < length ? headers : nil
    }
}
