internal import CHost
internal import Glibc
internal import Logging
internal import Netstack
internal import Uv
internal import Wire

// The virtual machines of one network and the switch between them: the core is one of its ports, every machine's link another.
//
//   machine 0 ── MachineLink ──┐                      frames of a machine: learn or check where they come from, then
//   machine 1 ── MachineLink ──┼── switch ── core       to the gateway's MAC address    the core
//   machine 2 ── MachineLink ──┘                        to a station that is known      its port
//                                                       to many, or unknown             all other ports (and, to many, the core)
//
// Out. Frames for a port are composed one behind the other in `batch`, cut to the MTU and with their checksums
// (SegmentCutter), and leave in one system call: at the end of the turn, when the batch is full, or when a frame for another
// port comes. What the socket does not take becomes the link's backlog, and the port is busy: the core keeps what it had for it
// (TCP) or loses it (UDP); a frame of another machine or to many is lost. So a machine that does not read holds up nobody.
//
// In. One read a turn and link, then the next link's: 256 KiB of a stream, or 64 messages.
//
// Isolation: with it, machines reach the core alone, and a frame to many is not handed on to others.
//
// Limits: `maximumPorts` machines; a further one is sent away at once, and so is one without a descriptor left for it
// (SpareDescriptor). Stations: StationTable.

@safe
final class VirtualSwitch {
    static let maximumPorts = 1024
    static let batchSize = 256 * 1024
    /// Room behind the batch for a frame that has yet to be escaped or cut.
    static let scratchSize = LinkFraming.largest
    static let readSize = 256 * 1024
    static let messages = 64

    struct Listener {
        let address: LinkAddress
        let fd: Int32
        let poll: Poll
        let kind: MachineLink.Kind
    }

    let loop: EventLoop
    let context: UnsafeMutableRawPointer
    let callback: PollCallback
    let gatewayMAC: MACAddress
    let isolates: Bool
    let mtu: Int
    let logger: Logger
    let addresses: [LinkAddress]
    var listeners: [Listener] = []
    private(set) var links: [MachineLink?] = []
    var spare = SpareDescriptor(isNeeded: true)
    var stations: StationTable
    /// Which of them has which IP address.
    var bindings: AddressBindings
    /// Ports of machines that have not introduced themselves.
    var introducing: [Int] = []
    /// Keeps an IPv4 address for a station. False when it is not to be had.
    var reserve: ((IPAddress, MACAddress) -> Bool)?
    /// Machines that had introduced themselves and whose link has ended. Links end within calls of the core, so it is told later.
    var departed: [(mac: MACAddress, isNameless: Bool)] = []
    /// Ports whose devices have frames that their guests have not been told of.
    var telling: [Int] = []
    /// Ports of datagram sockets with a backlog.
    private var retrying: [Int] = []

    let batch: UnsafeMutableRawPointer
    private var batchFill = 0
    private var batchPort = -1

    // The read in hand.
    let space: UnsafeMutableRawPointer
    let spaceSize: Int
    let lengths: UnsafeMutablePointer<UInt32>
    var readPort = -1
    var readEnd = 0
    var readAt = 0
    var readCount = 0
    /// A frame of the read that came after one that it did not continue.
    var waiting: Range<Int>?
    /// What a tap's kernel left to us of the frame in hand.
    var given = OffloadHeader()
    /// What goes with the frame that `next` gave.
    var offload = OffloadHeader()
    /// A capture shows frames as they came.
    var joins = true

    /// Opens every address, or none: what one of them lacks is the error.
    init(
        _ addresses: [LinkAddress], loop: EventLoop, context: UnsafeMutableRawPointer, callback: PollCallback,
        configuration: Configuration, isolates: Bool, seed: UInt64, logger: Logger
    ) throws {
        self.addresses = addresses
        self.loop = loop
        unsafe self.context = context
        unsafe self.callback = callback
        gatewayMAC = configuration.gatewayMAC
        mtu = configuration.mtu
        self.isolates = isolates
        self.logger = logger
        stations = StationTable(ports: Self.maximumPorts, seed: seed)
        bindings = AddressBindings(configuration, ports: Self.maximumPorts, seed: seed)
        unsafe batch = .allocate(byteCount: Self.batchSize + Self.scratchSize, alignment: 64)
        // Room for a message of 64 KiB each: pages that none reached are not resident.
        spaceSize = max(Self.readSize, Self.messages * Self.stride(mtu, trusting: true))
        unsafe space = .allocate(byteCount: spaceSize, alignment: 64)
        unsafe lengths = .allocate(capacity: Self.messages)
        do {
            for index in addresses.indices { try open(addresses[index], index) }
        } catch {
            close()
            throw error
        }
    }

    deinit {
        unsafe batch.deallocate()
        unsafe space.deallocate()
        unsafe lengths.deallocate()
    }

    /// Bytes kept for a message: those of machines that segment are up to 64 KiB whatever the MTU.
    static func stride(_ mtu: Int, trusting: Bool) -> Int {
        trusting ? LinkFraming.largest : max(2048, (mtu + 64 + 63) & ~63)
    }

    func stride(of link: MachineLink) -> Int {
        Self.stride(mtu, trusting: link.trustsChecksums || link.hasHeaders)
    }

    @discardableResult
    func add(
        _ fd: Int32, writeFD: Int32? = nil, _ kind: MachineLink.Kind, _ framing: LinkFraming,
        trustsChecksums: Bool = false, offloads: TapOffloads? = nil, origin: Int
    ) throws -> Int {
        let port = links.firstIndex { $0 == nil } ?? links.count
        var introduces = false
        if case .vmnet = addresses[origin].place { introduces = true }
        do {
            guard port < Self.maximumPorts else {
                throw LinkUnavailable(description: "no port left for another machine")
            }
            let device =
                unsafe kind == .shared
                ? VhostDevice(fd: fd, loop: loop, context: context, callback: callback, port: port) : nil
            let link = try unsafe MachineLink(
                loop: loop, fd: fd, writeFD: writeFD, kind: kind, framing: framing, trustsChecksums: trustsChecksums,
                limit: introduces ? VmnetHandshake.largestFrame(mtu: mtu) : framing.limit,
                handshake: introduces ? .introduction : nil, offloads: offloads, device: device, origin: origin,
                context: context,
                token: LinkEvent.link(port).token, callback: callback)
            if port == links.count { links.append(link) } else { links[port] = link }
            if introduces { introducing.append(port) }
        } catch {
            Glibc.close(fd)
            if let writeFD { Glibc.close(writeFD) }
            throw error
        }
        return port
    }

    func start() {
        for listener in listeners { listener.poll.start(.readable) }
        for link in links { link?.start() }
    }

    func close() {
        for listener in listeners {
            listener.poll.close()
            Glibc.close(listener.fd)
        }
        for case let link? in links {
            if link.isNameless { depart(link) }
            link.close()
        }
        for address in addresses {
            // What could not be opened is somebody else's, and so is a terminal.
            let isOpen =
                listeners.contains { $0.address == address }
                || links.contains { $0.map { $0.kind == .datagram && addresses[$0.origin] == address } ?? false }
            if isOpen, let path = address.path { _ = unsafe unlink(path) }
        }
        listeners = []
        links = []
        spare.close()
    }

    // MARK: Machines come and go

    /// The link is gone; a datagram socket goes on, its machine may come back.
    func end(_ port: Int) {
        guard let link = links[port] else { return }
        if batchPort == port { batchFill = 0 }
        if readPort == port { readPort = -1 }
        if link.handshake != nil, link.counters.unintroduced == 0 { link.counters.unintroduced = 1 }
        link.close()
        links[port] = nil
        stations.forget(port: port)
        bindings.forget(port: port)
        let text = addresses[link.origin].text
        logger.notice("the machine on \(text) has gone")
        logger.debug("its frames: \(link.counters)")
        depart(link)
        if let mac = link.mac, !link.isQuiet { giveBack(mac) }
    }

    private func depart(_ link: MachineLink) {
        if let mac = link.mac { departed.append((mac, link.isNameless)) }
    }

    /// Every link that there was cannot come back: stdio and inherited descriptors alone, and they have ended.
    var isForsaken: Bool { listeners.isEmpty && links.allSatisfy { $0 == nil } }

    // MARK: Out

    /// A frame of the core. False when it is for one station and that one's port is busy.
    func transmit(_ offload: OffloadHeader, header: RawSpan, payload: RawSpan) -> Bool {
        let destination = MACAddress(rawValue: header.u64(at: 0) >> 16)
        if !destination.isMulticast, let port = stations.port(of: destination) {
            guard let link = links[port] else { return true }
            return put(offload, header, payload, port, link)
        }
        flood(offload, header, payload, except: -1)
        return true
    }

    func flood(_ offload: OffloadHeader, _ header: RawSpan, _ payload: RawSpan, except source: Int) {
        for port in links.indices where port != source {
            guard let link = links[port], !link.isQuiet else { continue }
            if !put(offload, header, payload, port, link) { link.counters.lost += 1 }
        }
    }

    /// Puts a frame into the batch. False when the port is busy.
    func put(
        _ offload: OffloadHeader, _ header: RawSpan, _ payload: RawSpan, _ port: Int, _ link: MachineLink
    ) -> Bool {
        let cutter = SegmentCutter(offload, header: header, payload: payload)
        let framing = link.framing
        let needed = framing.room(cutter.count, cutter.totalLength)
        if let tap = link.offloads { return put(offload, header, payload, cutter, link, tap) }
        if let device = link.device { return put(offload, header, payload, cutter, port, link, device) }
        if batchPort != port || batchFill + needed > Self.batchSize { flush() }
        guard !link.isBusy else { return false }
        guard needed <= Self.batchSize else {
            // MSS of a few bytes: nobody means that.
            link.counters.lost += 1
            return true
        }
        batchPort = port
        var span = unsafe MutableRawSpan(_unsafeStart: batch, byteCount: Self.batchSize)
        for index in 0..<cutter.count {
            let length = cutter.length(of: index)
            guard length <= link.limit else {
                link.counters.lost += 1
                continue
            }
            link.counters.sent += 1
            if framing == .serial {
                batchFill += putSerial(cutter, index, length, &span)
                continue
            }
            framing.write(length, to: &span, at: batchFill)
            cutter.write(index, to: &span, at: batchFill + framing.prefix)
            batchFill += framing.prefix + length
        }
        return true
    }

    /// Escapes a frame into the batch.
    private func putSerial(_ cutter: borrowing SegmentCutter, _ index: Int, _ length: Int, _ span: inout MutableRawSpan)
        -> Int
    {
        var scratch = unsafe MutableRawSpan(_unsafeStart: batch + Self.batchSize, byteCount: Self.scratchSize)
        cutter.write(index, to: &scratch, at: 0)
        return SerialFraming.write(scratch.bytes.extracting(0..<length), to: &span, at: batchFill)
    }

    /// Hands a frame to a tap with virtio headers, whole if its kernel can cut it.
    private func put(
        _ offload: OffloadHeader, _ header: RawSpan, _ payload: RawSpan, _ cutter: borrowing SegmentCutter,
        _ link: MachineLink, _ tap: TapOffloads
    ) -> Bool {
        if cutter.count == 1 || offload.segmentation != .udp || tap.cutsDatagrams {
            if tap.write(link.fd, offload, header: header, payload: payload) {
                link.counters.sent += 1
            } else {
                link.counters.lost += 1
            }
            return true
        }
        for index in 0..<cutter.count {
            let length = cutter.length(of: index)
            guard length <= Self.scratchSize else { break }
            var scratch = unsafe MutableRawSpan(_unsafeStart: batch + Self.batchSize, byteCount: Self.scratchSize)
            cutter.write(index, to: &scratch, at: 0)
            if tap.write(link.fd, OffloadHeader(), header: scratch.bytes.extracting(0..<length), payload: RawSpan()) {
                link.counters.sent += 1
            } else {
                link.counters.lost += 1
            }
        }
        return true
    }

    /// Sends what is batched. Call at the end of a turn.
    @inline(never)  // into what happens for each frame
    func flush() {
        tellDevices()
        guard batchFill > 0 else { return }
        let port = batchPort
        let count = batchFill
        batchFill = 0
        guard port >= 0, port < links.count, let link = links[port] else { return }
        let wasForbidden = link.isForbidden
        if unsafe !link.send(RawSpan(_unsafeStart: batch, byteCount: count)) { end(port) }
        if link.isForbidden, !wasForbidden {
            logger.warning("the machine on \(addresses[link.origin].text) has a socket that only others may write to")
        }
        if link.isBusy, link.kind == .datagram, !retrying.contains(port) { retrying.append(port) }
    }

    /// The end of a turn: sends what is batched.
    /// - Returns: when `retry` is due.
    func endTurn(at now: Instant) -> Instant {
        flush()
        var next = introducing.isEmpty ? .never : endIntroductions(at: now)
        guard !retrying.isEmpty else { return next }
        retrying.removeAll { port in
            guard let link = links[port], link.isBusy else { return true }
            if link.retryAt == .never { link.armRetry(at: now) }
            next = min(next, link.retryAt)
            return false
        }
        return next
    }

    /// Tries backlogs that nobody tells of. True when one is gone.
    func retry(at now: Instant) -> Bool {
        var hasRoom = false
        for port in retrying where links[port].map({ $0.retryAt <= now }) ?? false {
            if drain(port, at: now) { hasRoom = true }
        }
        return hasRoom
    }

    /// A link may take bytes again. True when it is not busy any more.
    func drain(_ port: Int, at now: Instant) -> Bool {
        guard port < links.count, let link = links[port], link.isBusy, link.device == nil else { return false }
        guard link.drain(at: now) else {
            end(port)
            return true
        }
        return !link.isBusy
    }
}
