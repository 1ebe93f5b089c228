/* What relay_fuzz.c believes of the relay: who there is, and who was permitted what until when. */
#ifndef RELAY_MODEL_H
#define RELAY_MODEL_H

#include "../../rtc/native/relay.h"
#include "fuzz.h"

#define SECOND INT64_C(1000000000)
#define CLIENTS 5
#define ALLOCATIONS 4
#define HOSTS 80 /* more than an allocation has permissions for */
#define CHANNELS 80 /* more than it has channels */
#define ROOM 64
#define GIVEN 512 /* nonces remembered */
#define INDEX 5
#define LIFETIME_S 600
#define VERIFIED_S 60
#define REQUESTS_PER_S 50
#define QUEUE 64 /* datagrams that wait for a flush */
#define PAYLOAD 2100 /* a little more than is relayed */

struct grant {
    int64_t until_ns;
    bool known, media_only;
};
struct channel {
    int64_t until_ns;
    struct wd_addr peer;
    bool known;
};

struct allocation {
    bool used, relayed[2], capped;
    unsigned client, hosts, numbers;
    int fds[2];
    struct grant grants[HOSTS];
    struct channel channels[CHANNELS];
};

struct pending {
    unsigned id;
    struct wd_addr peer;
    size_t length;
    uint8_t first;
};

struct nonce {
    char text[17];
    struct wd_addr to;
    int64_t given_ns;
};

static struct world {
    struct wd_relay *relay;
    struct wd_egress clients, peers;
    struct allocation allocations[ALLOCATIONS];
    struct nonce given[GIVEN];
    unsigned given_count;
    int64_t now_ns, began_ns, verified_ns[CLIENTS];
    uint64_t received[CLIENTS], answered[CLIENTS], events[CLIENTS], all_received, all_answered;
    /* the operation under way */
    const struct wd_addr *asking; /* whose request is judged */
    const uint8_t *transaction;
    unsigned acting; /* client whose data is relayed, CLIENTS = nobody's */
    const struct allocation *reached; /* by a peer's datagram */
    const struct wd_addr *peer; /* whose it is */
    bool back; /* by hand-over */
    const uint8_t *payload;
    size_t payload_length;
    unsigned out; /* that were sent to peers, handed over, or sent to the client */
    bool replying;
    struct pending queue[QUEUE]; /* to peers, whenever the relay flushes */
    unsigned queued, sent;
} w;

static int media_target;

/* ---- who there is ---- */

static struct wd_addr client_address(unsigned i) {
    struct wd_addr a = {
        .ip = {192, 0, 2, 1}, .port = (uint16_t)(1000 + i), .family = 4}; /* 0 and 1 differ in the port only */
    if (i == 2) a = (struct wd_addr){.ip = {0x20, 0x01, 0x0d, 0xb8, [15] = 1}, .port = 1000, .family = 6};
    if (i == 3) a.via = 7;
    if (i == 4) a.ip[3] = 2;
    return a;
}

static struct wd_addr local_address(unsigned i) {
    return (struct wd_addr){.ip = {10, 0, 0, (uint8_t)i}, .port = 443, .family = 4};
}

static struct wd_addr relayed_address(unsigned id, unsigned six) {
    struct wd_addr a = {.ip = {203, 0, 113, 1}, .port = (uint16_t)(50000 + id), .family = 4};
    if (six) a = (struct wd_addr){.ip = {0x20, 0x01, 0x0d, 0xb8, 0xff, [15] = 1}, .port = a.port, .family = 6};
    return a;
}

/* Host 0 and host 40 are our own, and port 443 of them receives media. That of the hosts after them receives another
 * node's. Port 9 is open to nobody. */
static struct wd_addr peer_address(unsigned host, unsigned port) {
    static const uint16_t ports[4] = {443, 5432, 9, 443};
    struct wd_addr a = relayed_address(0, host >= HOSTS / 2);
    a.port = ports[port % 4];
    if (host % (HOSTS / 2)) a.ip[a.family == 4 ? 2 : 4] = 7, a.ip[a.family == 4 ? 3 : 15] = (uint8_t)host;
    return a;
}

static unsigned host_of(const struct wd_addr *peer) {
    for (unsigned i = 0; i < HOSTS; i++) {
        struct wd_addr a = peer_address(i, 0);
        if (wd_same_ip(&a, peer)) return i;
    }
    return HOSTS;
}

static bool is_media(const struct wd_addr *peer) { return host_of(peer) % (HOSTS / 2) == 0 && peer->port == 443; }

static bool is_media_elsewhere(const struct wd_addr *peer) {
    return host_of(peer) % (HOSTS / 2) == 1 && peer->port == 443;
}

static bool may_pass_socket(const struct grant *g, const struct wd_addr *peer) {
    return is_media_elsewhere(peer) || (!g->media_only && peer->port != 9);
}

static const struct grant *live_grant(const struct allocation *a, const struct wd_addr *peer) {
    unsigned host = host_of(peer);
    return host < HOSTS && a->grants[host].known && a->grants[host].until_ns > w.now_ns ? &a->grants[host] : NULL;
}

static struct allocation *of_client(unsigned client) {
    for (unsigned i = 0; i < ALLOCATIONS; i++)
        if (w.allocations[i].used && w.allocations[i].client == client) return &w.allocations[i];
    return NULL;
}

static bool is_roomy(const struct allocation *a) {
    return a->hosts <= ROOM && a->numbers <= ROOM;
} /* nothing was displaced */

static bool passes(const struct allocation *a, const struct wd_addr *peer, size_t length) {
    const struct grant *g = live_grant(a, peer);
    bool media = is_media(peer);
    return g && length <= 2048 && a->relayed[peer->family == 6] && (media ? length > 0 : may_pass_socket(g, peer));
}

static size_t put(uint8_t *out, size_t at, uint16_t type, const void *value, size_t length) {
    wd_put16(out + at, type);
    wd_put16(out + at + 2, (uint16_t)length);
    memset(out + at + 4, 0, (length + 3) & ~(size_t)3);
    if (length) memcpy(out + at + 4, value, length);
    wd_put16(out + 2, (uint16_t)(at + 4 + ((length + 3) & ~(size_t)3) - 20));
    return at + 4 + ((length + 3) & ~(size_t)3);
}

static size_t header(uint8_t *out, uint16_t type, uint64_t transaction) {
    wd_put16(out, type);
    wd_put16(out + 2, 0);
    wd_put32(out + 4, 0x2112a442);
    wd_put64(out + 8, transaction);
    wd_put32(out + 16, 0);
    return 20;
}

static size_t put_peer(uint8_t *out, size_t at, const struct wd_addr *peer) {
    uint8_t value[20] = {0, peer->family == 4 ? 1 : 2};
    size_t size = peer->family == 4 ? 4 : 16;
    wd_put16(value + 2, peer->port ^ 0x2112);
    for (size_t i = 0; i < size; i++) value[4 + i] = peer->ip[i] ^ out[4 + i];
    return put(out, at, 0x0012, value, 4 + size);
}

#endif
