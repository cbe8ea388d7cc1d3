internal import Wire

// A router in the guest with a link whose MTU is smaller than the one the core sends into. It cuts super-frames into segments as a
// kernel does before it forwards, drops those that do not fit, and says so (RFC 1191, RFC 8201).

package struct NarrowRouter: Sendable {
    package var mtu: Int
    /// Says nothing of the MTU (RFC 1191 section 5; IPv4).
    package var isOld = false
    /// Says nothing at all (RFC 2923 section 2.1, a black hole).
    package var isSilent = false
    /// Bytes of the packet that a complaint quotes.
    package var quote = 48
    package private(set) var complaints = 0

    package init(mtu: Int) { self.mtu = mtu }

    /// The frames that go on to the guest's far side, and the complaint about the first that does not.
    mutating func pass(_ frame: Frame, mac: MACAddress) -> (onward: [Frame], complaint: Frame?) {
        var onward: [Frame] = []
        var complaint: Frame?
        for segment in frame.segments {
            if segment.bytes.count - EthernetHeader.length <= mtu {
                onward.append(segment)
            } else if !isSilent, complaint == nil {
                complaint = tooBig(segment, mac)
                complaints += 1
            }
        }
        return (onward, complaint)
    }

    func tooBig(_ frame: Frame, _ mac: MACAddress) -> Frame? {
        let packet = frame.bytes.raw.extracting(EthernetHeader.length..<frame.bytes.count)
        guard let quoted = try? QuotedPacket(packet) else { return nil }
        let (guest, remote) = (quoted.destination.address, quoted.source.address)
        let isV4 = guest.isV4
        let at = EthernetHeader.length + (isV4 ? 20 : 40)
        let count = 8 + min(quote, packet.byteCount)
        let bytes = [UInt8].written(at + count) { span in
            EthernetHeader(
                destination: Simulation.gatewayMAC, source: mac, etherType: isV4 ? EtherType.ipv4 : EtherType.ipv6
            ).write(to: &span, at: 0)
            if isV4 {
                IPv4Header(
                    source: guest, destination: remote, protocol: IPProtocol.icmp, payloadLength: count,
                    timeToLive: 64
                ).write(to: &span, at: EthernetHeader.length)
            } else {
                IPv6Header(
                    source: guest, destination: remote, nextHeader: IPProtocol.icmpv6, payloadLength: count,
                    hopLimit: 64
                ).write(to: &span, at: EthernetHeader.length)
            }
            span.store(u16: isV4 ? 0x0304 : 0x0200, at: at)
            span.store(u32: isOld ? 0 : UInt32(mtu), at: at + 4)
            span.copy(from: packet.extracting(0..<count - 8), at: at + 8)
        }
        let pseudo =
            isV4
            ? 0
            : Checksum.pseudoHeader(source: guest, destination: remote, protocol: IPProtocol.icmpv6, length: count)
        let sum = Checksum.finish(Checksum.sum(bytes.raw.extracting(at..<at + count), pseudo))
        var whole = bytes
        whole[at + 2] = UInt8(sum >> 8)
        whole[at + 3] = UInt8(sum & 0xff)
        return Frame(whole)
    }
}
