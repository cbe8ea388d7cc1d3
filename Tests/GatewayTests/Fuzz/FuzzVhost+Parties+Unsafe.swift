import CHost
import Glibc
import Simnet

@testable import Gateway

// The two parties behind the device: what the monitor says, with what descriptors, and what the guest writes into its memory.

extension FuzzVhost {
    /// Messages as QEMU numbers them.
    enum Request: UInt32, CaseIterable {
        case setFeatures = 2, resetOwner = 4, setMemory, setSize = 8, setAddresses, setBase, getBase, setKick, setCall
        case setProtocolFeatures = 16, enable = 18, addMemory = 37, removeMemory

        static let all = Request.allCases
    }

    // MARK: The monitor

    /// A message of any bytes, which may say that it is longer or shorter than it is.
    func message() {
        let request = UInt32(input.byte())
        let control = input.byte()
        let payload = input.take(Int(input.byte()))
        let size = control & 1 == 0 ? payload.count : Int(input.word())
        if size != payload.count { gapsAreOpen = true }
        let flags: UInt32 = control & 2 == 0 ? 1 : UInt32(input.byte())
        let given = (0..<Int(control >> 2)).map { _ in any() }
        send(Self.bytes(words: [request, flags, UInt32(size)]) + payload, given)
    }

    /// Any descriptor but the memory's, of which the regions are known.
    private func any() -> Int32 { input.choice(descriptors.dropFirst() + sockets) }

    /// The whole introduction of a monitor in good order.
    func start() {
        let features = input.byte()
        say(.setFeatures, [self.features(features)])
        say(.setProtocolFeatures, [1 << 3 | 1 << 15])
        memoryTable(2)
        for ring in 0..<2 {
            for request in [.setSize, .setBase, .setAddresses, .setCall, .setKick, .enable] as [Request] {
                one(request, ring)
            }
        }
    }

    private func features(_ control: UInt8) -> UInt64 {
        // Mergeable, indirect, told by index, protocol features; version 1, offloads.
        var features: UInt64 = 0
        for (bit, feature) in [15, 28, 29, 30, 32, 1, 7, 54].enumerated() where control & 1 << UInt8(bit) != 0 {
            features |= 1 << UInt64(feature)
        }
        return features
    }

    /// One message, mostly as it ought to be.
    func one(_ request: Request) { one(request, Int(input.byte() & 1), bent: true) }

    private func one(_ request: Request, _ ring: Int, bent: Bool = false) {
        let bend = bent ? input.byte() : 0
        let number = UInt64(ring)
        let isOdd = bend & 7 == 7
        switch request {
        case .setFeatures: say(request, [features(bend)])
        case .setProtocolFeatures: say(request, [UInt64(bend & 1) << 3 | 1 << 15])
        case .resetOwner: say(request, [])
        case .setMemory: memoryTable(isOdd ? 1 : 2)
        case .setSize: say(request, [number | UInt64(isOdd ? Int(input.word()) : Self.entries) << 32])
        case .setBase: say(request, [number | UInt64(isOdd ? input.word() : 0) << 32])
        case .getBase: say(request, [number])
        case .enable: say(request, [number | UInt64(isOdd ? 0 : 1) << 32])
        case .setKick: say(request, [number | (isOdd ? 0x100 : 0)], [isOdd ? any() : kicks[ring]])
        case .setCall: say(request, [number], [isOdd ? any() : descriptors[3 + ring]])
        case .setAddresses:
            // Parts may overlap one another, and what the device writes changes what it reads.
            let start = Self.regions[isOdd ? Int(input.byte() & 1) : 0].user
            let shift = isOdd ? UInt64(input.word() & 0x3fff) : 0
            say(
                request,
                [
                    number, start + UInt64(Self.descriptors(ring)), start + UInt64(Self.used(ring)) &- shift,
                    start + UInt64(Self.available(ring)) &+ shift, 0,
                ])
        case .addMemory, .removeMemory:
            let region = Self.regions[Int(bend & 1)]
            let size = isOdd ? UInt64(input.word()) : region.size
            say(
                request, [0, region.guest, min(size, region.size), region.user, region.offset],
                request == .addMemory ? [file] : [])
        }
    }

    private func memoryTable(_ count: Int) {
        say(
            .setMemory,
            [UInt64(count)] + Self.regions[..<count].flatMap { [$0.guest, $0.size, $0.user, $0.offset] },
            Array(repeating: file, count: count))
    }

    private func say(_ request: Request, _ payload: [UInt64], _ given: [Int32] = []) {
        send(
            // A reply is wanted, so that what cannot be done does not end the link.
            Self.bytes(words: [request.rawValue, 9, UInt32(8 * payload.count)])
                + Self.bytes(words: payload.flatMap { [UInt32(truncatingIfNeeded: $0), UInt32($0 >> 32)] }), given)
    }

    private static func bytes(words: [UInt32]) -> [UInt8] {
        words.flatMap { word in (0..<4).map { UInt8(truncatingIfNeeded: word >> (8 * $0)) } }
    }

    /// Bytes and descriptors in one, as far as the socket takes them.
    func send(_ bytes: [UInt8], _ given: [Int32]) {
        hear()
        // struct cmsghdr (cmsg(3)): its length, SOL_SOCKET, SCM_RIGHTS, descriptors.
        var control = [UInt64](repeating: 0, count: 2 + (given.count + 1) / 2)
        var bytes = bytes.isEmpty ? [0] : bytes
        _ = unsafe control.withUnsafeMutableBytes { control in
            unsafe control.storeBytes(of: 16 + 4 * given.count, as: Int.self)
            unsafe control.storeBytes(of: SOL_SOCKET, toByteOffset: 8, as: Int32.self)
            unsafe control.storeBytes(of: Int32(SCM_RIGHTS), toByteOffset: 12, as: Int32.self)
            for (index, one) in given.enumerated() {
                unsafe control.storeBytes(of: one, toByteOffset: 16 + 4 * index, as: Int32.self)
            }
            return unsafe bytes.withUnsafeMutableBytes { bytes in
                var vector = unsafe iovec(iov_base: bytes.baseAddress, iov_len: bytes.count)
                return unsafe withUnsafeMutablePointer(to: &vector) { vector in
                    var message = unsafe msghdr()
                    unsafe message.msg_iov = unsafe vector
                    unsafe message.msg_iovlen = 1
                    if !given.isEmpty {
                        unsafe message.msg_control = control.baseAddress
                        unsafe message.msg_controllen = control.count
                    }
                    return unsafe sendmsg(sockets[0], &message, Int32(MSG_DONTWAIT) | Int32(MSG_NOSIGNAL))
                }
            }
        }
    }

    /// Reads the device's answers away.
    func hear() {
        var answers = [UInt8](repeating: 0, count: 4096)
        _ = unsafe recv(sockets[0], &answers, answers.count, Int32(MSG_DONTWAIT))
    }

    func kick(_ ring: Int) {
        var one: UInt64 = 1
        _ = unsafe Glibc.write(kicks[ring], &one, 8)
    }

    // MARK: The guest

    func store(_ offset: Int, _ bytes: [UInt8]) {
        let region = Self.regions[offset >> 15]
        let at = offset & 0x7fff
        for (index, byte) in bytes.enumerated() where at + index < region.size {
            unsafe (memory + Int(region.offset) + at + index).storeBytes(of: byte, as: UInt8.self)
        }
    }

    /// Writes a descriptor that is mostly right.
    func descriptor() {
        let control = input.byte()
        let ring = Int(control & 1)
        let index = Int(input.byte()) % Self.entries
        let region = Self.regions[Int(control >> 1 & 1)]
        var address = region.guest + UInt64(input.word()) % region.size
        if control & 0xc0 == 0xc0 { address = UInt64(input.word()) << UInt64(input.byte() & 63) }
        let length = control & 4 == 0 ? UInt32(input.byte()) : UInt32(input.word()) << (control & 8 == 0 ? 0 : 16)
        // Of those to the guest the device writes: flag 2.
        let flags = UInt16(input.byte() & 7) ^ (ring == 0 ? 2 : 0)
        let next = UInt16(input.byte()) % UInt16(Self.entries + 1)
        store(
            Self.descriptors(ring) + 16 * index,
            (0..<8).map { UInt8(truncatingIfNeeded: address >> (8 * $0)) }
                + (0..<4).map { UInt8(truncatingIfNeeded: length >> (8 * $0)) }
                + [UInt8(flags & 255), UInt8(flags >> 8), UInt8(next & 255), UInt8(next >> 8)])
    }

    /// Makes heads available in a ring, all the same.
    func offer(_ control: UInt8) {
        let ring = Int(control & 1)
        let at = unsafe memory + Int(Self.regions[0].offset) + Self.available(ring)
        var index = unsafe host_ring_load(at + 2)
        let head = UInt16(input.byte()) % UInt16(Self.entries + 1)
        for _ in 0...Int(control >> 1 & 15) {
            unsafe host_ring_store(at + 4 + 2 * (Int(index) % Self.entries), head)
            index &+= 1
        }
        if control & 0xe0 == 0xe0 { index = input.word() }
        unsafe host_ring_store(at + 2, index)
        kick(ring)
    }

    /// A driver in good order: buffers for frames to it, or frames from it, as many as there are entries.
    func guest(_ control: UInt8) {
        let ring = Int(control & 1)
        let length = UInt32(control >> 1) * 32 + 16
        for index in 0..<Self.entries {
            let address = Self.regions[1].guest + UInt64(index) * 0x400
            store(
                Self.descriptors(ring) + 16 * index,
                (0..<8).map { UInt8(truncatingIfNeeded: address >> (8 * $0)) }
                    + (0..<4).map { UInt8(truncatingIfNeeded: min(length, 0x400) >> (8 * $0)) } + [
                        ring == 0 ? 2 : 0, 0, 0, 0,
                    ])
            store(Self.available(ring) + 4 + 2 * index, [UInt8(index), 0])
        }
        let at = unsafe memory + Int(Self.regions[0].offset) + Self.available(ring)
        unsafe host_ring_store(at + 2, host_ring_load(at + 2) &+ UInt16(Self.entries))
        kick(ring)
    }
}
