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
        /// VPNKit's socket: HyperKit, RootlessKit.
        case vmnet(path: String)
        /// AF_VSOCK, for `portolan guest` in a VM.
        case vsock(port: UInt32)
        /// The Unix socket that Firecracker or Cloud Hypervisor connects to when its VM connects to a port of the host: its path ends
        /// in `_PORT`.
        case hybridVsock(path: String)
        /// A serial line: a terminal device, or a Unix socket that QEMU connects to.
        case serial(path: String)
        /// QEMU and Cloud Hypervisor with shared memory.
        case vhostUser(path: String)
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
        case "vmnet" where isPath: place = .vmnet(path: rest)
        case "vhost-user" where isPath: place = .vhostUser(path: rest)
        case "serial" where isPath: place = .serial(path: rest)
        case "hybrid-vsock" where isPath:
            guard let mark = rest.lastIndex(of: "_"), UInt32(rest[rest.index(after: mark)...]) != nil else {
                return nil
            }
            place = .hybridVsock(path: rest)
        case "vsock":
            // VMADDR_PORT_ANY is no port.
            guard let port = UInt32(rest), port != .max else { return nil }
            place = .vsock(port: port)
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
        case .stream(let path), .datagram(let path), .vfkit(let path), .packets(let path), .vmnet(let path),
            .hybridVsock(let path), .serial(let path), .vhostUser(let path):
            path
        case .tcp, .stdio, .descriptor, .vsock: nil
        }
    }

    /// How frames lie in what a listener accepts.
    var framing: LinkFraming {
        switch place {
        case .stream, .tcp, .descriptor: .length32
        case .vmnet, .vsock, .hybridVsock, .stdio: .length16
        case .serial: .serial
        case .datagram, .vfkit, .packets, .vhostUser: .message
        }
    }

    /// What is wrong with an address, for a sentence that begins with the option.
    package static let explanation =
        "not a link, such as qemu:/run/vm.sock, dgram:PATH, vfkit:PATH, bess:PATH, vmnet:PATH, tcp://127.0.0.1:1234, vsock:1024, hybrid-vsock:PATH_1024, serial:PATH, vhost-user:PATH, stdio or fd:3"

}
