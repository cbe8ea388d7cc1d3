// delay: a long wire between two taps, since not every kernel has netem.
//
//   delay MILLISECONDS MBIT_PER_SECOND QUEUE_BYTES NETNS NAME NETNS NAME
//
// makes the tap NAME in each of two network namespaces (files as in /proc/PID/ns/net) and prints "ready". A frame that one of them
// sends first waits for its turn to pass at the given rate, behind no more than QUEUE_BYTES of others (one that finds the queue full
// is lost, counted on stderr at SIGTERM), and then takes the given time to the other tap. Each direction has its own rate, queue
// and delay.
//
// The taps carry virtio headers and offer every offload. Frames pass as they are, so a super-frame of 64 KiB is one frame here, and
// a gigabit is some 2,000 of them a second: little enough for a machine whose two cores also run the three TCPs. The price: a
// super-frame arrives at once, after the time that all of it needs, and the headers that a real wire would add for each segment
// are not counted (4 %).
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

/// A virtio header, an Ethernet header and the largest IP packet.
enum { LARGEST = 10 + 14 + 65535, TURN = 64 };

struct frame {
    struct frame *next;
    /// When the last of its bits has passed the narrowest place, and when it arrives; nanoseconds.
    int64_t passed, arrives;
    uint32_t length;
    uint8_t bytes[];
};

/// What goes one way. The frames from `waiting` on have not passed the narrow place yet; they alone count as the queue.
struct direction {
    int from, to;
    struct frame *first, **end, *waiting;
    int64_t free_at;
    uint64_t queued, lost;
};

static int64_t delay, queue_limit;
static double nanoseconds_per_byte;
static volatile sig_atomic_t ended;

static void fail(const char *what) {
    fprintf(stderr, "delay: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static int open_tap(const char *namespace, const char *name) {
    int file = open(namespace, O_RDONLY | O_CLOEXEC);
    if (file < 0 || setns(file, CLONE_NEWNET) != 0) fail(namespace);
    close(file);
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) fail("/dev/net/tun");
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
    strncpy(request.ifr_name, name, IFNAMSIZ - 1);
    if (ioctl(fd, TUNSETIFF, &request) != 0) fail("TUNSETIFF");
    if (ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN) != 0) fail("TUNSETOFFLOAD");
    return fd;
}

/// What has passed the narrow place by `time` leaves the queue.
static void pass(struct direction *way, int64_t time) {
    for (; way->waiting && way->waiting->passed <= time; way->waiting = way->waiting->next) way->queued -= way->waiting->length;
}

static void take(struct direction *way) {
    static uint8_t buffer[LARGEST];
    for (int i = 0; i < TURN; i++) {
        ssize_t length = read(way->from, buffer, sizeof buffer);
        if (length <= 0) {
            if (length < 0 && errno != EAGAIN && errno != EINTR) fail("read");
            return;
        }
        int64_t time = now();
        pass(way, time);
        if (way->queued + length > (uint64_t)queue_limit) {
            way->lost++;
            continue;
        }
        struct frame *frame = malloc(sizeof *frame + length);
        if (!frame) fail("malloc");
        if (way->free_at < time) way->free_at = time;
        way->free_at += length * nanoseconds_per_byte;
        *frame = (struct frame){.passed = way->free_at, .arrives = way->free_at + delay, .length = length};
        memcpy(frame->bytes, buffer, length);
        *way->end = frame;
        way->end = &frame->next;
        if (!way->waiting) way->waiting = frame;
        way->queued += length;
    }
}

/// Delivers what has arrived by now; returns when the next frame will have, INT64_MAX when there is none.
static int64_t deliver(struct direction *way) {
    int64_t time = now();
    pass(way, time);
    while (way->first && way->first->arrives <= time) {
        struct frame *frame = way->first;
        // A tap that is down or full loses the frame, as a wire would.
        if (write(way->to, frame->bytes, frame->length) < 0) way->lost++;
        if (!(way->first = frame->next)) way->end = &way->first;
        free(frame);
    }
    return way->first ? way->first->arrives : INT64_MAX;
}

static void end(int number) {
    (void)number;
    ended = 1;
}

int main(int argc, char **argv) {
    if (argc != 8) {
        fprintf(stderr, "delay: see the head of Tests/e2e/delay.c\n");
        return 2;
    }
    delay = atof(argv[1]) * 1e6;
    nanoseconds_per_byte = 8e3 / atof(argv[2]);
    queue_limit = atoll(argv[3]);
    int a = open_tap(argv[4], argv[5]), b = open_tap(argv[6], argv[7]);
    struct direction ways[2] = {{.from = a, .to = b}, {.from = b, .to = a}};
    for (int i = 0; i < 2; i++) ways[i].end = &ways[i].first;
    // Else the kernel may wake us 50 us late.
    prctl(PR_SET_TIMERSLACK, 1000);
    signal(SIGTERM, end);
    puts("ready");
    fflush(stdout);
    while (!ended) {
        int64_t first = INT64_MAX;
        for (int i = 0; i < 2; i++) {
            int64_t next = deliver(&ways[i]);
            if (next < first) first = next;
        }
        int64_t pause = first == INT64_MAX ? 1000000000 : first - now();
        struct timespec timeout = {0};
        if (pause > 0) timeout = (struct timespec){pause / 1000000000, pause % 1000000000};
        struct pollfd fds[2] = {{.fd = a, .events = POLLIN}, {.fd = b, .events = POLLIN}};
        if (ppoll(fds, 2, &timeout, NULL) < 0 && errno != EINTR) fail("ppoll");
        for (int i = 0; i < 2; i++)
            if (fds[i].revents) take(&ways[i]);
    }
    fprintf(stderr, "delay: lost %llu and %llu frames\n", (unsigned long long)ways[0].lost, (unsigned long long)ways[1].lost);
    return 0;
}
