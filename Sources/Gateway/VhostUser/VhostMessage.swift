internal import Wire

// Messages between a virtual machine monitor (the front-end) and us, the device (QEMU, docs/interop/vhost-user.rst):
//
//   request: u32 | flags: u32 | size: u32 | payload        in the machine's byte order; descriptors travel beside it
//
// flags: version 1 in bits 0 and 1; 4: this is a reply; 8: the sender wants one (VHOST_USER_PROTOCOL_F_REPLY_ACK).

/// A message of a front-end, its payload checked for length.
enum VhostMessage: Equatable {
    case getFeatures, setFeatures(UInt64), setOwner, resetOwner
    case getProtocolFeatures, setProtocolFeatures(UInt64), getQueueCount, getMaximumSlots
    case setMemory([Region]), addMemory(Region), removeMemory(Region)
    case setSize(ring: Int, entries: Int), setBase(ring: Int, next: Int), getBase(ring: Int)
    case setAddresses(ring: Int, descriptors: UInt64, used: UInt64, available: UInt64)
    /// `hasDescriptor` false: there is none, the ring is to be polled.
    case setKick(ring: Int, hasDescriptor: Bool), setCall(ring: Int, hasDescriptor: Bool), setError(ring: Int)
    case enable(ring: Int, Bool)
    case setMTU(UInt64)
    /// Of no consequence here: RARP after a migration, say.
    case ignored(UInt32)

    struct Region: Equatable {
        var guest: UInt64
        var size: UInt64
        var user: UInt64
        var offset: UInt64
    }

    static let headerLength = 12
    /// Of a payload: the largest is a memory table.
    static let largest = 8 + 32 * GuestMemory.mostRegions

    struct Header: Equatable {
        let request: UInt32
        let wantsReply: Bool
        let size: Int

        /// nil when this is none: another version, a reply, or a payload that no message has.
        init?(_ bytes: RawSpan) {
            guard bytes.byteCount >= VhostMessage.headerLength else { return nil }
            request = bytes.nativeField32(at: 0)
            let flags = bytes.nativeField32(at: 4)
            size = Int(bytes.nativeField32(at: 8))
            wantsReply = flags & 8 != 0
            guard flags & 7 == 1, size <= VhostMessage.largest else { return nil }
        }
    }

    /// nil when the payload is not that of the request.
    init?(_ header: Header, _ payload: RawSpan) {
        func word() -> UInt64? { payload.byteCount == 8 ? payload.nativeField64(at: 0) : nil }
        func pair() -> (ring: Int, value: Int)? {
            guard payload.byteCount == 8 else { return nil }
            return (Int(payload.nativeField32(at: 0)), Int(payload.nativeField32(at: 4)))
        }
        func region(at offset: Int) -> Region {
            Region(
                guest: payload.nativeField64(at: offset), size: payload.nativeField64(at: offset + 8),
                user: payload.nativeField64(at: offset + 16), offset: payload.nativeField64(at: offset + 24))
        }
        switch header.request {
        case 1: self = .getFeatures
        case 2:
            guard let word = word() else { return nil }
            self = .setFeatures(word)
        case 3: self = .setOwner
        case 4: self = .resetOwner
        case 5:
            guard payload.byteCount >= 8 else { return nil }
            let count = Int(payload.nativeField32(at: 0))
            guard count <= GuestMemory.mostRegions, payload.byteCount >= 8 + 32 * count else { return nil }
            self = .setMemory((0..<count).map { region(at: 8 + 32 * $0) })
        case 8:
            guard let pair = pair() else { return nil }
            self = .setSize(ring: pair.ring, entries: pair.value)
        case 9:
            guard payload.byteCount == 40 else { return nil }
            self = .setAddresses(
                ring: Int(payload.nativeField32(at: 0)), descriptors: payload.nativeField64(at: 8),
                used: payload.nativeField64(at: 16), available: payload.nativeField64(at: 24))
        case 10:
            guard let pair = pair() else { return nil }
            self = .setBase(ring: pair.ring, next: pair.value)
        case 11:
            guard let pair = pair() else { return nil }
            self = .getBase(ring: pair.ring)
        case 12, 13, 14:
            guard let word = word() else { return nil }
            let ring = Int(word & 0xff)
            let has = word & 0x100 == 0
            self =
                header.request == 12
                ? .setKick(ring: ring, hasDescriptor: has)
                : header.request == 13 ? .setCall(ring: ring, hasDescriptor: has) : .setError(ring: ring)
        case 15: self = .getProtocolFeatures
        case 16:
            guard let word = word() else { return nil }
            self = .setProtocolFeatures(word)
        case 17: self = .getQueueCount
        case 18:
            guard let pair = pair() else { return nil }
            self = .enable(ring: pair.ring, pair.value == 1)
        case 20:
            guard let word = word() else { return nil }
            self = .setMTU(word)
        case 36: self = .getMaximumSlots
        case 37, 38:
            guard payload.byteCount == 40 else { return nil }
            self = header.request == 37 ? .addMemory(region(at: 8)) : .removeMemory(region(at: 8))
        default: self = .ignored(header.request)
        }
    }

    /// Whether a reply is part of the request itself.
    var isAnswered: Bool {
        switch self {
        case .getFeatures, .getProtocolFeatures, .getQueueCount, .getMaximumSlots, .getBase: true
        default: false
        }
    }

    /// A reply: one number, or two of 32 bits in one.
    static func reply(to request: UInt32, _ value: UInt64) -> [UInt8] {
        func bytes(_ value: UInt32) -> [UInt8] { (0..<4).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) } }
        return bytes(request) + bytes(1 | 4) + bytes(8) + bytes(UInt32(truncatingIfNeeded: value))
            + bytes(UInt32(truncatingIfNeeded: value >> 32))
    }
}
