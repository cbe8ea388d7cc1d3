package import Wire

/// Where names are resolved: the contents of resolv.conf(5) as far as a forwarder has a use for them.
package struct ResolverConfiguration: Equatable, Sendable {
    /// A server to ask. `scope` is the interface of a link-local address (`fe80::1%eth0`), a name or a number.
    package struct Upstream: Hashable, Sendable, CustomStringConvertible {
        package var endpoint: Endpoint
        package var scope: String?

        package init(endpoint: Endpoint, scope: String? = nil) {
            self.endpoint = endpoint
            self.scope = scope
        }

        /// From `192.0.2.1`, `2001:db8::1`, `fe80::1%eth0`; port 53.
        package init?(_ text: some StringProtocol) {
            let parts = text.split(separator: "%", maxSplits: 1, omittingEmptySubsequences: false)
            guard let first = parts.first, let address = IPAddress(first) else { return nil }
            if parts.count == 2 && parts[1].isEmpty { return nil }
            self.init(endpoint: Endpoint(address: address, port: 53), scope: parts.count == 2 ? String(parts[1]) : nil)
        }

        package var description: String { scope.map { "\(endpoint.address)%\($0)" } ?? "\(endpoint.address)" }
    }

    /// In order of preference; at most `maximumUpstreams` are kept.
    package var upstreams: [Upstream] = []
    package var search: [String] = []
    /// Seconds, 1...30.
    package var timeout = 5
    /// Rounds through the servers, 1...5.
    package var attempts = 2
    package var rotate = false
    /// `use-vc`: ask over TCP always.
    package var useTCP = false
    package var edns0 = false
    package var ndots = 1

    /// More than glibc's three (MAXNS), which costs nothing.
    package static let maximumUpstreams = 8
    /// What is read of a file.
    package static let maximumBytes = 64 << 10

    package init() {}

    package init(upstreams: [Upstream]) { self.upstreams = Array(upstreams.prefix(Self.maximumUpstreams)) }

    /// Reads a resolv.conf. Unknown keywords, options and malformed addresses are skipped, as glibc does; without any
    /// `nameserver` line the host asks itself (resolv.conf(5)), and so do we.
    package init(parsing text: some Collection<UInt8>) {
        for line in text.prefix(Self.maximumBytes).split(whereSeparator: { $0 == 0x0a || $0 == 0x0d }) {
            if line.first == UInt8(ascii: "#") || line.first == UInt8(ascii: ";") { continue }
            let words = String(decoding: line, as: UTF8.self).split(whereSeparator: { $0 == " " || $0 == "\t" })
            guard let keyword = words.first else { continue }
            switch keyword {
            case "nameserver":
                if words.count > 1, let upstream = Upstream(words[1]), !upstreams.contains(upstream),
                    upstreams.count < Self.maximumUpstreams
                {
                    upstreams.append(upstream)
                }
            case "search", "domain":
                // The last of either wins. `search .` means an empty list.
                search = words.dropFirst().prefix(keyword == "domain" ? 1 : 32).filter { $0 != "." }.map { String($0) }
            case "options":
                for option in words.dropFirst() { apply(option) }
            default:
                continue
            }
        }
        if upstreams.isEmpty {
            upstreams = [Upstream(endpoint: Endpoint(address: IPAddress(v4: 0x7f00_0001), port: 53))]
        }
    }

    private mutating func apply(_ option: Substring) {
        let parts = option.split(separator: ":", maxSplits: 1)
        let value = parts.count == 2 ? Int(parts[1]) : nil
        switch (parts.first, value) {
        case ("timeout", let value?): timeout = min(max(value, 1), 30)
        case ("attempts", let value?): attempts = min(max(value, 1), 5)
        case ("ndots", let value?): ndots = min(max(value, 0), 15)
        case ("rotate", nil): rotate = true
        case ("use-vc", nil): useTCP = true
        case ("edns0", nil): edns0 = true
        default: break
        }
    }
}
