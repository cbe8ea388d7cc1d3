// machine: the load that bench/vm puts on a link, in place of a virtual machine.
//
//   machine [options] LINK tcp-out|tcp-in HOST PORT SECONDS     sends to `load sink`, or reads from `load source`
//   machine [options] LINK udp-out HOST PORT SECONDS            as fast as the link takes it; `load udp-recv` counts
//   machine [options] LINK udp-in HOST PORT SECONDS             asks `load udp-source` and counts
//   machine [options] LINK idle                                 announces itself, prints "ready", waits for the end of stdin
//
//   -a ADDR   the (first) machine's address: 10.0.2.2      -g ADDR   the gateway's: 10.0.2.1
//   -m MTU    1500: the link's                             -n COUNT  so many machines, each on a link of its own
//
// LINK as in bench/links.c and vhost.c. Prints "BYTES_PER_SECOND FRAMES_PER_SECOND RESENT" and, for several machines, the bytes per second of the
// slowest and the mean: bytes of payload that were acknowledged (tcp-out), came in order (tcp-in), were handed over (udp-out) or
// came (udp-in), and the frames that they took.
//
// It is a guest that costs as little as possible, so that what is measured is the other end of the link. TCP has MSS and window
// scale options, a window of 4 MiB, one ACK for each batch of frames read; a link loses nothing by itself, so there is no congestion
// control, and what is lost all the same is sent again after 3 duplicate ACKs or 0.2 s, from snd.una on. Payload is zeros, whose sum is
// nothing; the checksums it sends are right, those it receives are not looked at.
#define _GNU_SOURCE
#include "machine.h"
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum mode { tcp_out, tcp_in, udp_out, udp_in, idle };
enum state { resolving, opening, open_, ended };
enum { ETH = 14, IP = 20, TCP = 20, UDP = 8, scale = 7, batch = 64 };

struct machine {
    struct link *link;
    uint8_t mac[6], gateway_mac[6];
    uint32_t address, gateway, server; // host byte order, like everything that follows
    uint16_t port, server_port, ip_id;
    enum state state;
    uint32_t una, nxt, end, window, peer_scale, rcv, recover;
    int duplicates, owes_ack, blocked;
    double sent_at, progress_at;
    uint64_t bytes, frames, resent;
};

static enum mode mode;
static uint32_t mss, datagram = 1400;
static double seconds, began;
static int epoll_fd;

void fail(const char *what) {
    fprintf(stderr, "machine: %s: %s\n", what, strerror(errno));
    exit(1);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

// MARK: Frames

static void put16(uint8_t *at, uint32_t v) { at[0] = v >> 8, at[1] = v; }
static void put32(uint8_t *at, uint32_t v) { put16(at, v >> 16), put16(at + 2, v); }
static uint32_t get16(const uint8_t *at) { return at[0] << 8 | at[1]; }
static uint32_t get32(const uint8_t *at) { return get16(at) << 16 | get16(at + 2); }

static uint32_t sum(const uint8_t *at, size_t count) {
    uint32_t s = 0;
    for (size_t i = 0; i + 1 < count; i += 2) s += get16(at + i);
    return s;
}

static uint32_t fold(uint32_t s) {
    s = (s & 0xffff) + (s >> 16);
    return (s & 0xffff) + (s >> 16);
}

/// Ethernet and IPv4 headers in front of `transport` bytes of transport header and `payload` zeros, and the transport's checksum.
static void finish(struct machine *m, struct frame *f, int protocol, uint32_t transport, uint32_t payload) {
    uint8_t *h = f->head;
    memcpy(h, m->gateway_mac, 6), memcpy(h + 6, m->mac, 6), put16(h + 12, 0x0800);
    uint8_t *ip = h + ETH;
    memset(ip, 0, IP);
    ip[0] = 0x45, put16(ip + 2, IP + transport + payload), put16(ip + 4, m->ip_id++), put16(ip + 6, 0x4000), ip[8] = 64, ip[9] = protocol;
    put32(ip + 12, m->address), put32(ip + 16, m->server);
    put16(ip + 10, ~fold(sum(ip, IP)));
    uint8_t *t = ip + IP, *field = t + (protocol == 6 ? 16 : 6);
    put16(field, 0);
    uint32_t pseudo = sum(ip + 12, 8) + protocol + transport + payload;
    put16(field, f->segment ? fold(pseudo) : ~fold(pseudo + sum(t, transport)));
    f->head_length = ETH + IP + transport, f->payload_length = payload;
}

static void tcp_header(struct machine *m, struct frame *f, uint32_t seq, int flags, uint32_t payload) {
    uint8_t *t = f->head + ETH + IP;
    put16(t, m->port), put16(t + 2, m->server_port), put32(t + 4, seq), put32(t + 8, flags & 0x10 ? m->rcv : 0);
    uint32_t length = TCP;
    if (flags & 2) {
        const uint8_t options[8] = {2, 4, mss >> 8, mss, 3, 3, scale, 1};
        memcpy(t + TCP, options, sizeof options);
        length += sizeof options;
    }
    t[12] = length / 4 << 4, t[13] = flags, put16(t + 14, flags & 2 ? 65535 : (4 << 20) >> scale), put32(t + 16, 0);
    f->segment = m->link->offloads && payload > mss ? mss : 0;
    finish(m, f, 6, length, payload);
}

static int send_one(struct machine *m, struct frame *f) {
    int n = m->link->send(m->link, f, 1);
    if (n < 0) fail("the link has ended");
    return n;
}

static void arp(struct machine *m) {
    struct frame f = {.head_length = 42};
    uint8_t *h = f.head;
    memset(h, 0xff, 6), memcpy(h + 6, m->mac, 6), put16(h + 12, 0x0806);
    const uint8_t start[8] = {0, 1, 8, 0, 6, 4, 0, 1};
    memcpy(h + 14, start, 8), memcpy(h + 22, m->mac, 6), put32(h + 28, m->address), memset(h + 32, 0, 6), put32(h + 38, m->gateway);
    send_one(m, &f);
    m->sent_at = now();
}

static void syn(struct machine *m) {
    struct frame f;
    tcp_header(m, &f, m->una, 2, 0);
    send_one(m, &f);
    m->sent_at = now();
}

static void request(struct machine *m) {
    struct frame f = {0};
    uint8_t *u = f.head + ETH + IP;
    // Behind 8 bytes of header there is room for the text in the head itself.
    char text[23];
    int n = snprintf(text, sizeof text, "%u %.2f", datagram, seconds);
    if (n & 1) text[n++] = ' ';
    put16(u, m->port), put16(u + 2, m->server_port), put16(u + 4, UDP + n);
    memcpy(u + UDP, text, n);
    finish(m, &f, 17, UDP + n, 0);
    send_one(m, &f);
    m->sent_at = now();
}

static void begin(struct machine *m) {
    m->state = mode == tcp_out || mode == tcp_in ? opening : open_;
    m->progress_at = now();
    if (mode == udp_in) request(m);
    if (m->state == opening) syn(m);
}

// MARK: What comes

static void segment(struct machine *m, const uint8_t *ip, const uint8_t *t, size_t length) {
    size_t head = (t[12] >> 4) * 4;
    if (length < head || get16(t + 2) != m->port) return;
    int flags = t[13];
    uint32_t seq = get32(t + 4), ack = get32(t + 8), payload = length - head;
    (void)ip;
    if (flags & 4) {
        fprintf(stderr, "machine: reset by the other end\n");
        exit(1);
    }
    if (m->state == opening) {
        if ((flags & 0x12) != 0x12) return;
        for (size_t i = TCP; i + 1 < head && t[i] != 0; i += t[i] == 1 ? 1 : t[i + 1] < 2 ? 40 : t[i + 1])
            if (t[i] == 3) m->peer_scale = t[i + 2];
        m->una = m->nxt = m->end = ack, m->rcv = seq + 1, m->window = get16(t + 14);
        m->state = open_, m->owes_ack = 1, m->progress_at = now();
        return;
    }
    if (payload > 0) {
        if (seq == m->rcv) {
            m->rcv += payload, m->bytes += payload, m->frames += m->link->offloads ? (payload + mss - 1) / mss : 1;
        }
        m->owes_ack = 1;
    }
    if (!(flags & 0x10)) return;
    uint32_t window = get16(t + 14) << m->peer_scale;
    if ((int32_t)(ack - m->una) > 0 && (int32_t)(ack - m->end) <= 0) {
        if (mode == tcp_out) m->bytes += ack - m->una;
        m->una = ack, m->duplicates = 0, m->progress_at = now();
        if ((int32_t)(m->nxt - ack) < 0) m->nxt = ack;
    } else if (ack == m->una && payload == 0 && window == m->window && m->una != m->nxt && ++m->duplicates == 3
        && (int32_t)(m->una - m->recover) >= 0) {
        m->recover = m->nxt, m->resent++;
        struct frame f;
        tcp_header(m, &f, m->una, 0x18, mss);
        send_one(m, &f);
    }
    m->window = window;
}

static void take(void *context, const uint8_t *frame, size_t length) {
    struct machine *m = context;
    if (length < ETH + IP || memcmp(frame, m->mac, 6) != 0) {
        // A broadcast; only a question for our address is of interest.
        if (length < 42 || get16(frame + 12) != 0x0806) return;
    }
    const uint8_t *ip = frame + ETH;
    if (get16(frame + 12) == 0x0806 && length >= 42) {
        if (get16(ip + 6) == 2 && get32(ip + 14) == m->gateway && m->state == resolving) {
            memcpy(m->gateway_mac, ip + 8, 6);
            begin(m);
        } else if (get16(ip + 6) == 1 && get32(ip + 24) == m->address) {
            struct frame f = {.head_length = 42};
            memcpy(f.head, ip + 8, 6), memcpy(f.head + 6, m->mac, 6), put16(f.head + 12, 0x0806);
            const uint8_t start[8] = {0, 1, 8, 0, 6, 4, 0, 2};
            memcpy(f.head + 14, start, 8), memcpy(f.head + 22, m->mac, 6), put32(f.head + 28, m->address);
            memcpy(f.head + 32, ip + 8, 6), put32(f.head + 38, get32(ip + 14));
            send_one(m, &f);
        }
        return;
    }
    if (get16(frame + 12) != 0x0800 || m->state == resolving) return;
    size_t head = (ip[0] & 15) * 4, total = get16(ip + 2);
    // A super-frame of the kernel's may say 0.
    if (total == 0) total = length - ETH;
    if (total > length - ETH || total < head + UDP) return;
    if (ip[9] == 6 && total >= head + TCP) segment(m, ip, ip + head, total - head);
    if (ip[9] == 17 && mode == udp_in && get16(ip + head + 2) == m->port) {
        m->bytes += total - head - UDP;
        m->frames += m->link->offloads ? (total - head - UDP + datagram - 1) / datagram : 1;
        m->progress_at = now();
    }
}

// MARK: What goes

static void pump(struct machine *m) {
    static struct frame frames[batch];
    if (m->link->owes && m->link->send(m->link, frames, 0) < 0) fail("the link has ended");
    if (m->owes_ack) {
        tcp_header(m, &frames[0], m->nxt, 0x10, 0);
        int n = send_one(m, &frames[0]);
        m->owes_ack = n == 0;
        m->blocked = n == 0;
    }
    if (m->state != open_ || (mode != tcp_out && mode != udp_out)) return;
    for (;;) {
        int count = 0, most = m->link->offloads ? 16 : batch;
        uint32_t nxt = m->nxt;
        if (mode == udp_out) {
            for (; count < most; count++) {
                uint8_t *u = frames[count].head + ETH + IP;
                put16(u, m->port), put16(u + 2, m->server_port), put16(u + 4, UDP + datagram), put16(u + 6, 0);
                frames[count].segment = 0;
                finish(m, &frames[count], 17, UDP, datagram);
            }
        } else {
            uint32_t largest = m->link->offloads && mss < 65000 ? 65000 / mss * mss : mss;
            while (count < most && (int32_t)(m->una + m->window - nxt) >= (int32_t)mss) {
                uint32_t room = (m->una + m->window - nxt) / mss * mss;
                uint32_t length = room < largest ? room : largest;
                tcp_header(m, &frames[count++], nxt, 0x18, length);
                nxt += length;
            }
        }
        if (count == 0) {
            m->blocked = 0;
            return;
        }
        int n = m->link->send(m->link, frames, count);
        if (n < 0) fail("the link has ended");
        for (int i = 0; i < n; i++) {
            m->nxt += frames[i].payload_length;
            m->frames += frames[i].segment ? (frames[i].payload_length + mss - 1) / mss : 1;
        }
        if (mode == udp_out) m->bytes += (uint64_t)n * datagram;
        if ((int32_t)(m->nxt - m->end) > 0) m->end = m->nxt;
        m->blocked = n < count;
        // A link that tells of room only when there was none has to be made to call again.
        if (mode == udp_out && m->link->tells_room && !m->blocked) eventfd_write(m->link->fd, 1);
        if (m->blocked || mode == udp_out) return;
    }
}

static void watch(struct machine *m, int fresh) {
    static int watched[65536];
    int wants = !m->link->tells_room && (m->blocked || m->link->owes || (mode == udp_out && m->state == open_));
    if (!fresh && watched[m->link->fd] == wants) return;
    watched[m->link->fd] = wants;
    struct epoll_event e = {.events = EPOLLIN | (wants ? EPOLLOUT : 0), .data.ptr = m};
    epoll_ctl(epoll_fd, fresh ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, m->link->fd, &e);
}

static void time_passes(struct machine *m, double t) {
    if (m->state == resolving && t - m->sent_at > 0.1) arp(m);
    if (m->state == opening && t - m->sent_at > 0.5) syn(m);
    if (mode == udp_in && m->state == open_ && m->bytes == 0 && t - m->sent_at > 0.5) request(m);
    if (mode == tcp_out && m->state == open_ && m->una != m->nxt && t - m->progress_at > 0.2) {
        m->nxt = m->una, m->resent++, m->progress_at = t, m->duplicates = 0;
        pump(m);
    }
    watch(m, 0);
}

int main(int argc, char **argv) {
    const char *address = "10.0.2.2", *gateway = "10.0.2.1";
    int option, count = 1, mtu = 1500;
    while ((option = getopt(argc, argv, "a:g:m:n:")) != -1) {
        if (option == 'a') address = optarg;
        else if (option == 'g') gateway = optarg;
        else if (option == 'm') mtu = atoi(optarg);
        else if (option == 'n') count = atoi(optarg);
        else return 2;
    }
    char **words = argv + optind;
    int given = argc - optind;
    const char *modes[] = {"tcp-out", "tcp-in", "udp-out", "udp-in", "idle"};
    while (given >= 2 && mode <= idle && strcmp(words[1], modes[mode]) != 0) mode++;
    if (given < 2 || mode > idle || (mode != idle && given < 5)) {
        fprintf(stderr, "machine: see the head of bench/machine.c\n");
        return 2;
    }
    mss = mtu - IP - TCP;
    if (datagram > (uint32_t)mtu - IP - UDP) datagram = mtu - IP - UDP;
    seconds = mode == idle ? 1e9 : atof(words[4]);
    epoll_fd = epoll_create1(0);
    struct machine *machines = calloc(count, sizeof *machines);
    srand(getpid() ^ time(0));
    for (int i = 0; i < count; i++) {
        struct machine *m = &machines[i];
        m->link = link_open(words[0]);
        const uint8_t mac[6] = {0x52, 0x54, 0, 0x12, i >> 8, i};
        memcpy(m->mac, mac, 6);
        m->address = ntohl(inet_addr(address)) + i, m->gateway = ntohl(inet_addr(gateway));
        if (mode != idle) m->server = ntohl(inet_addr(words[2])), m->server_port = atoi(words[3]);
        m->port = 20000 + rand() % 40000, m->una = m->nxt = m->end = rand(), m->recover = m->una;
        arp(m);
        watch(m, 1);
    }
    if (mode == idle) {
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = 0};
        epoll_ctl(epoll_fd, EPOLL_CTL_ADD, 0, &e);
    }
    began = now();
    int announced = 0;
    double looked = 0;
    while (now() < began + seconds + (mode == udp_in ? 0.5 : 0)) {
        struct epoll_event events[256];
        int n = epoll_wait(epoll_fd, events, 256, 50);
        for (int i = 0; i < n; i++) {
            struct machine *m = events[i].data.ptr;
            if (!m) return 0; // the end of stdin
            if (events[i].events & ~EPOLLOUT && m->link->receive(m->link, take, m) < 0) fail("the link has ended");
            pump(m);
            watch(m, 0);
        }
        double t = now();
        if (t - looked < 0.05) continue;
        looked = t;
        int ready = 0;
        for (int i = 0; i < count; i++) {
            time_passes(&machines[i], t);
            ready += machines[i].state != resolving;
        }
        if (mode == idle && ready == count && !announced) {
            announced = 1;
            puts("ready");
            fflush(stdout);
        }
    }
    uint64_t bytes = 0, frames = 0, resent = 0, least = UINT64_MAX;
    for (int i = 0; i < count; i++) {
        bytes += machines[i].bytes, frames += machines[i].frames, resent += machines[i].resent;
        if (machines[i].bytes < least) least = machines[i].bytes;
    }
    if (bytes == 0) {
        fprintf(stderr, "machine: nothing passed (state %d)\n", machines[0].state);
        return 1;
    }
    printf("%.0f %.0f %lu", bytes / seconds, frames / seconds, resent);
    if (count > 1) printf(" %.0f %.0f", least / seconds, bytes / seconds / count);
    puts("");
    return 0;
}
