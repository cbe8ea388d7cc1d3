#define _GNU_SOURCE
#include "CHost.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

static const int socket_types[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET};

int host_link_listen(const char *path, int type) {
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof name.sun_path)
        return -ENAMETOOLONG;
    strcpy(name.sun_path, path);
    int fd = socket(AF_UNIX, socket_types[type] | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    int bound = bind(fd, (struct sockaddr *)&name, sizeof name);
    if (bound < 0 && errno == EADDRINUSE) {
        // Left behind by a process that was killed, or in use? Whoever is alive accepts a connection.
        struct stat status;
        int probe = socket(AF_UNIX, socket_types[type] | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        int answer = probe < 0 ? -1 : connect(probe, (struct sockaddr *)&name, sizeof name);
        int error = errno;
        if (probe >= 0)
            close(probe);
        if (answer < 0 && error == ECONNREFUSED && lstat(path, &status) == 0 && S_ISSOCK(status.st_mode) && unlink(path) == 0)
            bound = bind(fd, (struct sockaddr *)&name, sizeof name);
        else
            errno = EADDRINUSE;
    }
    if (bound == 0 && (type == host_link_datagram || listen(fd, 128) == 0))
        return fd;
    int error = errno;
    close(fd);
    return -error;
}

int host_link_listen_vsock(uint32_t port) {
    struct sockaddr_vm name = {.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = port};
    int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    if (bind(fd, (struct sockaddr *)&name, sizeof name) == 0 && listen(fd, 128) == 0)
        return fd;
    int error = errno;
    close(fd);
    return -error;
}

static int connected(int family, const void *name, socklen_t length) {
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    if (connect(fd, name, length) == 0 && fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK) == 0)
        return fd;
    int error = errno;
    close(fd);
    return -error;
}

int host_link_connect(const char *path) {
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof name.sun_path)
        return -ENAMETOOLONG;
    strcpy(name.sun_path, path);
    return connected(AF_UNIX, &name, sizeof name);
}

int host_link_connect_vsock(uint32_t cid, uint32_t port) {
    struct sockaddr_vm name = {.svm_family = AF_VSOCK, .svm_cid = cid, .svm_port = port};
    return connected(AF_VSOCK, &name, sizeof name);
}

uint32_t host_vsock_cid(void) {
    uint32_t cid = VMADDR_CID_ANY;
    int fd = open("/dev/vsock", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return cid;
    if (ioctl(fd, IOCTL_VM_SOCKETS_GET_LOCAL_CID, &cid) < 0)
        cid = VMADDR_CID_ANY;
    close(fd);
    return cid;
}

int host_serial_open(const char *path) {
    struct stat status;
    if (stat(path, &status) < 0)
        return -errno;
    if (!S_ISCHR(status.st_mode))
        return -ENOTTY;
    int fd = open(path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    struct termios modes;
    // A virtio port is no terminal and has no modes.
    if (tcgetattr(fd, &modes) == 0) {
        cfmakeraw(&modes);
        modes.c_cflag |= CLOCAL | CREAD;
        modes.c_cflag &= ~CRTSCTS;
        modes.c_iflag &= ~(IXOFF | IXANY);
        tcsetattr(fd, TCSANOW, &modes);
    }
    return fd;
}

int host_link_adopt(int fd) {
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
        return -errno;
    struct ifreq tap;
    memset(&tap, 0, sizeof tap);
    if (ioctl(fd, TUNGETIFF, &tap) == 0) {
        if (!(tap.ifr_flags & IFF_TAP))
            return -EPROTOTYPE;
        return tap.ifr_flags & IFF_VNET_HDR ? host_link_tap_virtio : host_link_tap;
    }
    int type = 0;
    socklen_t length = sizeof type;
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) < 0)
        return -errno;
    for (int i = 0; i < 3; i++)
        if (socket_types[i] == type)
            return i;
    return -EPROTONOSUPPORT;
}

void host_link_buffers(int fd) {
    // What the kernel allows without privilege (net.core.wmem_max, rmem_max).
    int room = 1 << 20;
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
}

#define BATCH 64

int host_receive_many(
    int fd, void *space, size_t stride, uint32_t *lengths, unsigned count, struct host_link_peer *peer) {
    struct mmsghdr messages[BATCH];
    struct iovec iov[BATCH];
    struct sockaddr_un names[BATCH];
    if (count > BATCH)
        count = BATCH;
    for (unsigned i = 0; i < count; i++) {
        iov[i] = (struct iovec){.iov_base = (char *)space + i * stride, .iov_len = stride};
        messages[i].msg_hdr = (struct msghdr){.msg_iov = &iov[i], .msg_iovlen = 1};
        if (peer) {
            messages[i].msg_hdr.msg_name = &names[i];
            messages[i].msg_hdr.msg_namelen = sizeof names[i];
        }
    }
    int n = recvmmsg(fd, messages, count, MSG_DONTWAIT, NULL);
    if (n < 0)
        return -errno;
    for (int i = 0; i < n; i++)
        lengths[i] = messages[i].msg_hdr.msg_flags & MSG_TRUNC ? UINT32_MAX : messages[i].msg_len;
    if (n > 0 && peer) {
        socklen_t length = messages[n - 1].msg_hdr.msg_namelen;
        // An unbound peer's name is its family alone.
        peer->length = length > sizeof(sa_family_t) && length <= sizeof peer->bytes ? length : 0;
        memcpy(peer->bytes, &names[n - 1], peer->length);
    }
    return n;
}

ssize_t host_link_send(int fd, const struct host_link_peer *peer, const void *bytes, size_t length) {
    const uint8_t *start = bytes;
    size_t done = 0;
    while (done < length) {
        struct mmsghdr messages[BATCH];
        struct iovec iov[BATCH];
        unsigned count = 0;
        for (size_t at = done; at + 4 <= length && count < BATCH; count++) {
            uint32_t size;
            memcpy(&size, start + at, 4);
            size = ntohl(size);
            iov[count] = (struct iovec){.iov_base = (void *)(start + at + 4), .iov_len = size};
            messages[count].msg_hdr = (struct msghdr){.msg_iov = &iov[count], .msg_iovlen = 1};
            if (peer) {
                messages[count].msg_hdr.msg_name = (void *)peer->bytes;
                messages[count].msg_hdr.msg_namelen = peer->length;
            }
            at += 4 + size;
        }
        int n = sendmmsg(fd, messages, count, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0)
            return done > 0 ? (ssize_t)done : -errno;
        for (int i = 0; i < n; i++)
            done += 4 + iov[i].iov_len;
        if ((unsigned)n < count)
            return (ssize_t)done;
    }
    return (ssize_t)done;
}

void host_link_close(int fd) {
    // Unix sockets reset a peer whose bytes nobody read; after the shutdown none can follow.
    char rest[4096];
    if (shutdown(fd, SHUT_RDWR) == 0)
        while (recv(fd, rest, sizeof rest, MSG_DONTWAIT) > 0)
            ;
    close(fd);
}

int host_tap_open_plain(const char *name) {
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    struct ifreq request;
    memset(&request, 0, sizeof request);
    request.ifr_flags = IFF_TAP | IFF_NO_PI;
    strncpy(request.ifr_name, name, IFNAMSIZ - 1);
    if (ioctl(fd, TUNSETIFF, &request) == 0)
        return fd;
    int error = errno;
    close(fd);
    return -error;
}

uint32_t host_tap_offloads(int fd) {
    int header = 10;
    if (ioctl(fd, TUNSETVNETHDRSZ, &header) < 0)
        return 0;
    // The kernel takes USO only for both families together, and since 6.2.
    static const unsigned sets[] = {
        TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN | TUN_F_USO4 | TUN_F_USO6,
        TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN,
        TUN_F_CSUM,
        0,
    };
    for (size_t i = 0; i < sizeof sets / sizeof sets[0]; i++)
        if (ioctl(fd, TUNSETOFFLOAD, (unsigned long)sets[i]) == 0)
            return sets[i];
    return 0;
}

void host_tap_carrier(int fd, int on) { ioctl(fd, TUNSETCARRIER, &on); }

int host_tap_read(int fd, void *space, size_t stride, uint32_t *lengths, unsigned count) {
    unsigned i = 0;
    for (; i < count; i++) {
        ssize_t n = read(fd, (char *)space + i * stride, stride);
        if (n < 0)
            return i > 0 ? (int)i : -errno;
        lengths[i] = (size_t)n == stride ? UINT32_MAX : (uint32_t)n;
    }
    return (int)i;
}

ssize_t host_tap_write(int fd, const void *bytes, size_t length) {
    const uint8_t *start = bytes;
    size_t done = 0;
    while (done + 4 <= length) {
        uint32_t size;
        memcpy(&size, start + done, 4);
        size = ntohl(size);
        // EIO: the interface is down. EINVAL: shorter than a header.
        if (write(fd, start + done + 4, size) < 0 && errno != EIO && errno != EINVAL)
            return done > 0 ? (ssize_t)done : -errno;
        done += 4 + size;
    }
    return (ssize_t)done;
}

ssize_t host_write(int fd, const void *bytes, size_t length) {
    // A socket's peer may be gone, which must not be a signal; stdio may be a pipe, which send(2) does not take.
    ssize_t n = send(fd, bytes, length, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0 && errno == ENOTSOCK)
        n = write(fd, bytes, length);
    return n < 0 ? -errno : n;
}
