import Wire
package struct DHCPv6Server: ~Copyable {
    package init(configuration: Configuration) {}
    package static func isRequest(_ packet: PacketInfo, _ port: UInt16, _ configuration: Configuration) -> Bool {
        false
    }
    package mutating func receive<O: Outside & ~Copyable>(
        _ packet: PacketInfo, _ message: RawSpan, sourcePort: UInt16, at now: Instant, configuration: Configuration,
        egress: inout Egress, counters: inout Counters, outside: inout O
    ) {}
}
