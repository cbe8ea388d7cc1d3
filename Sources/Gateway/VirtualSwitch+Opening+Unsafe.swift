internal import CHost
internal import Glibc
internal import Logging
internal import Netstack
internal import Uv
internal import Wire

// What each kind of address needs to be opened: a socket to listen on, or a link at once. What connects to a listener.

extension VirtualSwitch {
    /// Opens what an address names: the `index`th of the switch.
    func open(_ address: LinkAddress, _ index: Int) throws {
        func check(_ fd: Int32) throws -> Int32 {
            guard fd < 0 else { return fd }
            throw LinkUnavailable(address, errno: -fd)
        }
        switch address.place {
        case .stream(let path), .vmnet(let path), .hybridVsock(let path):
            try unsafe listen(address, check(host_link_listen(path, Int32(host_link_stream))), .stream)
        case .vsock(let port):
            try listen(address, check(host_link_listen_vsock(port)), .stream)
        case .serial(let path):
            let fd = unsafe host_serial_open(path)
            if fd == -ENOENT || fd == -ENOTTY {
                try unsafe listen(address, check(host_link_listen(path, Int32(host_link_stream))), .stream)
            } else {
                try add(check(fd), .stream, .serial, origin: index)
            }
        case .vhostUser(let path):
            try unsafe listen(address, check(host_link_listen(path, Int32(host_link_stream))), .shared)
        case .packets(let path):
            try unsafe listen(address, check(host_link_listen(path, Int32(host_link_packets))), .packets)
        case .tcp(let endpoint):
            guard endpoint.address.isLoopback else {
                throw LinkUnavailable(
                    description:
                        "--listen \(address.text): frames pass in the clear, so only on loopback, such as tcp://127.0.0.1:1234"
                )
            }
            var at = host_address(endpoint)
            try unsafe listen(address, check(host_stream_listen(&at)), .stream)
        case .datagram(let path), .vfkit(let path):
            let fd = try unsafe check(host_link_listen(path, Int32(host_link_datagram)))
            var trusts = false
            if case .vfkit = address.place { trusts = true }
            try add(fd, .datagram, .message, trustsChecksums: trusts, origin: index)
        case .stdio:
            // Copies, so that closing them leaves 0 and 1 to nobody else.
            let input = fcntl(0, F_DUPFD_CLOEXEC, 3)
            let output = fcntl(1, F_DUPFD_CLOEXEC, 3)
            guard input >= 0, output >= 0 else { throw LinkUnavailable(address, errno: errno) }
            try add(input, writeFD: output, .stream, .length16, origin: index)
        case .descriptor(let fd):
            let type = try check(host_link_adopt(fd))
            if type == host_link_tap || type == host_link_tap_virtio {
                let offloads = type == host_link_tap_virtio ? TapOffloads(fd: fd) : nil
                try add(fd, .tap, .message, offloads: offloads, origin: index)
                return
            }
            let kind: MachineLink.Kind = type == 0 ? .stream : type == 1 ? .datagram : .packets
            // A connected datagram socket (socketpair) has its peer already.
            try add(fd, kind == .datagram ? .packets : kind, kind == .stream ? .length32 : .message, origin: index)
        }
    }

    private func listen(_ address: LinkAddress, _ fd: Int32, _ kind: MachineLink.Kind) throws {
        do {
            let poll = try unsafe Poll(
                loop: loop, fd: fd, context: context, token: LinkEvent.listener(listeners.count).token,
                callback: callback)
            listeners.append(Listener(address: address, fd: fd, poll: poll, kind: kind))
        } catch {
            Glibc.close(fd)
            throw error
        }
    }

    /// Machines have connected.
    func accept(_ listener: Int) {
        let listener = listeners[listener]
        while true {
            let fd = host_stream_accept(listener.fd, nil)
            if fd == -ECONNABORTED || fd == -EINTR { continue }
            if fd == -EMFILE || fd == -ENFILE, spare.sendAway(from: listener.fd) {
                logger.warning("a machine on \(listener.address.text) was sent away: \(errorText(-fd))")
                continue
            }
            guard fd >= 0 else {
                if fd != -EAGAIN {
                    logger.warning("cannot accept a machine on \(listener.address.text): \(errorText(-fd))")
                }
                return
            }
            do {
                let origin = addresses.firstIndex(of: listener.address) ?? 0
                let port = try add(fd, listener.kind, listener.address.framing, origin: origin)
                links[port]?.start()
                logger.notice("a machine has come on \(listener.address.text)")
            } catch {
                logger.warning("a machine on \(listener.address.text) was sent away: \(error)")
            }
        }
    }
}

/// An address to listen on could not be opened.
package struct LinkUnavailable: Error, CustomStringConvertible {
    package let description: String

    init(description: String) { self.description = description }

    private static func isVsock(_ address: LinkAddress) -> Bool {
        if case .vsock = address.place { true } else { false }
    }

    init(_ address: LinkAddress, errno code: Int32) {
        let text = "--listen \(address.text)"
        switch code {
        case EADDRINUSE: description = "\(text): the socket is in use, or something else has this name"
        case ENAMETOOLONG: description = "\(text): a socket's path has at most 107 bytes"
        case EBADF: description = "\(text): there is no such descriptor"
        case ENOTSOCK, EPROTONOSUPPORT: description = "\(text): not a tap, nor a stream, datagram or packet socket"
        case EPROTOTYPE:
            description = "\(text): a tun device, which has IP packets; frames come from one opened with IFF_TAP"
        case EAFNOSUPPORT where Self.isVsock(address), ENODEV where Self.isVsock(address):
            description = "\(text): this kernel has no AF_VSOCK: load the module with 'modprobe vhost_vsock'"
        default: description = "\(text): \(errorText(code))"
        }
    }
}
