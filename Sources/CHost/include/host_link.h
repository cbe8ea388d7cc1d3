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
// Makes an inherited descriptor non-blocking and close-on-exec; which of the types above it is.
int host_link_adopt(int fd);
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
