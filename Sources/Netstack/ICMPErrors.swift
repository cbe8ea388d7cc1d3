package import Wire

// ICMP and ICMPv6 errors towards the guest: about a packet in hand, or about one long gone, of which a flow remembers
// enough for the guest to find its socket.
//
//   | Ethernet | IP | type code checksum rest (8) | the offending packet's start, or an `ICMPQuote` |
//
// When not to (RFC 1122 section 3.2.2, RFC 4443 section 2.4(e)): about an ICMP error; about a packet to many, by its IP or
// its Ethernet address; about a fragment other than the first; to a source that does not name one station. And not
// more often than 1000 a second (RFC 1812 section 4.3.2.8, RFC 4443 section 2.4(f)), by a token bucket: a guest that floods
// closed ports gets its silence.
//
// How much is quoted: for IPv4 as much as fits into 576 bytes (RFC 1812 section 4.3.2.3), for IPv6 into 1280 (RFC 4443
// section 2.4(c)).

/// Generates ICMP errors, rate limited.
package struct ICMPErrors: ~Copyable {
    /// Errors per second, and the size of a burst.
    package static let rate: Int64 = 1000
    private static let cost = Int64.seconds(1) / rate
    private static let burst = Int64.seconds(1)

    /// Bytes of the offending packet that fit into 576 and 1280.
    private static let room4 = 576 - 20 - 8
    private static let room6 = 1280 - 40 - 8

    /// Saved-up time in nanoseconds; one error costs `cost`.
    private var credit = ICMPErrors.burst
    private var refilled: Instant?

    package init() {}

    /// Tells the guest about a packet in hand.
    /// - Parameters:
    ///   - original: the offending packet from its IP header on, as it came.
    ///   - source: who complains; nil is the gateway.
    package mutating func send<O: Outside & ~Copyable>(
        _ error: ICMPError, about packet: PacketInfo, original: RawSpan, from source: IPAddress? = nil, at now: Instant,
        configuration: Configuration, egress: inout Egress, counters: inout Counters, outside: inout O
    ) {
        guard Self.maySend(about: packet, original: original) else { return }
        guard prepare(error, guest: packet.source, at: now, egress: &egress, counters: &counters) else { return }
        let room = packet.source.isV4 ? Self.room4 : Self.room6
        finish(
            quoting: original.extracting(0..<min(original.byteCount, room)), quoted: 0, guest: packet.source,
            mac: packet.guestMAC, from: source, configuration: configuration, egress: &egress, counters: &counters,
            outside: &outside)
    }

    /// Tells the guest about a packet of which only `quote` is left.
    package mutating func send<O: Outside & ~Copyable>(
        _ error: ICMPError, about quote: ICMPQuote, mac: MACAddress, from source: IPAddress? = nil, at now: Instant,
        configuration: Configuration, egress: inout Egress, counters: inout Counters, outside: inout O
    ) {
        guard prepare(error, guest: quote.source, at: now, egress: &egress, counters: &counters) else { return }
        // The whole quote fits into the scratch behind the ICMP header.
        var header = egress.transportHeader
        let quoted: Int
        if quote.destination.isV4 {
            quoted = IPv4Header(
                source: quote.source, destination: quote.destination, protocol: quote.proto, payloadLength: 8,
                timeToLive: 1, dontFragment: true
            ).write(to: &header, at: 8)
        } else {
            quoted = IPv6Header(
                source: quote.source, destination: quote.destination, nextHeader: quote.proto, payloadLength: 8,
                hopLimit: 1
            ).write(to: &header, at: 8)
        }
        header.store(u64: quote.transport, at: 8 + quoted)
        finish(
            quoting: RawSpan(), quoted: quoted + 8, guest: quote.source, mac: mac, from: source,
            configuration: configuration, egress: &egress, counters: &counters, outside: &outside)
    }

    /// Takes a token and writes the ICMP header.
    private mutating func prepare(
        _ error: ICMPError, guest: IPAddress, at now: Instant, egress: inout Egress, counters: inout Counters
    ) -> Bool {
        guard take(at: now) else {
            counters.drop(.errorRateLimited)
            return false
        }
        let parts = guest.isV4 ? error.v4 : error.v6
        var header = egress.transportHeader
        header.store(u16: UInt16(parts.type) << 8 | UInt16(parts.code), at: 0)
        header.store(u16: 0, at: 2)
        header.store(u32: parts.rest, at: 4)
        return true
    }

    private func finish<O: Outside & ~Copyable>(
        quoting original: RawSpan, quoted: Int, guest: IPAddress, mac: MACAddress, from source: IPAddress?,
        configuration: Configuration, egress: inout Egress, counters: inout Counters, outside: inout O
    ) {
        let isV4 = guest.isV4
        guard let family = isV4 ? configuration.v4 : configuration.v6 else { return }
        // RFC 4443 section 2.2: a source of the scope that the destination has.
        let from = source ?? (!isV4 && guest.isLinkLocal ? configuration.gatewayLinkLocal : family.gateway)
        _ = egress.send(
            isV4 ? IPProtocol.icmp : IPProtocol.icmpv6, from: from, to: guest, mac: mac, headerLength: 8 + quoted,
            payload: original, counters: &counters, outside: &outside)
    }

    private mutating func take(at now: Instant) -> Bool {
        if let refilled, now > refilled { credit = min(credit &+ min(now - refilled, Self.burst), Self.burst) }
        refilled = now
        guard credit >= Self.cost else { return false }
        credit -= Self.cost
        return true
    }

    /// RFC 1122 section 3.2.2 and RFC 1812 section 4.3.2.7; RFC 4443 section 2.4(e).
    private static func maySend(about packet: PacketInfo, original: RawSpan) -> Bool {
        let source = packet.source
        if source.isUnspecified || source.isMulticast || source.isLoopback || source.isBroadcast { return false }
        if packet.destination.isMulticast || packet.destination.isBroadcast { return false }
        // Only errors about the guest's own unicast frames; its MAC address is the answer's destination.
        if packet.guestMAC.isMulticast { return false }
        if source.isV4 {
            guard let header = try? IPv4View(original), header.fragmentOffset == 0 else { return false }
            guard packet.proto == IPProtocol.icmp else { return true }
            // About echo and the like, not about errors; a type that cannot be read may be one.
            guard header.payload.byteCount > 0 else { return false }
            return ![3, 4, 5, 11, 12].contains(header.payload.u8(at: 0))
        }
        guard packet.proto == IPProtocol.icmpv6 else { return true }
        guard let header = try? IPv6View(original), header.nextHeader == IPProtocol.icmpv6, header.payload.byteCount > 0
        else { return false }
        return header.payload.u8(at: 0) >= 128 && header.payload.u8(at: 0) != 137
    }
}
