// A guest that is not Linux: lwIP (Debian's liblwip) behind a stream link, as netcat.
//
//   guest SOCKET ADDRESS GATEWAY HOST PORT    connects to HOST (IPv4 or IPv6), stdin to it, what comes to stdout; stdin's end is a FIN
//   guest SOCKET ADDRESS GATEWAY - PORT       serves one client on PORT instead, says "listening" on stderr
//
// SOCKET is a Unix stream socket with 4 bytes of length, big-endian, before each frame, as QEMU has it. ADDRESS and GATEWAY are IPv4's; the
// IPv6 address comes from router advertisements. Debian's build has no DHCP client.
#include <lwip/api.h>
#include <lwip/etharp.h>
#include <lwip/ethip6.h>
#include <lwip/netif.h>
#include <lwip/sys.h>
#include <lwip/tcpip.h>
#include <netif/ethernet.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int link_fd;
static struct netif interface;

static void fail(const char *what) {
    fprintf(stderr, "guest: %s\n", what);
    _exit(1);
}

static void whole(int fd, void *bytes, size_t length, int out) {
    for (char *at = bytes; length > 0;) {
        ssize_t n = out ? write(fd, at, length) : read(fd, at, length);
        if (n <= 0) fail("the link has ended");
        at += n, length -= n;
    }
}

static err_t link_output(struct netif *netif, struct pbuf *p) {
    unsigned char frame[4 + 1600];
    (void)netif;
    if (p->tot_len > sizeof frame - 4) return ERR_BUF;
    frame[0] = frame[1] = 0, frame[2] = p->tot_len >> 8, frame[3] = p->tot_len & 0xff;
    pbuf_copy_partial(p, frame + 4, p->tot_len, 0);
    whole(link_fd, frame, 4 + p->tot_len, 1);
    return ERR_OK;
}

_Noreturn static void *link_input(void *unused) {
    (void)unused;
    static unsigned char frame[65536];
    for (;;) {
        unsigned char head[4];
        whole(link_fd, head, 4, 0);
        unsigned length = head[0] << 24 | head[1] << 16 | head[2] << 8 | head[3];
        if (length > sizeof frame) fail("a frame too long");
        whole(link_fd, frame, length, 0);
        // Not PBUF_POOL: in Debian's build (2.1.3) its buffers have 616 bytes and take frames of 1514.
        struct pbuf *p = pbuf_alloc(PBUF_RAW, length, PBUF_RAM);
        if (!p) continue;
        pbuf_take(p, frame, length);
        if (interface.input(p, &interface) != ERR_OK) pbuf_free(p);
    }
}

static err_t set_up(struct netif *netif) {
    static const unsigned char mac[6] = {0x52, 0x54, 0, 0x6c, 0x77, 0x70};
    netif->name[0] = 'l', netif->name[1] = 'w';
    netif->output = etharp_output, netif->output_ip6 = ethip6_output, netif->linkoutput = link_output;
    netif->mtu = 1500, netif->hwaddr_len = 6;
    memcpy(netif->hwaddr, mac, 6);
    netif->flags = NETIF_FLAG_BROADCAST | NETIF_FLAG_ETHARP | NETIF_FLAG_ETHERNET | NETIF_FLAG_LINK_UP | NETIF_FLAG_MLD6;
    return ERR_OK;
}

static void *from_stdin(void *connection) {
    static char buffer[65536];
    ssize_t n;
    while ((n = read(0, buffer, sizeof buffer)) > 0)
        if (netconn_write(connection, buffer, n, NETCONN_COPY) != ERR_OK) return 0;
    netconn_shutdown(connection, 0, 1);
    return 0;
}

static void ready(void *semaphore) { sys_sem_signal(semaphore); }

int main(int argc, char **argv) {
    if (argc != 6) fail("SOCKET ADDRESS GATEWAY HOST PORT");
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    snprintf(name.sun_path, sizeof name.sun_path, "%s", argv[1]);
    link_fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (connect(link_fd, (struct sockaddr *)&name, sizeof name) < 0) fail("the link cannot be connected");
    sys_sem_t started;
    sys_sem_new(&started, 0);
    tcpip_init(ready, &started);
    sys_sem_wait(&started);

    ip4_addr_t address, mask, gateway;
    ip4addr_aton(argv[2], &address), ip4addr_aton("255.255.255.0", &mask), ip4addr_aton(argv[3], &gateway);
    LOCK_TCPIP_CORE();
    if (!netif_add(&interface, &address, &mask, &gateway, 0, set_up, tcpip_input)) fail("no interface");
    netif_create_ip6_linklocal_address(&interface, 1);
    interface.ip6_autoconfig_enabled = 1;
    netif_set_default(&interface);
    netif_set_up(&interface);
    UNLOCK_TCPIP_CORE();
    pthread_t reader, writer;
    pthread_create(&reader, 0, link_input, 0);

    int port = atoi(argv[5]);
    struct netconn *connection;
    if (strcmp(argv[4], "-") == 0) {
        struct netconn *listener = netconn_new(NETCONN_TCP);
        if (netconn_bind(listener, IP_ADDR_ANY, port) != ERR_OK || netconn_listen(listener) != ERR_OK) fail("cannot listen");
        fprintf(stderr, "listening\n");
        if (netconn_accept(listener, &connection) != ERR_OK) fail("cannot accept");
    } else {
        ip_addr_t host;
        if (!ipaddr_aton(argv[4], &host)) fail("not an address");
        if (IP_IS_V6(&host))
            for (int tries = 0; !ip6_addr_ispreferred(netif_ip6_addr_state(&interface, 1)); tries++) {
                if (tries == 100) fail("no IPv6 address came");
                usleep(100000);
            }
        connection = netconn_new(IP_IS_V6(&host) ? NETCONN_TCP_IPV6 : NETCONN_TCP);
        if (netconn_connect(connection, &host, port) != ERR_OK) fail("cannot connect");
    }
    pthread_create(&writer, 0, from_stdin, connection);
    for (struct netbuf *buffer; netconn_recv(connection, &buffer) == ERR_OK; netbuf_delete(buffer)) {
        void *bytes;
        u16_t length;
        do {
            netbuf_data(buffer, &bytes, &length);
            whole(1, bytes, length, 1);
        } while (netbuf_next(buffer) >= 0);
    }
    pthread_join(writer, 0);
    netconn_delete(connection);
    usleep(200000); // the last ACK
    return 0;
}
