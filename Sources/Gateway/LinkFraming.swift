internal import Wire

// Where a frame ends, on the links that virtual machines use:
//
//   length32    4 bytes big-endian, then the frame     QEMU -netdev stream and socket; libkrun and Lima by the same sockets
//   length16    2 bytes little-endian, then the frame  VPNKit's vmnet, stdio
//   serial      escaped, between flags                 serial lines; see SerialFraming.swift, which finds its own frames
//   message     a message is a frame                   QEMU -netdev dgram, vfkit, user-mode Linux; taps
//
// Frames that wait to be sent lie behind their lengths, in the wire's form; those of a message link behind length32, which is
// not sent.
//
// A length beyond `largest` cannot be believed and nothing after it be found: the link ends. A length of zero is skipped.

package enum LinkFraming: Equatable, Sendable {
    case length32, length16, serial, message

    /// QEMU's NET_BUFSIZE: what 64 KiB of IP packet with Ethernet, VLAN and virtio headers take.
    package static let largest = 4096 + 65_536

    /// Bytes in front of a frame.
    package var prefix: Int { self == .length16 ? 2 : 4 }

    /// The longest frame that the length can say.
    package var limit: Int { self == .length16 || self == .serial ? 65_535 : Self.largest }

    /// Bytes that so many frames of so many bytes together take at most.
    package func room(_ count: Int, _ total: Int) -> Int {
        self == .serial ? count * SerialFraming.room(0) + 2 * total : count * prefix + total
    }

    package func write(_ length: Int, to span: inout MutableRawSpan, at offset: Int) {
        if self == .length16 {
            span.store(u16: UInt16(truncatingIfNeeded: length).byteSwapped, at: offset)
        } else {
            span.store(u32: UInt32(truncatingIfNeeded: length), at: offset)
        }
    }

    package enum Next: Equatable { case frame(Range<Int>), empty(next: Int), more, bad }

    /// The frame whose length is at `offset`.
    package func next(in bytes: RawSpan, at offset: Int) -> Next {
        guard bytes.byteCount - offset >= prefix else { return .more }
        let length = self == .length16 ? Int(bytes.u16(at: offset).byteSwapped) : Int(bytes.u32(at: offset))
        guard length <= limit else { return .bad }
        let start = offset + prefix
        if length == 0 { return .empty(next: start) }
        guard bytes.byteCount - start >= length else { return .more }
        return .frame(start..<start + length)
    }
}
