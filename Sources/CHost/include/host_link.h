// Sockets of virtual machines: what Swift cannot build by itself are socket addresses of AF_UNIX and batches of messages.
// Every function returns a count, a descriptor or 0, or -errno.
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { host_link_stream, host_link_datagram, host_link_packets };

// A non-blocking socket at a path: listening, or bound for datagrams. A socket file that nobody listens on any more is replaced; one that is in
// use is -EADDRINUSE.
int host_link_listen(const char *path, int type);
// Listens on AF_VSOCK, for any CID.
int host_link_listen_vsock(uint32_t port);
// A non-blocking stream connected to a Unix socket, or to a port of AF_VSOCK.
int host_link_connect(const char *path);
int host_link_connect_vsock(uint32_t cid, uint32_t port);
// This machine's CID, or UINT32_MAX.
uint32_t host_vsock_cid(void);
// A terminal device in raw mode, without echo and flow control, or any other character device; non-blocking. -ENOTTY when it is no device,
// -ENOENT when there is nothing.
int host_serial_open(const char *path);
// Makes an inherited descriptor non-blocking and close-on-exec; which of the types above or below it is. -EPROTOTYPE for a tun device.
// (Whether a tap was opened with IFF_NO_PI the kernel does not tell: it reports that flag always.)
int host_link_adopt(int fd);
enum { host_link_tap = 8, host_link_tap_virtio };
// Closes a link's descriptor so that its peer sees an end, and not an error because of what we have not read.
void host_link_close(int fd);

// A non-blocking tap without virtio headers.
int host_tap_open_plain(const char *name);
// Asks a tap with virtio headers for headers of 10 bytes and as many offloads as the kernel has. What it granted: TUN_F_*.
uint32_t host_tap_offloads(int fd);
// Says whether somebody is at the tap's other end (TUNSETCARRIER, Linux 5.0).
void host_tap_carrier(int fd, int on);
// Up to `count` frames of a tap, each into `stride` bytes of `space`; UINT32_MAX as the length of one that may have been longer. How many.
int host_tap_read(int fd, void *space, size_t stride, uint32_t *lengths, unsigned count);
// Writes the frames in `bytes`, each behind its length in four bytes, big-endian. The bytes of those that are gone, or lost since the interface
// is down.
ssize_t host_tap_write(int fd, const void *bytes, size_t length);
// Room for bursts in both directions, and for datagrams of 64 KiB.
void host_link_buffers(int fd);

// The address of the peer that a datagram came from.
struct host_link_peer {
    uint32_t length; // 0: it has none, so that it cannot be answered
    uint8_t bytes[112];
};

// Up to `count` (64 at most) messages, each into `stride` bytes of `space`; their lengths, UINT32_MAX for one that was longer. `peer`, unless it is
// null, gets the sender of the last one. Returns how many.
int host_receive_many(int fd, void *space, size_t stride, uint32_t *lengths, unsigned count, struct host_link_peer *peer);
// Sends the frames in `bytes`, each behind its length in four bytes, big-endian, as a message each; to `peer` unless it is null. Returns the bytes
// of those that were sent.
ssize_t host_link_send(int fd, const struct host_link_peer *peer, const void *bytes, size_t length);
ssize_t host_write(int fd, const void *bytes, size_t length);
