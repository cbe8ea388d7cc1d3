#include <microhttpd.h>

// MHD_start_daemon takes a variable number of arguments, which Swift cannot call. A daemon with a thread of its own and without a
// socket to listen on: connections are added.
static inline struct MHD_Daemon *boot_http_start(
    MHD_AccessHandlerCallback handler, void *context, unsigned int connections, unsigned int idle_seconds)
{
    return MHD_start_daemon(
        MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_NO_LISTEN_SOCKET | MHD_USE_ITC | MHD_USE_POLL, 0, NULL, NULL, handler,
        context, MHD_OPTION_CONNECTION_LIMIT, connections, MHD_OPTION_CONNECTION_TIMEOUT, idle_seconds,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)16384, MHD_OPTION_END);
}

// What Swift does not import under a name of its own.
static const enum MHD_Result boot_http_refused = MHD_NO;
static inline struct MHD_Response *boot_http_response(void *bytes, size_t count)
{
    return MHD_create_response_from_buffer(count, bytes, MHD_RESPMEM_MUST_COPY);
}
static inline const char *boot_http_header(struct MHD_Connection *connection, const char *name)
{
    return MHD_lookup_connection_value(connection, MHD_HEADER_KIND, name);
}
