internal import CHost
internal import Glibc
internal import Wire

/// The two descriptors of a connection, non-blocking; one and the same but for stdio.
struct AgentConnection: ~Copyable {
    let input: Int32
    let output: Int32

    /// - Returns: nil and the errno when it failed.
    static func open(_ peer: AgentPeer, _ code: inout Int32) -> AgentConnection? {
        var fd: Int32
        switch peer.place {
        case .vsock(let cid, let port): fd = host_link_connect_vsock(cid, port)
        case .serial(let path): fd = unsafe host_serial_open(path)
        case .unix(let path), .qemu(let path): fd = unsafe host_link_connect(path)
        case .tcp(let endpoint): fd = tcp(endpoint)
        case .descriptor(let number): fd = host_link_adopt(number) < 0 ? -EBADF : number
        case .stdio:
            for number in [Int32(0), 1] { _ = fcntl(number, F_SETFL, fcntl(number, F_GETFL) | O_NONBLOCK) }
            return AgentConnection(input: 0, output: 1)
        }
        guard fd >= 0 else {
            code = -fd
            return nil
        }
        return AgentConnection(input: fd, output: fd)
    }

    private static func tcp(_ endpoint: Endpoint) -> Int32 {
        var address = host_address()
        address.is_v4 = endpoint.address.isV4 ? 1 : 0
        address.port = endpoint.port
        unsafe withUnsafeMutableBytes(of: &address.bytes) { bytes in
            unsafe bytes.storeBytes(of: endpoint.address.hi.bigEndian, as: UInt64.self)
            unsafe bytes.storeBytes(of: endpoint.address.lo.bigEndian, toByteOffset: 8, as: UInt64.self)
        }
        var isInProgress: Int32 = 0
        let fd = unsafe host_stream_connect(&address, &isInProgress)
        guard fd >= 0, isInProgress != 0 else { return fd }
        var poll = pollfd(fd: fd, events: Int16(POLLOUT), revents: 0)
        let code = unsafe Glibc.poll(&poll, 1, 10_000) == 1 ? host_stream_error(fd) : -ETIMEDOUT
        if code == 0 { return fd }
        close(fd)
        return code
    }

    deinit {
        host_link_close(input)
        if output != input { close(output) }
    }
}
