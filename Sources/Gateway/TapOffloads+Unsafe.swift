internal import CHost
internal import Netstack

// A tap that somebody else has opened, as one of the links of the switch (`--listen fd:N`). One read is a frame, one write another.
//
//   IFF_TAP | IFF_NO_PI                  plain frames: cut and summed for it like for a socket
//   the same and IFF_VNET_HDR            a virtio header of 10 bytes before each frame: super-frames pass both ways
//
// Unlike the tap of a sandbox (GuestTap) it is a port among others: its super-frames are cut for the machines that know none. Its
// headers come from a kernel, but from one that lets root of its namespace write them (packet(7), PACKET_VNET_HDR): those that are for
// another machine are checked (SuperFrame), those for the core by the core.

/// What a tap's kernel does for us.
struct TapOffloads {
    /// It cuts UDP super-frames (USO, Linux 6.2).
    let cutsDatagrams: Bool

    /// Asks for as much as the kernel has.
    init(fd: Int32) { cutsDatagrams = host_tap_offloads(fd) & UInt32(host_tap_uso4) != 0 }

    /// Writes a frame. False when the tap was full or down: the frame is lost, as on a cut wire.
    func write(_ fd: Int32, _ offload: OffloadHeader, header: RawSpan, payload: RawSpan) -> Bool {
        GuestTap.write(fd, offload, header: header, payload: payload) > 0
    }
}
