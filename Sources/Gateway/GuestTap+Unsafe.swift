internal import CHost
internal import Glibc
internal import Netstack

// The guest's link when it is a tap device opened with IFF_VNET_HDR: one read is one frame with its virtio header, which
// may stand for 64 KiB of segments; one write likewise. TUNSETOFFLOAD was done by whoever opened it; here we only speak
// the header (10 bytes, struct virtio_net_hdr, in the host's byte order: linux/if_tun.h, TUNSETVNETLE is not set).
//
// A tap does not push back: the kernel queues what we write on its input queue and drops beyond `netdev_max_backlog`. So
// `write` reports "busy" only for EAGAIN, which a send buffer limit (TUNSETSNDBUF) could bring.

/// Frames of one tap. Owns the descriptor.
@safe
struct GuestTap: ~Copyable {
    /// struct virtio_net_hdr without the mergeable-buffer count.
    static let offloadLength = 10
    /// 64 KiB of IP packet, an Ethernet header, and some room for a VLAN tag.
    static let frameLimit = 65_536 + 64

    enum Read { case frame(OffloadHeader, Int), empty, gone, bad }

    let fd: Int32
    private let buffer: UnsafeMutableRawPointer

    init(fd: Int32) {
        self.fd = fd
        unsafe buffer = .allocate(byteCount: Self.offloadLength + Self.frameLimit, alignment: 64)
    }

    deinit {
        close(fd)
        unsafe buffer.deallocate()
    }

    /// Reads one frame; its bytes are in `frame(length)` until the next read.
    mutating func read() -> Read {
        let count = unsafe host_read(fd, buffer, Self.offloadLength + Self.frameLimit)
        if count < 0 {
            switch -Int32(count) {
            case EAGAIN, EINTR: return .empty
            default: return .gone
            }
        }
        guard count >= Self.offloadLength else { return .bad }
        return unsafe .frame(Self.decode(buffer), count - Self.offloadLength)
    }

    /// The last frame read, from its Ethernet header on.
    @_lifetime(borrow self)
    func frame(_ length: Int) -> RawSpan {
        let span = unsafe RawSpan(_unsafeStart: buffer + Self.offloadLength, byteCount: length)
        return unsafe _overrideLifetime(span, borrowing: self)
    }

    /// Writes one frame. False when the link is full.
    func write(_ offload: OffloadHeader, header: RawSpan, payload: RawSpan) -> Bool {
        // Anything but "full" (a device that is down, say) loses the frame, as a wire would.
        Self.write(fd, offload, header: header, payload: payload) != -Int(EAGAIN)
    }

    /// Writes one frame to a tap with virtio headers: the bytes written, or -errno.
    @inline(__always)
    static func write(_ fd: Int32, _ offload: OffloadHeader, header: RawSpan, payload: RawSpan) -> Int {
        var words = (UInt64(0), UInt16(0))
        return unsafe withUnsafeMutableBytes(of: &words) { raw in
            guard let start = raw.baseAddress else { return 0 }
            unsafe encode(offload, to: start)
            return unsafe header.withUnsafeBytes { header in
                unsafe payload.withUnsafeBytes { payload in
                    unsafe host_frame_write(
                        fd, start, offloadLength, header.baseAddress, header.count, payload.baseAddress, payload.count)
                }
            }
        }
    }

    static func decode(_ bytes: UnsafeMutableRawPointer) -> OffloadHeader {
        var header = OffloadHeader()
        let flags = unsafe bytes.load(as: UInt8.self)
        let type = unsafe bytes.load(fromByteOffset: 1, as: UInt8.self)
        header.needsChecksum = flags & 1 != 0
        header.checksumValid = flags & 2 != 0
        // 0x80: ECN is in use within the segments.
        header.segmentation = OffloadHeader.Segmentation(rawValue: type & 0x7f) ?? .none
        header.headerLength = unsafe bytes.load(fromByteOffset: 2, as: UInt16.self)
        header.segmentSize = unsafe bytes.load(fromByteOffset: 4, as: UInt16.self)
        header.checksumStart = unsafe bytes.load(fromByteOffset: 6, as: UInt16.self)
        header.checksumOffset = unsafe bytes.load(fromByteOffset: 8, as: UInt16.self)
        return header
    }

    static func encode(_ header: OffloadHeader, to bytes: UnsafeMutableRawPointer) {
        let flags: UInt8 = (header.needsChecksum ? 1 : 0) | (header.checksumValid ? 2 : 0)
        unsafe bytes.storeBytes(of: flags, as: UInt8.self)
        unsafe bytes.storeBytes(of: header.segmentation.rawValue, toByteOffset: 1, as: UInt8.self)
        unsafe bytes.storeBytes(of: header.headerLength, toByteOffset: 2, as: UInt16.self)
        unsafe bytes.storeBytes(of: header.segmentSize, toByteOffset: 4, as: UInt16.self)
        unsafe bytes.storeBytes(of: header.checksumStart, toByteOffset: 6, as: UInt16.self)
        unsafe bytes.storeBytes(of: header.checksumOffset, toByteOffset: 8, as: UInt16.self)
    }
}
