#define _GNU_SOURCE
#include "host_file.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int open_by_components(int directory, const char *path, int flags)
{
    char name[256];
    int at = directory;
    for (;;) {
        size_t length = strcspn(path, "/");
        if (length == 0 && *path == '/') {
            path++;
            continue;
        }
        int error = length >= sizeof name ? ENAMETOOLONG : length == 0 ? ENOENT : 0;
        int next = -1;
        const char *rest = path + length;
        if (!error) {
            memcpy(name, path, length);
            name[length] = 0;
            if (strcmp(name, "..") == 0)
                error = EXDEV;
            else if ((next = openat(at, name, O_NOFOLLOW | (*rest ? O_PATH | O_DIRECTORY | O_CLOEXEC : flags))) < 0)
                error = errno;
        }
        if (at != directory)
            close(at);
        if (error)
            return -error;
        if (!*rest)
            return next;
        at = next;
        path = rest;
    }
}

int host_open_beneath(int directory, const char *path)
{
    // Not blocking: it may be a FIFO, which the check below refuses.
    struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
    int fd = (int)syscall(SYS_openat2, directory, path, &how, sizeof how);
    if (fd < 0 && errno != ENOSYS && errno != EPERM)
        return -errno;
    // EPERM: a seccomp filter that does not know the call.
    if (fd < 0 && (fd = open_by_components(directory, path, (int)how.flags)) < 0)
        return fd;
    struct stat status;
    if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) {
        close(fd);
        return -EACCES;
    }
    return fd;
}

long host_file_read(const char *path, void *bytes, size_t limit)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    size_t filled = 0;
    long result = 0;
    while (filled < limit) {
        ssize_t count = read(fd, (char *)bytes + filled, limit - filled);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            result = -errno;
        if (count <= 0)
            break;
        filled += (size_t)count;
    }
    close(fd);
    return result < 0 ? result : (long)filled;
}
