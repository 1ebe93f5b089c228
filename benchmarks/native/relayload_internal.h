/* What the files of the TURN load client share: relayload.c has sockets and life, relayload_control.c transactions,
 * relayload_traffic.c packets. */
#ifndef RELAYLOAD_INTERNAL_H
#define RELAYLOAD_INTERNAL_H

#define _GNU_SOURCE
#include "relayload.h"

#include "rtc/native/bytes.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
#define SECOND 1000000000LL
#define BATCH 32
#define CHANNEL_HEADER 4
#define SOCKET_BYTES (4 << 20)
#define MAX_REQUEST 1024
#define MAX_TEXT 256 /* of a realm or nonce that we take */
#define KEY_BYTES 16 /* MD5 of username:realm:password, RFC 8489 section 9.2.2 */

enum direction { UP, DOWN }; /* to the peer, to the client */
enum step { IDLE, ALLOCATE, BIND, REFRESH, REBIND, RELEASE, DONE, FAILED };

struct client {
    int fd, peer_fd; /* peer_fd -1: the common peer */
    struct sockaddr_in own, peer, relayed; /* relayed: port 0 = none */
    uint64_t sent[2], next[2]; /* sequence numbers: sent; one above the highest that came */
    enum step step;
    unsigned tries;
    bool credentials; /* the request in hand carries them */
    int64_t retry_ns;
    uint16_t request_length, nonce_length, realm_length;
    uint8_t request[MAX_REQUEST];
    uint8_t nonce[MAX_TEXT], realm[MAX_TEXT], key[KEY_BYTES];
};

struct relay {
    struct relay_options options;
    struct client *clients;
    int epoll, common_fd;
    bool direct;
    bool gso_refused;
    uint64_t transactions;
    uint32_t run;
    uint8_t *in_data;
    size_t in_size;
    struct mmsghdr in[BATCH];
    struct iovec in_parts[BATCH];
    union {
        struct cmsghdr align;
        uint8_t bytes[CMSG_SPACE(sizeof(struct timespec)) + CMSG_SPACE(sizeof(int))];
    } controls[BATCH];
    /* the run in hand */
    struct relay_totals *totals;
    struct relay_load load;
    int64_t last_came_ns;
    uint8_t out[2][RELAY_MAX_BURST * (CHANNEL_HEADER + RELAY_PAYLOAD)];
};

static inline int64_t clock_ns(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec * SECOND + t.tv_nsec;
}

static inline uint16_t channel_of(uint32_t client) { return (uint16_t)(RELAY_FIRST_CHANNEL + client % RELAY_CHANNELS); }

/* Points a socket of ours at an address. */
int relay_connect(int fd, const struct sockaddr_in *to);

#endif
