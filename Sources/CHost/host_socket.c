#define _GNU_SOURCE
#include "CHost.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/errqueue.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef IPV6_RECVERR
#define IPV6_RECVERR 25
#endif

static socklen_t to_sockaddr(const struct host_address *a, struct sockaddr_storage *out) {
    memset(out, 0, sizeof *out);
    if (a->is_v4) {
        struct sockaddr_in *in = (struct sockaddr_in *)out;
        in->sin_family = AF_INET;
        in->sin_port = htons(a->port);
        memcpy(&in->sin_addr, a->bytes + 12, 4);
        return sizeof *in;
    }
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)out;
    in6->sin6_family = AF_INET6;
    in6->sin6_port = htons(a->port);
    memcpy(&in6->sin6_addr, a->bytes, 16);
    in6->sin6_scope_id = a->scope;
    return sizeof *in6;
}

static void from_sockaddr(const struct sockaddr *sa, struct host_address *out) {
    memset(out, 0, sizeof *out);
    if (sa->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)sa;
        out->bytes[10] = out->bytes[11] = 0xff;
        memcpy(out->bytes + 12, &in->sin_addr, 4);
        out->port = ntohs(in->sin_port);
        out->is_v4 = 1;
    } else if (sa->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)sa;
        memcpy(out->bytes, &in6->sin6_addr, 16);
        out->port = ntohs(in6->sin6_port);
        out->scope = in6->sin6_scope_id;
    } else {
        out->is_v4 = 2;
    }
}

// Closes a socket of which a call has failed: -errno of that call.
static int failed(int fd) {
    int error = errno;
    close(fd);
    return -error;
}

static int stream_socket(int family) {
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    // The guest's stack has decided what a segment is; ours must not wait for more.
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    // An urgent byte stays at its place in the stream: a read stops before it, and none is ever lost.
    setsockopt(fd, SOL_SOCKET, SO_OOBINLINE, &one, sizeof one);
    return fd;
}

int host_stream_connect(const struct host_address *to, int *in_progress) {
    struct sockaddr_storage sa;
    socklen_t length = to_sockaddr(to, &sa);
    int fd = stream_socket(sa.ss_family);
    if (fd < 0)
        return fd;
    *in_progress = 0;
    if (connect(fd, (struct sockaddr *)&sa, length) == 0)
        return fd;
    // A peer on this machine, or behind a veth, has answered by now, within the first call: ask once more, which costs less
    // than the turn through epoll that it saves.
    if (errno == EINPROGRESS && connect(fd, (struct sockaddr *)&sa, length) == 0)
        return fd;
    if (errno == EALREADY || errno == EINPROGRESS) {
        *in_progress = 1;
        return fd;
    }
    return failed(fd);
}

int host_stream_error(int fd) {
    int error = 0;
    socklen_t length = sizeof error;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0)
        return -errno;
    return -error;
}

void host_close(int fd, int reset) {
    if (reset) {
        struct linger now = {.l_onoff = 1, .l_linger = 0};
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    }
    close(fd);
}

int host_stream_listen(const struct host_address *at) {
    struct sockaddr_storage sa;
    socklen_t length = to_sockaddr(at, &sa);
    // Its options are inherited by what is accepted.
    int fd = stream_socket(sa.ss_family);
    if (fd < 0)
        return fd;
    // Connections of a former process may be in TIME-WAIT.
    int one = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (!at->is_v4)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
    // The kernel cuts the backlog to net.core.somaxconn.
    if (bind(fd, (struct sockaddr *)&sa, length) == 0 && listen(fd, 4096) == 0)
        return fd;
    return failed(fd);
}

int host_stream_accept(int listener, struct host_address *from) {
    struct sockaddr_storage sa;
    socklen_t length = sizeof sa;
    int fd = accept4(listener, (struct sockaddr *)&sa, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (from)
        from_sockaddr((struct sockaddr *)&sa, from);
    return fd;
}

int host_stream_pair(int pair[2]) {
    return socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) < 0 ? -errno : 0;
}

static int datagram_socket(int is_v4, int protocol) {
    int family = is_v4 ? AF_INET : AF_INET6;
    int fd = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);
    if (fd < 0)
        return -errno;
    int one = 1;
    if (is_v4) {
        setsockopt(fd, IPPROTO_IP, IP_RECVERR, &one, sizeof one);
        setsockopt(fd, IPPROTO_IP, IP_RECVTTL, &one, sizeof one);
        setsockopt(fd, IPPROTO_IP, IP_RECVTOS, &one, sizeof one);
    } else {
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
        setsockopt(fd, IPPROTO_IPV6, IPV6_RECVERR, &one, sizeof one);
        setsockopt(fd, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, &one, sizeof one);
        setsockopt(fd, IPPROTO_IPV6, IPV6_RECVTCLASS, &one, sizeof one);
    }
    return fd;
}

// What the kernel allows without privilege (rmem_max): a burst should outlive our turn.
static void large_buffers(int fd) {
    int room = 4 << 20;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
}

int host_udp_open(int is_v4, uint16_t port) {
    int fd = datagram_socket(is_v4, 0);
    if (fd < 0)
        return fd;
    large_buffers(fd);
    struct host_address any = {.port = port, .is_v4 = is_v4};
    struct sockaddr_storage sa;
    socklen_t length = to_sockaddr(&any, &sa);
    if (bind(fd, (struct sockaddr *)&sa, length) == 0)
        return fd;
    any.port = 0;
    length = to_sockaddr(&any, &sa);
    if (bind(fd, (struct sockaddr *)&sa, length) == 0)
        return fd;
    return failed(fd);
}

int host_udp_serve(const struct host_address *at) {
    int fd = datagram_socket(at->is_v4, 0);
    if (fd < 0)
        return fd;
    int one = 1;
    if (at->is_v4)
        setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &one, sizeof one);
    else
        setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &one, sizeof one);
    large_buffers(fd);
    struct sockaddr_storage sa;
    socklen_t length = to_sockaddr(at, &sa);
    if (bind(fd, (struct sockaddr *)&sa, length) == 0)
        return fd;
    return failed(fd);
}

int host_udp_connect(const struct host_address *to) {
    struct sockaddr_storage sa;
    socklen_t length = to_sockaddr(to, &sa);
    int fd = socket(sa.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    if (connect(fd, (struct sockaddr *)&sa, length) == 0)
        return fd;
    return failed(fd);
}

void host_datagram_fields(int fd, int is_v4, int hop_limit, int traffic_class, int dont_fragment) {
    int level = is_v4 ? IPPROTO_IP : IPPROTO_IPV6;
    setsockopt(fd, level, is_v4 ? IP_TTL : IPV6_UNICAST_HOPS, &hop_limit, sizeof hop_limit);
    setsockopt(fd, level, is_v4 ? IP_TOS : IPV6_TCLASS, &traffic_class, sizeof traffic_class);
    // Off: IPv4 goes out without DF, as it came; IPv6 is cut at the source to the path's MTU.
    int mode = dont_fragment ? IP_PMTUDISC_DO : is_v4 ? IP_PMTUDISC_DONT : IPV6_PMTUDISC_WANT;
    setsockopt(fd, level, is_v4 ? IP_MTU_DISCOVER : IPV6_MTU_DISCOVER, &mode, sizeof mode);
}

// A pending ICMP error makes one send fail with that error (ip(7)); the queue tells it properly, so try again.
static ssize_t send_message(int fd, const struct msghdr *message) {
    for (int attempt = 0; attempt < 3; attempt++) {
        ssize_t n = sendmsg(fd, message, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n >= 0)
            return n;
        if (errno != ECONNREFUSED && errno != EHOSTUNREACH && errno != ENETUNREACH)
            break;
    }
    return -errno;
}

static ssize_t send_to(int fd, const struct host_address *to, struct iovec *iov, int iovcnt) {
    struct sockaddr_storage sa;
    struct msghdr message = {.msg_name = &sa, .msg_iov = iov, .msg_iovlen = iovcnt};
    message.msg_namelen = to_sockaddr(to, &sa);
    return send_message(fd, &message);
}

ssize_t host_udp_send(int fd, const struct host_address *to, const void *bytes, size_t length) {
    struct iovec iov = {.iov_base = (void *)bytes, .iov_len = length};
    return send_to(fd, to, &iov, 1);
}

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif

static void put_segment(struct cmsghdr *c, uint16_t segment) {
    c->cmsg_level = IPPROTO_UDP;
    c->cmsg_type = UDP_SEGMENT;
    c->cmsg_len = CMSG_LEN(sizeof segment);
    memcpy(CMSG_DATA(c), &segment, sizeof segment);
}

ssize_t host_udp_send_train(int fd, const struct host_address *to, const void *bytes, size_t length, uint16_t segment) {
    struct sockaddr_storage sa;
    union {
        char bytes[CMSG_SPACE(sizeof(uint16_t))];
        struct cmsghdr align;
    } control;
    memset(&control, 0, sizeof control);
    struct iovec iov = {.iov_base = (void *)bytes, .iov_len = length};
    struct msghdr message = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
    if (to) {
        message.msg_name = &sa;
        message.msg_namelen = to_sockaddr(to, &sa);
    }
    put_segment(CMSG_FIRSTHDR(&message), segment);
    ssize_t n = sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    return n < 0 ? -errno : n;
}

ssize_t host_udp_send_from(int fd, const struct host_address *from, const struct host_address *to, const void *bytes,
    size_t length, uint16_t segment) {
    union {
        char bytes[CMSG_SPACE(sizeof(struct in6_pktinfo)) + CMSG_SPACE(sizeof segment)];
        struct cmsghdr align;
    } control = {0};
    struct sockaddr_storage sa;
    struct iovec iov = {.iov_base = (void *)bytes, .iov_len = length};
    struct msghdr message = {
        .msg_name = &sa, .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control};
    message.msg_namelen = to_sockaddr(to, &sa);
    struct cmsghdr *c = CMSG_FIRSTHDR(&message);
    size_t used;
    if (to->is_v4) {
        struct in_pktinfo info = {.ipi_ifindex = (int)from->scope};
        memcpy(&info.ipi_spec_dst, from->bytes + 12, 4);
        c->cmsg_level = IPPROTO_IP;
        c->cmsg_type = IP_PKTINFO;
        c->cmsg_len = CMSG_LEN(sizeof info);
        memcpy(CMSG_DATA(c), &info, sizeof info);
        used = CMSG_SPACE(sizeof info);
    } else {
        struct in6_pktinfo info = {.ipi6_ifindex = from->scope};
        memcpy(&info.ipi6_addr, from->bytes, 16);
        c->cmsg_level = IPPROTO_IPV6;
        c->cmsg_type = IPV6_PKTINFO;
        c->cmsg_len = CMSG_LEN(sizeof info);
        memcpy(CMSG_DATA(c), &info, sizeof info);
        used = CMSG_SPACE(sizeof info);
    }
    if (length > segment) {
        put_segment(CMSG_NXTHDR(&message, c), segment);
        used += CMSG_SPACE(sizeof segment);
    }
    message.msg_controllen = used;
    return send_message(fd, &message);
}

#define BATCH 64

int host_udp_receive(
    int fd, struct host_datagram *out, uint8_t *packed, size_t size, uint8_t *space, size_t stride, unsigned count) {
    struct mmsghdr messages[BATCH];
    struct iovec iov[BATCH][2];
    struct sockaddr_storage names[BATCH];
    union {
        char bytes[2 * CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(struct in6_pktinfo))];
        struct cmsghdr align;
    } controls[BATCH];
    if (count > BATCH)
        count = BATCH;
    for (unsigned i = 0; i < count; i++) {
        iov[i][0] = (struct iovec){.iov_base = packed + i * size, .iov_len = size};
        iov[i][1] = (struct iovec){.iov_base = space + i * stride + size, .iov_len = stride - size};
        messages[i].msg_hdr = (struct msghdr){
            .msg_name = &names[i],
            .msg_namelen = sizeof names[i],
            .msg_iov = iov[i],
            .msg_iovlen = 2,
            .msg_control = controls[i].bytes,
            .msg_controllen = sizeof controls[i].bytes,
        };
    }
    int n = recvmmsg(fd, messages, count, MSG_DONTWAIT, NULL);
    if (n < 0)
        return -errno;
    for (int i = 0; i < n; i++) {
        struct msghdr *m = &messages[i].msg_hdr;
        from_sockaddr((struct sockaddr *)&names[i], &out[i].from);
        out[i].length = messages[i].msg_len;
        if (messages[i].msg_len > size)
            memcpy(space + i * stride, packed + i * size, size);
        out[i].truncated = (m->msg_flags & MSG_TRUNC) != 0;
        out[i].hop_limit = 64;
        out[i].traffic_class = 0;
        for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
            int value = 0;
            memcpy(&value, CMSG_DATA(c), c->cmsg_len - CMSG_LEN(0) < sizeof value ? c->cmsg_len - CMSG_LEN(0) : sizeof value);
            if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
                struct in_pktinfo info;
                memcpy(&info, CMSG_DATA(c), sizeof info);
                struct sockaddr_in local = {.sin_family = AF_INET, .sin_addr = info.ipi_spec_dst};
                from_sockaddr((struct sockaddr *)&local, &out[i].to);
                out[i].to.scope = (uint32_t)info.ipi_ifindex;
                continue;
            }
            if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
                struct in6_pktinfo info;
                memcpy(&info, CMSG_DATA(c), sizeof info);
                struct sockaddr_in6 local = {.sin6_family = AF_INET6, .sin6_addr = info.ipi6_addr};
                from_sockaddr((struct sockaddr *)&local, &out[i].to);
                out[i].to.scope = info.ipi6_ifindex;
                continue;
            }
            if ((c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TTL) ||
                (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_HOPLIMIT))
                out[i].hop_limit = (uint8_t)value;
            if ((c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TOS) ||
                (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_TCLASS))
                out[i].traffic_class = (uint8_t)value;
        }
    }
    return n;
}

int host_echo_open(int is_v4) { return datagram_socket(is_v4, is_v4 ? IPPROTO_ICMP : IPPROTO_ICMPV6); }

ssize_t host_echo_send(int fd, const struct host_address *to, uint16_t sequence, const void *payload, size_t length) {
    // Type, code, checksum and identifier (both the kernel's), sequence.
    uint8_t header[8] = {to->is_v4 ? ICMP_ECHO : ICMP6_ECHO_REQUEST};
    header[6] = sequence >> 8;
    header[7] = sequence & 0xff;
    struct iovec iov[2] = {
        {.iov_base = header, .iov_len = sizeof header},
        {.iov_base = (void *)payload, .iov_len = length},
    };
    return send_to(fd, to, iov, 2);
}

int host_error_next(int fd, struct host_icmp_error *out) {
    struct sockaddr_storage name;
    union {
        char bytes[512];
        struct cmsghdr align;
    } control;
    // What was sent, as the error quotes it: for an echo socket from its ICMP header on.
    uint8_t quoted[64] = {0};
    struct iovec iov = {.iov_base = quoted, .iov_len = sizeof quoted};
    struct msghdr message = {
        .msg_name = &name,
        .msg_namelen = sizeof name,
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = control.bytes,
        .msg_controllen = sizeof control.bytes,
    };
    name.ss_family = AF_UNSPEC;
    if (recvmsg(fd, &message, MSG_ERRQUEUE | MSG_DONTWAIT) < 0)
        return errno == EAGAIN ? 0 : -errno;
    memset(out, 0, sizeof *out);
    out->offender.is_v4 = 2;
    out->sequence = (uint16_t)(quoted[6] << 8 | quoted[7]);
    from_sockaddr((struct sockaddr *)&name, &out->destination);
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
        if (!((c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_RECVERR) ||
                (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_RECVERR)))
            continue;
        struct sock_extended_err e;
        memcpy(&e, CMSG_DATA(c), sizeof e);
        out->error = (int32_t)e.ee_errno;
        out->type = e.ee_type;
        out->code = e.ee_code;
        out->information = e.ee_info;
        out->local = e.ee_origin == SO_EE_ORIGIN_LOCAL;
        if (!out->local)
            from_sockaddr(SO_EE_OFFENDER((struct sock_extended_err *)CMSG_DATA(c)), &out->offender);
    }
    return 1;
}

uint32_t host_path_mtu(const struct host_address *to) {
    struct sockaddr_storage sa;
    socklen_t length = to_sockaddr(to, &sa);
    int fd = socket(sa.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return 0;
    int mtu = 0;
    socklen_t size = sizeof mtu;
    if (connect(fd, (struct sockaddr *)&sa, length) == 0)
        getsockopt(fd, to->is_v4 ? IPPROTO_IP : IPPROTO_IPV6, to->is_v4 ? IP_MTU : IPV6_MTU, &mtu, &size);
    close(fd);
    return mtu > 0 ? (uint32_t)mtu : 0;
}

ssize_t host_frame_write(int fd, const void *offload, size_t offload_length, const void *header, size_t header_length,
    const void *payload, size_t payload_length) {
    struct iovec iov[3] = {
        {.iov_base = (void *)offload, .iov_len = offload_length},
        {.iov_base = (void *)header, .iov_len = header_length},
        {.iov_base = (void *)payload, .iov_len = payload_length},
    };
    ssize_t n = writev(fd, iov, payload_length > 0 ? 3 : 2);
    return n < 0 ? -errno : n;
}

ssize_t host_read(int fd, void *space, size_t length) {
    ssize_t n = read(fd, space, length);
    return n < 0 ? -errno : n;
}

ssize_t host_send(int fd, const void *bytes, size_t length) {
    ssize_t n = send(fd, bytes, length, MSG_DONTWAIT | MSG_NOSIGNAL);
    return n < 0 ? -errno : n;
}

ssize_t host_receive(int fd, void *space, size_t length) {
    ssize_t n = recv(fd, space, length, MSG_DONTWAIT);
    return n < 0 ? -errno : n;
}

ssize_t host_receive_pieces(int fd, const struct iovec *pieces, size_t count) {
    struct msghdr message = {.msg_iov = (struct iovec *)pieces, .msg_iovlen = count};
    ssize_t n = recvmsg(fd, &message, MSG_DONTWAIT);
    return n < 0 ? -errno : n;
}

ssize_t host_send_urgent(int fd, uint8_t byte) {
    int domain = 0;
    socklen_t length = sizeof domain;
    getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length);
    ssize_t n = send(fd, &byte, 1, MSG_DONTWAIT | MSG_NOSIGNAL | (domain == AF_UNIX ? 0 : MSG_OOB));
    return n < 0 ? -errno : n;
}

int host_urgent_waits(int fd) {
    struct pollfd p = {.fd = fd, .events = POLLPRI};
    return poll(&p, 1, 0) == 1 && (p.revents & POLLPRI) != 0;
}

int host_receive_urgent(int fd, uint8_t *byte) {
    int at_mark = 0;
    if (ioctl(fd, SIOCATMARK, &at_mark) == 0 && at_mark)
        return recv(fd, byte, 1, MSG_DONTWAIT) == 1;
    return host_urgent_waits(fd) ? 2 : 0;
}

void host_shutdown_write(int fd) { shutdown(fd, SHUT_WR); }

long host_preemptions(void) {
    struct rusage usage;
    return getrusage(RUSAGE_THREAD, &usage) == 0 ? usage.ru_nivcsw : 0;
}

int host_timer_open(void) {
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

void host_timer_set(int fd, long nanoseconds) {
    struct itimerspec spec = {.it_value = {.tv_sec = nanoseconds / 1000000000, .tv_nsec = nanoseconds % 1000000000}};
    timerfd_settime(fd, 0, &spec, NULL);
}
