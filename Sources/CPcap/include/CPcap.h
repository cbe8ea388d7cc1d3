// libpcap, loaded when the first capture begins: linked, it and the eight libraries it brings (libdbus, libsystemd, ...) cost every process
// that captures nothing a megabyte and a millisecond (docs/performance.md).
#pragma once
#include <pcap/pcap.h>

// The functions that are used, each with libpcap's own declaration.
struct pcap_functions {
    __typeof__(&pcap_open_dead_with_tstamp_precision) open_dead;
    __typeof__(&pcap_close) close;
    __typeof__(&pcap_geterr) geterr;
    __typeof__(&pcap_dump_fopen) dump_fopen;
    __typeof__(&pcap_dump) dump;
    __typeof__(&pcap_dump_file) dump_file;
    __typeof__(&pcap_dump_flush) dump_flush;
    __typeof__(&pcap_dump_close) dump_close;
};

// Loads libpcap, once; it stays. Returns NULL, or the dynamic linker's sentence about what is missing.
const char *pcap_load(struct pcap_functions *functions);
