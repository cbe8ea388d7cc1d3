internal import Gateway
package import Wire

/// What the agent in a VM connects to, as `--connect` says it. Each has the framing of the link that `serve --listen` calls by the same
/// name; docs/links.md has a line for each.
package struct AgentPeer: Equatable, Sendable {
    package enum Place: Equatable, Sendable {
        case vsock(cid: UInt32, port: UInt32)
        case serial(path: String)
        /// A Unix socket with lengths of two bytes.
        case unix(path: String)
        /// One with lengths of four bytes.
        case qemu(path: String)
        case tcp(Endpoint)
        case stdio
        case descriptor(Int32)
    }

    package let place: Place
    package let text: String

    /// The host, seen from a VM (VMADDR_CID_HOST).
    private static let hostCID: UInt32 = 2

    /// nil when it is none of these.
    package init?(_ text: String) {
        self.text = text
        if text == "stdio" {
            place = .stdio
            return
        }
        guard let colon = text.firstIndex(of: ":") else { return nil }
        let rest = String(text[text.index(after: colon)...])
        let isPath = !rest.isEmpty && !rest.utf8.contains(0)
        switch text[..<colon] {
        case "vsock":
            let words = rest.split(separator: ":", omittingEmptySubsequences: false).map { UInt32($0) }
            switch words.count {
            case 1:
                guard let port = words[0], port != .max else { return nil }
                place = .vsock(cid: Self.hostCID, port: port)
            case 2:
                guard let cid = words[0], let port = words[1], cid != .max, port != .max else { return nil }
                place = .vsock(cid: cid, port: port)
            default: return nil
            }
        case "serial" where isPath: place = .serial(path: rest)
        case "unix" where isPath: place = .unix(path: rest)
        case "qemu" where isPath: place = .qemu(path: rest)
        case "tcp":
            guard case .tcp(let endpoint)? = LinkAddress(text)?.place else { return nil }
            place = .tcp(endpoint)
        case "fd":
            guard let number = Int32(rest), number >= 0 else { return nil }
            place = .descriptor(number)
        default: return nil
        }
    }

    var framing: LinkFraming {
        switch place {
        case .vsock, .unix, .stdio: .length16
        case .serial: .serial
        case .qemu, .tcp, .descriptor: .length32
        }
    }

    /// Once it has ended, there may be another.
    var comesBack: Bool {
        switch place {
        case .stdio, .descriptor: false
        default: true
        }
    }

    package static let explanation =
        "nothing to connect to, such as vsock:1024, vsock:CID:PORT, serial:/dev/ttyS1, unix:PATH, qemu:PATH, tcp://10.0.0.1:1234, stdio or fd:3"
}
