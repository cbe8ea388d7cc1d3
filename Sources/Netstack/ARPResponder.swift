package import Wire

// The gateway's half of ARP (RFC 826): it answers requests, and hands on what a station says of itself. Asking is
// `Neighbours`' affair.
//
//   request for                          answer
//   gateway, host's alias                the gateway's MAC, to probes too: the address is taken (RFC 5227 section 2.1.1)
//   another address of the subnet        the gateway's MAC, so that the guest learns "host unreachable" at once; none when
//                                        several guests share the link
//   ... that the guest probes or         none: the address is the guest's to take (RFC 5227 section 2.1.1, 2.3)
//       announces as its own
//   the configured guest address         none: it is not ours
//   anything else                        none

/// Answers ARP requests. Stateless.
package struct ARPResponder: ~Copyable {
    package init() {}

    /// - Parameter packet: the Ethernet payload.
    /// - Returns: the station that sent it, for who wants to know.
    package mutating func receive<O: Outside & ~Copyable>(
        _ packet: RawSpan, from mac: MACAddress, configuration: Configuration, egress: inout Egress,
        counters: inout Counters, outside: inout O
    ) -> Neighbour? {
        // Only unicast stations ask; an answer to a group address would be an amplifier.
        guard let request = try? ARPView(packet), !mac.isMulticast, !request.senderMAC.isMulticast else {
            counters.drop(.malformedARP)
            return nil
        }
        // The frame's own source, as for every other packet: it is where an answer must go.
        let station = Neighbour(address: request.senderAddress, mac: mac)
        guard request.operation == ARPOperation.request, let family = configuration.v4 else { return station }
        let target = request.targetAddress
        let isOurs = target == family.gateway || target == family.hostAlias
        if !isOurs {
            let sender = request.senderAddress
            guard !configuration.hasManyStations, family.prefix.contains(target), target != family.guest,
                target != family.prefix.network,
                target != family.prefix.broadcast,
                // A probe has an unspecified sender, an announcement is for the sender's own address.
                !sender.isUnspecified, sender != target
            else { return station }
        }
        var bytes = egress.transportHeader
        let length = ARPPacket(
            operation: ARPOperation.reply, senderMAC: configuration.gatewayMAC, senderAddress: target,
            targetMAC: request.senderMAC, targetAddress: request.senderAddress
        ).write(to: &bytes, at: 0)
        _ = egress.sendFrame(
            etherType: EtherType.arp, mac: mac, length: length, counters: &counters, outside: &outside)
        return station
    }
}
