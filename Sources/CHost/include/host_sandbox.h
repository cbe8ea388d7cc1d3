// The moments of a sandbox's life that Swift cannot import or may not be trusted with: clone, set-up of a tap by variadic
// ioctls, descriptors over sockets, namespaces, and the init process that lives inside. Every function returns a
// descriptor, a pid or 0, or -errno.
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

// fork(2) into new namespaces (CLONE_* flags). 0 in the child. The caller must be single-threaded.
int host_clone(int flags);
int host_new_user(void), host_new_net(void), host_new_mount(void), host_new_pid(void);

int host_unshare(int flags);
int host_setns(int fd, int type);
// The user namespace that owns a namespace (ioctl_ns(2) NS_GET_USERNS).
int host_owning_userns(int fd);
int host_pidfd_open(int pid);
int host_die_with_parent(void);
int host_no_new_privileges(void);

// Bits of what the kernel granted: TUN_F_* of linux/if_tun.h.
enum { host_tap_csum = 0x01, host_tap_tso4 = 0x02, host_tap_tso6 = 0x04, host_tap_ecn = 0x08, host_tap_uso4 = 0x20, host_tap_uso6 = 0x40 };
// A non-blocking tap with virtio headers of 10 bytes and as many offloads as the kernel has. *stage tells what failed:
// 1 opening /dev/net/tun, 2 creating the interface, 3 the virtio header. outlives_us: it stays when it is closed.
int host_tap_open(const char *name, int outlives_us, uint32_t *features, int *stage);

// One descriptor and up to `length` bytes over a Unix socket. Receiving gives the count of bytes; *fd is -1 if none came.
int host_send_fd(int socket, int fd, const void *bytes, size_t length);
ssize_t host_receive_fd(int socket, int *fd, void *bytes, size_t length);
int host_socket_pair(int pair[2]);

// A signalfd for the signals that are to be forwarded, which are blocked; host_signal_next gives one that another process sent
// (not the terminal: that one has reached the command already), or 0.
int host_forwardable_signals(void);
int host_signal_next(int fd);
// The foreground process group of the controlling terminal, and taking the terminal back from a group that has died with it in hand
// (an interactive shell inside cannot name our group, which is of another PID namespace, so it cannot give it back).
int host_terminal_group(void);
void host_terminal_take_back(void);
// A signalfd for SIGINT, SIGTERM and SIGHUP, which are blocked.
int host_stop_signals(void);

// Init says on `control` when the terminal's SIGTSTP has stopped the command. This stops the calling process too, so that the
// caller's shell learns of it, not before the command has put its terminal in order; once continued, it continues the command.
// 0, or -errno when `control` has ended.
int host_stop_with_command(int control);
// The sandbox's init: runs `argv`, forwards the signal numbers that arrive on `control` as bytes, reports stops on it, reaps, and returns the
// command's exit status (128+N for a signal, 127 not found, 126 not executable). When `control` ends, the parent is gone.
int host_init(int control, char *const argv[]);

int host_mount(const char *source, const char *target, const char *type, unsigned long flags, const char *data);
// Binds a file over a symbolic link itself, wherever that leads.
int host_mount_over_link(const char *source, const char *link);
int host_detach(const char *target);
unsigned long host_mount_bind(void), host_mount_private(void), host_mount_hardened(void), host_mount_read_only(void);

// rtnetlink (rtnetlink(7)): a socket, and one request with its acknowledgment.
int host_netlink_open(void);
int host_netlink_request(int fd, const void *message, size_t length);
