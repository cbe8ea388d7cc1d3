import ArgumentParser
import Gateway
import Netstack
import Wire

// `-p [ADDR:]HOSTPORT[:PORT][/tcp|/udp]`, as users of podman and docker write it:
//
//     8080:80              all addresses of the host, IPv4 and IPv6
//     127.0.0.1:8080:80    one address; [::1]:8080:80 for IPv6
//     8080                 the same port on both sides (docker would take any free one of the host)
//     5000-5009:6000-6009  ranges of one length
//     53:53/udp            tcp when nothing is said

/// One `-p`.
struct PortOption: Equatable {
    let text: String
    /// nil: all addresses of the host.
    let address: IPAddress?
    let hostPorts: ClosedRange<UInt16>
    let guestPorts: ClosedRange<UInt16>
    let transport: PortForward.Transport

    init(_ text: String) throws {
        func refuse(_ what: String) -> ValidationError {
            ValidationError("-p \(text): \(what), such as 8080:80, 127.0.0.1:8080:80, [::1]:8080:80 or 53:53/udp")
        }
        self.text = text
        var rest = Substring(text)
        if let slash = rest.lastIndex(of: "/") {
            guard let transport = PortForward.Transport(rawValue: String(rest[rest.index(after: slash)...])) else {
                throw refuse("after the slash comes tcp or udp")
            }
            self.transport = transport
            rest = rest[..<slash]
        } else {
            transport = .tcp
        }
        var host: Substring?
        if rest.hasPrefix("["), let end = rest.firstIndex(of: "]") {
            host = rest[rest.index(after: rest.startIndex)..<end]
            rest = rest[rest.index(after: end)...]
            guard rest.hasPrefix(":") else { throw refuse("not [ADDR:]HOSTPORT[:PORT]") }
            rest = rest.dropFirst()
        }
        var parts = rest.split(separator: ":", omittingEmptySubsequences: false)
        if host == nil, parts.count > 1, parts.count == 3 || parts[0].contains(".") { host = parts.removeFirst() }
        guard (1...2).contains(parts.count) else { throw refuse("not [ADDR:]HOSTPORT[:PORT]") }
        if let host {
            guard let address = IPAddress(String(host)) else { throw refuse("\(host) is no address") }
            self.address = address
        } else {
            address = nil
        }
        guard let hostPorts = Self.ports(parts[0]), let guestPorts = Self.ports(parts[parts.count - 1]) else {
            throw refuse("a port is 1 to 65535")
        }
        guard hostPorts.count == guestPorts.count else { throw refuse("the two ranges are not of one length") }
        self.hostPorts = hostPorts
        self.guestPorts = guestPorts
    }

    /// `80` or `8000-8009`.
    private static func ports(_ text: Substring) -> ClosedRange<UInt16>? {
        let ends = text.split(separator: "-", omittingEmptySubsequences: false)
        guard (1...2).contains(ends.count), ends.allSatisfy({ $0.allSatisfy(\.isNumber) }),
            let first = UInt16(ends[0]), let last = UInt16(ends[ends.count - 1]), first > 0, first <= last
        else { return nil }
        return first...last
    }

    /// What it asks of the host, when the sandbox has these families.
    func forwards(_ core: Configuration) throws -> [PortForward] {
        var pairs: [(host: IPAddress, guest: IPAddress, isOptional: Bool)] = []
        if let address {
            guard let family = address.isV4 ? core.v4 : core.v6 else {
                throw StartFailure("-p \(text): the sandbox has no \(address.isV4 ? "IPv4" : "IPv6")")
            }
            pairs = [(address, family.guest, false)]
        } else {
            if let v4 = core.v4 { pairs.append((.anyV4, v4.guest, false)) }
            if let v6 = core.v6 { pairs.append((.anyV6, v6.guest, core.v4 != nil)) }
        }
        return pairs.flatMap { pair in
            zip(hostPorts, guestPorts).map { host, guest in
                PortForward(
                    host: Endpoint(address: pair.host, port: host), guest: Endpoint(address: pair.guest, port: guest),
                    transport: transport, text: text, isOptional: pair.isOptional)
            }
        }
    }
}
