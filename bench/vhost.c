// bench/machine.c's link in shared memory: a vhost-user front-end whose guest is this process.
//
// One memfd holds both rings (256 entries, EVENT_IDX) and all buffers. To the device a frame is two descriptors, headers and zeros, as a
// guest's kernel would give it; frames come in buffers of 68 KiB. TSO, USO and checksums are agreed to, so frames are up to 64 KiB whatever
// the MTU. One eventfd tells of both rings.
#define _GNU_SOURCE
#include "machine.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

enum { entries = 256, slot = 128, header = 12, buffer = 68 << 10, received = 128 };
enum { guest = 0x40000000, ring_space = 1 << 14, slots_at = 1 << 16, zeros_at = 1 << 17, buffers_at = 1 << 18 };

struct descriptor { uint64_t address; uint32_t length; uint16_t flags, next; };
struct available { uint16_t flags, index, ring[entries], used_event; };
struct used { uint16_t flags, index; struct { uint32_t head, length; } ring[entries]; uint16_t available_event; };

struct ring {
    struct descriptor *descriptors;
    struct available *available;
    struct used *used;
    uint16_t next, seen;
    int kick;
};

struct vhost {
    struct link link;
    uint8_t *memory;
    struct ring in, out;
    uint16_t in_flight;
};

static void say(int socket, uint32_t request, const void *payload, uint32_t size, int fd) {
    uint8_t bytes[12 + 64];
    uint32_t head[3] = {request, 1, size};
    memcpy(bytes, head, 12), memcpy(bytes + 12, payload, size);
    struct iovec iov = {bytes, 12 + size};
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
    if (fd >= 0) {
        message.msg_control = &control, message.msg_controllen = sizeof control;
        control.header = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof fd)};
        memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
    }
    if (sendmsg(socket, &message, 0) < 0) fail("the monitor's socket");
}

static void say_number(int socket, uint32_t request, uint64_t number, int fd) { say(socket, request, &number, sizeof number, fd); }

static void notify(struct ring *r, uint16_t before) {
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    uint16_t event = __atomic_load_n(&r->used->available_event, __ATOMIC_ACQUIRE);
    uint16_t now = r->available->index;
    if ((uint16_t)(now - event - 1) < (uint16_t)(now - before)) eventfd_write(r->kick, 1);
}

static void offer(struct ring *r, uint16_t head) {
    r->available->ring[r->next % entries] = head;
    r->next++;
    __atomic_store_n(&r->available->index, r->next, __ATOMIC_RELEASE);
}

static int reap(struct vhost *v) {
    struct ring *r = &v->out;
    uint16_t index = __atomic_load_n(&r->used->index, __ATOMIC_ACQUIRE);
    v->in_flight -= (uint16_t)(index - r->seen);
    r->seen = index;
    return entries / 2 - v->in_flight;
}

static int vhost_send(struct link *link, const struct frame *frames, int count) {
    struct vhost *v = (struct vhost *)link;
    struct ring *r = &v->out;
    int room = reap(v), taken = 0;
    uint16_t before = r->next;
    for (; taken < count && room > 0; taken++, room--) {
        const struct frame *f = &frames[taken];
        // Chains are given back in their order, so that they are used in turn.
        int index = r->next % (entries / 2);
        uint8_t *at = v->memory + slots_at + index * slot;
        memset(at, 0, header);
        at[0] = 1; // needs a checksum
        uint16_t start = 34, offset = f->head[23] == 6 ? 16 : 6;
        at[1] = f->segment ? 1 : 0;
        memcpy(at + 2, &(uint16_t){f->head_length}, 2), memcpy(at + 4, &f->segment, 2), memcpy(at + 6, &start, 2), memcpy(at + 8, &offset, 2);
        // ARP, and what has its checksum, need none.
        if (!f->segment) at[0] = 0;
        memcpy(at + header, f->head, f->head_length);
        int more = f->payload_length > 0;
        r->descriptors[2 * index] = (struct descriptor){guest + slots_at + index * slot, header + f->head_length, more, 2 * index + 1};
        r->descriptors[2 * index + 1] = (struct descriptor){guest + zeros_at, f->payload_length, 0, 0};
        offer(r, 2 * index);
        v->in_flight++;
    }
    if (taken > 0) notify(r, before);
    if (taken < count) {
        // To be told when half of them have been taken.
        r->available->used_event = r->seen + v->in_flight / 2;
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        if (reap(v) > 0) eventfd_write(link->fd, 1);
    }
    return taken;
}

static int vhost_receive(struct link *link, void (*take)(void *, const uint8_t *, size_t), void *context) {
    struct vhost *v = (struct vhost *)link;
    struct ring *r = &v->in;
    eventfd_t rung;
    eventfd_read(link->fd, &rung);
    int count = 0;
    uint16_t before = r->next;
    do {
        for (uint16_t index = __atomic_load_n(&r->used->index, __ATOMIC_ACQUIRE); r->seen != index; r->seen++, count++) {
            uint32_t head = r->used->ring[r->seen % entries].head, length = r->used->ring[r->seen % entries].length;
            take(context, v->memory + buffers_at + (size_t)head * buffer + header, length - header);
            offer(r, head);
        }
        r->available->used_event = r->seen;
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
    } while (__atomic_load_n(&r->used->index, __ATOMIC_ACQUIRE) != r->seen);
    if (count > 0) notify(r, before);
    return count;
}

static void start(struct vhost *v, int socket, struct ring *r, int index) {
    size_t at = (size_t)index * 2 * ring_space;
    r->descriptors = (void *)(v->memory + at);
    r->available = (void *)(v->memory + at + ring_space / 2);
    r->used = (void *)(v->memory + at + ring_space);
    r->kick = eventfd(0, EFD_NONBLOCK);
    if (index == 0)
        for (int i = 0; i < received; i++) {
            r->descriptors[i] = (struct descriptor){guest + buffers_at + (size_t)i * buffer, buffer, 2, 0};
            offer(r, i);
        }
    uint64_t base = (uintptr_t)v->memory + at;
    struct { uint32_t index, flags; uint64_t descriptors, used, available, log; } addresses = {
        index, 0, base, base + ring_space, base + ring_space / 2, 0};
    say_number(socket, 8, index | (uint64_t)entries << 32, -1);
    say_number(socket, 10, index, -1);
    say(socket, 9, &addresses, sizeof addresses, -1);
    say_number(socket, 13, index, v->link.fd);
    say_number(socket, 12, index, r->kick);
    say_number(socket, 18, index | 1ull << 32, -1);
}

struct link *vhost_open(int socket) {
    struct vhost *v = calloc(1, sizeof *v);
    size_t size = buffers_at + (size_t)received * buffer;
    int fd = memfd_create("guest", 0);
    if (fd < 0 || ftruncate(fd, size) < 0) fail("memfd");
    v->memory = mmap(0, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    v->link = (struct link){.fd = eventfd(0, EFD_NONBLOCK), .offloads = 1, .tells_room = 1, .send = vhost_send, .receive = vhost_receive};
    // Version 1, event index, mergeable buffers, protocol features, TSO, USO and checksums both ways.
    uint64_t features = 1ull << 32 | 1 << 29 | 1 << 15 | 1 << 30 | 1 << 0 | 1 << 1 | 1 << 7 | 1 << 11
        | 1ull << 54 | 1ull << 55 | 1ull << 56;
    struct { uint32_t count, padding; uint64_t guest, size, user, offset; } memory = {1, 0, guest, size, (uintptr_t)v->memory, 0};
    say(socket, 3, "", 0, -1);
    say_number(socket, 2, features, -1);
    say(socket, 5, &memory, sizeof memory, fd);
    start(v, socket, &v->in, 0);
    start(v, socket, &v->out, 1);
    return &v->link;
}
