/* Transactions of the TURN load client (RFC 8489 section 9.2 long-term credentials; RFC 8656 sections 7, 8, 12).
 * Written for one request in flight per client. */
#include "relayload_internal.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#define HEADER 20
#define COOKIE 0x2112a442u
#define MAC 20
#define UDP_PROTOCOL 17
#define LIFETIME_S 600
#define FIRST_RETRY_NS (500 * 1000000LL) /* RFC 8489 section 6.2.1; doubled each time */
#define LOOK_FOR_RETRIES_NS (20 * 1000000LL)
#define MOST_READY 64

enum method { ALLOCATE_METHOD = 3, REFRESH_METHOD = 4, CHANNEL_BIND_METHOD = 9 };
enum { SUCCESS = 0x100, ERROR = 0x110 }; /* class bits of a response */
enum attribute {
    USERNAME = 0x0006,
    MESSAGE_INTEGRITY = 0x0008,
    ERROR_CODE = 0x0009,
    CHANNEL_NUMBER = 0x000c,
    LIFETIME = 0x000d,
    XOR_PEER_ADDRESS = 0x0012,
    REALM = 0x0014,
    NONCE = 0x0015,
    XOR_RELAYED_ADDRESS = 0x0016,
    REQUESTED_TRANSPORT = 0x0019,
};

struct answer {
    bool success, has_integrity, verified;
    uint16_t code;
    const uint8_t *realm, *nonce;
    size_t realm_length, nonce_length;
    struct sockaddr_in relayed;
};

static const uint16_t method_of[] = {[ALLOCATE] = ALLOCATE_METHOD,
                                     [BIND] = CHANNEL_BIND_METHOD,
                                     [REFRESH] = REFRESH_METHOD,
                                     [REBIND] = CHANNEL_BIND_METHOD,
                                     [RELEASE] = REFRESH_METHOD};
static const enum step first_step[RELAY_REQUESTS] = {
    [RELAY_OPEN] = ALLOCATE, [RELAY_RENEW] = REFRESH, [RELAY_CLOSE] = RELEASE};
static const enum step step_after[] = {
    [ALLOCATE] = BIND, [BIND] = DONE, [REFRESH] = REBIND, [REBIND] = DONE, [RELEASE] = DONE};

/* ---- writing ---- */

static uint8_t *attribute(struct client *c, uint16_t type, const void *value, size_t length) {
    size_t padded = (length + 3) & ~(size_t)3;
    uint8_t *at = c->request + c->request_length;
    wd_put16(at, type);
    wd_put16(at + 2, (uint16_t)length);
    memset(at + 4, 0, padded);
    if (length) memcpy(at + 4, value, length);
    c->request_length = (uint16_t)(c->request_length + 4 + padded);
    wd_put16(c->request + 2, (uint16_t)(c->request_length - HEADER));
    return at + 4;
}

static void xor_address(uint8_t out[8], const struct sockaddr_in *address) {
    wd_put16(out, 1); /* IPv4 */
    wd_put16(out + 2, ntohs(address->sin_port) ^ (COOKIE >> 16));
    wd_put32(out + 4, ntohl(address->sin_addr.s_addr) ^ COOKIE);
}

static bool integrity(const struct client *c, const uint8_t *message, size_t length, uint8_t mac[MAC]) {
    unsigned written = MAC;
    return HMAC(EVP_sha1(), c->key, sizeof c->key, message, length, mac, &written) != NULL;
}

static void write_request(struct relay *r, struct client *c) {
    uint8_t value[8] = {0};
    wd_put16(c->request, method_of[c->step]);
    wd_put32(c->request + 4, COOKIE);
    wd_put32(c->request + 8, (uint32_t)(c - r->clients));
    wd_put64(c->request + 12, ++r->transactions);
    c->request_length = HEADER;
    switch (c->step) {
    case ALLOCATE:
        value[0] = UDP_PROTOCOL;
        attribute(c, REQUESTED_TRANSPORT, value, 4);
        break;
    case BIND:
    case REBIND:
        wd_put16(value, channel_of((uint32_t)(c - r->clients)));
        attribute(c, CHANNEL_NUMBER, value, 4);
        xor_address(value, &c->peer);
        attribute(c, XOR_PEER_ADDRESS, value, 8);
        break;
    default: wd_put32(value, c->step == RELEASE ? 0 : LIFETIME_S); attribute(c, LIFETIME, value, 4);
    }
    if (!c->credentials) {
        wd_put16(c->request + 2, (uint16_t)(c->request_length - HEADER));
        return;
    }
    uint8_t mac[MAC];
    attribute(c, USERNAME, r->options.username, strlen(r->options.username));
    attribute(c, REALM, c->realm, c->realm_length);
    attribute(c, NONCE, c->nonce, c->nonce_length);
    size_t before = c->request_length;
    uint8_t *place = attribute(c, MESSAGE_INTEGRITY, (uint8_t[MAC]){0}, MAC);
    if (integrity(c, c->request, before, mac)) memcpy(place, mac, MAC);
}

static void send_request(struct client *c, int64_t now) {
    c->retry_ns = now + (FIRST_RETRY_NS << (c->tries < 4 ? c->tries : 4));
    c->tries++;
    (void)!send(c->fd, c->request, c->request_length, MSG_DONTWAIT); /* lost here is lost anywhere: it comes again */
}

static void ask(struct relay *r, struct client *c, struct relay_cycles *cycles, int64_t now) {
    write_request(r, c);
    c->tries = 0;
    cycles->requests++;
    send_request(c, now);
}

/* ---- reading ---- */

static void read_attribute(const struct client *c, const uint8_t *message, size_t at, uint16_t type,
                           const uint8_t *value, size_t length, struct answer *a) {
    uint8_t copy[2048], mac[MAC];
    switch (type) {
    case ERROR_CODE:
        if (length >= 4) a->code = (uint16_t)((value[2] & 7) * 100 + value[3]);
        break;
    case REALM:
        a->realm = value;
        a->realm_length = length;
        break;
    case NONCE:
        a->nonce = value;
        a->nonce_length = length;
        break;
    case XOR_RELAYED_ADDRESS:
        if (length != 8 || value[1] != 1) break;
        a->relayed = (struct sockaddr_in){.sin_family = AF_INET,
                                          .sin_port = htons((uint16_t)(wd_get16(value + 2) ^ (COOKIE >> 16)))};
        a->relayed.sin_addr.s_addr = htonl(wd_get32(value + 4) ^ COOKIE);
        break;
    case MESSAGE_INTEGRITY:
        if (length != MAC || at > sizeof copy) break;
        memcpy(copy, message, at);
        wd_put16(copy + 2,
                 (uint16_t)(at + 4 + MAC - HEADER)); /* as if it were the last attribute, RFC 8489 section 14.5 */
        a->has_integrity = true;
        a->verified = integrity(c, copy, at, mac) && CRYPTO_memcmp(mac, value, MAC) == 0;
    }
}

/* The answer to the request in hand; false for anything else. */
static bool read_answer(const struct client *c, const uint8_t *data, size_t length, struct answer *a) {
    *a = (struct answer){0};
    if (length < HEADER || memcmp(data + 4, c->request + 4, 16) != 0 || (size_t)wd_get16(data + 2) + HEADER != length)
        return false;
    uint16_t type = wd_get16(data), method = method_of[c->step];
    if (type != (method | SUCCESS) && type != (method | ERROR)) return false;
    a->success = type == (method | SUCCESS);
    for (size_t at = HEADER; at + 4 <= length;) {
        size_t size = wd_get16(data + at + 2), next = at + 4 + ((size + 3) & ~(size_t)3);
        if (next > length) return false;
        if (!a->has_integrity) read_attribute(c, data, at, wd_get16(data + at), data + at + 4, size, a);
        at = next;
    }
    return true;
}

/* Realm and nonce of a challenge; false when they cannot be used. */
static bool take_challenge(const struct relay *r, struct client *c, const struct answer *a) {
    if (!a->nonce_length || a->nonce_length > MAX_TEXT || a->realm_length > MAX_TEXT) return false;
    memcpy(c->nonce, a->nonce, a->nonce_length);
    c->nonce_length = (uint16_t)a->nonce_length;
    c->credentials = true;
    if (!a->realm_length || (a->realm_length == c->realm_length && !memcmp(a->realm, c->realm, a->realm_length)))
        return c->realm_length != 0;
    memcpy(c->realm, a->realm, a->realm_length);
    c->realm_length = (uint16_t)a->realm_length;
    char text[sizeof r->options.username + sizeof r->options.password + MAX_TEXT + 2];
    size_t user = strlen(r->options.username), password = strlen(r->options.password);
    memcpy(text, r->options.username, user);
    text[user] = ':';
    memcpy(text + user + 1, a->realm, a->realm_length);
    text[user + 1 + a->realm_length] = ':';
    memcpy(text + user + a->realm_length + 2, r->options.password, password);
    return EVP_Digest(text, user + a->realm_length + password + 2, c->key, NULL, EVP_md5(), NULL) == 1;
}

/* ---- one client's way ---- */

static void fail(struct client *c, struct relay_cycles *cycles, uint16_t code) {
    c->step = FAILED;
    cycles->failed++;
    cycles->last_error = code;
}

static void succeed(struct relay *r, struct client *c, const struct answer *a, struct relay_cycles *cycles,
                    int64_t now) {
    if (c->step == ALLOCATE) {
        c->relayed = a->relayed;
        if (!c->relayed.sin_port || (c->peer_fd >= 0 && relay_connect(c->peer_fd, &c->relayed) < 0)) {
            fail(c, cycles, 0);
            return;
        }
    } else if (c->step == RELEASE)
        c->relayed.sin_port = 0;
    c->step = step_after[c->step];
    if (c->step == DONE)
        cycles->done++;
    else
        ask(r, c, cycles, now);
}

static void take_answer(struct relay *r, struct client *c, const uint8_t *data, size_t length,
                        struct relay_cycles *cycles, int64_t now) {
    struct answer a;
    if (c->step == IDLE || c->step == DONE || c->step == FAILED || !read_answer(c, data, length, &a)) return;
    if (a.success) {
        if (a.verified)
            succeed(r, c, &a, cycles, now);
        else
            cycles->forged++;
        return;
    }
    bool challenged = a.code == 401 && !c->credentials, stale = a.code == 438;
    cycles->challenged += challenged;
    cycles->stale += stale;
    if ((challenged || stale) && take_challenge(r, c, &a))
        ask(r, c, cycles, now);
    else {
        cycles->refused++;
        fail(c, cycles, a.code);
    }
}

static void receive_answers(struct relay *r, struct relay_cycles *cycles) {
    struct epoll_event ready[MOST_READY];
    int n = epoll_wait(r->epoll, ready, MOST_READY, 0); /* never sleeps, so that no server pays for waking us */
    int64_t now = clock_ns(CLOCK_MONOTONIC);
    for (int i = 0; i < n; i++) {
        struct client *c = &r->clients[ready[i].data.u64 >> 1];
        int fd = ready[i].data.u64 & 1 ? c->peer_fd : c->fd;
        ssize_t got;
        while ((got = recv(fd, r->in_data, r->in_size, MSG_DONTWAIT)) >= 0)
            if (fd == c->fd) take_answer(r, c, r->in_data, (size_t)got, cycles, now);
    }
}

static void repeat_requests(struct client *clients, size_t count, struct relay_cycles *cycles, int64_t now) {
    for (size_t i = 0; i < count; i++) {
        struct client *c = &clients[i];
        if (c->step == IDLE || c->step == DONE || c->step == FAILED || c->retry_ns > now) continue;
        cycles->repeated++;
        send_request(c, now);
    }
}

EXPORT int relay_transact(struct relay *r, uint32_t request, uint32_t first, uint32_t count, uint32_t window,
                          double seconds, struct relay_cycles *cycles) {
    memset(cycles, 0, sizeof *cycles);
    if (request >= RELAY_REQUESTS || first + (uint64_t)count > r->options.clients || !window) return -1;
    struct client *clients = r->clients + first;
    int64_t begin = clock_ns(CLOCK_MONOTONIC), now = begin, look = begin + LOOK_FOR_RETRIES_NS;
    for (uint32_t i = 0; i < count; i++) clients[i].step = IDLE;
    for (uint32_t started = 0; cycles->done + cycles->failed < count && now < begin + (int64_t)(seconds * 1e9);) {
        while (started < count && started - cycles->done - cycles->failed < window) {
            struct client *c = &clients[started++];
            c->step = first_step[request];
            if (request == RELAY_OPEN) c->credentials = false; /* a new client knows no nonce */
            ask(r, c, cycles, now);
        }
        receive_answers(r, cycles);
        now = clock_ns(CLOCK_MONOTONIC);
        if (now < look) continue;
        repeat_requests(clients, started, cycles, now);
        look = now + LOOK_FOR_RETRIES_NS;
    }
    cycles->wall_s = (double)(clock_ns(CLOCK_MONOTONIC) - begin) / 1e9;
    return cycles->done == count ? 0 : -1;
}
