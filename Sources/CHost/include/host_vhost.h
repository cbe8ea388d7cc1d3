// vhost-user: what Swift cannot say. Fences on memory that a guest shares, descriptors with a message, and a guard against a file
// that shrinks beneath a mapping.
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

// Reads up to `length` bytes and up to `room` descriptors. Returns the bytes, 0 at the end, or -errno; `count` is how many descriptors came.
// What does not fit is closed.
ssize_t host_vhost_receive(int fd, void *bytes, size_t length, int *descriptors, int room, int *count);

// 1 when a descriptor is an eventfd, or there is no /proc to say so.
int host_vhost_is_eventfd(int fd);

// Maps `length` bytes of a shared file from its start, guarded: when the file turns out to be shorter, now or later, zeros are read and
// what is written is lost, instead of SIGBUS. NULL when it cannot be mapped.
void *host_vhost_map(int fd, size_t length);
void host_vhost_unmap(void *start, size_t length);

// The other side reads and writes these at any time (VIRTIO 1.2 section 2.7.13).
static inline uint16_t host_ring_load(const void *at) { return __atomic_load_n((const uint16_t *)at, __ATOMIC_ACQUIRE); }
static inline void host_ring_store(void *at, uint16_t value) { __atomic_store_n((uint16_t *)at, value, __ATOMIC_RELEASE); }
static inline void host_ring_fence(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
