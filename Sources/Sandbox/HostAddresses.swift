internal import Glibc
package import Wire

/// The host's own subnets, against which a sandbox's is checked: an address inside that is also one outside could not be
/// reached.
package enum HostAddresses {
    /// The prefixes of all addresses of all interfaces, without loopback and link-local ones.
    package static func prefixes() -> [(interface: String, prefix: Prefix)] {
        var list: UnsafeMutablePointer<ifaddrs>?
        guard unsafe getifaddrs(&list) == 0 else { return [] }
        defer { unsafe freeifaddrs(list) }
        var found: [(String, Prefix)] = []
        var next = unsafe list
        while let entry = unsafe next {
            unsafe next = entry.pointee.ifa_next
            guard let address = unsafe text(entry.pointee.ifa_addr), let mask = unsafe entry.pointee.ifa_netmask,
                let ip = IPAddress(address), !ip.isLoopback, !ip.isLinkLocal,
                let prefix = unsafe Prefix("\(address)/\(length(mask, isV4: ip.isV4))")
            else { continue }
            unsafe found.append((String(cString: entry.pointee.ifa_name), prefix))
        }
        return found
    }

    /// The first of the host's subnets or routes that `prefix` overlaps.
    package static func collision(with prefix: Prefix) -> (interface: String, prefix: Prefix)? {
        everything().first { $0.prefix.overlaps(prefix) }
    }

    /// The first of `candidates` that overlaps none of the host's subnets and routes; failing that, the first that overlaps
    /// none of its subnets (a VPN may route all private addresses, but seldom uses them all).
    package static func free(of candidates: [Prefix]) -> Prefix? {
        for taken in [everything(), prefixes()] {
            if let free = candidates.first(where: { candidate in !taken.contains { $0.prefix.overlaps(candidate) } }) {
                return free
            }
        }
        return nil
    }

    private static func everything() -> [(interface: String, prefix: Prefix)] { prefixes() + HostRoutes.all() }

    private static func text(_ address: UnsafeMutablePointer<sockaddr>?) -> String? {
        guard let address = unsafe address else { return nil }
        var buffer = [CChar](repeating: 0, count: 64)
        let family = unsafe Int32(address.pointee.sa_family)
        let raw = UnsafeMutableRawPointer(address)
        if family == AF_INET {
            guard unsafe inet_ntop(AF_INET, raw + 4, &buffer, 64) != nil else { return nil }
        } else if family == AF_INET6 {
            guard unsafe inet_ntop(AF_INET6, raw + 8, &buffer, 64) != nil else { return nil }
        } else {
            return nil
        }
        return String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// Bits that are set at the start of a netmask.
    private static func length(_ mask: UnsafeMutablePointer<sockaddr>, isV4: Bool) -> Int {
        let raw = UnsafeMutableRawPointer(mask)
        let bytes = unsafe UnsafeRawBufferPointer(start: raw + (isV4 ? 4 : 8), count: isV4 ? 4 : 16)
        return unsafe bytes.reduce(0) { $0 + $1.nonzeroBitCount }
    }
}
