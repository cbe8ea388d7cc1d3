import Netstack
import Wire

// What the guest's kernel says of its station when the core asks (RFC 826, RFC 4861 section 7.2.4), and how a SYN-ACK of the
// guest reads on the wire.

extension Simulation {
    /// The guest's answer to an ARP request or a neighbour solicitation for its configured address.
    func resolution(of frame: Frame) -> Frame? {
        let bytes = frame.bytes.raw
        guard let ethernet = try? EthernetView(bytes) else { return nil }
        if ethernet.etherType == EtherType.arp {
            guard let request = try? ARPView(ethernet.payload), request.operation == ARPOperation.request,
                request.targetAddress == core.configuration.v4?.guest
            else { return nil }
            let reply = ARPPacket(
                operation: ARPOperation.reply, senderMAC: Self.guestMAC, senderAddress: request.targetAddress,
                targetMAC: request.senderMAC, targetAddress: request.senderAddress)
            return Frame(
                [UInt8].written(14 + ARPPacket.length) { span in
                    Self.ethernet(EtherType.arp).write(to: &span, at: 0)
                    reply.write(to: &span, at: 14)
                })
        }
        guard ethernet.etherType == EtherType.ipv6, let ip = try? IPv6View(ethernet.payload),
            ip.nextHeader == IPProtocol.icmpv6, let message = try? NDPView(ip.payload),
            message.type == ICMPv6Type.neighborSolicitation, message.target == core.configuration.v6?.guest
        else { return nil }
        let target = message.target
        let asker = ip.source
        return Frame(
            [UInt8].written(14 + 40 + 32) { span in
                Self.ethernet(EtherType.ipv6).write(to: &span, at: 0)
                IPv6Header(
                    source: target, destination: asker, nextHeader: IPProtocol.icmpv6, payloadLength: 32, hopLimit: 255
                ).write(to: &span, at: 14)
                NDPMessage.neighborAdvertisement(target: target, router: false, solicited: true, override: true).write(
                    to: &span, at: 54, source: target, destination: asker,
                    options: [.targetLinkLayerAddress(Self.guestMAC)])
            })
    }

    private static func ethernet(_ type: UInt16) -> EthernetHeader {
        EthernetHeader(destination: gatewayMAC, source: guestMAC, etherType: type)
    }
}

extension Frame {
    /// The endpoints and the options of a SYN-ACK that the guest sends; nil for every other frame.
    var synAck: (key: FlowKey, options: TCPOptions)? {
        let span = bytes.raw
        guard let ethernet = try? EthernetView(span) else { return nil }
        let isV4 = ethernet.etherType == EtherType.ipv4
        let transport = isV4 ? 34 : 54
        guard isV4 || ethernet.etherType == EtherType.ipv6, span.byteCount >= transport + 20,
            span.u8(at: isV4 ? 23 : 20) == IPProtocol.tcp,
            let tcp = try? TCPView(span.extracting(transport..<span.byteCount)), tcp.flags == .synAck
        else { return nil }
        let source: IPAddress
        let destination: IPAddress
        if isV4, let ip = try? IPv4View(ethernet.payload) {
            (source, destination) = (ip.source, ip.destination)
        } else if let ip = try? IPv6View(ethernet.payload) {
            (source, destination) = (ip.source, ip.destination)
        } else {
            return nil
        }
        return (
            FlowKey(
                guest: Endpoint(address: source, port: tcp.sourcePort),
                remote: Endpoint(address: destination, port: tcp.destinationPort)), TCPOptions(parsing: tcp.options)
        )
    }
}
