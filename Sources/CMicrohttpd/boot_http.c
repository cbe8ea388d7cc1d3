#include "CMicrohttpd.h"

#include <dlfcn.h>
#include <stddef.h>
#include <sys/socket.h>

#define FUNCTIONS(EACH)                      \
    EACH(MHD_start_daemon)                   \
    EACH(MHD_stop_daemon)                    \
    EACH(MHD_add_connection)                 \
    EACH(MHD_create_response_from_buffer)    \
    EACH(MHD_create_response_from_fd_at_offset64) \
    EACH(MHD_add_response_header)            \
    EACH(MHD_queue_response)                 \
    EACH(MHD_destroy_response)               \
    EACH(MHD_lookup_connection_value)

#define DECLARE(name) __typeof__(&name) name##_;
static struct {
    FUNCTIONS(DECLARE)
} mhd;

const char *boot_http_load(void)
{
    void *library = dlopen("libmicrohttpd.so.12", RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return dlerror();
#define FIND(name)                                              \
    if (!(mhd.name##_ = (__typeof__(&name))dlsym(library, #name))) \
        return dlerror();
    FUNCTIONS(FIND)
    return NULL;
}

struct MHD_Daemon *boot_http_start(
    MHD_AccessHandlerCallback handler, void *context, unsigned int connections, unsigned int idle_seconds)
{
    return mhd.MHD_start_daemon_(
        MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_NO_LISTEN_SOCKET | MHD_USE_ITC | MHD_USE_POLL, 0, NULL, NULL, handler,
        context, MHD_OPTION_CONNECTION_LIMIT, connections, MHD_OPTION_CONNECTION_TIMEOUT, idle_seconds,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)16384, MHD_OPTION_END);
}

void boot_http_stop(struct MHD_Daemon *daemon) { mhd.MHD_stop_daemon_(daemon); }

enum MHD_Result boot_http_add(struct MHD_Daemon *daemon, int fd)
{
    struct sockaddr address = {.sa_family = AF_UNIX};
    return mhd.MHD_add_connection_(daemon, fd, &address, sizeof address.sa_family);
}

struct MHD_Response *boot_http_response(void *bytes, size_t count)
{
    return mhd.MHD_create_response_from_buffer_(count, bytes, MHD_RESPMEM_MUST_COPY);
}

struct MHD_Response *boot_http_file(int fd, uint64_t offset, uint64_t count)
{
    return mhd.MHD_create_response_from_fd_at_offset64_(count, fd, offset);
}

void boot_http_add_header(struct MHD_Response *response, const char *name, const char *value)
{
    mhd.MHD_add_response_header_(response, name, value);
}

enum MHD_Result boot_http_answer(struct MHD_Connection *connection, unsigned int status, struct MHD_Response *response)
{
    enum MHD_Result result = mhd.MHD_queue_response_(connection, status, response);
    mhd.MHD_destroy_response_(response);
    return result;
}

const char *boot_http_header(struct MHD_Connection *connection, const char *name)
{
    return mhd.MHD_lookup_connection_value_(connection, MHD_HEADER_KIND, name);
}
