#define _GNU_SOURCE
#include "CHost.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

ssize_t host_vhost_receive(int fd, void *bytes, size_t length, int *descriptors, int room, int *count) {
    enum { most = 32 };
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(most * sizeof(int))];
    } control;
    struct iovec iov = {.iov_base = bytes, .iov_len = length};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    *count = 0;
    ssize_t n = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n < 0)
        return -errno;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        int given = (int)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        for (int i = 0; i < given; i++) {
            int one;
            memcpy(&one, CMSG_DATA(c) + i * sizeof one, sizeof one);
            if (*count < room)
                descriptors[(*count)++] = one;
            else
                close(one);
        }
    }
    return n;
}

int host_vhost_is_eventfd(int fd) {
    static const char wanted[] = "anon_inode:[eventfd]";
    char path[40], is[sizeof wanted];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(path, is, sizeof is);
    return n < 0 || (n == sizeof wanted - 1 && memcmp(is, wanted, (size_t)n) == 0);
}

// Mappings that a SIGBUS may come from. A signal handler reads them, so they are never moved; a free one has no length.
static struct {
    char *volatile start;
    volatile size_t length;
} guarded[1024];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct sigaction before;

static void shrunk(int signal, siginfo_t *info, void *context) {
    char *at = info->si_addr;
    for (size_t i = 0; i < sizeof guarded / sizeof *guarded; i++) {
        char *start = guarded[i].start;
        size_t length = guarded[i].length;
        if (length == 0 || at < start || at >= start + length)
            continue;
        // Without a reserve: a region may be larger than all memory, when its file has holes.
        // mmap(2) is a plain system call: nothing here that an interrupted malloc could mind.
        int saved = errno;
        void *replaced = mmap(start, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
        errno = saved;
        if (replaced != MAP_FAILED)
            return;
    }
    // Not ours: as if this handler were not there. The access happens again.
    (void)context;
    sigaction(signal, &before, NULL);
}

void *host_vhost_map(int fd, size_t length) {
    pthread_mutex_lock(&lock);
    static int is_watched;
    if (!is_watched) {
        struct sigaction action = {.sa_sigaction = shrunk, .sa_flags = SA_SIGINFO};
        is_watched = sigaction(SIGBUS, &action, &before) == 0;
    }
    void *start = NULL;
    for (size_t i = 0; is_watched && i < sizeof guarded / sizeof *guarded; i++) {
        if (guarded[i].length != 0)
            continue;
        start = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (start == MAP_FAILED) {
            start = NULL;
            break;
        }
        // A core dump of ours is not to hold a guest's memory.
        madvise(start, length, MADV_DONTDUMP);
        guarded[i].start = start;
        guarded[i].length = length;
        break;
    }
    pthread_mutex_unlock(&lock);
    return start;
}

void host_vhost_unmap(void *start, size_t length) {
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < sizeof guarded / sizeof *guarded; i++)
        if (guarded[i].start == start && guarded[i].length == length)
            guarded[i].length = 0;
    munmap(start, length);
    pthread_mutex_unlock(&lock);
}
