import Netstack
import Wire

// Every frame that the core emits is read again by other code: lengths, header checksum, the partial TCP checksum, the
// offload fields, and what a TCP may never do: move its window's edge or its acknowledgment back.

package struct FrameChecker {
    private struct Flow {
        var ack: SequenceNumber
        var edge: SequenceNumber
        var shift: Int
    }

    package private(set) var violations: [String] = []
    package private(set) var frames = 0
    package private(set) var resets = 0
    package private(set) var icmpErrors = 0
    private var flows: [FlowKey: Flow] = [:]
    /// Shifts that the core's SYNs offer, and whether the guest's SYN-ACK took them.
    private var offers: [FlowKey: Int] = [:]
    package private(set) var syns = 0
    package let mtu: Int

    package init(mtu: Int) { self.mtu = mtu }

    package mutating func check(_ frame: Frame) {
        let bytes = frame.bytes.raw
        guard let ethernet = try? EthernetView(bytes) else { return fail("truncated Ethernet") }
        let source: IPAddress
        let destination: IPAddress
        let proto: UInt8
        let header: Int
        switch ethernet.etherType {
        case EtherType.ipv4:
            guard let ip = try? IPv4View(ethernet.payload) else { return fail("malformed IPv4") }
            if !ip.verifyChecksum() { fail("IPv4 header checksum") }
            if ip.totalLength != bytes.byteCount - 14 {
                fail("IPv4 length \(ip.totalLength), frame \(bytes.byteCount)")
            }
            (source, destination, proto, header) = (ip.source, ip.destination, ip.protocol, 34)
        case EtherType.ipv6:
            guard let ip = try? IPv6View(ethernet.payload) else { return fail("malformed IPv6") }
            if ip.payloadLength != bytes.byteCount - 54 { fail("IPv6 length \(ip.payloadLength)") }
            (source, destination, proto, header) = (ip.source, ip.destination, ip.nextHeader, 54)
        default: return
        }
        guard proto == IPProtocol.tcp else {
            // ICMPv6 types below 128 are errors (RFC 4443 section 2.1); advertisements are none of our business.
            if proto == IPProtocol.icmp || proto == IPProtocol.icmpv6 && bytes.u8(at: header) < 128 { icmpErrors += 1 }
            return
        }
        frames += 1
        guard let tcp = try? TCPView(bytes.extracting(header..<bytes.byteCount)) else { return fail("malformed TCP") }
        let offload = frame.offload
        let expected = Checksum.fold(
            Checksum.pseudoHeader(
                source: source, destination: destination, protocol: IPProtocol.tcp, length: bytes.byteCount - header))
        if !offload.needsChecksum || tcp.checksum != expected { fail("partial checksum") }
        if Int(offload.checksumStart) != header || offload.checksumOffset != 16 { fail("checksum offsets") }
        if Int(offload.headerLength) != header + tcp.headerLength { fail("header length") }
        if offload.segmentation == .none {
            if bytes.byteCount - 14 > mtu { fail("\(bytes.byteCount - 14) bytes beyond the MTU") }
        } else if Int(offload.segmentSize) + tcp.headerLength + header - 14 > mtu {
            fail("segments of \(offload.segmentSize) with \(tcp.headerLength) bytes of TCP header beyond the MTU")
        } else if tcp.payload.byteCount <= Int(offload.segmentSize) {
            fail("a super-frame of one segment")
        }
        let key = FlowKey(
            guest: Endpoint(address: destination, port: tcp.destinationPort),
            remote: Endpoint(address: source, port: tcp.sourcePort))
        if tcp.flags.contains(.rst) {
            resets += 1
            flows[key] = nil
            return
        }
        guard tcp.flags.contains(.ack) else {
            guard tcp.flags == .syn else { return fail("neither ACK nor RST nor SYN") }
            if tcp.acknowledgment.rawValue != 0 { fail("a SYN with an acknowledgment number") }
            syns += 1
            flows[key] = nil
            offers[key] = TCPOptions(parsing: tcp.options).windowScale.map { Int($0) } ?? 0
            return
        }
        if tcp.flags.contains(.syn) {
            let shift = TCPOptions(parsing: tcp.options).windowScale.map { Int($0) } ?? 0
            flows[key] = Flow(ack: tcp.acknowledgment, edge: tcp.acknowledgment + Int(tcp.window), shift: shift)
            return
        }
        if flows[key] == nil, let shift = offers[key] {
            offers[key] = nil
            flows[key] = Flow(
                ack: tcp.acknowledgment, edge: tcp.acknowledgment + Int(tcp.window) << shift, shift: shift)
        }
        guard var flow = flows[key] else { return }
        let edge = tcp.acknowledgment + Int(tcp.window) << flow.shift
        if tcp.acknowledgment < flow.ack { fail("the ACK went back by \(flow.ack - tcp.acknowledgment)") }
        // RFC 7323 section 2.4: an edge may seem to move back by what the shift cannot say.
        if flow.edge - edge >= 1 << flow.shift, tcp.acknowledgment - flow.edge < 0 {
            fail("the window's edge went back by \(flow.edge - edge)")
        }
        flow.ack = tcp.acknowledgment
        if edge > flow.edge { flow.edge = edge }
        flows[key] = flow
    }

    /// The guest's SYN-ACK to a SYN of the core: without a window scale the offered one does not hold.
    mutating func answered(_ key: FlowKey, _ options: TCPOptions) {
        if options.windowScale == nil, offers[key] != nil { offers[key] = 0 }
    }

    /// A flow's past counts no more: its ports are used again.
    package mutating func forget() {
        flows = [:]
        offers = [:]
    }

    /// The same for the flows of one of the guest's ports.
    package mutating func forget(guestPort port: UInt16) {
        flows = flows.filter { $0.key.guest.port != port }
        offers = offers.filter { $0.key.guest.port != port }
    }

    private mutating func fail(_ what: String) { violations.append("frame \(frames): \(what)") }
}
