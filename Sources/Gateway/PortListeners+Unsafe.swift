internal import CHost
internal import Glibc
internal import Netstack
internal import Uv
internal import Wire

// The host's end of forwarded ports (`-p`): sockets that listen, each with the number that its `Poll`'s token carries.
//
// UDP. One unconnected socket for all clients; it is told the address that a datagram came to (IP_PKTINFO), which the answer has to
// come from.
//
// TCP. The kernel answers a client's SYN by itself, so a client is connected before the guest is asked; see TCPActiveOpen. What
// is accepted becomes an ordinary flow, whose socket nobody reads before the guest has answered.
//
// When the process has no descriptor left, clients are reset (SpareDescriptor).

@safe
struct PortListeners: ~Copyable {
    struct Listener {
        let forward: PortForward
        let fd: Int32
        let poll: Poll
        /// A UDP socket's fields as last set.
        var fields: DatagramOptions?
    }

    private(set) var listeners: [Listener] = []
    private var spare: SpareDescriptor

    /// Opens every port, or none: what one of them lacks is the error.
    init(
        _ forwards: [PortForward], loop: EventLoop, context: UnsafeMutableRawPointer, callback: PollCallback
    ) throws {
        spare = SpareDescriptor(isNeeded: !forwards.isEmpty)
        do {
            for forward in forwards {
                var address = host_address(forward.host)
                let fd = unsafe forward.transport == .tcp ? host_stream_listen(&address) : host_udp_serve(&address)
                if fd < 0 {
                    if forward.isOptional, fd == -EAFNOSUPPORT || fd == -EADDRNOTAVAIL { continue }
                    throw PortUnavailable(forward, errno: -fd)
                }
                do {
                    let poll = try unsafe Poll(
                        loop: loop, fd: fd, context: context, token: UInt64(listeners.count), callback: callback)
                    listeners.append(Listener(forward: forward, fd: fd, poll: poll))
                } catch {
                    Glibc.close(fd)
                    throw error
                }
            }
        } catch {
            close()
            throw error
        }
    }

    /// From now on clients are heard.
    func start() {
        for listener in listeners { listener.poll.start(.readable) }
    }

    /// libuv stopped the handle at an error; the queue has been drained.
    func restart(_ index: Int) { listeners[index].poll.start(.readable) }

    /// Sends an answer of the guest: datagrams of `size` bytes, in one system call where the kernel takes that.
    mutating func send(
        _ index: Int, path: DatagramPath, to client: Endpoint, _ bytes: RawSpan, size: Int, _ options: DatagramOptions
    ) -> HostResult {
        guard index < listeners.count else { return .failed(.reset) }
        let fd = listeners[index].fd
        if listeners[index].fields != options {
            listeners[index].fields = options
            host_datagram_fields(
                fd, client.address.isV4 ? 1 : 0, Int32(options.hopLimit), Int32(options.trafficClass),
                options.dontFragment ? 1 : 0)
        }
        var from = host_address(Endpoint(address: path.local, port: 0))
        from.scope = path.interface
        var to = host_address(client)
        func send(_ range: Range<Int>) -> HostResult {
            let part = bytes.extracting(range)
            return unsafe part.withUnsafeBytes { raw in
                unsafe HostResult(
                    host_udp_send_from(fd, &from, &to, raw.baseAddress, raw.count, UInt16(clamping: size)))
            }
        }
        var result = HostResult.done(0)
        var offset = 0
        var train = DatagramTrain.limit
        // An empty datagram is a datagram.
        repeat {
            let end = min(offset + size * train, bytes.byteCount)
            result = send(offset..<end)
            if case .failed(let error) = result {
                // The kernel takes no train here (see DatagramTrain).
                if train > 1, end - offset > size {
                    train = 1
                    continue
                }
                if case .messageTooBig = error { result = unsafe .failed(.messageTooBig(mtu: host_path_mtu(&to))) }
                return result
            }
            offset = end
        } while offset < bytes.byteCount && result.isDone
        return result
    }

    mutating func close() {
        for listener in listeners {
            listener.poll.close()
            Glibc.close(listener.fd)
        }
        listeners = []
        spare.close()
    }

    enum Accepted { case client(Int32, Endpoint), none }

    /// The next client of a listener.
    mutating func accept(_ index: Int) -> Accepted {
        let listener = listeners[index].fd
        var from = host_address()
        while true {
            let fd = unsafe host_stream_accept(listener, &from)
            switch fd {
            case 0...: return .client(fd, from.endpoint)
            // The client has gone again; errors of its network that Linux hands on (accept(2)).
            case -ECONNABORTED, -EINTR, -ENETDOWN, -EPROTO, -ENOPROTOOPT, -EHOSTDOWN, -ENONET, -EHOSTUNREACH,
                -EOPNOTSUPP,
                -ENETUNREACH:
                continue
            case -EMFILE, -ENFILE:
                guard spare.sendAway(from: listener) else { return .none }
            default: return .none
            }
        }
    }
}

extension PortUnavailable {
    init(_ forward: PortForward, errno code: Int32) {
        let place = "\(forward.host)/\(forward.transport.rawValue)"
        switch code {
        case EADDRINUSE: description = "-p \(forward.text): \(place) is in use"
        case EACCES, EPERM:
            description =
                "-p \(forward.text): port \(forward.host.port) is open to root only; take one from 1024 on, or lower net.ipv4.ip_unprivileged_port_start"
        case EADDRNOTAVAIL: description = "-p \(forward.text): the host has no address \(forward.host.address)"
        case EAFNOSUPPORT:
            description = "-p \(forward.text): the host has no \(forward.host.address.isV4 ? "IPv4" : "IPv6")"
        default:
            description = "-p \(forward.text): cannot listen on \(place): \(errorText(code))"
        }
    }
}
