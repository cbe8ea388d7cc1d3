import Wire
package struct DHCPv4Server: ~Copyable {
    package init(configuration: Configuration) {}
    package static func isRequest(_ packet: PacketInfo, _ port: UInt16, _ configuration: Configuration) -> Bool {
        false
    }
    package var nextDeadline: Instant { .never }
    package mutating func advance(to now: Instant) {}
    package mutating func receive<O: Outside & ~Copyable>(
        _ packet: PacketInfo, _ message: RawSpan, at now: Instant, configuration: Configuration, egress: inout Egress,
        counters: inout Counters, outside: inout O
    ) {}
}
