// load: the load that bench/compare puts on a network, and the server it talks to.
//
//   load serve PORT COUNT             TCP echo on COUNT ports from PORT, every address; prints "ready"
//   load rr HOST PORT SECONDS         one byte there and back, again and again; "MEDIAN P99 COUNT" in microseconds
//   load crr HOST PORT SECONDS        connect, one byte there and back, close; "PER_SECOND FAILURES"
//   load idle HOST PORT COUNT         opens COUNT connections, prints "open N", holds them until its stdin ends
//   load udp-recv PORT                counts what arrives until 0.7 s of silence; "COUNT"
//   load udp-send HOST PORT SIZE SECONDS   as fast as it can; "SENT"
//   load udp-source HOST PORT         waits for a request (SIZE SECONDS), sends that as fast as it can; "SENT"
//   load udp-pull HOST PORT SIZE SECONDS   asks udp-source, counts until 0.7 s of silence; "COUNT"
//   load dns HOST SUFFIX SECONDS DISTINCT  A queries over UDP, 16 in flight; "PER_SECOND LOST"; DISTINCT 1: a new name each
//   load sink PORT                    reads and forgets what TCP clients send; prints "ready"
//   load source PORT                  sends zeros to TCP clients until they go; prints "ready"
//   load time COUNT CMD...            runs CMD that often; the milliseconds of each run
//
// Every mode ends by itself. Numbers go to stdout; what went wrong goes to stderr with exit status 1.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static void fail(const char *what) {
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static struct sockaddr_storage resolve(const char *host, int port, socklen_t *length) {
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV}, *list;
    char service[8];
    snprintf(service, sizeof service, "%d", port);
    if (getaddrinfo(host, service, &hints, &list) != 0) {
        fprintf(stderr, "load: not an address: %s\n", host);
        exit(1);
    }
    struct sockaddr_storage address = {0};
    memcpy(&address, list->ai_addr, list->ai_addrlen);
    *length = list->ai_addrlen;
    freeaddrinfo(list);
    return address;
}

static int bound(int type, int port) {
    int s = socket(AF_INET6, type, 0), on = 1, off = 0;
    if (s < 0) fail("socket");
    setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    setsockopt(s, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = in6addr_any};
    if (bind(s, (struct sockaddr *)&a, sizeof a) < 0) fail("bind");
    return s;
}

static void nodelay(int s) {
    int on = 1;
    setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static void serve(int port, int count) {
    int poll = epoll_create1(0);
    int last_listener = 0;
    for (int i = 0; i < count; i++) {
        int s = bound(SOCK_STREAM | SOCK_NONBLOCK, port + i);
        if (listen(s, 4096) < 0) fail("listen");
        struct epoll_event e = {.events = EPOLLIN, .data.fd = s};
        epoll_ctl(poll, EPOLL_CTL_ADD, s, &e);
        last_listener = s;
    }
    puts("ready");
    fflush(stdout);
    for (;;) {
        struct epoll_event events[256];
        int n = epoll_wait(poll, events, 256, -1);
        for (int i = 0; i < n; i++) {
            int s = events[i].data.fd;
            if (s <= last_listener) {
                int c;
                while ((c = accept4(s, 0, 0, SOCK_NONBLOCK)) >= 0) {
                    nodelay(c);
                    struct epoll_event e = {.events = EPOLLIN, .data.fd = c};
                    epoll_ctl(poll, EPOLL_CTL_ADD, c, &e);
                }
            } else {
                char buffer[4096];
                ssize_t got = read(s, buffer, sizeof buffer);
                if (got <= 0 && !(got < 0 && errno == EAGAIN))
                    close(s);
                else if (got > 0 && write(s, buffer, got) < 0)
                    close(s);
            }
        }
    }
}

static int connected(const struct sockaddr_storage *address, socklen_t length, int type) {
    int s = socket(address->ss_family, type, 0);
    if (s < 0) return -1;
    if (connect(s, (const struct sockaddr *)address, length) < 0) {
        int e = errno;
        close(s);
        errno = e;
        return -1;
    }
    if (type == SOCK_STREAM) nodelay(s);
    struct timeval limit = {.tv_sec = 5};
    setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    return s;
}

static int ping(int s) {
    char byte = 'x';
    return write(s, &byte, 1) == 1 && read(s, &byte, 1) == 1;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int rr(const char *host, int port, double seconds) {
    socklen_t length;
    struct sockaddr_storage a = resolve(host, port, &length);
    int s = connected(&a, length, SOCK_STREAM);
    if (s < 0) fail("connect");
    size_t room = 1 << 21, n = 0;
    double *times = malloc(room * sizeof *times);
    for (int i = 0; i < 200; i++)
        if (!ping(s)) fail("ping");
    for (double end = now() + seconds, t = now(); t < end && n < room;) {
        if (!ping(s)) fail("ping");
        double after = now();
        times[n++] = (after - t) * 1e6;
        t = after;
    }
    qsort(times, n, sizeof *times, by_value);
    printf("%.1f %.1f %zu\n", times[n / 2], times[n * 99 / 100], n);
    return 0;
}

static int crr(const char *host, int port, double seconds) {
    socklen_t length;
    struct sockaddr_storage a = resolve(host, port, &length);
    double began = now();
    long good = 0, bad = 0;
    while (now() < began + seconds && bad < 100) {
        int s = connected(&a, length, SOCK_STREAM);
        if (s >= 0 && ping(s))
            good++;
        else
            bad++;
        if (s >= 0) close(s);
    }
    printf("%.1f %ld\n", good / (now() - began), bad);
    return 0;
}

static int idle(const char *host, int port, int count) {
    socklen_t length;
    struct sockaddr_storage a = resolve(host, port, &length);
    int open = 0;
    double end = now() + 60;
    for (; open < count && now() < end; open++) {
        int s = connected(&a, length, SOCK_STREAM);
        if (s < 0 || !ping(s)) {
            fprintf(stderr, "load: after %d connections: %s\n", open, strerror(errno));
            break;
        }
    }
    printf("open %d\n", open);
    fflush(stdout);
    char byte;
    while (read(0, &byte, 1) > 0) {}
    return 0;
}

// Counts datagrams until `quiet` seconds pass without one; waits up to 10 s for the first.
static long count_until_silence(int s, double quiet) {
    enum { batch = 64 };
    static char buffers[batch][65536];
    struct mmsghdr messages[batch] = {0};
    struct iovec vectors[batch];
    for (int i = 0; i < batch; i++) {
        vectors[i] = (struct iovec){buffers[i], sizeof buffers[i]};
        messages[i].msg_hdr.msg_iov = &vectors[i];
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    long count = 0;
    struct pollfd p = {.fd = s, .events = POLLIN};
    while (poll(&p, 1, count == 0 ? 10000 : (int)(quiet * 1000)) > 0) {
        int n = recvmmsg(s, messages, batch, MSG_DONTWAIT, 0);
        if (n > 0) count += n;
    }
    return count;
}

static void large_buffer(int s) {
    int size = 4 << 20;
    setsockopt(s, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
}

static int udp_recv(int port) {
    int s = bound(SOCK_DGRAM, port);
    large_buffer(s);
    puts("ready");
    fflush(stdout);
    printf("%ld\n", count_until_silence(s, 0.7));
    return 0;
}

// Sends until the time is up; a full queue (ENOBUFS, EAGAIN) or an ICMP error is not a datagram sent.
static long blast(int s, const struct sockaddr *to, socklen_t length, int size, double seconds) {
    static char data[65536];
    long sent = 0;
    for (double end = now() + seconds; now() < end;)
        for (int i = 0; i < 16; i++)
            if (sendto(s, data, size, 0, to, length) == size) sent++;
    return sent;
}

static int udp_send(const char *host, int port, int size, double seconds) {
    socklen_t length;
    struct sockaddr_storage a = resolve(host, port, &length);
    int s = socket(a.ss_family, SOCK_DGRAM, 0);
    printf("%ld\n", blast(s, (struct sockaddr *)&a, length, size, seconds));
    return 0;
}

static int udp_source(const char *host, int port) {
    // Bound to the one address: an answer from the server's other address would not be the client's.
    socklen_t own;
    struct sockaddr_storage a = resolve(host, port, &own);
    int s = socket(a.ss_family, SOCK_DGRAM, 0);
    if (bind(s, (struct sockaddr *)&a, own) < 0) fail("bind");
    puts("ready");
    fflush(stdout);
    char text[64] = {0};
    struct sockaddr_storage from;
    socklen_t length = sizeof from;
    if (recvfrom(s, text, sizeof text - 1, 0, (struct sockaddr *)&from, &length) < 0) fail("recvfrom");
    printf("%ld\n", blast(s, (struct sockaddr *)&from, length, atoi(text), atof(strchr(text, ' '))));
    return 0;
}

static int udp_pull(const char *host, int port, int size, double seconds) {
    socklen_t length;
    struct sockaddr_storage a = resolve(host, port, &length);
    int s = connected(&a, length, SOCK_DGRAM);
    large_buffer(s);
    char text[64];
    int n = snprintf(text, sizeof text, "%d %f", size, seconds);
    if (send(s, text, n, 0) < 0) fail("send");
    printf("%ld\n", count_until_silence(s, 0.7));
    return 0;
}

static int query(uint8_t *out, uint16_t id, const char *suffix, long number) {
    char name[200];
    snprintf(name, sizeof name, "n%ld.%s", number, suffix);
    memset(out, 0, 12);
    out[0] = id >> 8, out[1] = id, out[2] = 1, out[5] = 1;
    int at = 12;
    for (char *label = strtok(name, "."); label; label = strtok(0, ".")) {
        int length = strlen(label);
        out[at++] = length;
        memcpy(out + at, label, length);
        at += length;
    }
    memcpy(out + at, "\0\0\1\0\1", 5);
    return at + 5;
}

static int dns(const char *host, const char *suffix, double seconds, int distinct) {
    enum { in_flight = 16 };
    socklen_t length;
    struct sockaddr_storage a = resolve(host, 53, &length);
    int s = connected(&a, length, SOCK_DGRAM);
    if (s < 0) fail("connect");
    double sent_at[in_flight], began = now();
    uint16_t ids[in_flight];
    long answered = 0, lost = 0, number = (long)(began * 1000) % 1000000 * 1000;
    uint8_t packet[1500];
    uint16_t next = 1;
    for (int i = 0; i < in_flight; i++) sent_at[i] = 0;
    while (now() < began + seconds) {
        double t = now();
        for (int i = 0; i < in_flight; i++) {
            if (sent_at[i] != 0 && t - sent_at[i] < 1) continue;
            if (sent_at[i] != 0) lost++;
            ids[i] = (uint16_t)(next++ * in_flight + i);
            int n = query(packet, ids[i], suffix, distinct ? number++ : 1);
            sent_at[i] = t;
            (void)!send(s, packet, n, 0);
        }
        struct pollfd p = {.fd = s, .events = POLLIN};
        if (poll(&p, 1, 100) <= 0) continue;
        ssize_t n;
        while ((n = recv(s, packet, sizeof packet, MSG_DONTWAIT)) >= 12) {
            uint16_t id = packet[0] << 8 | packet[1];
            int slot = id % in_flight;
            int good = (packet[3] & 15) == 0 && packet[7] > 0;
            if (sent_at[slot] != 0 && ids[slot] == id) {
                if (good) answered++; else lost++;
                sent_at[slot] = now();
                ids[slot] = (uint16_t)(next++ * in_flight + slot);
                int m = query(packet, ids[slot], suffix, distinct ? number++ : 1);
                (void)!send(s, packet, m, 0);
            }
        }
    }
    printf("%.1f %ld\n", answered / (now() - began), lost);
    return 0;
}

// Both ends of bulk transfers without a protocol of their own. Each ready connection gets one call a round: none starves.
static void bulk(int port, int sends) {
    static char data[1 << 18];
    int poll = epoll_create1(0), listener = bound(SOCK_STREAM | SOCK_NONBLOCK, port);
    if (listen(listener, 4096) < 0) fail("listen");
    struct epoll_event e = {.events = EPOLLIN, .data.fd = listener};
    epoll_ctl(poll, EPOLL_CTL_ADD, listener, &e);
    puts("ready");
    fflush(stdout);
    for (;;) {
        struct epoll_event events[256];
        int n = epoll_wait(poll, events, 256, -1);
        for (int i = 0; i < n; i++) {
            int s = events[i].data.fd;
            if (s == listener) {
                int c;
                while ((c = accept4(s, 0, 0, SOCK_NONBLOCK)) >= 0) {
                    struct epoll_event client = {.events = sends ? EPOLLOUT : EPOLLIN, .data.fd = c};
                    epoll_ctl(poll, EPOLL_CTL_ADD, c, &client);
                }
                continue;
            }
            ssize_t moved = sends ? send(s, data, sizeof data, MSG_NOSIGNAL) : recv(s, data, sizeof data, 0);
            if (moved == 0 || (moved < 0 && errno != EAGAIN)) close(s);
        }
    }
}

static int time_runs(int count, char **command) {
    for (int i = 0; i < count; i++) {
        double began = now();
        pid_t child;
        int status;
        if (posix_spawnp(&child, command[0], 0, 0, command, environ) != 0) fail(command[0]);
        waitpid(child, &status, 0);
        if (status != 0) {
            fprintf(stderr, "load: %s ended with status %d\n", command[0], WEXITSTATUS(status));
            return 1;
        }
        printf("%.2f\n", (now() - began) * 1e3);
    }
    return 0;
}

int main(int argc, char **argv) {
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    const char *mode = argc > 1 ? argv[1] : "";
#define MODE(name, needed) (strcmp(mode, name) == 0 && argc >= 2 + needed)
    if (MODE("serve", 2)) serve(atoi(argv[2]), atoi(argv[3]));
    if (MODE("rr", 3)) return rr(argv[2], atoi(argv[3]), atof(argv[4]));
    if (MODE("crr", 3)) return crr(argv[2], atoi(argv[3]), atof(argv[4]));
    if (MODE("idle", 3)) return idle(argv[2], atoi(argv[3]), atoi(argv[4]));
    if (MODE("udp-recv", 1)) return udp_recv(atoi(argv[2]));
    if (MODE("udp-send", 4)) return udp_send(argv[2], atoi(argv[3]), atoi(argv[4]), atof(argv[5]));
    if (MODE("udp-source", 2)) return udp_source(argv[2], atoi(argv[3]));
    if (MODE("udp-pull", 4)) return udp_pull(argv[2], atoi(argv[3]), atoi(argv[4]), atof(argv[5]));
    if (MODE("dns", 4)) return dns(argv[2], argv[3], atof(argv[4]), atoi(argv[5]));
    if (MODE("sink", 1)) bulk(atoi(argv[2]), 0);
    if (MODE("source", 1)) bulk(atoi(argv[2]), 1);
    if (MODE("time", 2)) return time_runs(atoi(argv[2]), argv + 3);
    fprintf(stderr, "load: see the head of bench/load.c\n");
    return 2;
}
