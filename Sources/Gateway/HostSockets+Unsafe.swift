internal import CHost
internal import Glibc
internal import Netstack
internal import Uv
internal import Wire

// The host's side of every flow: the core's `Outside` on real sockets.
//
//   FlowID.index ──▶ record { descriptor, Poll, flow }      one array per kind of flow; slots follow the core's slabs
//   Poll's token  =  FlowID.rawValue                        a callback finds its flow without a look-up
//
// Streams are watched for exactly what the core asks, so a guest that does not read costs no wake-ups. A socket of which
// the core wants nothing just now is, until its end was read, still watched for errors (EPOLLPRI brings EPOLLERR along), so that a reset is not
// missed; if that wakes us without an error (a hang-up, or an urgent byte), watching stops until the core wants something again.
//
// Datagram and echo sockets are always watched for reading. Their errors arrive in the error queue.

/// Host sockets, the guest's tap and the operator's ear.
@safe
struct HostSockets: Outside, ~Copyable {
    struct Record {
        var fd: Int32 = -1
        var poll: Poll?
        var flow = FlowID(rawValue: 0)
        var isConnecting = false
        /// epoll has reported EPOLLERR: the cause is found by the next read or write, watching again would spin.
        var hasError = false
        /// The stream's end has been read: a hang-up would only wake us again and again.
        var hasEnded = false
        /// A datagram socket's fields as last set.
        var fields: DatagramOptions?
    }

    let loop: EventLoop
    private let context: UnsafeMutableRawPointer
    private let onStream: PollCallback
    private let onDatagram: PollCallback
    var link: GuestLink
    var notices: Notices
    var ports: PortListeners
    let names: NameService
    let leases: LeaseBook
    let boot: BootService?
    private var streams: [Record] = []
    private var datagrams: [Record] = []
    private var echoes: [Record] = []
    private var train = DatagramTrain()

    init(
        loop: EventLoop, context: UnsafeMutableRawPointer, onStream: PollCallback, onDatagram: PollCallback,
        link: consuming GuestLink, notices: Notices, names: NameService, leases: LeaseBook, boot: BootService?,
        ports: consuming PortListeners
    ) {
        self.loop = loop
        unsafe self.context = context
        unsafe self.onStream = onStream
        unsafe self.onDatagram = onDatagram
        self.link = link
        self.notices = notices
        self.names = names
        self.leases = leases
        self.boot = boot
        self.ports = ports
    }

    // MARK: Towards the guest

    mutating func transmit(_ offload: OffloadHeader, header: RawSpan, payload: RawSpan) -> Bool {
        link.transmit(offload, header: header, payload: payload)
    }

    mutating func note(_ notice: Notice) { notices.post(notice) }

    mutating func discard(_ bytes: inout MutableRawSpan) {
        unsafe bytes.withUnsafeMutableBytes { _ = unsafe madvise($0.baseAddress, $0.count, MADV_DONTNEED) }
    }

    mutating func dnsQuery(_ query: RawSpan, from client: GuestPort) { names.query(query, from: client) }

    mutating func bootDatagram(_ bytes: RawSpan, from client: GuestPort) -> Bool {
        boot?.receive(bytes, from: client) ?? false
    }

    mutating func leaseChanged(_ change: LeaseChange) { leases.changed(change) }

    func isHeld(_ address: IPAddress, byOtherThan mac: MACAddress, at now: Instant) -> Bool {
        leases.isHeld(address, byOtherThan: mac, at: now)
    }

    // MARK: Streams

    mutating func connect(_ flow: FlowID, to target: HostTarget) -> HostResult {
        switch target {
        case .dnsService, .bootService:
            var pair: (Int32, Int32) = (-1, -1)
            let code = unsafe withUnsafeMutablePointer(to: &pair) {
                unsafe $0.withMemoryRebound(to: Int32.self, capacity: 2) { unsafe host_stream_pair($0) }
            }
            guard code == 0 else { return .failed(HostError(errno: -code)) }
            if case .dnsService = target {
                names.serve(stream: pair.1)
            } else if let boot {
                boot.serve(stream: pair.1)
            } else {
                host_close(pair.1, 1)
            }
            return install(flow, pair.0, isConnecting: false)
        case .endpoint(let endpoint):
            var address = host_address(endpoint)
            var inProgress: Int32 = 0
            let fd = unsafe host_stream_connect(&address, &inProgress)
            guard fd >= 0 else { return .failed(HostError(errno: -fd)) }
            return install(flow, fd, isConnecting: inProgress != 0)
        }
    }

    private mutating func install(_ flow: FlowID, _ fd: Int32, isConnecting: Bool) -> HostResult {
        guard
            let poll = unsafe try? Poll(loop: loop, fd: fd, context: context, token: flow.rawValue, callback: onStream)
        else {
            host_close(fd, 1)
            return .failed(.exhausted)
        }
        Self.place(Record(fd: fd, poll: poll, flow: flow, isConnecting: isConnecting), in: &streams)
        poll.start(isConnecting ? .writable : [.readable, .prioritized])
        return isConnecting ? .wouldBlock : .done(0)
    }

    /// Takes a client's socket for a flow that the core opens towards the guest. Only errors are heard until the core asks for more.
    mutating func adopt(_ flow: FlowID, _ fd: Int32) -> Bool {
        guard
            let poll = unsafe try? Poll(loop: loop, fd: fd, context: context, token: flow.rawValue, callback: onStream)
        else {
            host_close(fd, 1)
            return false
        }
        Self.place(Record(fd: fd, poll: poll, flow: flow), in: &streams)
        poll.start(.prioritized)
        return true
    }

    /// The answer of a connect in progress: nil while there is none, `.some(nil)` for success.
    mutating func connectEnded(_ flow: FlowID) -> HostError?? {
        let index = Int(flow.index)
        guard index < streams.count, streams[index].flow == flow, streams[index].isConnecting else { return nil }
        streams[index].isConnecting = false
        let code = host_stream_error(streams[index].fd)
        if code == 0 {
            streams[index].poll?.start([.readable, .prioritized])
            return .some(nil)
        }
        return HostError(errno: -code)
    }

    mutating func send(_ flow: FlowID, _ bytes: RawSpan) -> HostResult {
        guard let fd = stream(flow) else { return .failed(.reset) }
        return unsafe bytes.withUnsafeBytes { raw in
            unsafe HostResult(host_send(fd, raw.baseAddress, raw.count))
        }
    }

    mutating func receive(_ flow: FlowID, into spaces: inout ChunkSpaces) -> HostResult {
        guard let fd = stream(flow) else { return .failed(.reset) }
        let count: Int
        if spaces.count == 1 {
            count = unsafe host_receive(fd, spaces.start(0), spaces.firstLength)
        } else {
            var pieces = unsafe InlineArray<4, iovec>(repeating: iovec())
            for index in 0..<spaces.count {
                unsafe pieces[index] = iovec(
                    iov_base: spaces.start(index), iov_len: index == 0 ? spaces.firstLength : spaces.length)
            }
            let length = spaces.count
            var span = unsafe pieces.mutableSpan
            count = unsafe span.withUnsafeMutableBufferPointer {
                unsafe host_receive_pieces(fd, $0.baseAddress, length)
            }
        }
        if count == 0 { streams[Int(flow.index)].hasEnded = true }
        return HostResult(count)
    }

    mutating func shutdownWrite(_ flow: FlowID) {
        if let fd = stream(flow) { host_shutdown_write(fd) }
    }

    mutating func sendUrgent(_ flow: FlowID, _ byte: UInt8) -> HostResult {
        guard let fd = stream(flow) else { return .failed(.reset) }
        return HostResult(host_send_urgent(fd, byte))
    }

    mutating func receiveUrgent(_ flow: FlowID) -> UrgentByte {
        guard let fd = stream(flow) else { return .none }
        var byte: UInt8 = 0
        switch unsafe host_receive_urgent(fd, &byte) {
        case 1: return .here(byte)
        case 2: return .ahead
        default: return .none
        }
    }

    /// EPOLLPRI: an urgent byte, or a hang-up, which brings every watched event.
    func urgentWaits(_ flow: FlowID) -> Bool { stream(flow).map { host_urgent_waits($0) != 0 } ?? false }

    mutating func watch(_ flow: FlowID, read: Bool, write: Bool, urgent: Bool) {
        let index = Int(flow.index)
        guard index < streams.count, streams[index].flow == flow, !streams[index].hasError else { return }
        var events: PollEvents = []
        if read { events.insert(.readable) }
        if write { events.insert(.writable) }
        if urgent { events.insert(.prioritized) }
        streams[index].poll?.start(events)
    }

    /// epoll said EPOLLERR: do not watch this one again.
    mutating func markFailed(_ flow: FlowID) {
        let index = Int(flow.index)
        guard index < streams.count, streams[index].flow == flow else { return }
        streams[index].hasError = true
    }

    /// A wake-up that nobody wanted and that is no error: a hang-up.
    mutating func quiet(_ flow: FlowID) {
        let index = Int(flow.index)
        guard index < streams.count, streams[index].flow == flow else { return }
        streams[index].poll?.stop()
    }

    private func stream(_ flow: FlowID) -> Int32? {
        let index = Int(flow.index)
        guard index < streams.count, streams[index].flow == flow else { return nil }
        return streams[index].fd
    }

    // MARK: All kinds

    mutating func close(_ flow: FlowID, reset: Bool) {
        switch flow.kind {
        case .tcp: Self.close(flow, reset, in: &streams)
        case .udp:
            train.end()
            Self.close(flow, false, in: &datagrams)
        case .echo: Self.close(flow, false, in: &echoes)
        }
    }

    private static func close(_ flow: FlowID, _ reset: Bool, in records: inout [Record]) {
        let index = Int(flow.index)
        guard index < records.count, records[index].flow == flow, records[index].fd >= 0 else { return }
        records[index].poll?.close()
        host_close(records[index].fd, reset ? 1 : 0)
        records[index] = Record()
    }

    private static func place(_ record: Record, in records: inout [Record]) {
        let index = Int(record.flow.index)
        while records.count <= index { records.append(Record()) }
        records[index] = record
    }

    /// Closes every socket; the network ends.
    mutating func closeAll() {
        for record in streams + datagrams + echoes where record.fd >= 0 {
            record.poll?.close()
            host_close(record.fd, 0)
        }
        streams = []
        datagrams = []
        echoes = []
        ports.close()
    }

    // MARK: Datagrams and echoes

    mutating func openDatagram(_ flow: FlowID, isV4: Bool, preferredPort: UInt16) -> HostResult {
        let fd = host_udp_open(isV4 ? 1 : 0, preferredPort)
        guard fd >= 0 else { return .failed(HostError(errno: -fd)) }
        guard let record = watched(flow, fd) else { return .failed(.exhausted) }
        Self.place(record, in: &datagrams)
        return .done(0)
    }

    mutating func openEcho(_ flow: FlowID, isV4: Bool) -> HostResult {
        let fd = host_echo_open(isV4 ? 1 : 0)
        guard fd >= 0 else { return .failed(HostError(errno: -fd)) }
        guard let record = watched(flow, fd) else { return .failed(.exhausted) }
        Self.place(record, in: &echoes)
        return .done(0)
    }

    /// Starts to watch a datagram socket for reading; closes it when that is impossible.
    private func watched(_ flow: FlowID, _ fd: Int32) -> Record? {
        guard
            let poll = unsafe try? Poll(
                loop: loop, fd: fd, context: context, token: flow.rawValue, callback: onDatagram)
        else {
            host_close(fd, 0)
            return nil
        }
        poll.start(.readable)
        return Record(fd: fd, poll: poll, flow: flow)
    }

    mutating func sendDatagram(
        _ flow: FlowID, to target: HostTarget, _ bytes: RawSpan, _ options: DatagramOptions
    ) -> HostResult {
        guard case .endpoint(let endpoint) = target else { return .failed(.refused) }
        if train.accepts(flow, endpoint, options, length: bytes.byteCount) {
            train.add(bytes)
            return .done(bytes.byteCount)
        }
        train.end()
        let index = Int(flow.index)
        guard index < datagrams.count, datagrams[index].flow == flow else { return .failed(.reset) }
        let fd = datagrams[index].fd
        Self.set(options, isV4: endpoint.address.isV4, on: &datagrams[index])
        var address = host_address(endpoint)
        let result = unsafe bytes.withUnsafeBytes { raw in
            unsafe HostResult(host_udp_send(fd, &address, raw.baseAddress, raw.count))
        }
        if case .failed(.messageTooBig) = result {
            return unsafe .failed(.messageTooBig(mtu: host_path_mtu(&address)))
        }
        if case .done = result { train.start(flow, fd: fd, endpoint, options) }
        return result
    }

    /// The turn's frames are read: datagrams that waited for company leave.
    mutating func endTrain() { train.end() }

    mutating func sendServed(
        _ port: UInt32, path: DatagramPath, to client: Endpoint, _ bytes: RawSpan, size: Int, _ options: DatagramOptions
    ) -> HostResult {
        ports.send(Int(port), path: path, to: client, bytes, size: size, options)
    }

    mutating func sendEcho(
        _ flow: FlowID, to target: IPAddress, sequence: UInt16, _ payload: RawSpan, _ options: DatagramOptions
    ) -> HostResult {
        let index = Int(flow.index)
        guard index < echoes.count, echoes[index].flow == flow else { return .failed(.reset) }
        Self.set(options, isV4: target.isV4, on: &echoes[index])
        let fd = echoes[index].fd
        var address = host_address(Endpoint(address: target, port: 0))
        return unsafe payload.withUnsafeBytes { raw in
            unsafe HostResult(host_echo_send(fd, &address, sequence, raw.baseAddress, raw.count))
        }
    }

    /// Socket options rather than a control message with every datagram: they rarely change within a flow.
    private static func set(_ options: DatagramOptions, isV4: Bool, on record: inout Record) {
        guard record.fields != options else { return }
        record.fields = options
        host_datagram_fields(
            record.fd, isV4 ? 1 : 0, Int32(options.hopLimit), Int32(options.trafficClass), options.dontFragment ? 1 : 0)
    }

    /// The descriptor of a datagram or echo flow.
    func descriptor(_ flow: FlowID) -> Int32? {
        let index = Int(flow.index)
        switch flow.kind {
        case .udp: return index < datagrams.count && datagrams[index].flow == flow ? datagrams[index].fd : nil
        case .echo: return index < echoes.count && echoes[index].flow == flow ? echoes[index].fd : nil
        case .tcp: return nil
        }
    }

    /// libuv stopped the handle at an error; the queue has been drained.
    func rewatch(_ flow: FlowID) {
        let index = Int(flow.index)
        switch flow.kind {
        case .udp where index < datagrams.count && datagrams[index].flow == flow:
            datagrams[index].poll?.start(.readable)
        case .echo where index < echoes.count && echoes[index].flow == flow:
            echoes[index].poll?.start(.readable)
        default: break
        }
    }
}
