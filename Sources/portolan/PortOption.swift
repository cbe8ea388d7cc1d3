import ArgumentParser
import Gateway
import Netstack
import Wire

// `-p [ADDR:]HOSTPORT[:PORT][/tcp|/udp]`, as users of podman and docker write it; with several machines inside
// `[ADDR:]HOSTPORT:MACHINE:PORT`:
//
//     8080:80                 all addresses of the host, IPv4 and IPv6
//     127.0.0.1:8080:80       one address; [::1]:8080:80 for IPv6
//     8080                    the same port on both sides (docker would take any free one of the host)
//     5000-5009:6000-6009     ranges of one length
//     53:53/udp               tcp when nothing is said
//     8080:10.0.2.3:80        the machine with this address; [fd00::3] for IPv6
//     8080:web:80             the machine that has this name when a client comes

/// One `-p`.
struct PortOption: Equatable {
    let text: String
    /// nil: all addresses of the host.
    let address: IPAddress?
    let hostPorts: ClosedRange<UInt16>
    enum Machine: Equatable {
        case address(IPAddress)
        case name(String)
    }
    /// nil: the first, or only, guest.
    let machine: Machine?
    let guestPorts: ClosedRange<UInt16>
    let transport: PortForward.Transport

    /// - Parameter machines: whether a machine may be named.
    init(_ text: String, machines: Bool) throws {
        func refuse(_ what: String) -> ValidationError {
            let shape = machines ? "[ADDR:]HOSTPORT[:MACHINE][:PORT]" : "[ADDR:]HOSTPORT[:PORT]"
            return ValidationError(
                "-p \(text): \(what); it is \(shape)[/tcp|/udp], such as 8080:80, [::1]:8080:80 or 53:53/udp")
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
        guard var parts = Self.parts(rest) else { throw refuse("it cannot be read") }
        func address(_ part: Substring) throws -> IPAddress {
            guard let address = IPAddress(String(part)) else { throw refuse("\(part) is no address") }
            return address
        }
        // What is no port in front of one is an address.
        self.address =
            parts.count > 1 && (parts.count > 3 || Self.ports(parts[0]) == nil) ? try address(parts.removeFirst()) : nil
        if machines, parts.count == 3 {
            let part = String(parts.remove(at: 1))
            if IPAddress(part) == nil, HostName.isLabel(part), part.contains(where: \.isLetter) {
                machine = .name(part)
            } else {
                machine = .address(try address(Substring(part)))
            }
        } else {
            machine = nil
        }
        guard (1...2).contains(parts.count), let hostPorts = Self.ports(parts[0]),
            let guestPorts = Self.ports(parts[parts.count - 1])
        else { throw refuse(parts.count > 2 ? "it has too many parts" : "a port is 1 to 65535") }
        guard hostPorts.count == guestPorts.count else { throw refuse("the two ranges are not of one length") }
        self.hostPorts = hostPorts
        self.guestPorts = guestPorts
    }

    /// What stands between colons; colons within brackets are an IPv6 address's.
    private static func parts(_ text: Substring) -> [Substring]? {
        var parts: [Substring] = []
        var rest = text
        while true {
            guard rest.hasPrefix("[") else {
                guard let colon = rest.firstIndex(of: ":") else { return parts + [rest] }
                parts.append(rest[..<colon])
                rest = rest[rest.index(after: colon)...]
                continue
            }
            guard let end = rest.firstIndex(of: "]") else { return nil }
            parts.append(rest[rest.index(after: rest.startIndex)..<end])
            rest = rest[rest.index(after: end)...]
            guard rest.hasPrefix(":") else { return nil }
            rest = rest.dropFirst()
        }
    }

    /// `80` or `8000-8009`.
    private static func ports(_ text: Substring) -> ClosedRange<UInt16>? {
        let ends = text.split(separator: "-", omittingEmptySubsequences: false)
        guard (1...2).contains(ends.count), ends.allSatisfy({ $0.allSatisfy(\.isNumber) }),
            let first = UInt16(ends[0]), let last = UInt16(ends[ends.count - 1]), first > 0, first <= last
        else { return nil }
        return first...last
    }

    /// What it asks of the host, when the network has these families.
    func forwards(_ core: Configuration) throws -> [PortForward] {
        func family(_ address: IPAddress) throws -> Configuration.Family {
            guard let family = address.isV4 ? core.v4 : core.v6 else {
                throw StartFailure("-p \(text): the network has no \(address.isV4 ? "IPv4" : "IPv6")")
            }
            return family
        }
        if case .address(let machine) = machine {
            guard try family(machine).prefix.contains(machine) else {
                throw StartFailure("-p \(text): \(machine) is not in the network \(try family(machine).prefix)")
            }
        }
        var pairs: [(host: IPAddress, guest: IPAddress, isOptional: Bool)] = []
        var name: String?
        switch (machine, address) {
        case (.address(let machine), let host):
            guard host?.isV4 ?? machine.isV4 == machine.isV4 else {
                throw StartFailure("-p \(text): one address is of IPv4, the other of IPv6")
            }
            pairs = [(host ?? (machine.isV4 ? .anyV4 : .anyV6), machine, false)]
        case (.name(let machine), let host):
            // Which families a machine has nobody knows beforehand, but nearly all have IPv4.
            let host = host ?? (core.v4 == nil ? .anyV6 : .anyV4)
            pairs = [(host, try family(host).guest, false)]
            name = machine
        case (nil, let host?):
            pairs = [(host, try family(host).guest, false)]
        case (nil, nil):
            if let v4 = core.v4 { pairs.append((.anyV4, v4.guest, false)) }
            if let v6 = core.v6 { pairs.append((.anyV6, v6.guest, core.v4 != nil)) }
        }
        return pairs.flatMap { pair in
            zip(hostPorts, guestPorts).map { host, guest in
                PortForward(
                    host: Endpoint(address: pair.host, port: host), guest: Endpoint(address: pair.guest, port: guest),
                    machine: name, transport: transport, text: text, isOptional: pair.isOptional)
            }
        }
    }
}
