import CHost
import Glibc
import Testing

@testable import Gateway

// Messages at every length, and a ring in a real shared file: what a driver may do, and what it may not. The hostile end-to-end tests are in
// Tests/e2e/test_vhost.py.

@Suite struct VhostMessageTests {
    private static func message(_ request: UInt32, flags: UInt32 = 1, size: Int? = nil, _ payload: [UInt8]) -> [UInt8] {
        func bytes(_ value: UInt32) -> [UInt8] { (0..<4).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) } }
        return bytes(request) + bytes(flags) + bytes(UInt32(size ?? payload.count)) + payload
    }

    private static func parse(_ bytes: [UInt8]) -> VhostMessage? {
        guard let header = unsafe VhostMessage.Header(bytes.span.bytes), bytes.count >= 12 + header.size else {
            return nil
        }
        return unsafe VhostMessage(header, bytes.span.bytes.extracting(12..<12 + header.size))
    }

    private static func words(_ words: UInt64...) -> [UInt8] {
        words.flatMap { word in (0..<8).map { UInt8(truncatingIfNeeded: word >> (8 * $0)) } }
    }

    static let messages: [(UInt32, [UInt8], VhostMessage)] = [
        (1, [], .getFeatures), (2, words(5), .setFeatures(5)), (3, [], .setOwner),
        (5, words(1, 10, 20, 30, 40), .setMemory([.init(guest: 10, size: 20, user: 30, offset: 40)])),
        (8, words(1 | 256 << 32), .setSize(ring: 1, entries: 256)),
        (9, words(1, 10, 20, 30, 40), .setAddresses(ring: 1, descriptors: 10, used: 20, available: 30)),
        (10, words(7 << 32), .setBase(ring: 0, next: 7)), (11, words(1), .getBase(ring: 1)),
        (12, words(1), .setKick(ring: 1, hasDescriptor: true)),
        (13, words(0x101), .setCall(ring: 1, hasDescriptor: false)), (14, words(0), .setError(ring: 0)),
        (15, [], .getProtocolFeatures), (18, words(1 << 32), .enable(ring: 0, true)), (20, words(1500), .setMTU(1500)),
        (36, [], .getMaximumSlots),
        (37, words(0, 10, 20, 30, 40), .addMemory(.init(guest: 10, size: 20, user: 30, offset: 40))),
        (99, words(1), .ignored(99)),
    ]

    @Test(arguments: messages.indices)
    func reads(_ index: Int) {
        let (request, payload, wanted) = Self.messages[index]
        #expect(Self.parse(Self.message(request, payload)) == wanted)
        // A payload that is shorter is another message's, or none; it never traps.
        for length in 0..<payload.count where request != 99 {
            #expect(Self.parse(Self.message(request, Array(payload[..<length]))) == nil, "\(request): \(length) bytes")
        }
        let whole = Self.message(request, payload)
        for length in 0..<whole.count { _ = Self.parse(Array(whole[..<length])) }
    }

    @Test func whatIsNoMessage() {
        #expect(Self.parse(Self.message(1, flags: 2, [])) == nil, "another version")
        #expect(Self.parse(Self.message(1, flags: 5, [])) == nil, "a reply")
        #expect(Self.parse(Self.message(1, size: 1 << 20, [])) == nil, "too long")
        #expect(Self.parse(Self.message(5, Self.words(65))) == nil, "too many regions")
    }
}

@Suite struct SplitRingTests {
    static let entries = 8
    static let descriptors = 0
    static let available = 0x400
    static let used = 0x800

    /// 64 KiB of memory: guest address 0x10000, monitor's 0x20000.
    @safe
    final class Rig {
        var memory = GuestMemory()
        let fd: Int32
        let start: UnsafeMutableRawPointer
        let pieces = UnsafeMutablePointer<SplitRing.Piece>.allocate(capacity: SplitRing.mostPieces)
        var ring: SplitRing
        var index: UInt16 = 0

        init(tellsIndex: Bool = false) throws {
            var path: [CChar] = Array("/tmp/portolan-ring-XXXXXX".utf8CString)
            fd = unsafe mkstemp(&path)
            _ = unsafe unlink(path)
            ftruncate(fd, 65_536)
            let isMapped = memory.add(.init(guest: 0x10000, size: 0x10000, user: 0x20000, offset: 0), fd: fd)
            #expect(isMapped)
            let mapped = unsafe memory.user(0x20000, 0x10000)
            unsafe start = try #require(unsafe mapped)
            let made = SplitRing(
                .init(
                    descriptors: 0x20000 + UInt64(SplitRingTests.descriptors),
                    available: 0x20000 + UInt64(SplitRingTests.available),
                    used: 0x20000 + UInt64(SplitRingTests.used)),
                entries: SplitRingTests.entries, in: memory, next: 0, tellsIndex: tellsIndex, takesIndirect: true)
            ring = try #require(made)
        }

        deinit {
            memory.removeAll()
            unsafe pieces.deallocate()
            close(fd)
        }

        func descriptor(_ index: Int, _ address: UInt64, _ length: UInt32, _ flags: UInt16, _ next: UInt16 = 0) {
            let at = unsafe start + SplitRingTests.descriptors + 16 * index
            unsafe at.storeBytes(of: address, as: UInt64.self)
            unsafe at.storeBytes(of: length, toByteOffset: 8, as: UInt32.self)
            unsafe at.storeBytes(of: flags, toByteOffset: 12, as: UInt16.self)
            unsafe at.storeBytes(of: next, toByteOffset: 14, as: UInt16.self)
        }

        func offer(_ head: UInt16) {
            let at = unsafe start + SplitRingTests.available
            unsafe at.storeBytes(of: head, toByteOffset: 4 + 2 * Int(index % 8), as: UInt16.self)
            index &+= 1
            unsafe at.storeBytes(of: index, toByteOffset: 2, as: UInt16.self)
        }

        func store(_ value: UInt16, at offset: Int) {
            unsafe start.storeBytes(of: value, toByteOffset: offset, as: UInt16.self)
        }
        func load(_ offset: Int) -> UInt16 { unsafe start.load(fromByteOffset: offset, as: UInt16.self) }

        func take() -> [Int]? {
            guard let chain = unsafe ring.take(into: pieces, isWritten: false, in: memory) else { return nil }
            ring.give(chain.head, length: 0)
            return (0..<chain.count).map { unsafe pieces[$0].length }
        }
    }

    @Test func chainsAreTakenInOrder() throws {
        let rig = try Rig()
        rig.descriptor(0, 0x11000, 10, 1, 3)
        rig.descriptor(3, 0x12000, 20, 0)
        rig.descriptor(1, 0x13000, 30, 0)
        for round in 0..<20 {
            rig.offer(0)
            rig.offer(1)
            #expect(rig.take() == [10, 20])
            #expect(rig.take() == [30])
            #expect(rig.take() == nil)
            rig.ring.publish()
            #expect(rig.load(Self.used + 2) == UInt16(2 * (round + 1)))
        }
        #expect(!rig.ring.isBroken)
    }

    @Test func theDriverIsToldWhenItWantsToBe() throws {
        let rig = try Rig()
        rig.descriptor(0, 0x11000, 10, 0)
        rig.offer(0)
        _ = rig.take()
        rig.ring.publish()
        #expect(rig.ring.shouldTell() == true)
        #expect(rig.ring.shouldTell() == false, "once")
        rig.store(1, at: Self.available)  // VRING_AVAIL_F_NO_INTERRUPT
        rig.offer(0)
        _ = rig.take()
        rig.ring.publish()
        #expect(rig.ring.shouldTell() == false)
    }

    @Test func theDriverIsToldAtTheIndexItNames() throws {
        let rig = try Rig(tellsIndex: true)
        rig.descriptor(0, 0x11000, 10, 0)
        rig.store(2, at: Self.available + 4 + 2 * Self.entries)  // used_event: after the third
        var told: [Bool] = []
        for _ in 0..<5 {
            rig.offer(0)
            _ = rig.take()
            rig.ring.publish()
            told.append(rig.ring.shouldTell())
        }
        #expect(told == [false, false, true, false, false])
        #expect(rig.ring.asksToBeTold() == false)
        #expect(rig.load(Self.used + 4 + 8 * Self.entries) == 5, "avail_event")
        rig.offer(0)
        #expect(rig.ring.asksToBeTold() == true)
    }

    static let broken: [(String, @Sendable (Rig) -> Void)] = [
        ("a loop", { $0.descriptor(0, 0x11000, 1, 1, 0) }), ("outside", { $0.descriptor(0, 0x30000, 1, 0) }),
        ("across the end", { $0.descriptor(0, 0x1ffff, 2, 0) }), ("wraps", { $0.descriptor(0, .max, .max, 0) }),
        ("to be written", { $0.descriptor(0, 0x11000, 1, 2) }),
        ("no such next", { $0.descriptor(0, 0x11000, 1, 1, 8) }),
        ("an odd table", { $0.descriptor(0, 0x11000, 17, 4) }), ("an empty table", { $0.descriptor(0, 0x11000, 0, 4) }),
        ("a table and more", { $0.descriptor(0, 0x11000, 16, 5, 1) }),
        ("no such head", { $0.store(8, at: available + 4) }),
        ("an index that jumps", { $0.store(100, at: available + 2) }),
    ]

    @Test(arguments: broken.indices)
    func whatMakesNoSenseBreaksTheRing(_ index: Int) throws {
        let rig = try Rig()
        rig.descriptor(0, 0x11000, 10, 0)
        rig.offer(0)
        Self.broken[index].1(rig)
        #expect(rig.take() == nil, "\(Self.broken[index].0)")
        #expect(rig.ring.isBroken)
        rig.offer(0)
        #expect(rig.take() == nil)
    }

    @Test func aRingHasToBeInMemory() throws {
        let rig = try Rig()
        for (descriptors, entries) in [
            (0x2fff0, 8), (0x20000, 0), (0x20000, 3), (0x20000, 65_536), (0x20008, 8), (0x40000, 8),
        ] {
            let ring = SplitRing(
                .init(descriptors: UInt64(descriptors), available: 0x20400, used: 0x20800), entries: entries,
                in: rig.memory,
                next: 0, tellsIndex: false, takesIndirect: false)
            #expect(ring == nil, "\(descriptors) \(entries)")
        }
    }

    /// Aligned for the monitor is not aligned here, and an index is read as one (host_ring_load).
    @Test func aRingHasToBeAlignedWhereItIsMapped() throws {
        let rig = try Rig()
        let isMapped = rig.memory.add(.init(guest: 0x40000, size: 0x1000, user: 0x40000, offset: 1), fd: rig.fd)
        #expect(isMapped)
        let ring = SplitRing(
            .init(descriptors: 0x40000, available: 0x40400, used: 0x40800), entries: 8, in: rig.memory, next: 0,
            tellsIndex: false, takesIndirect: false)
        #expect(ring == nil)
    }

    @Test func whateverLiesThere() throws {
        var random = SystemRandomNumberGenerator()
        for _ in 0..<2000 {
            let rig = try Rig(tellsIndex: Bool.random(using: &random))
            for at in stride(from: 0, to: 0x900, by: 2) where UInt8.random(in: 0..<4, using: &random) > 0 {
                rig.store(UInt16.random(in: 0..<(Bool.random(using: &random) ? 16 : .max), using: &random), at: at)
            }
            for _ in 0..<20 where rig.take() == nil { break }
            rig.ring.publish()
            _ = rig.ring.shouldTell()
            _ = rig.ring.asksToBeTold()
        }
    }

    @Test func aFileThatShrinksIsZeros() throws {
        let rig = try Rig()
        rig.descriptor(0, 0x11000, 10, 0)
        rig.offer(0)
        ftruncate(rig.fd, 0)
        #expect(rig.take() == nil)
        #expect(rig.load(0x1000) == 0)
    }
}
