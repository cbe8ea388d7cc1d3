// The links of bench/machine.c: a stream of frames behind their length (QEMU, passt, Portolan), and one message a frame.
//
// A batch of up to 64 frames is one system call in either direction, as in a virtual machine monitor that does its best.
#define _GNU_SOURCE
#include "machine.h"
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

enum { batch = 64, room = 1 << 18 };

const uint8_t nothing[65536];

// MARK: A stream

struct stream {
    struct link link;
    // What the socket did not take of the last frame that it began.
    uint8_t *rest;
    size_t rest_at, rest_end;
    // What has been read and is not yet a whole frame.
    uint8_t *held;
    size_t held_length;
};

static int stream_send(struct link *link, const struct frame *frames, int count) {
    struct stream *s = (struct stream *)link;
    while (s->rest_at < s->rest_end) {
        ssize_t n = send(link->fd, s->rest + s->rest_at, s->rest_end - s->rest_at, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0) return errno == EAGAIN ? 0 : -1;
        s->rest_at += n;
    }
    link->owes = 0;
    if (count == 0) return 0;
    struct iovec vectors[3 * batch];
    uint32_t lengths[batch];
    if (count > batch) count = batch;
    for (int i = 0; i < count; i++) {
        const struct frame *f = &frames[i];
        lengths[i] = htonl(f->head_length + f->payload_length);
        vectors[3 * i] = (struct iovec){&lengths[i], 4};
        vectors[3 * i + 1] = (struct iovec){(void *)f->head, f->head_length};
        vectors[3 * i + 2] = (struct iovec){(void *)nothing, f->payload_length};
    }
    struct msghdr message = {.msg_iov = vectors, .msg_iovlen = 3 * count};
    ssize_t n = sendmsg(link->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0) return errno == EAGAIN ? 0 : -1;
    int taken = 0;
    for (; taken < count && n > 0; taken++) {
        size_t length = 4 + ntohl(lengths[taken]);
        if ((size_t)n < length) {
            s->rest_end = 0;
            size_t skip = n;
            for (int j = 0; j < 3; j++) {
                struct iovec v = vectors[3 * taken + j];
                size_t s0 = skip < v.iov_len ? skip : v.iov_len;
                memcpy(s->rest + s->rest_end, (uint8_t *)v.iov_base + s0, v.iov_len - s0);
                s->rest_end += v.iov_len - s0;
                skip -= s0;
            }
            s->rest_at = n = 0;
            link->owes = 1;
        } else {
            n -= length;
        }
    }
    return taken;
}

static int stream_receive(struct link *link, void (*take)(void *, const uint8_t *, size_t), void *context) {
    struct stream *s = (struct stream *)link;
    ssize_t n = recv(link->fd, s->held + s->held_length, room - s->held_length, MSG_DONTWAIT);
    if (n <= 0) return n < 0 && errno == EAGAIN ? 0 : -1;
    s->held_length += n;
    size_t at = 0;
    int count = 0;
    while (s->held_length - at >= 4) {
        uint32_t length;
        memcpy(&length, s->held + at, 4);
        length = ntohl(length);
        if (s->held_length - at - 4 < length) break;
        take(context, s->held + at + 4, length);
        at += 4 + length;
        count++;
    }
    memmove(s->held, s->held + at, s->held_length - at);
    s->held_length -= at;
    return count;
}

// MARK: Messages

struct messages {
    struct link link;
    uint8_t *space;
};

static int messages_send(struct link *link, const struct frame *frames, int count) {
    struct iovec vectors[2 * batch];
    struct mmsghdr messages[batch] = {0};
    if (count > batch) count = batch;
    for (int i = 0; i < count; i++) {
        vectors[2 * i] = (struct iovec){(void *)frames[i].head, frames[i].head_length};
        vectors[2 * i + 1] = (struct iovec){(void *)nothing, frames[i].payload_length};
        messages[i].msg_hdr.msg_iov = &vectors[2 * i];
        messages[i].msg_hdr.msg_iovlen = 2;
    }
    int n = sendmmsg(link->fd, messages, count, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n >= 0) return n;
    return errno == EAGAIN || errno == ENOBUFS ? 0 : -1;
}

static int messages_receive(struct link *link, void (*take)(void *, const uint8_t *, size_t), void *context) {
    enum { largest = 65600 };
    struct messages *m = (struct messages *)link;
    struct iovec vectors[batch];
    struct mmsghdr messages[batch] = {0};
    for (int i = 0; i < batch; i++) {
        vectors[i] = (struct iovec){m->space + i * largest, largest};
        messages[i].msg_hdr.msg_iov = &vectors[i];
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    int n = recvmmsg(link->fd, messages, batch, MSG_DONTWAIT, 0);
    if (n < 0) return errno == EAGAIN ? 0 : -1;
    for (int i = 0; i < n; i++) {
        if (messages[i].msg_len == 0) return -1;
        take(context, vectors[i].iov_base, messages[i].msg_len);
    }
    return n;
}

// MARK: Opening

static int connected(int type, const char *path) {
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
    int fd = socket(AF_UNIX, type, 0);
    if (fd < 0) fail("socket");
    if (type == SOCK_DGRAM) {
        static int number;
        struct sockaddr_un own = {.sun_family = AF_UNIX};
        snprintf(own.sun_path, sizeof own.sun_path, "%.80s.%d.%d", path, getpid(), number++);
        unlink(own.sun_path);
        if (bind(fd, (struct sockaddr *)&own, sizeof own) < 0) fail(own.sun_path);
    }
    // passt makes the socket's file a while before it listens.
    for (int tries = 0; connect(fd, (struct sockaddr *)&a, sizeof a) < 0; tries++) {
        if (errno != ECONNREFUSED || tries == 100) fail(path);
        usleep(20000);
    }
    return fd;
}

struct link *link_open(const char *address) {
    const char *path = strchr(address, ':');
    if (!path) fail(address);
    size_t kind = path++ - address;
    if (strncmp(address, "vhost-user", kind) == 0) return vhost_open(connected(SOCK_STREAM, path));
    if (strncmp(address, "qemu", kind) == 0) {
        struct stream *s = calloc(1, sizeof *s);
        s->link = (struct link){.fd = connected(SOCK_STREAM, path), .send = stream_send, .receive = stream_receive};
        s->rest = malloc(4 + 64 + 65536);
        s->held = malloc(room);
        return &s->link;
    }
    int type = strncmp(address, "bess", kind) == 0 ? SOCK_SEQPACKET : strncmp(address, "dgram", kind) == 0 ? SOCK_DGRAM : 0;
    if (type == 0) {
        errno = EINVAL;
        fail(address);
    }
    struct messages *m = calloc(1, sizeof *m);
    m->link = (struct link){.fd = connected(type, path), .send = messages_send, .receive = messages_receive};
    m->space = malloc(batch * 65600);
    return &m->link;
}
