/// What a link's peer left for us to do, or we leave to it, for one frame: the fields of `struct virtio_net_hdr`
/// (virtio 1.2, section 5.1.6; linux/virtio_net.h) in host order.
///
/// A frame with `segmentation != .none` is a super-frame: one header and up to 64 KiB of payload that stands for
/// ceil(payload / segmentSize) frames on the wire. The MTU then bounds the segments, not the frame.
package struct OffloadHeader: Equatable, Sendable, BitwiseCopyable {
    package enum Segmentation: UInt8, Sendable, BitwiseCopyable { case none = 0, tcp4 = 1, tcp6 = 4, udp = 5 }

    /// VIRTIO_NET_HDR_F_NEEDS_CSUM: the transport checksum field holds the pseudo-header's sum; whoever puts the frame
    /// on a real wire sums from `checksumStart` and stores at `checksumStart + checksumOffset`.
    package var needsChecksum = false
    /// VIRTIO_NET_HDR_F_DATA_VALID: the checksum was verified by the sender's side.
    package var checksumValid = false
    package var segmentation = Segmentation.none
    /// Length of all headers in a super-frame.
    package var headerLength: UInt16 = 0
    /// Payload bytes of each segment of a super-frame.
    package var segmentSize: UInt16 = 0
    package var checksumStart: UInt16 = 0
    package var checksumOffset: UInt16 = 0

    package init() {}
}
