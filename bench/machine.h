// What stands in for a virtual machine in bench/vm: machine.c speaks TCP and UDP, a link carries its frames.
#ifndef MACHINE_H
#define MACHINE_H
#include <stddef.h>
#include <stdint.h>

/// A frame to send: headers, and `payload_length` zeros behind them.
struct frame {
    uint8_t head[64];
    uint32_t head_length, payload_length;
    /// Bytes of payload in each frame that this one is to be cut into, when the link takes super-frames; otherwise 0.
    /// The transport's checksum is then that of the pseudo-header alone, as virtio-net wants it.
    uint16_t segment;
};

struct link {
    /// Readable when there are frames (or the end); writable when `send` may go on. May be a descriptor to poll for reading only.
    int fd;
    /// Takes and gives super-frames of up to 64 KiB, whose checksums nobody has computed.
    int offloads;
    /// The end of a frame that `send` took has not left: to be called again, if only with no frames, when `fd` is writable.
    int owes;
    /// `fd` tells of room, too, by becoming readable.
    int tells_room;
    /// Sends frames. Returns how many were taken; fewer than `count`: wait until `fd` is writable. -1 when the link has ended.
    int (*send)(struct link *, const struct frame *, int count);
    /// Gives what is there to `take`, a batch at most. Returns the number of frames; -1 when the link has ended.
    int (*receive)(struct link *, void (*take)(void *context, const uint8_t *frame, size_t length), void *context);
};

/// Zeros, for payloads.
extern const uint8_t nothing[65536];

/// `qemu:PATH`, `bess:PATH`, `dgram:PATH`, as `portolan serve --listen` names them. Exits when it cannot be opened.
struct link *link_open(const char *address);

/// A vhost-user front-end on a connected socket (bench/vhost.c).
struct link *vhost_open(int socket);

void fail(const char *what);
#endif
