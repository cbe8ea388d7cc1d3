package import Wire

/// The destinations of the host's routes, as procfs tells them: a subnet behind a VPN is as little reachable from a sandbox that
/// has the same addresses as a subnet of the host's own.
package enum HostRoutes {
    package typealias Route = (interface: String, prefix: Prefix)

    static func all() -> [Route] {
        v4(File.read("/proc/net/route") ?? "") + v6(File.read("/proc/net/ipv6_route") ?? "")
    }

    /// RTF_REJECT of linux/route.h: an unreachable or blackhole route hides nothing.
    private static let reject = 0x0200

    /// /proc/net/route: a heading, then `interface destination gateway flags ... mask ...`, where addresses are hexadecimal
    /// numbers in the (little-endian) host's order. The default route is left out.
    package static func v4(_ table: String) -> [Route] {
        table.split(separator: "\n").dropFirst().compactMap { line in
            let words = line.split(whereSeparator: { $0 == "\t" || $0 == " " })
            guard words.count >= 8, let destination = UInt32(words[1], radix: 16), let flags = Int(words[3], radix: 16),
                let mask = UInt32(words[7], radix: 16), mask != 0, flags & reject == 0,
                let prefix = Prefix("\(IPAddress(v4: UInt32(bigEndian: destination)))/\(mask.nonzeroBitCount)")
            else { return nil }
            return (String(words[0]), prefix)
        }
    }

    /// /proc/net/ipv6_route: `destination length source length next-hop metric references uses flags interface`, 32 hexadecimal
    /// digits an address. Left out: the default route, loopback, link-local and multicast.
    package static func v6(_ table: String) -> [Route] {
        table.split(separator: "\n").compactMap { line in
            let words = line.split(separator: " ")
            guard words.count >= 10, words[0].utf8.count == 32, let hi = UInt64(words[0].prefix(16), radix: 16),
                let lo = UInt64(words[0].suffix(16), radix: 16), let length = Int(words[1], radix: 16), length > 0,
                let flags = Int(words[8], radix: 16), flags & reject == 0, words[9] != "lo"
            else { return nil }
            let address = IPAddress(hi: hi, lo: lo)
            guard !address.isLinkLocal, !address.isMulticast, let prefix = Prefix("\(address)/\(length)") else {
                return nil
            }
            return (String(words[9]), prefix)
        }
    }
}
