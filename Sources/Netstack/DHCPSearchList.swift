/// The search list as router advertisements (RFC 8106 section 5.2), DHCPv4 (RFC 3397) and DHCPv6 (RFC 3646 section 4)
/// carry it: names in the form of RFC 1035 section 3.1, one after the other, not compressed.
enum SearchList {
    /// - Returns: at most `limit` bytes of whole names. A name that DNS cannot express is left out.
    static func encode(_ domains: [String], limit: Int = 255) -> [UInt8] {
        var list: [UInt8] = []
        for domain in domains {
            var name: [UInt8] = []
            var isValid = true
            for label in domain.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: true) {
                // RFC 1035 section 2.3.4: labels of 63 octets or less.
                guard label.count <= 63 else {
                    isValid = false
                    break
                }
                name.append(UInt8(label.count))
                name.append(contentsOf: label)
            }
            name.append(0)
            // RFC 1035 section 2.3.4: names of 255 octets or less.
            guard isValid, name.count > 1, name.count <= 255, list.count + name.count <= limit else { continue }
            list.append(contentsOf: name)
        }
        return list
    }
}
