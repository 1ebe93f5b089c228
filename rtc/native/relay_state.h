/* The relay core's own state (see relay.h for the model), and how it is looked up. */
#ifndef WD_RELAY_STATE_H
#define WD_RELAY_STATE_H

#include "clock.h"
#include "relay.h"

#define WD_FIRST_CHANNEL 0x4000 /* RFC 8656 section 12 */
/* RFC 8656 ends at 0x4fff, but clients of RFC 5766 (section 11) draw from all of these */
#define WD_LAST_CHANNEL 0x7ffe
#define WD_CHANNEL_HEADER 4
#define WD_MAX_CHANNELS 64 /* of an allocation; each datagram may look through all */
#define WD_MAX_PERMISSIONS 64
#define WD_MAX_RELAYED 2048 /* bytes of one datagram's payload */
#define WD_BUCKETS 8192 /* addresses whose requests are accounted for at once */

struct permission {
    uint8_t ip[16];
    uint8_t family;
    bool media_only;
    int64_t until_ns;
};

struct channel {
    uint16_t number;
    struct wd_addr peer;
    int64_t until_ns;
};

struct wd_relayed {
    struct wd_epoll_source source;
    bool used;
    int fd; /* -1 = none yet */
    struct wd_addr address; /* with its way, as the forwarding core sees it */
    struct allocation *allocation;
};

struct allocation {
    uint32_t id;
    uint8_t channel_count, channel_room, permission_count, permission_room;
    struct wd_addr client, local;
    struct wd_relayed relayed[2]; /* IPv4, IPv6 */
    struct channel *channels;
    struct permission *permissions;
    uint64_t bandwidth_bps; /* 0 = any */
    int64_t tokens, filled_ns; /* bytes that may pass at once */
};

struct bucket {
    uint64_t prefix;
    int64_t filled_ns;
    int64_t verified_ns; /* a nonce of ours came back from there */
    int64_t credit; /* bytes that may be sent there */
    int64_t requests; /* that may go to the control plane, in thousandths */
};

struct media {
    struct wd_addr address;
    void *target;
    bool elsewhere;
};

struct wd_relay {
    struct wd_relay_config config;
    struct wd_relay_counters counters;
    struct wd_table by_id, by_client, by_relayed, by_media;
    struct wd_relayed *outlet; /* of what waits in the peers' egress */
    bool dont_fragment; /* that */
    uint64_t random;
    struct wd_relay_rules rules;
    bool configured;
    struct evp_mac_ctx_st *nonce_mac; /* HMAC-SHA256 with the nonce key */
    struct bucket *buckets;
    struct bucket everybody; /* credit beyond what was received, in all */
};

static inline uint64_t wd_relay_random(struct wd_relay *relay) { return wd_mix(relay->random += 0x9e3779b97f4a7c15u); }

static inline struct allocation *wd_relay_of_client(const struct wd_relay *relay, const struct wd_addr *client) {
    struct allocation *a = wd_table_get(&relay->by_client, wd_address_key(client));
    return a && wd_same_address(&a->client, client) ? a : NULL;
}

static inline struct permission *wd_relay_permission(const struct allocation *a, const struct wd_addr *peer) {
    for (unsigned i = 0; i < a->permission_count; i++) {
        struct permission *p = &a->permissions[i];
        if (p->family == peer->family && !memcmp(p->ip, peer->ip, p->family == 4 ? 4 : 16)) return p;
    }
    return NULL;
}

static inline struct media *wd_relay_media(const struct wd_relay *relay, const struct wd_addr *address) {
    struct media *media = wd_table_get(&relay->by_media, wd_address_key(address));
    return media && wd_same_address(&media->address, address) ? media : NULL;
}

#endif
