import CHost
import Glibc
import Netstack
import Simnet
import Uv

@testable import Gateway

// The device in shared memory between a hostile monitor and a hostile guest: the socket, the descriptors, the mappings and the event loop are
// real ones, and the input says what is done with them. It is a list of operations of one byte and their arguments; whatever the
// device makes of one, the next follows, on a new link if it has hung up.
//
//     the monitor   messages of any bytes with any descriptors; those of a monitor in good order, whole or one by one; halves
//     the guest     descriptors, heads and bytes anywhere in its memory, kicks
//     both          another thread writes into that memory at the same time; the file shrinks
//     the core      frames of every size and offload
//
// What must hold: no byte of the file beside the regions changes, a frame is not longer than its room, and when the link is gone, so are
// its descriptors (Fuzz/vhost.swift counts them: here other tests run at the same time).

@safe
final class FuzzVhost {
    /// Two regions of the file, with gaps before, between and behind.
    static let fileSize = 0x10000
    static let regions = [
        VhostMessage.Region(guest: 0x10000, size: 0x8000, user: 0x20000, offset: 0x1000),
        VhostMessage.Region(guest: 0x40000, size: 0x4000, user: 0x80000, offset: 0xa000),
    ]
    static let gaps = [0..<0x1000, 0x9000..<0xa000, 0xe000..<0x10000]
    /// Entries of a ring; where its parts are within the first region.
    static let entries = 16
    static func descriptors(_ ring: Int) -> Int { ring * 0x1000 }
    static func available(_ ring: Int) -> Int { ring * 0x1000 + 0x400 }
    static func used(_ ring: Int) -> Int { ring * 0x1000 + 0x800 }
    static let stride = 2048
    static let frames = 8

    var input: FuzzInput
    let loop: EventLoop
    var device: VhostDevice?
    /// The monitor's end of the socket, and the device's.
    var sockets: [Int32] = [-1, -1]
    let file: Int32
    let memory: UnsafeMutableRawPointer
    /// What a monitor may send along.
    var descriptors: [Int32]
    let kicks: [Int32]
    let space: UnsafeMutableRawPointer
    let lengths: UnsafeMutablePointer<UInt32>
    var scribbler: Scribbler?
    /// A gap may be written to: the file has shrunk, or the monitor is out of step and shares it by chance.
    var gapsAreOpen = false
    var found: [String] = []

    /// Runs an input. What was violated; empty is good.
    static func run(_ bytes: [UInt8]) -> [String] {
        guard let fuzz = try? FuzzVhost(bytes) else { return ["no descriptors or memory left"] }
        return fuzz.all()
    }

    private init(_ bytes: [UInt8]) throws {
        input = FuzzInput(bytes)
        loop = try EventLoop()
        file = unsafe memfd_create("guest", 1)
        ftruncate(file, Self.fileSize)
        guard let memory = unsafe host_vhost_map(file, Self.fileSize) else { throw UvError(code: -ENOMEM) }
        unsafe self.memory = unsafe memory
        for gap in Self.gaps { unsafe memset(memory + gap.lowerBound, 0x5a, gap.count) }
        var pipe: [Int32] = [-1, -1]
        unsafe Glibc.pipe(&pipe)
        kicks = (0..<2).map { _ in eventfd(0, O_NONBLOCK) }
        let full = eventfd(0, O_NONBLOCK)
        var most = UInt64.max - 1
        _ = unsafe Glibc.write(full, &most, 8)
        let small = unsafe memfd_create("small", 1)
        ftruncate(small, 100)
        descriptors =
            unsafe [file, kicks[0], kicks[1]] + (0..<2).map { _ in eventfd(0, 0) }
            + [full, small, pipe[0], pipe[1], epoll_create1(0)]
            + [open("/dev/null", O_RDWR), open("/dev/zero", O_RDONLY), open("/", O_RDONLY)]
        unsafe space = .allocate(byteCount: Self.stride * Self.frames, alignment: 64)
        unsafe lengths = .allocate(capacity: Self.frames)
    }

    private func all() -> [String] {
        while !input.isEmpty, found.isEmpty {
            if device == nil { connect() }
            step()
            if device?.receiveMessages() == false { hangUp() }
            loop.runOnce(noWait: true)
        }
        hangUp()
        scribbler?.end()
        if !gapsAreOpen {
            for gap in Self.gaps
            where !gap.allSatisfy({ unsafe memory.load(fromByteOffset: $0, as: UInt8.self) == 0x5a }) {
                found.append("something was written beside the regions, in \(gap)")
            }
        }
        loop.close()
        for one in descriptors { Glibc.close(one) }
        unsafe host_vhost_unmap(memory, Self.fileSize)
        unsafe space.deallocate()
        unsafe lengths.deallocate()
        return found
    }

    private func connect() {
        unsafe socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &sockets)
        device = unsafe VhostDevice(
            fd: sockets[1], loop: loop, context: Unmanaged.passUnretained(self).toOpaque(), callback: isReady, port: 0)
    }

    func hangUp() {
        guard let device else { return }
        device.close()
        self.device = nil
        for one in sockets { Glibc.close(one) }
    }

    private func step() {
        switch input.byte() & 15 {
        case 0: message()
        case 1: start()
        case 2: one(input.choice(Request.all))
        case 3, 4, 5: descriptor()
        case 6: offer(input.byte())
        case 7: store(Int(input.word()), input.take(Int(input.byte() & 31)))
        case 8: kick(1)
        case 9: kick(0)
        case 10, 11: frame()
        case 12: device?.tell(Int(input.byte() & 1))
        case 13: scribble()
        case 14:
            switch input.byte() & 3 {
            case 0:
                gapsAreOpen = true
                ftruncate(file, Int(input.word()))
            case 1: hangUp()
            case 2:
                gapsAreOpen = true
                send(input.take(Int(input.byte())), [])
            default: hear()
            }
        default: guest(input.byte())
        }
    }

    /// A ring has been kicked, or the device was left to look by itself.
    func ready(_ event: LinkEvent, _ status: Int32) {
        guard case .ring(_, let ring) = event, let device else { return }
        if status < 0 { return hangUp() }
        guard ring == 1 else {
            _ = device.buffersCame()
            return
        }
        let count = unsafe device.read(into: space, stride: Self.stride, lengths: lengths, most: Self.frames)
        if count > Self.frames { found.append("\(count) frames at once") }
        for index in 0..<min(count, Self.frames) {
            let length = unsafe lengths[index]
            if length != .max, length > Self.stride { found.append("a frame of \(length) bytes") }
        }
    }

    /// A frame of the core's, or of another machine's.
    private func frame() {
        guard let device, !device.lacksBuffers else { return }
        var offload = OffloadHeader()
        let control = input.byte()
        offload.segmentation = OffloadHeader.Segmentation(rawValue: control & 7) ?? .none
        offload.needsChecksum = control & 8 != 0
        offload.checksumValid = control & 16 != 0
        guard device.takes(offload) else { return }
        let header = [UInt8](repeating: 1, count: 14 + Int(control >> 5) * 10)
        let payload = [UInt8](repeating: 2, count: Int(input.word()))
        _ = device.write(offload, header: header.raw, payload: payload.raw)
    }

    private func scribble() {
        let offset = Int(input.word()) % 0x3000 & ~1
        if let scribbler = unsafe scribbler ?? Scribbler(memory + 0x1000) {
            self.scribbler = scribbler
            scribbler.aim(UInt16(offset), input.word(), input.word())
        }
    }
}

private func isReady(_ context: UnsafeMutableRawPointer, _ token: UInt64, _ events: Int32, _ status: Int32) {
    unsafe Unmanaged<FuzzVhost>.fromOpaque(context).takeUnretainedValue().ready(LinkEvent(token: token), status)
}

// Swift's Glibc leaves out these headers.
@_silgen_name("eventfd") private func eventfd(_ count: UInt32, _ flags: Int32) -> Int32
@_silgen_name("memfd_create") private func memfd_create(_ name: UnsafePointer<CChar>, _ flags: UInt32) -> Int32
@_silgen_name("epoll_create1") private func epoll_create1(_ flags: Int32) -> Int32

/// A processor of the guest: writes two values in turn to one place until its end, while the device reads.
@safe
final class Scribbler: @unchecked Sendable {
    private let memory: UnsafeMutableRawPointer
    /// Two values, where they go, and whether it ends.
    private let orders: UnsafeMutablePointer<UInt16>
    private var thread = pthread_t()

    init?(_ memory: UnsafeMutableRawPointer) {
        unsafe self.memory = unsafe memory
        unsafe orders = .allocate(capacity: 4)
        unsafe orders.update(repeating: 0, count: 4)
        let code = unsafe pthread_create(
            &thread, nil,
            { context in
                guard let context = unsafe context else { return nil }
                unsafe Unmanaged<Scribbler>.fromOpaque(context).takeUnretainedValue().run()
                return nil
            }, Unmanaged.passUnretained(self).toOpaque())
        if code != 0 { return nil }
    }

    deinit { unsafe orders.deallocate() }

    func aim(_ offset: UInt16, _ one: UInt16, _ other: UInt16) {
        unsafe host_ring_store(orders, one)
        unsafe host_ring_store(orders + 1, other)
        unsafe host_ring_store(orders + 2, offset)
    }

    func end() {
        unsafe host_ring_store(orders + 3, 1)
        pthread_join(thread, nil)
    }

    private func run() {
        var turn = 0
        while unsafe host_ring_load(orders + 3) == 0 {
            turn ^= 1
            unsafe host_ring_store(memory + Int(host_ring_load(orders + 2)), host_ring_load(orders + turn))
        }
    }
}
