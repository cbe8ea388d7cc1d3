#define _GNU_SOURCE
#include "CHost.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/netlink.h>
#include <linux/nsfs.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
// glibc's fork cannot take namespace flags; the raw call leaves libc's caches alone, of which a single-threaded process has none
// that matter.
int host_clone(int flags) {
    long pid = syscall(SYS_clone, (unsigned long)flags | SIGCHLD, 0, 0, 0, 0);
    return pid < 0 ? -errno : (int)pid;
}

int host_new_user(void) { return CLONE_NEWUSER; }
int host_new_net(void) { return CLONE_NEWNET; }
int host_new_mount(void) { return CLONE_NEWNS; }
int host_new_pid(void) { return CLONE_NEWPID; }

int host_unshare(int flags) { return unshare(flags) < 0 ? -errno : 0; }
int host_setns(int fd, int type) { return setns(fd, type) < 0 ? -errno : 0; }

int host_owning_userns(int fd) {
    int owner = ioctl(fd, NS_GET_USERNS);
    return owner < 0 ? -errno : owner;
}

int host_pidfd_open(int pid) {
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (fd < 0)
        return -errno;
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    return fd;
}

int host_die_with_parent(void) { return prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 ? -errno : 0; }
int host_no_new_privileges(void) { return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : 0; }

int host_tap_open(const char *name, int outlives_us, uint32_t *features, int *stage) {
    *features = 0;
    *stage = 1;
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    struct ifreq request;
    memset(&request, 0, sizeof request);
    request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
    strncpy(request.ifr_name, name, IFNAMSIZ - 1);
    *stage = 2;
    if (ioctl(fd, TUNSETIFF, &request) < 0)
        goto failed;
    *stage = 3;
    int header = 10;
    if (ioctl(fd, TUNSETVNETHDRSZ, &header) < 0)
        goto failed;
    *features = host_tap_offloads(fd);
    if (outlives_us)
        ioctl(fd, TUNSETPERSIST, 1);
    return fd;
failed:;
    int error = errno;
    close(fd);
    return -error;
}

int host_send_fd(int socket, int fd, const void *bytes, size_t length) {
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {{0}};
    struct iovec iov = {.iov_base = (void *)bytes, .iov_len = length};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
    if (fd >= 0) {
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof control.bytes;
        struct cmsghdr *c = CMSG_FIRSTHDR(&message);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &fd, sizeof fd);
    }
    return sendmsg(socket, &message, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

ssize_t host_receive_fd(int socket, int *fd, void *bytes, size_t length) {
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec iov = {.iov_base = bytes, .iov_len = length};
    struct msghdr message = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
    *fd = -1;
    ssize_t n;
    do
        n = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c))
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
            memcpy(fd, CMSG_DATA(c), sizeof *fd);
    return n;
}

int host_socket_pair(int pair[2]) {
    return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0 ? -errno : 0;
}

static void forwardable(sigset_t *set) {
    static const int numbers[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH, SIGALRM, SIGVTALRM, SIGIO, SIGTSTP};
    sigemptyset(set);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        sigaddset(set, numbers[i]);
}

int host_forwardable_signals(void) {
    sigset_t set;
    forwardable(&set);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
        return -errno;
    int fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

int host_terminal_group(void) {
    int fd = open("/dev/tty", O_RDONLY | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int group = tcgetpgrp(fd);
    close(fd);
    return group < 0 ? -errno : group;
}

void host_terminal_take_back(void) {
    int fd = open("/dev/tty", O_RDONLY | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return;
    int group = tcgetpgrp(fd);
    // A group that still has processes, such as the caller's shell after Ctrl-Z and `bg`, keeps its terminal.
    if (group != getpgrp() && (group <= 0 || (kill(-group, 0) < 0 && errno == ESRCH))) {
        sigset_t stop;
        sigemptyset(&stop);
        sigaddset(&stop, SIGTTOU);
        sigprocmask(SIG_BLOCK, &stop, NULL);
        tcsetpgrp(fd, getpgrp());
    }
    close(fd);
}

int host_stop_with_command(int control) {
    unsigned char stop;
    ssize_t n = recv(control, &stop, 1, MSG_DONTWAIT);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    if (n == 0)
        return -EPIPE;
    // Without a terminal nobody would continue us.
    if (host_terminal_group() < 0)
        return 0;
    raise(SIGSTOP);
    unsigned char go = SIGCONT;
    send(control, &go, 1, MSG_NOSIGNAL);
    return 0;
}

int host_stop_signals(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
        return -errno;
    int fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

int host_signal_next(int fd) {
    struct signalfd_siginfo info;
    while (read(fd, &info, sizeof info) == sizeof info) {
        // SI_KERNEL and other positive codes: the terminal's own, sent to its whole foreground group. Except its hang-up, which
        // goes to the session's leader alone.
        if (info.ssi_code <= 0 || (info.ssi_signo == SIGHUP && getsid(0) == getpid()))
            return (int)info.ssi_signo;
    }
    return 0;
}

static int run_command(char *const argv[], const sigset_t *mask) {
    sigprocmask(SIG_SETMASK, mask, NULL);
    execvp(argv[0], argv);
    int error = errno;
    fprintf(stderr, "portolan: error: cannot run %s: %s\n", argv[0], strerror(error));
    _exit(error == ENOENT || error == ENOTDIR ? 127 : 126);
}

static int exit_status(int status) {
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

// Closes what init inherited and does not need: only the command shall hold the far ends of its pipes open, so that their readers
// see the end when the command closes them.
static void let_go(int control, int children) {
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd = 0; fd <= 2 && null >= 0; fd++)
        dup2(null, fd);
    int low = control < children ? control : children, high = control < children ? children : control;
    close_range(3, (unsigned)low - 1, 0);
    if (high > low + 1)
        close_range((unsigned)low + 1, (unsigned)high - 1, 0);
    close_range((unsigned)high + 1, ~0U, 0);
}

int host_init(int control, char *const argv[]) {
    sigset_t all, before;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    // Neither may be one of the three that let_go replaces (a caller may start us with those closed).
    control = fcntl(control, F_DUPFD_CLOEXEC, 3);
    if (control < 0)
        return 125;
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    int handle = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
    int children = fcntl(handle, F_DUPFD_CLOEXEC, 3);
    int command = fork();
    if (command < 0)
        return 125;
    if (command == 0)
        return run_command(argv, &before);
    let_go(control, children);
    for (;;) {
        struct pollfd fds[2] = {{.fd = control, .events = POLLIN}, {.fd = children, .events = POLLIN}};
        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            return 125;
        struct signalfd_siginfo ignored;
        while (read(children, &ignored, sizeof ignored) > 0)
            ;
        int status, pid;
        while ((pid = waitpid(-1, &status, WNOHANG | WUNTRACED)) > 0) {
            if (pid != command)
                continue;
            if (!WIFSTOPPED(status))
                return exit_status(status);
            // The other stop signals of a terminal reach portolan by themselves; SIGSTOP is between processes inside.
            unsigned char stop = SIGTSTP;
            if (WSTOPSIG(status) == SIGTSTP)
                send(control, &stop, 1, MSG_DONTWAIT | MSG_NOSIGNAL);
        }
        if (fds[0].revents) {
            unsigned char number;
            ssize_t n = recv(control, &number, 1, MSG_DONTWAIT);
            if (n == 1)
                kill(command, number);
            else if (n == 0 || (errno != EAGAIN && errno != EINTR))
                return 137; // The parent is gone, and so are we, with everything in our PID namespace.
        }
    }
}

int host_mount(const char *source, const char *target, const char *type, unsigned long flags, const char *data) {
    return mount(source, target, type, flags, data) < 0 ? -errno : 0;
}
int host_mount_over_link(const char *source, const char *link) {
    int fd = open(link, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    char target[32];
    snprintf(target, sizeof target, "/proc/self/fd/%d", fd);
    int code = host_mount(source, target, NULL, MS_BIND, NULL);
    close(fd);
    return code;
}
int host_detach(const char *target) { return umount2(target, MNT_DETACH) < 0 ? -errno : 0; }
unsigned long host_mount_bind(void) { return MS_BIND; }
unsigned long host_mount_private(void) { return MS_REC | MS_PRIVATE; }
unsigned long host_mount_hardened(void) { return MS_NOSUID | MS_NODEV | MS_NOEXEC; }
unsigned long host_mount_read_only(void) { return MS_RDONLY; }

int host_netlink_open(void) {
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    return fd < 0 ? -errno : fd;
}

int host_netlink_request(int fd, const void *message, size_t length) {
    if (send(fd, message, length, 0) < 0)
        return -errno;
    char answer[8192];
    ssize_t n = recv(fd, answer, sizeof answer, 0);
    if (n < 0)
        return -errno;
    const struct nlmsghdr *header = (const struct nlmsghdr *)answer;
    if (n < (ssize_t)(sizeof *header + sizeof(int)) || header->nlmsg_type != NLMSG_ERROR)
        return -EPROTO;
    int error;
    memcpy(&error, answer + sizeof *header, sizeof error);
    return error;
}
