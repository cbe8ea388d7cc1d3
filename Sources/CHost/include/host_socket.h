// Host sockets with control messages, which Swift cannot build: batches of datagrams with their addresses, per-datagram
// TTL and traffic class, and the error queue (ip(7) IP_RECVERR). Addresses are 16 bytes, IPv4 as ::ffff:a.b.c.d.
// Every function returns a count, a descriptor or 0, or -errno.
#pragma once
#include <sys/uio.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct host_address {
    uint8_t bytes[16];
    uint16_t port; // host order
    uint8_t is_v4;
    uint32_t scope; // interface of a link-local IPv6 address, or 0
};

// A non-blocking stream socket that has begun to connect. Returns the descriptor; *in_progress tells whether to wait.
int host_stream_connect(const struct host_address *to, int *in_progress);
// The result of a finished connect, or a pending error: 0 or -errno.
int host_stream_error(int fd);
// Closes; with reset a linger time of zero turns the FIN into a RST (socket(7) SO_LINGER).
void host_close(int fd, int reset);
// Two connected stream sockets, both non-blocking.
int host_stream_pair(int pair[2]);

// A non-blocking stream socket that listens at this address, without delay for what its connections send. An IPv6 one does not listen for
// IPv4.
int host_stream_listen(const struct host_address *at);
// The next client of a listening socket of any family, non-blocking, and where it comes from unless `from` is null.
int host_stream_accept(int listener, struct host_address *from);

struct host_datagram {
    struct host_address from;
    struct host_address to; // only from host_udp_serve's sockets; scope is the interface it came by
    uint32_t length;
    uint8_t hop_limit;
    uint8_t traffic_class;
    uint8_t truncated;
};

struct host_icmp_error {
    struct host_address destination; // where the datagram had been sent
    struct host_address offender;    // is_v4 2: none
    uint8_t type;
    uint8_t code;
    uint32_t information; // the MTU of "too big"
    int32_t error;        // errno
    uint8_t local;        // the host's own stack said it (no ICMP)
    uint16_t sequence;    // of the quoted echo request, for an echo socket
};

// An unconnected, non-blocking UDP socket with its error queue on, bound to `port` if that is free and to any other if not.
int host_udp_open(int is_v4, uint16_t port);
// A non-blocking UDP socket bound to this address that tells the address each datagram came to (ip(7) IP_PKTINFO).
int host_udp_serve(const struct host_address *at);
// Sends `length` bytes as datagrams of `segment` bytes each (the last may be shorter) from the address `from`, by the interface `from->scope`
// if that is not 0.
ssize_t host_udp_send_from(int fd, const struct host_address *from, const struct host_address *to, const void *bytes,
    size_t length, uint16_t segment);
// A non-blocking UDP socket connected to one peer, from a port of the kernel's choice.
int host_udp_connect(const struct host_address *to);
ssize_t host_udp_send(int fd, const struct host_address *to, const void *bytes, size_t length);
// Sends `length` bytes as datagrams of `segment` bytes each, the last may be shorter (udp(7) UDP_SEGMENT, Linux 4.18). A null `to` is
// the connected peer.
ssize_t host_udp_send_train(int fd, const struct host_address *to, const void *bytes, size_t length, uint16_t segment);
// Receives up to `count` datagrams. The first `size` bytes of number i go to `packed + i * size`, so that datagrams of that size lie one
// behind the other; a longer one is whole in `space + i * stride`. Returns how many.
int host_udp_receive(
    int fd, struct host_datagram *out, uint8_t *packed, size_t size, uint8_t *space, size_t stride, unsigned count);
// The fields of the datagrams that follow: hop limit, traffic class, and whether oversized ones fail (1) or are fragmented by the
// host (0).
void host_datagram_fields(int fd, int is_v4, int hop_limit, int traffic_class, int dont_fragment);

// An unprivileged echo socket (icmp(7)); its identifier is the kernel's.
int host_echo_open(int is_v4);
ssize_t host_echo_send(int fd, const struct host_address *to, uint16_t sequence, const void *payload, size_t length);

// One entry of the error queue: 1, or 0 when it is empty.
int host_error_next(int fd, struct host_icmp_error *out);
// The path MTU that the host knows towards `to`, or 0.
uint32_t host_path_mtu(const struct host_address *to);

// A frame in two pieces behind its virtio header, and a frame read; plain writev(2) and read(2) without the errno dance.
ssize_t host_frame_write(int fd, const void *offload, size_t offload_length, const void *header, size_t header_length,
    const void *payload, size_t payload_length);
ssize_t host_read(int fd, void *space, size_t length);
ssize_t host_send(int fd, const void *bytes, size_t length);
ssize_t host_receive(int fd, void *space, size_t length);
// The same into up to 1,024 pieces, in their order.
ssize_t host_receive_pieces(int fd, const struct iovec *pieces, size_t count);
// One byte as urgent data; over a socket pair, which has another idea of it, as an ordinary one.
ssize_t host_send_urgent(int fd, uint8_t byte);
// Whether an urgent byte is among those received and not read (POLLPRI).
int host_urgent_waits(int fd);
// 1: the urgent byte was next in the stream and is read; 2: others come before it; 0: there is none.
int host_receive_urgent(int fd, uint8_t *byte);
void host_shutdown_write(int fd);

// How often the calling thread has lost its core to another one (getrusage(2), ru_nivcsw).
long host_preemptions(void);

// A one-shot timer as a descriptor (timerfd_create(2)) that is readable once it has run out; setting it, 0 to stop, makes it unreadable.
int host_timer_open(void);
void host_timer_set(int fd, long nanoseconds);
