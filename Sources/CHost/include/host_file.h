// Files beneath a directory, for names that a machine sends. Returns a descriptor or -errno.
#pragma once

// Opens a regular file for reading, without ever leaving the directory: openat2(2) with RESOLVE_BENEATH, so that symbolic links may
// lead about inside it. Where the kernel has no openat2, every component is opened by itself, and links are refused.
int host_open_beneath(int directory, const char *path);
