#include "CPcap.h"

#include <dlfcn.h>
#include <stddef.h>

const char *pcap_load(struct pcap_functions *functions)
{
    // Debian's name for the interface that everybody else calls 1.
    void *library = dlopen("libpcap.so.0.8", RTLD_NOW | RTLD_LOCAL);
    if (!library)
        library = dlopen("libpcap.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return dlerror();
#define FIND(field, name)                                      \
    if (!(functions->field = (__typeof__(&name))dlsym(library, #name))) \
        return dlerror();
    FIND(open_dead, pcap_open_dead_with_tstamp_precision)
    FIND(close, pcap_close)
    FIND(geterr, pcap_geterr)
    FIND(dump_fopen, pcap_dump_fopen)
    FIND(dump, pcap_dump)
    FIND(dump_file, pcap_dump_file)
    FIND(dump_flush, pcap_dump_flush)
    FIND(dump_close, pcap_dump_close)
    return NULL;
}
