package import Wire

/// Where virtual machines hand over their frames, as `--listen` says it. docs/links.md has a line for each.
package struct LinkAddress: Equatable, Sendable {
    package enum Place: Equatable, Sendable {
        case stream(path: String)
        case tcp(Endpoint)
        case datagram(path: String)
        /// Datagrams of a VM that leaves checksums and segmentation undone without saying so (libkrun).
        case vfkit(path: String)
        case packets(path: String)
        case stdio
        case descriptor(Int32)
    }

    package let place: Place
    package let text: String

    /// nil when it is none of these.
    package init?(_ text: String) {
        self.text = text
        guard let colon = text.firstIndex(of: ":") else {
            guard text == "stdio" else { return nil }
            place = .stdio
            return
        }
        let rest = String(text[text.index(after: colon)...])
        let isPath = !rest.isEmpty && !rest.utf8.contains(0)
        switch text[..<colon] {
        case "qemu" where isPath: place = .stream(path: rest)
        case "dgram" where isPath: place = .datagram(path: rest)
        case "vfkit" where isPath: place = .vfkit(path: rest)
        case "bess" where isPath: place = .packets(path: rest)
        case "fd":
            guard let number = Int32(rest), number >= 0 else { return nil }
            place = .descriptor(number)
        case "tcp":
            guard rest.hasPrefix("//"), let endpoint = Self.endpoint(rest.dropFirst(2)) else { return nil }
            place = .tcp(endpoint)
        default: return nil
        }
    }

    /// `127.0.0.1:1234`, `[::1]:1234`.
    private static func endpoint(_ text: Substring) -> Endpoint? {
        guard let colon = text.lastIndex(of: ":"), let port = UInt16(text[text.index(after: colon)...]), port > 0 else {
            return nil
        }
        var host = text[..<colon]
        if host.hasPrefix("["), host.hasSuffix("]") { host = host.dropFirst().dropLast() }
        return IPAddress(String(host)).map { Endpoint(address: $0, port: port) }
    }

    /// The socket's file, which goes when the network does.
    package var path: String? {
        switch place {
        case .stream(let path), .datagram(let path), .vfkit(let path), .packets(let path): path
        case .tcp, .stdio, .descriptor: nil
        }
    }
}
