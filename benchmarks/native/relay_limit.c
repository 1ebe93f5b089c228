/* The physical limit of a relay: what one core can carry if it does nothing but take ChannelData headers off and put
 * them on.
 *
 * One socket for all clients, one relay socket per allocation, epoll, recvmmsg with UDP_GRO, a look-up by index
 * (channel number or socket), and messages of UDP_SEGMENT: packets of equal size that follow each other on one way
 * leave as one, whether they came as one or one by one. No transactions, no permissions, no expiry, no check of who
 * sends, no counters. It sleeps in epoll as every server does. The load is that of relayload.c.
 *
 *   relay_limit --clients N [--host IP] [--nap US]
 *
 * `--nap`: sleeps so long when nothing is left to do, so that the next round finds more: fewer rounds, later packets.
 *
 * Says "port P" first. Takes N lines "client_ip client_port peer_ip peer_port" on stdin (numbers, host order), says
 * "relayed P" for each, then relays until it is killed. Channel RELAY_FIRST_CHANNEL + i is the i-th client's. */
#define _GNU_SOURCE
#include "relayload.h"
#include "rtc/native/bytes.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define SLOTS 64 /* datagrams in hand */
#define SLOT_BYTES 65536
/* no power of two, or all slots would share the same few lines of every cache */
#define SLOT_STRIDE (SLOT_BYTES + 1344)
#define CHANNEL_HEADER 4
#define MOST_SEGMENTS 48 /* of one message: below 64 KiB and what every kernel takes */
#define MOST_READY 64
#define SOCKET_BYTES (8 << 20)

union control {
    struct cmsghdr align;
    uint8_t bytes[CMSG_SPACE(sizeof(int))];
};

struct allocation {
    int fd;
    struct sockaddr_in client, peer;
};

struct message { /* to one destination, of equal segments */
    struct iovec parts[2 * MOST_SEGMENTS];
    union control control;
    uint32_t allocation;
    unsigned segments, part_count;
    size_t segment; /* payload bytes of all but the last, which may be shorter and then ends it */
    bool closed;
    uint8_t header[CHANNEL_HEADER], last_header[CHANNEL_HEADER];
};

static uint32_t clients;
static unsigned nap_us;
static struct allocation *allocations;
static int listener, epoll;
static uint8_t *slots;
static struct mmsghdr in[SLOTS], out[SLOTS * 2];
static struct iovec in_parts[SLOTS];
static union control in_controls[SLOTS];
static struct message messages[SLOTS * 2];
static unsigned used_slots, message_count;

_Noreturn static void fail(const char *what) {
    perror(what);
    exit(1);
}

/* ---- sending ---- */

static void describe(const struct message *m, const struct sockaddr_in *to, size_t header, struct msghdr *h) {
    *h = (struct msghdr){.msg_name = (void *)to,
                         .msg_namelen = sizeof *to,
                         .msg_iov = (struct iovec *)m->parts,
                         .msg_iovlen = m->part_count};
    if (m->segments < 2) return;
    h->msg_control = (void *)&m->control;
    h->msg_controllen = CMSG_SPACE(sizeof(uint16_t));
    struct cmsghdr *c = CMSG_FIRSTHDR(h);
    c->cmsg_level = SOL_UDP;
    c->cmsg_type = UDP_SEGMENT;
    c->cmsg_len = CMSG_LEN(sizeof(uint16_t));
    uint16_t segment = (uint16_t)(header + m->segment);
    memcpy(CMSG_DATA(c), &segment, sizeof segment);
}

/* The message that takes a segment of `length` bytes for this allocation: the last one, or a new one. */
static struct message *message_for(uint32_t allocation, size_t length) {
    struct message *m = message_count ? &messages[message_count - 1] : NULL;
    if (!m || m->allocation != allocation || m->closed || length > m->segment || m->segments == MOST_SEGMENTS) {
        m = &messages[message_count++];
        m->allocation = allocation;
        m->segments = m->part_count = 0;
        m->segment = length;
        m->closed = false;
    }
    m->closed = length < m->segment;
    m->segments++;
    return m;
}

static void send_to_peers(void) {
    for (unsigned i = 0; i < message_count; i++) {
        struct msghdr h;
        const struct allocation *a = &allocations[messages[i].allocation];
        describe(&messages[i], &a->peer, 0, &h);
        (void)!sendmsg(a->fd, &h, MSG_DONTWAIT);
    }
    message_count = 0;
}

static void send_to_clients(void) {
    for (unsigned i = 0; i < message_count; i++)
        describe(&messages[i], &allocations[messages[i].allocation].client, CHANNEL_HEADER, &out[i].msg_hdr);
    for (unsigned at = 0; at < message_count;) {
        int n = sendmmsg(listener, out + at, message_count - at, MSG_DONTWAIT);
        at += n > 0 ? (unsigned)n : 1;
    }
    message_count = used_slots = 0;
}

/* ---- receiving ---- */

static size_t segment_of(struct msghdr *h, size_t length) {
    const struct cmsghdr *c = CMSG_FIRSTHDR(h);
    int segment = 0;
    if (c && c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_GRO) memcpy(&segment, CMSG_DATA(c), sizeof segment);
    return segment > 0 ? (size_t)segment : length;
}

static unsigned receive(int fd, unsigned from, unsigned most) {
    for (unsigned i = from; i < from + most; i++) in[i].msg_hdr.msg_controllen = sizeof in_controls[i];
    int got = recvmmsg(fd, in + from, most, MSG_DONTWAIT, NULL);
    return got > 0 ? (unsigned)got : 0;
}

static unsigned from_clients(void) {
    unsigned got = receive(listener, 0, SLOTS);
    for (unsigned i = 0; i < got; i++) {
        uint8_t *data = in_parts[i].iov_base;
        size_t length = in[i].msg_len, segment = segment_of(&in[i].msg_hdr, length);
        uint32_t number = (uint32_t)wd_get16(data) - RELAY_FIRST_CHANNEL;
        if (number >= clients) continue;
        for (size_t at = 0; at + CHANNEL_HEADER < length; at += segment) {
            size_t payload = (segment < length - at ? segment : length - at) - CHANNEL_HEADER;
            struct message *m = message_for(number, payload);
            m->parts[m->part_count++] = (struct iovec){data + at + CHANNEL_HEADER, payload};
        }
    }
    send_to_peers();
    return got;
}

static void from_peer(uint32_t number) {
    unsigned got = receive(allocations[number].fd, used_slots, SLOTS - used_slots);
    for (unsigned i = used_slots; i < used_slots + got; i++) {
        uint8_t *data = in_parts[i].iov_base;
        size_t length = in[i].msg_len, segment = segment_of(&in[i].msg_hdr, length);
        for (size_t at = 0; at < length; at += segment) {
            size_t payload = segment < length - at ? segment : length - at;
            struct message *m = message_for(number, payload);
            uint8_t *header = m->closed ? m->last_header : m->header;
            wd_put16(header, (uint16_t)(RELAY_FIRST_CHANNEL + number));
            wd_put16(header + 2, (uint16_t)payload);
            m->parts[m->part_count++] = (struct iovec){header, CHANNEL_HEADER};
            m->parts[m->part_count++] = (struct iovec){data + at, payload};
        }
    }
    used_slots += got;
    if (used_slots == SLOTS) send_to_clients();
}

_Noreturn static void relay(void) {
    struct epoll_event ready[MOST_READY];
    for (;;) {
        int n = epoll_wait(epoll, ready, MOST_READY, -1);
        bool clients_wait = false;
        for (int i = 0; i < n; i++) {
            if (ready[i].data.u32 == clients)
                clients_wait = true;
            else
                from_peer(ready[i].data.u32);
        }
        if (message_count) send_to_clients();
        unsigned got = clients_wait ? from_clients() : 0;
        if (nap_us && got < SLOTS && n < MOST_READY) usleep(nap_us);
    }
}

/* ---- set-up ---- */

static void allow_files(size_t count) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur >= count) return;
    limit.rlim_cur = count;
    if (limit.rlim_max < count) limit.rlim_max = count;
    setrlimit(RLIMIT_NOFILE, &limit);
}

static int open_socket(const char *host, uint32_t number, unsigned *port) {
    struct sockaddr_in own = {.sin_family = AF_INET};
    socklen_t length = sizeof own;
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = number};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    if (fd < 0 || inet_pton(AF_INET, host, &own.sin_addr) != 1 || bind(fd, (struct sockaddr *)&own, length) < 0 ||
        getsockname(fd, (struct sockaddr *)&own, &length) < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0)
        fail("socket");
    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &(int){SOCKET_BYTES}, sizeof(int));
    setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &(int){SOCKET_BYTES}, sizeof(int));
    setsockopt(fd, SOL_UDP, UDP_GRO, &(int){1}, sizeof(int));
    *port = ntohs(own.sin_port);
    return fd;
}

static struct sockaddr_in address_of(unsigned ip, unsigned port) {
    return (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(ip), .sin_port = htons((uint16_t)port)};
}

static void open_allocations(const char *host) {
    for (uint32_t i = 0; i < clients; i++) {
        unsigned client_ip, client_port, peer_ip, peer_port, port;
        if (scanf("%u %u %u %u", &client_ip, &client_port, &peer_ip, &peer_port) != 4) fail("stdin");
        allocations[i] = (struct allocation){open_socket(host, i, &port), address_of(client_ip, client_port),
                                             address_of(peer_ip, peer_port)};
        printf("relayed %u\n", port);
    }
    fflush(stdout);
}

int main(int count, char **words) {
    const char *host = "127.0.0.1";
    for (int i = 1; i + 1 < count; i += 2) {
        if (!strcmp(words[i], "--clients"))
            clients = (uint32_t)atoi(words[i + 1]);
        else if (!strcmp(words[i], "--host"))
            host = words[i + 1];
        else if (!strcmp(words[i], "--nap"))
            nap_us = (unsigned)atoi(words[i + 1]);
    }
    if (!clients || clients > RELAY_CHANNELS) {
        fprintf(stderr, "relay_limit: --clients from 1 to %d\n", RELAY_CHANNELS);
        return 2;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    allow_files(clients + 64);
    allocations = calloc(clients, sizeof *allocations);
    slots = malloc((size_t)SLOTS * SLOT_STRIDE);
    epoll = epoll_create1(0);
    if (!allocations || !slots || epoll < 0) fail("memory");
    for (unsigned i = 0; i < SLOTS; i++) {
        in_parts[i] = (struct iovec){slots + (size_t)i * SLOT_STRIDE, SLOT_BYTES};
        in[i].msg_hdr = (struct msghdr){.msg_iov = &in_parts[i], .msg_iovlen = 1, .msg_control = &in_controls[i]};
    }
    unsigned port;
    listener = open_socket(host, clients, &port);
    printf("port %u\n", port);
    fflush(stdout);
    open_allocations(host);
    relay();
}
