// Files: small ones as a whole, and those beneath a directory, for names that a machine sends.
#pragma once

#include <stddef.h>

// Reads the start of a file, `limit` bytes at most. Returns how many, or -errno.
long host_file_read(const char *path, void *bytes, size_t limit);

// Opens a regular file for reading, without ever leaving the directory: openat2(2) with RESOLVE_BENEATH, so that symbolic links may
// lead about inside it. Where the kernel has no openat2, every component is opened by itself, and links are refused. Returns a descriptor or -errno.
int host_open_beneath(int directory, const char *path);
