internal import CHost
internal import Glibc
internal import Netstack
internal import Uv
internal import Wire

// A virtio network device whose driver is a guest and whose memory is the guest's: the back-end of vhost-user (QEMU,
// docs/interop/vhost-user.rst; VIRTIO 1.2 sections 2.7 and 5.1). A virtual machine monitor connects, says where the guest's memory and
// the two rings are, and from then on frames pass without it:
//
//   monitor ── messages, descriptors ──▶ socket        guest ── kick (eventfd) ──▶ ring 1: frames from the guest
//   guest   ◀── call (eventfd) ── ring 0: buffers for frames to the guest
//
// Life of a ring: size, base, addresses and kick are set, it is enabled: it runs. GET_VRING_BASE stops it and says how far it came. New
// memory while it runs: it goes on at the same place.
//
// Offloads are virtio's own: with what the driver has agreed to, a frame of 64 KiB passes whole in either direction, its checksum left to
// nobody. What it has not agreed to is done in software at this edge (SegmentCutter), as for a socket.
//
// The monitor may not trust its guest, and neither do we: see GuestMemory and SplitRing. Frames are copied once in either direction. From the
// guest that could be none, but then its bytes would change beneath the core between two looks at them.
//
// Not offered: several queue pairs, packed rings, migration (a log of dirty pages), postcopy, control queues (the monitor has them).

/// The back-end of one guest's network card.
@safe
final class VhostDevice {
    /// Feature bits (VIRTIO 1.2 sections 5.1.3 and 6).
    private enum Feature {
        static let guestChecksum: UInt64 = 1 << 1
        static let guestTSO4: UInt64 = 1 << 7
        static let guestTSO6: UInt64 = 1 << 8
        static let mergeable: UInt64 = 1 << 15
        static let anyLayout: UInt64 = 1 << 27
        static let indirect: UInt64 = 1 << 28
        static let eventIndex: UInt64 = 1 << 29
        /// VHOST_USER_F_PROTOCOL_FEATURES.
        static let protocolFeatures: UInt64 = 1 << 30
        static let version1: UInt64 = 1 << 32
        static let guestUSO4: UInt64 = 1 << 54
        static let guestUSO6: UInt64 = 1 << 55
        /// Checksum, TSO4, TSO6, ECN, USO from the guest; ECN to it.
        static let others: UInt64 = 1 << 0 | 1 << 11 | 1 << 12 | 1 << 13 | 1 << 56 | 1 << 9
        static let all =
            guestChecksum | guestTSO4 | guestTSO6 | mergeable | anyLayout | indirect | eventIndex | protocolFeatures
            | version1 | guestUSO4 | guestUSO6 | others
    }
    /// Protocol features: REPLY_ACK (3), CONFIGURE_MEM_SLOTS (15).
    private static let protocolFeatures: UInt64 = 1 << 3 | 1 << 15

    private static let readsPerTurn = 64

    struct Queue {
        var entries = 0
        var base: UInt16 = 0
        var addresses = SplitRing.Addresses()
        var kick: Int32 = -1
        var call: Int32 = -1
        var poll: Poll?
        var isEnabled = false
        var ring: SplitRing?
    }

    private let fd: Int32
    private let loop: EventLoop
    private let context: UnsafeMutableRawPointer
    private let callback: PollCallback
    private let port: Int
    private var inbox = [UInt8](repeating: 0, count: VhostMessage.headerLength)
    private var inboxCount = 0
    private var arrived: [Int32] = []
    private var features: UInt64 = 0
    private var agreed: UInt64 = 0
    var memory = GuestMemory()
    /// 0: to the guest, 1: from it.
    var queues: InlineArray<2, Queue> = [Queue(), Queue()]
    /// Pieces of the chains in hand.
    let pieces: UnsafeMutablePointer<SplitRing.Piece>
    /// There was no room in the guest's buffers for the last frame.
    var lacksBuffers = false
    /// The log has been told of a broken ring.
    var saidBroken = false

    init(
        fd: Int32, loop: EventLoop, context: UnsafeMutableRawPointer, callback: @escaping PollCallback, port: Int
    ) {
        self.fd = fd
        self.loop = loop
        unsafe self.context = unsafe context
        unsafe self.callback = unsafe callback
        self.port = port
        unsafe pieces = .allocate(capacity: 2 * SplitRing.mostPieces)
    }

    deinit { unsafe pieces.deallocate() }

    /// Lets go of everything but the socket.
    func close() {
        for index in queues.indices { reset(index) }
        memory.removeAll()
        for one in arrived { Glibc.close(one) }
        arrived = []
    }

    // MARK: What was agreed on

    private func has(_ feature: UInt64) -> Bool { features & feature != 0 }
    /// Bytes of the header before each frame (section 5.1.6).
    var headerLength: Int { has(Feature.version1 | Feature.mergeable) ? 12 : 10 }
    var merges: Bool { has(Feature.mergeable) }
    /// The driver has been told that it may be spared a look at checksums.
    var knowsChecksums: Bool { has(Feature.guestChecksum) }

    /// Frames pass through a ring. One that is disabled keeps its place.
    func runs(_ index: Int) -> Bool {
        queues[index].ring != nil && (queues[index].isEnabled || !has(Feature.protocolFeatures))
    }

    /// Whether the guest takes a frame as it is.
    func takes(_ offload: OffloadHeader) -> Bool {
        guard !offload.needsChecksum || has(Feature.guestChecksum) else { return false }
        switch offload.segmentation {
        case .none: return true
        case .tcp4: return has(Feature.guestTSO4)
        case .tcp6: return has(Feature.guestTSO6)
        case .udp: return has(Feature.guestUSO4) && has(Feature.guestUSO6)
        }
    }

    // MARK: Messages

    /// Reads and answers what the monitor has said. False when it has gone, or speaks something else.
    func receiveMessages() -> Bool {
        // Bounded: one who never pauses must leave others their turn. What is left is still readable.
        for _ in 0..<Self.readsPerTurn {
            var count: Int32 = 0
            var given = InlineArray<32, Int32>(repeating: -1)
            let wanted = inbox.count - inboxCount
            let at = inboxCount
            let got = unsafe inbox.withUnsafeMutableBytes { bytes in
                var span = given.mutableSpan
                return unsafe span.withUnsafeMutableBufferPointer { descriptors in
                    unsafe host_vhost_receive(
                        fd, bytes.baseAddress! + at, wanted, descriptors.baseAddress, 32, &count)
                }
            }
            for index in 0..<Int(count) {
                if arrived.count < GuestMemory.mostRegions {
                    arrived.append(given[index])
                } else {
                    Glibc.close(given[index])
                }
            }
            if got == -Int(EAGAIN) || got == -Int(EINTR) { return true }
            guard got > 0 else { return false }
            inboxCount += got
            guard inboxCount == inbox.count else { continue }
            let bytes = inbox
            guard let header = unsafe VhostMessage.Header(bytes.span.bytes) else { return false }
            if inboxCount < VhostMessage.headerLength + header.size {
                inbox += [UInt8](repeating: 0, count: header.size)
                continue
            }
            let isFine = take(header)
            for one in arrived { Glibc.close(one) }
            arrived = []
            inbox = [UInt8](repeating: 0, count: VhostMessage.headerLength)
            inboxCount = 0
            guard isFine else { return false }
        }
        return true
    }

    private func take(_ header: VhostMessage.Header) -> Bool {
        let bytes = inbox
        guard
            let message = unsafe VhostMessage(
                header, bytes.span.bytes.extracting(VhostMessage.headerLength..<bytes.count))
        else { return false }
        let answer = act(message)
        if message.isAnswered { return reply(header.request, answer ?? 0) }
        if header.wantsReply, agreed & 1 << 3 != 0 { return reply(header.request, answer == nil ? 1 : 0) }
        return answer != nil
    }

    private func reply(_ request: UInt32, _ value: UInt64) -> Bool {
        let bytes = VhostMessage.reply(to: request, value)
        return unsafe host_write(fd, bytes, bytes.count) == bytes.count
    }

    /// Does what a message asks. nil: it cannot be done.
    private func act(_ message: VhostMessage) -> UInt64? {
        switch message {
        case .getFeatures: return Feature.all
        case .setFeatures(let wanted):
            guard wanted & ~Feature.all == 0 else { return nil }
            features = wanted
        case .getProtocolFeatures: return Self.protocolFeatures
        case .setProtocolFeatures(let wanted):
            guard wanted & ~Self.protocolFeatures == 0 else { return nil }
            agreed = wanted
        case .getQueueCount: return 1
        case .getMaximumSlots: return UInt64(GuestMemory.mostRegions)
        case .setOwner, .ignored, .setMTU: break
        case .resetOwner:
            for index in queues.indices { reset(index) }
        case .setMemory(let regions): return setMemory(regions) ? 0 : nil
        case .addMemory(let region):
            guard arrived.count == 1, memory.add(mapping(region), fd: arrived[0]) else { return nil }
        case .removeMemory(let region):
            let running = suspend()
            guard memory.remove(mapping(region)), resume(running) else { return nil }
        case .setSize(let ring, let entries):
            guard let queue = stopped(ring), entries <= SplitRing.mostEntries else { return nil }
            queues[queue].entries = entries
        case .setBase(let ring, let next):
            guard let queue = stopped(ring), next <= 0xffff else { return nil }
            queues[queue].base = UInt16(next)
        case .setAddresses(let ring, let descriptors, let used, let available):
            guard queues.indices.contains(ring) else { return nil }
            queues[ring].addresses = .init(descriptors: descriptors, available: available, used: used)
            return resume(suspend()) ? 0 : nil
        case .getBase(let ring):
            guard queues.indices.contains(ring) else { return nil }
            stop(ring)
            return UInt64(ring) | UInt64(queues[ring].base) << 32
        case .setKick(let ring, let has): return setKick(ring, has) ? 0 : nil
        case .setCall(let ring, let has):
            guard queues.indices.contains(ring), let given = given(has) else { return nil }
            // Full, which its owner can make it, it must not hold the loop.
            if given >= 0 { _ = fcntl(given, F_SETFL, fcntl(given, F_GETFL) | O_NONBLOCK) }
            if queues[ring].call >= 0 { Glibc.close(queues[ring].call) }
            queues[ring].call = given
        case .setError(let ring):
            guard queues.indices.contains(ring) else { return nil }
        case .enable(let ring, let isOn):
            guard queues.indices.contains(ring) else { return nil }
            queues[ring].isEnabled = isOn
            return start(ring) ? 0 : nil
        }
        return 0
    }

    /// The eventfd that came with a message; -1 when there is to be none. Others may hold who reads or writes them, or end
    /// the process: epoll refuses one that it took before (ELOOP), and libuv then aborts.
    private func given(_ has: Bool) -> Int32? {
        guard has else { return -1 }
        return arrived.count == 1 && host_vhost_is_eventfd(arrived[0]) != 0 ? arrived.removeFirst() : nil
    }

    private func stopped(_ ring: Int) -> Int? {
        queues.indices.contains(ring) && queues[ring].ring == nil ? ring : nil
    }

    private func mapping(_ region: VhostMessage.Region) -> GuestMemory.Region {
        GuestMemory.Region(guest: region.guest, size: region.size, user: region.user, offset: region.offset)
    }

    private func setMemory(_ regions: [VhostMessage.Region]) -> Bool {
        guard arrived.count == regions.count else { return false }
        let running = suspend()
        memory.removeAll()
        for (region, fd) in zip(regions, arrived) {
            guard memory.add(mapping(region), fd: fd) else { return false }
        }
        return resume(running)
    }

    // MARK: Rings

    private func setKick(_ ring: Int, _ has: Bool) -> Bool {
        // Without one we were to look for ourselves, again and again.
        guard has, queues.indices.contains(ring), let given = given(true) else { return false }
        queues[ring].poll?.close()
        queues[ring].poll = nil
        if queues[ring].kick >= 0 { Glibc.close(queues[ring].kick) }
        queues[ring].kick = given
        do {
            let poll = try unsafe Poll(
                loop: loop, fd: given, context: context, token: LinkEvent.ring(port, ring).token, callback: callback)
            queues[ring].poll = poll
        } catch {
            return false
        }
        if queues[ring].ring != nil { queues[ring].poll?.start(.readable) }
        return start(ring)
    }

    /// Starts a ring of which everything is known. False when it cannot be where it is said to be.
    private func start(_ index: Int) -> Bool {
        let queue = queues[index]
        guard queue.ring == nil, queue.poll != nil, queue.entries > 0, queue.addresses != .init(),
            queue.isEnabled || !has(Feature.protocolFeatures)
        else { return true }
        guard let ring = ring(queue) else { return false }
        queues[index].ring = ring
        queues[index].poll?.start(.readable)
        if index == 0 { lacksBuffers = false }
        return true
    }

    private func ring(_ queue: Queue) -> SplitRing? {
        SplitRing(
            queue.addresses, entries: queue.entries, in: memory, next: queue.base,
            tellsIndex: has(Feature.eventIndex), takesIndirect: has(Feature.indirect))
    }

    /// Takes running rings away, before their memory goes: whatever happens next, none looks at what is not there any more.
    /// - Returns: which, to be resumed at the same place.
    private func suspend() -> [Int] {
        let running = queues.indices.filter { queues[$0].ring != nil }
        for index in running {
            if let ring = queues[index].ring { queues[index].base = ring.next }
            queues[index].ring = nil
        }
        return running
    }

    /// Rings go on in new memory, or at new addresses. False when one is not there.
    private func resume(_ rings: [Int]) -> Bool { rings.allSatisfy { start($0) } }

    private func stop(_ index: Int) {
        if let ring = queues[index].ring { queues[index].base = ring.next }
        queues[index].ring = nil
        // It starts again with a new kick.
        queues[index].poll?.close()
        queues[index].poll = nil
        if queues[index].kick >= 0 { Glibc.close(queues[index].kick) }
        queues[index].kick = -1
    }

    private func reset(_ index: Int) {
        stop(index)
        if queues[index].call >= 0 { Glibc.close(queues[index].call) }
        queues[index] = Queue()
    }
}
