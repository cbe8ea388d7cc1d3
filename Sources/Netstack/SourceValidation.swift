package import Wire

// What a frame of a machine claims, held against the bindings (AddressBindings): the switch asks it of every frame.
//
//   IPv4, IPv6                      the source address. 0.0.0.0 and :: claim nothing
//   ARP                             the sender's address, and the target of a probe; the sender's MAC address is the frame's
//   neighbour solicitation          the source, and the target of a duplicate address probe
//   neighbour advertisement         the source and the target
//   all of neighbour discovery      a link-layer address in an option is the frame's
//   router advertisement, redirect  nobody's but the gateway's (RFC 6105)
//   UDP from port 67 or 547         likewise: DHCP servers
//
// What cannot be read, but might be by a machine with other rules, is refused. Fragments of neighbour discovery nobody takes (RFC 6980).

extension AddressBindings {
    /// Nil when the frame may pass.
    /// - Parameters:
    ///   - port: where it came from, with a source that is known to be there.
    ///   - now: only looked at where a lease stands in the way.
    package mutating func refusal(
        of frame: borrowing EthernetView, port: Int, now: @autoclosure () -> Instant
    ) -> Refusal? {
        let payload = frame.payload
        let mac = frame.source
        switch frame.etherType {
        case EtherType.ipv4:
            // Receivers drop what is shorter.
            guard payload.byteCount >= IPv4Header.length else { return nil }
            let source = IPAddress(v4: payload.u32(at: 12))
            if !source.isUnspecified, let refusal = claim(source, by: mac, port: port, now: now()) { return refusal }
            return payload.u8(at: 9) == IPProtocol.udp ? Self.refusal(ofUDP: payload) : nil
        case EtherType.ipv6:
            guard payload.byteCount >= IPv6Header.length else { return nil }
            let source = IPAddress(hi: payload.u64(at: 8), lo: payload.u64(at: 16))
            if !source.isUnspecified, let refusal = claim(source, by: mac, port: port, now: now()) { return refusal }
            return payload.u8(at: 6) == IPProtocol.tcp ? nil : refusal(of6: payload, source, mac, port, now())
        case EtherType.arp: return refusal(ofARP: payload, mac, port, now())
        default: return nil
        }
    }

    private mutating func refusal(
        ofARP payload: RawSpan, _ mac: MACAddress, _ port: Int, _ now: @autoclosure () -> Instant
    ) -> Refusal? {
        guard let arp = try? ARPView(payload) else { return .malformed }
        guard arp.senderMAC == mac else { return .foreignMAC }
        let sender = arp.senderAddress
        if sender.isUnspecified {
            return claim(arp.targetAddress, by: mac, port: port, isProbe: true, now: now())
        }
        return claim(sender, by: mac, port: port, now: now())
    }

    private static func refusal(ofUDP packet: RawSpan) -> Refusal? {
        let header = Int(packet.u8(at: 0) & 0xf) * 4
        // Of fragments, the first.
        guard packet.u16(at: 6) & 0x1fff == 0, packet.byteCount >= header + 2 else { return nil }
        return packet.u16(at: header) == DHCPv4.serverPort ? .serverMessage : nil
    }

    private mutating func refusal(
        of6 payload: RawSpan, _ source: IPAddress, _ mac: MACAddress, _ port: Int, _ now: @autoclosure () -> Instant
    ) -> Refusal? {
        // What is not a packet to us is none to a machine.
        guard let packet = try? IPv6View(payload) else { return nil }
        // A hop-by-hop header that is not the first ends the walk; lwIP walks on (RFC 8200 section 4.1).
        guard let chain = try? IPv6Chain(packet), chain.upperProtocol != IPProtocol.fragment,
            chain.upperProtocol != IPProtocol.hopByHop
        else { return .malformed }
        if let fragment = chain.fragment, fragment.offset > 0 { return nil }
        let message = chain.payload
        if chain.upperProtocol == IPProtocol.udp {
            return message.byteCount >= 2 && message.u16(at: 0) == DHCPv6.serverPort ? .serverMessage : nil
        }
        guard chain.upperProtocol == IPProtocol.icmpv6, message.byteCount > 0 else { return nil }
        switch message.u8(at: 0) {
        case ICMPv6Type.routerAdvertisement, ICMPv6Type.redirect: return .routerMessage
        case ICMPv6Type.routerSolicitation, ICMPv6Type.neighborSolicitation, ICMPv6Type.neighborAdvertisement: break
        default: return nil
        }
        guard let view = try? NDPView(message) else { return .malformed }
        for option in [view.options.sourceLinkLayerAddress, view.options.targetLinkLayerAddress] {
            if let option, option != mac { return .foreignMAC }
        }
        if view.type == ICMPv6Type.neighborAdvertisement {
            return claim(view.target, by: mac, port: port, now: now())
        }
        if view.type == ICMPv6Type.neighborSolicitation, source.isUnspecified {
            return claim(view.target, by: mac, port: port, isProbe: true, now: now())
        }
        return nil
    }
}
