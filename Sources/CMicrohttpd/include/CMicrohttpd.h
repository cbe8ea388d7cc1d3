// libmicrohttpd, loaded when a network has files to boot from: linked, it brings GnuTLS and seven more libraries to every process
// (docs/performance.md).
#pragma once
#include <microhttpd.h>

// Loads the library, once; it stays. Returns NULL, or the dynamic linker's sentence about what is missing. The rest of this header needs it.
const char *boot_http_load(void);

// A daemon with a thread of its own and without a socket to listen on: connections are added.
struct MHD_Daemon *boot_http_start(
    MHD_AccessHandlerCallback handler, void *context, unsigned int connections, unsigned int idle_seconds);
void boot_http_stop(struct MHD_Daemon *daemon);
enum MHD_Result boot_http_add(struct MHD_Daemon *daemon, int fd);

// What Swift does not import under a name of its own.
static const enum MHD_Result boot_http_refused = MHD_NO;

// Copies the bytes.
struct MHD_Response *boot_http_response(void *bytes, size_t count);
// Takes the descriptor, unless it returns NULL.
struct MHD_Response *boot_http_file(int fd, uint64_t offset, uint64_t count);
void boot_http_add_header(struct MHD_Response *response, const char *name, const char *value);
// Queues the response and gives up our hold on it.
enum MHD_Result boot_http_answer(struct MHD_Connection *connection, unsigned int status, struct MHD_Response *response);
// A header of the request; NULL when it is not there.
const char *boot_http_header(struct MHD_Connection *connection, const char *name);
