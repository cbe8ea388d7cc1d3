package import Wire

/// The contents of a hosts(5) file: addresses by name and names by address.
///
/// Bounded: at most `maximumBytes` of text, `maximumNames` names, `maximumAddresses` addresses to a name. What lies beyond is
/// counted in `ignored` and skipped.
package struct HostsTable: Sendable {
    package static let maximumBytes = 4 << 20
    package static let maximumNames = 100_000
    package static let maximumAddresses = 16

    private var addressesByName: [DNSName: [IPAddress]] = [:]
    /// The first name given for the address: its canonical one.
    private var nameByAddress: [IPAddress: DNSName] = [:]
    package private(set) var ignored = 0

    package var count: Int { addressesByName.count }

    package init() {}

    /// Lines of an address and its names; `#` starts a comment anywhere. A line that is no such thing is skipped.
    package init(parsing text: some Collection<UInt8>) {
        if text.count > Self.maximumBytes { ignored += 1 }
        for line in text.prefix(Self.maximumBytes).split(whereSeparator: { $0 == 0x0a || $0 == 0x0d }) {
            let content = line.prefix { $0 != UInt8(ascii: "#") }
            let words = content.split(whereSeparator: { $0 == 0x20 || $0 == 0x09 })
            if words.count < 2 { continue }
            // A scope (`fe80::1%eth0`) means nothing to a guest.
            let addressText = String(decoding: words[0].prefix { $0 != UInt8(ascii: "%") }, as: UTF8.self)
            guard let address = IPAddress(addressText) else { continue }
            for word in words.dropFirst() {
                guard let name = DNSName(String(decoding: word, as: UTF8.self)) else { continue }
                add(name, address)
            }
        }
    }

    private mutating func add(_ name: DNSName, _ address: IPAddress) {
        if nameByAddress[address] == nil, nameByAddress.count < Self.maximumNames { nameByAddress[address] = name }
        guard let known = addressesByName[name] else {
            if addressesByName.count < Self.maximumNames {
                addressesByName[name] = [address]
            } else {
                ignored += 1
            }
            return
        }
        if known.contains(address) { return }
        if known.count < Self.maximumAddresses {
            addressesByName[name]?.append(address)
        } else {
            ignored += 1
        }
    }

    /// Nil when the file does not know the name.
    package func addresses(of name: DNSName) -> [IPAddress]? { addressesByName[name] }
    package func name(of address: IPAddress) -> DNSName? { nameByAddress[address] }
}
