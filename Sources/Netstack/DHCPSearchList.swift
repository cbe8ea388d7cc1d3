import Wire

/// The search list as router advertisements (RFC 8106 section 5.2), DHCPv4 (RFC 3397) and DHCPv6 (RFC 3646 section 4)
/// carry it: names in the form of RFC 1035 section 3.1, one after the other, not compressed.
enum SearchList {
    /// - Returns: at most `limit` bytes of whole names. A name that DNS cannot express is left out.
    static func encode(_ domains: [String], limit: Int = 255) -> [UInt8] {
        var list: [UInt8] = []
        for domain in domains {
            guard let name = DNSName(domain), list.count + name.octets.count <= limit else { continue }
            list += name.octets
        }
        return list
    }
}
