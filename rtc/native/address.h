/* A transport address, and by which way it is reached. */
#ifndef WD_ADDRESS_H
#define WD_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "bytes.h"
#include "table.h"

/* How datagrams to and from an address travel: over the worker's UDP socket, over an adopted TCP connection (its id),
 * or through a relayed address of ours, without any socket (this bit and the index of the worker that has the
 * allocation). */
#define WD_VIA_UDP 0u
#define WD_VIA_RELAY 0x80000000u

/* Family 4 uses ip[0..3]. A v4-mapped IPv6 address is stored as family 4. */
struct wd_addr {
    uint8_t ip[16];
    uint16_t port; /* host order */
    uint8_t family; /* 4 or 6; 0 = none */
    uint8_t pad;
    uint32_t via;
};

static inline bool wd_same_ip(const struct wd_addr *a, const struct wd_addr *b) {
    if (a->family != b->family) return false;
    return a->family == 4 ? wd_get32(a->ip) == wd_get32(b->ip) : !memcmp(a->ip, b->ip, 16);
}

static inline bool wd_same_address(const struct wd_addr *a, const struct wd_addr *b) {
    return a->port == b->port && a->via == b->via && wd_same_ip(a, b);
}

/* For a wd_table; different addresses may have the same key when they are not IPv4 over UDP. */
static inline uint64_t wd_address_key(const struct wd_addr *a) {
    uint64_t key;
    if (a->family == 4)
        key = (uint64_t)wd_get32(a->ip) << 16 | a->port;
    else
        key = wd_mix(wd_get64(a->ip) ^ wd_mix(wd_get64(a->ip + 8))) ^ a->port ^ UINT64_C(1) << 63;
    return a->via ? wd_mix(key ^ wd_mix(a->via)) | UINT64_C(1) << 62 : key;
}

#endif
