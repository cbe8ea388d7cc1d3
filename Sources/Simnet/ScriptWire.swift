import Netstack
import Wire

// What a script's runner knows of the conversation: numbers relative to the initial ones, and segments to and from frames.

/// A segment that the core sent, its numbers as a script writes them.
package struct ScriptArrival: Sendable {
    var at: Instant
    var frame: Frame
    /// nil: an ICMP error.
    var segment: Seen?
    var icmp: (type: UInt8, code: UInt8) = (0, 0)

    struct Seen: Sendable {
        var flags: TCPFlags
        var sequence: Int
        var ack: Int
        var window: Int
        var urgent: Int
        var length: Int
        var options: TCPOptions
    }
}

struct ScriptWire: Sendable {
    static let guestPort: UInt16 = 40_000
    static let remotePort: UInt16 = 80

    let isV4: Bool
    let guest: IPAddress
    let remote: IPAddress
    private let isn: UInt32
    /// Where the SYN stood that was answered last; 0 while none was.
    private var guestSyn = 0
    /// One past the highest number that the guest has sent.
    private(set) var guestNext = 0
    /// The host side's initial number; its numbers are absolute before it is known.
    private(set) var iss: UInt32 = 0
    private(set) var hostNext = 0
    /// The window that the guest was offered last, in bytes, and its right edge.
    private(set) var window = 0
    private(set) var edge = 0
    private var guestScales = false
    /// What the host side's SYN offered; it holds if the guest's offers something, too.
    private var offeredShift = 0
    private var shift: Int { guestScales ? offeredShift : 0 }
    /// Payload bytes the guest may send in a segment.
    private(set) var mss = 536
    private var lastStamp: UInt32 = 0

    init(_ script: Script, _ family: Configuration.Family) {
        isV4 = script.isV4
        guest = family.guest
        remote = script.isV4 ? IPAddress("198.51.100.7")! : IPAddress("2001:db8::7")!
        isn = script.isn
    }

    /// Byte `index` of either stream.
    static func pattern(_ range: Range<Int>) -> [UInt8] {
        range.map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8) }
    }

    // MARK: Guest to core

    mutating func frame(_ line: ScriptSegment) -> Frame {
        let sequence = line.sequence.resolved(next: guestNext)
        if line.flags.contains(.syn) { guestScales = line.options?.windowScale != nil }
        var options = TCPOptions()
        if let given = line.options {
            options.maximumSegmentSize = given.mss.map { UInt16(clamping: $0) }
            options.sackPermitted = given.sackPermitted
            if let shift = given.windowScale { options.windowScale = UInt8(clamping: shift ?? 0) }
            if let stamps = given.timestamps { options.timestamps = (stamps.value ?? 0, stamps.echo ?? lastStamp) }
            for sack in given.sacks {
                options.appendSack(
                    left: SequenceNumber(rawValue: iss) + sack.left.resolved(next: hostNext),
                    right: SequenceNumber(rawValue: iss) + sack.right.resolved(next: hostNext))
            }
        }
        var window: UInt16 = 65_535
        if case .exactly(let value) = line.window { window = UInt16(clamping: value) }
        let header = TCPHeader(
            sourcePort: Self.guestPort, destinationPort: Self.remotePort,
            sequence: SequenceNumber(rawValue: isn) + sequence,
            acknowledgment: line.ack.map { SequenceNumber(rawValue: iss) + $0.resolved(next: hostNext) }
                ?? SequenceNumber(rawValue: 0),
            flags: line.flags, window: window, urgentPointer: UInt16(clamping: line.urgent))
        let span = line.length + (line.flags.contains(.syn) ? 1 : 0) + (line.flags.contains(.fin) ? 1 : 0)
        if !line.flags.contains(.rst) { guestNext = max(guestNext, sequence + span) }
        let first = sequence - guestSyn - (line.flags.contains(.syn) ? 0 : 1)
        return compose(header, options, Self.pattern(first..<first + line.length))
    }

    private func compose(_ header: TCPHeader, _ options: TCPOptions, _ payload: [UInt8]) -> Frame {
        let transport = isV4 ? 34 : 54
        let length = 20 + options.length + payload.count
        var bytes = [UInt8].written(transport + length) { span in
            EthernetHeader(
                destination: Simulation.gatewayMAC, source: Simulation.guestMAC,
                etherType: isV4 ? EtherType.ipv4 : EtherType.ipv6
            ).write(to: &span, at: 0)
            if isV4 {
                IPv4Header(
                    source: guest, destination: remote, protocol: IPProtocol.tcp, payloadLength: length, timeToLive: 64
                ).write(to: &span, at: 14)
            } else {
                IPv6Header(
                    source: guest, destination: remote, nextHeader: IPProtocol.tcp, payloadLength: length, hopLimit: 64
                ).write(to: &span, at: 14)
            }
            header.write(to: &span, at: transport, optionsLength: options.length)
            options.write(to: &span, at: transport + 20)
            span.copy(from: payload.raw, at: transport + 20 + options.length)
        }
        let pseudo = Checksum.pseudoHeader(
            source: guest, destination: remote, protocol: IPProtocol.tcp, length: length)
        let sum = Checksum.finish(Checksum.sum(bytes.raw.extracting(transport..<transport + length), pseudo))
        bytes[transport + 16] = UInt8(sum >> 8)
        bytes[transport + 17] = UInt8(sum & 0xff)
        return Frame(bytes)
    }

    // MARK: Core to guest

    /// Reads one frame (not a super-frame). nil: neither TCP nor an ICMP error.
    mutating func arrival(_ frame: Frame, at now: Instant) -> ScriptArrival? {
        let bytes = frame.bytes.raw
        let transport = isV4 ? 34 : 54
        let proto = isV4 ? bytes.u8(at: 23) : bytes.u8(at: 20)
        let isICMP = proto == IPProtocol.icmp || proto == IPProtocol.icmpv6
        // ICMPv6 types below 128 are errors (RFC 4443 section 2.1); router advertisements are none of a script's business.
        if isICMP, bytes.u8(at: transport) < 128 {
            return ScriptArrival(
                at: now, frame: frame, segment: nil, icmp: (bytes.u8(at: transport), bytes.u8(at: transport + 1)))
        }
        guard proto == IPProtocol.tcp, let tcp = try? TCPView(bytes.extracting(transport..<bytes.byteCount)) else {
            return nil
        }
        let options = TCPOptions(parsing: tcp.options)
        if tcp.flags.contains(.syn) {
            if iss != tcp.sequence.rawValue { hostNext = 0 }
            // A SYN without ACK opens from the host's side: it knows nothing of the guest's.
            if tcp.flags.contains(.ack) { guestSyn = tcp.acknowledgment - SequenceNumber(rawValue: isn) - 1 }
            iss = tcp.sequence.rawValue
            mss = Int(options.maximumSegmentSize ?? 536)
            offeredShift = Int(options.windowScale ?? 0)
        }
        if let stamps = options.timestamps { lastStamp = stamps.value }
        let seen = ScriptArrival.Seen(
            flags: tcp.flags, sequence: tcp.sequence - SequenceNumber(rawValue: iss),
            ack: tcp.acknowledgment - SequenceNumber(rawValue: isn), window: Int(tcp.window),
            urgent: Int(tcp.urgentPointer), length: tcp.payload.byteCount, options: options)
        if tcp.flags.contains(.ack), !tcp.flags.contains(.rst) {
            window = Int(tcp.window) << (tcp.flags.contains(.syn) ? 0 : shift)
            edge = max(edge, seen.ack + window)
        }
        return ScriptArrival(at: now, frame: frame, segment: seen)
    }

    /// The peer's next number moves once a segment has been compared.
    mutating func took(_ seen: ScriptArrival.Seen) {
        guard !seen.flags.contains(.rst) else { return }
        let span = seen.length + (seen.flags.contains(.syn) ? 1 : 0) + (seen.flags.contains(.fin) ? 1 : 0)
        hostNext = max(hostNext, seen.sequence + span)
    }

    /// Whether the payload is the host's stream at that place.
    func isPattern(_ arrival: ScriptArrival) -> Bool {
        guard let seen = arrival.segment, seen.length > 0 else { return true }
        let payload = arrival.frame.bytes.suffix(seen.length)
        return Array(payload) == Self.pattern(seen.sequence - 1..<seen.sequence - 1 + seen.length)
    }

    // MARK: Comparing

    /// What differs between a line and a segment; nil: nothing.
    func difference(_ line: ScriptSegment, _ seen: ScriptArrival.Seen) -> String? {
        let sequence = line.sequence.resolved(next: hostNext)
        if seen.flags.subtracting(.psh) != line.flags.subtracting(.psh) { return "the flags" }
        if line.flags.contains(.psh), !seen.flags.contains(.psh) { return "PSH" }
        if seen.sequence != sequence { return "the sequence number, expected \(sequence)" }
        if seen.length != line.length { return "the length" }
        if let ack = line.ack?.resolved(next: guestNext), seen.ack != ack { return "the ACK, expected \(ack)" }
        if let window = line.window, !window.holds(seen.window) { return "the window" }
        if line.urgent != seen.urgent { return "the urgent pointer" }
        return difference(line.options ?? ScriptOptions(), seen.options, comparesStamps: line.options != nil)
    }

    private func difference(_ line: ScriptOptions, _ seen: TCPOptions, comparesStamps: Bool) -> String? {
        if seen.maximumSegmentSize.map({ Int($0) }) != line.mss { return "the MSS" }
        if seen.sackPermitted != line.sackPermitted { return "SACK permitted" }
        if (seen.windowScale != nil) != (line.windowScale != nil) { return "the window scale" }
        if let shift = line.windowScale ?? nil, let seen = seen.windowScale, shift != Int(seen) {
            return "the window scale"
        }
        if comparesStamps {
            if (seen.timestamps != nil) != (line.timestamps != nil) { return "timestamps" }
            if let value = line.timestamps?.value, value != seen.timestamps?.value { return "the timestamp" }
            if let echo = line.timestamps?.echo, echo != seen.timestamps?.echoReply { return "the timestamp's echo" }
        }
        let base = SequenceNumber(rawValue: isn)
        let blocks = (0..<seen.sackCount).map { seen.sackBlock(at: $0) }
        let same =
            blocks.count == line.sacks.count
            && zip(blocks, line.sacks).allSatisfy { block, sack in
                block.left - base == sack.left.resolved(next: guestNext)
                    && block.right - base == sack.right.resolved(next: guestNext)
            }
        return same ? nil : "the SACK blocks"
    }

    // MARK: Text

    /// As a script would write it.
    func text(_ arrival: ScriptArrival) -> String {
        guard let seen = arrival.segment else { return "icmp type \(arrival.icmp.type) code \(arrival.icmp.code)" }
        let letters: [(TCPFlags, String)] = [
            (.syn, "S"), (.fin, "F"), (.rst, "R"), (.psh, "P"), (.urg, "U"), (.ece, "E"), (.cwr, "W"), (.ack, "."),
        ]
        let flags = letters.filter { seen.flags.contains($0.0) }.map(\.1).joined()
        var text = "\(flags) \(seen.sequence):\(seen.sequence + seen.length)(\(seen.length))"
        if seen.flags.contains(.ack) { text += " ack \(seen.ack)" }
        text += " win \(seen.window)"
        if seen.urgent != 0 { text += " urg \(seen.urgent)" }
        var options: [String] = []
        if let mss = seen.options.maximumSegmentSize { options.append("mss \(mss)") }
        if seen.options.sackPermitted { options.append("sackOK") }
        if let stamps = seen.options.timestamps { options.append("TS val \(stamps.value) ecr \(stamps.echoReply)") }
        if let shift = seen.options.windowScale { options.append("wscale \(shift)") }
        if seen.options.sackCount > 0 {
            let base = SequenceNumber(rawValue: isn)
            options.append(
                "sack"
                    + (0..<seen.options.sackCount).map { i in
                        let block = seen.options.sackBlock(at: i)
                        return " \(block.left - base):\(block.right - base)"
                    }.joined())
        }
        return options.isEmpty ? text : text + " <" + options.joined(separator: ",") + ">"
    }
}
