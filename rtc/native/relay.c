/* Life of allocations, their permissions and channels. Times at which they end come from the control plane; what is
 * over takes no room from what is new. */
#include <unistd.h>

#include "relay_egress.h"
#include "relay_gate.h"

#define FIRST_ROOM 4 /* channels or permissions; most clients talk to one peer */

struct wd_relay *wd_relay_new(const struct wd_relay_config *config) {
    struct wd_relay *relay = calloc(1, sizeof *relay);
    if (!relay) return NULL;
    relay->config = *config;
    relay->random = config->seed ^ 0x7475726e; /* the forwarding core draws from the same seed */
    uint64_t seed = wd_relay_random(relay);
    size_t n = config->max_allocations; /* of clients one more: who moves has two addresses for a moment */
    relay->everybody.filled_ns = INT64_MIN / 2;
    relay->buckets = calloc(WD_BUCKETS, sizeof *relay->buckets);
    if (relay->buckets && wd_table_init(&relay->by_id, n, seed, WD_TABLE_COUNTED) &&
        wd_table_init(&relay->by_client, n + 1, seed, 0) && wd_table_init(&relay->by_relayed, 2 * n, seed, 0) &&
        wd_table_init(&relay->by_media, 4096, seed, 0))
        return relay;
    wd_relay_free(relay);
    return NULL;
}

static void shut(struct wd_relay *relay, struct wd_relayed *relayed) {
    if (relayed->fd < 0) return;
    relay->config.unwatch(relay->config.owner, relayed->fd);
    close(relayed->fd);
    relayed->fd = -1;
}

static void discard(struct wd_relay *relay, struct allocation *a) {
    for (int i = 0; i < 2; i++) shut(relay, &a->relayed[i]);
    free(a->channels);
    free(a->permissions);
    free(a);
}

void wd_relay_free(struct wd_relay *relay) {
    if (!relay) return;
    for (size_t i = 0; relay->by_id.cells && i <= relay->by_id.mask; i++)
        if (relay->by_id.cells[i].value) discard(relay, relay->by_id.cells[i].value);
    for (size_t i = 0; relay->by_media.cells && i <= relay->by_media.mask; i++) free(relay->by_media.cells[i].value);
    free(relay->by_id.cells);
    free(relay->by_client.cells);
    free(relay->by_relayed.cells);
    free(relay->by_media.cells);
    free(relay->buckets);
    wd_relay_free_gate(relay);
    explicit_bzero(&relay->rules, sizeof relay->rules);
    free(relay);
}

struct wd_relay_counters *wd_relay_counters(struct wd_relay *relay) { return &relay->counters; }

void wd_relay_configure(struct wd_relay *relay, const struct wd_relay_rules *rules) {
    relay->rules = *rules;
    relay->configured = wd_relay_key_gate(relay);
}

static bool know(struct wd_relay *relay, struct media new) {
    struct media *media = malloc(sizeof *media);
    if (!media) return false;
    *media = new;
    if (wd_table_add(&relay->by_media, wd_address_key(&new.address), media)) return true;
    free(media);
    return false;
}

bool wd_relay_know_media(struct wd_relay *relay, const struct wd_addr *address, void *target) {
    return know(relay, (struct media){.address = *address, .target = target});
}

bool wd_relay_know_media_elsewhere(struct wd_relay *relay, const struct wd_addr *address) {
    return know(relay, (struct media){.address = *address, .elsewhere = true});
}

bool wd_relay_forget_media(struct wd_relay *relay, const struct wd_addr *address) {
    struct media *media = wd_relay_media(relay, address);
    if (!media) return false;
    wd_table_remove(&relay->by_media, wd_address_key(address));
    free(media);
    return true;
}

static struct allocation *of_id(const struct wd_relay *relay, uint32_t id) { return wd_table_get(&relay->by_id, id); }

bool wd_relay_add(struct wd_relay *relay, uint32_t id, const struct wd_addr *client, const struct wd_addr *local,
                  uint64_t bandwidth_bps) {
    struct allocation *a = calloc(1, sizeof *a);
    if (!a) return false;
    *a = (struct allocation){
        .id = id, .client = *client, .local = *local, .bandwidth_bps = bandwidth_bps, .filled_ns = INT64_MIN / 2};
    for (int i = 0; i < 2; i++)
        a->relayed[i] = (struct wd_relayed){.source.kind = WD_EPOLL_RELAYED, .fd = -1, .allocation = a};
    if (!wd_table_add(&relay->by_id, id, a)) {
        free(a);
        return false;
    }
    if (!wd_table_add(&relay->by_client, wd_address_key(client), a)) {
        wd_table_remove(&relay->by_id, id);
        free(a);
        return false;
    }
    return true;
}

/* As the forwarding core names it: not an address on a socket of ours, but this worker's relay. */
static struct wd_addr by_relay(const struct wd_relay *relay, const struct wd_addr *address) {
    struct wd_addr named = *address;
    named.via = WD_VIA_RELAY | relay->config.index;
    return named;
}

struct wd_relayed *wd_relay_find(const struct wd_relay *relay, const struct wd_addr *address) {
    struct wd_addr named = by_relay(relay, address);
    struct wd_relayed *r = wd_table_get(&relay->by_relayed, wd_address_key(&named));
    return r && wd_same_address(&r->address, &named) ? r : NULL;
}

bool wd_relay_add_relayed(struct wd_relay *relay, uint32_t id, const struct wd_addr *address) {
    struct allocation *a = of_id(relay, id);
    struct wd_relayed *r = a ? &a->relayed[address->family == 6] : NULL;
    struct wd_addr named = by_relay(relay, address);
    if (!r || r->used || !wd_table_add(&relay->by_relayed, wd_address_key(&named), r)) return false;
    r->address = named;
    r->used = true;
    return true;
}

bool wd_relay_open(struct wd_relay *relay, uint32_t id, const struct wd_addr *address, int fd) {
    struct allocation *a = of_id(relay, id);
    struct wd_relayed *r = a ? &a->relayed[address->family == 6] : NULL;
    if (!r || !r->used || r->fd >= 0) {
        close(fd);
        return false;
    }
    r->fd = fd;
    relay->config.watch(relay->config.owner, fd, &r->source);
    return true;
}

/* Room for one more in a small array: grown, up to `most`. */
static bool grow(void **items, uint8_t count, uint8_t *room, size_t size, unsigned most) {
    if (count < *room) return true;
    unsigned bigger = *room ? *room * 2u : FIRST_ROOM;
    if (bigger > most) return false;
    void *moved = realloc(*items, bigger * size);
    if (!moved) return false;
    *items = moved;
    *room = (uint8_t)bigger;
    return true;
}

bool wd_relay_permit(struct wd_relay *relay, uint32_t id, const struct wd_addr *peer, int64_t until_ns,
                     bool media_only) {
    struct allocation *a = of_id(relay, id);
    if (!a) return false;
    struct permission *p = wd_relay_permission(a, peer);
    if (!p) {
        /* The one that ended first makes room when there is no other: the control plane grants no more than there are
         * places for. */
        if (grow((void **)&a->permissions, a->permission_count, &a->permission_room, sizeof *p, WD_MAX_PERMISSIONS))
            p = &a->permissions[a->permission_count++];
        else {
            p = a->permissions;
            for (unsigned i = 1; i < a->permission_count; i++)
                if (a->permissions[i].until_ns < p->until_ns) p = &a->permissions[i];
        }
        *p = (struct permission){.family = peer->family};
        memcpy(p->ip, peer->ip, sizeof p->ip);
    }
    p->media_only = media_only;
    p->until_ns = until_ns;
    return true;
}

bool wd_relay_bind(struct wd_relay *relay, uint32_t id, uint16_t number, const struct wd_addr *peer, int64_t until_ns) {
    struct allocation *a = of_id(relay, id);
    if (!a || number < WD_FIRST_CHANNEL || number > WD_LAST_CHANNEL) return false;
    struct channel *c = NULL, *oldest = NULL;
    for (unsigned i = 0; i < a->channel_count && !c; i++) {
        if (a->channels[i].number == number)
            c = &a->channels[i];
        else if (!oldest || a->channels[i].until_ns < oldest->until_ns)
            oldest = &a->channels[i];
    }
    if (!c)
        c = grow((void **)&a->channels, a->channel_count, &a->channel_room, sizeof *c, WD_MAX_CHANNELS)
                ? &a->channels[a->channel_count++]
                : oldest;
    if (!c) return false;
    *c = (struct channel){.number = number, .peer = *peer, .until_ns = until_ns};
    return true;
}

bool wd_relay_move(struct wd_relay *relay, uint32_t id, const struct wd_addr *client, const struct wd_addr *local) {
    struct allocation *a = of_id(relay, id);
    if (!a) return false;
    if (!wd_same_address(&a->client, client)) {
        if (!wd_table_add(&relay->by_client, wd_address_key(client), a)) return false;
        wd_table_remove(&relay->by_client, wd_address_key(&a->client));
    }
    a->client = *client;
    a->local = *local;
    return true;
}

bool wd_relay_remove(struct wd_relay *relay, uint32_t id) {
    struct allocation *a = of_id(relay, id);
    if (!a) return false;
    if (relay->outlet && relay->outlet->allocation == a) wd_relay_flush_peers(relay);
    wd_table_remove(&relay->by_id, id);
    wd_table_remove(&relay->by_client, wd_address_key(&a->client));
    for (int i = 0; i < 2; i++) {
        if (!a->relayed[i].used) continue;
        wd_table_remove(&relay->by_relayed, wd_address_key(&a->relayed[i].address));
        relay->config.gone(relay->config.owner, &a->relayed[i].address);
    }
    discard(relay, a);
    return true;
}

const struct wd_addr *wd_relay_address_of(const struct wd_relay *relay, const struct wd_addr *client, uint8_t family) {
    const struct allocation *a = wd_relay_of_client(relay, client);
    return a && a->relayed[family == 6].used ? &a->relayed[family == 6].address : NULL;
}

uint32_t wd_relay_stream_of(const struct wd_relay *relay, const struct wd_addr *relayed) {
    const struct wd_relayed *r = wd_relay_find(relay, relayed);
    return r ? r->allocation->client.via : 0;
}

struct wd_outlet wd_relayed_socket(const struct wd_relayed *r) {
    return (struct wd_outlet){.fd = r->fd, .address = r->address};
}

struct wd_outlet wd_relay_outlet(const struct wd_relay *relay) {
    if (!relay->outlet) return (struct wd_outlet){.fd = -1};
    struct wd_outlet outlet = wd_relayed_socket(relay->outlet);
    outlet.dont_fragment = relay->dont_fragment;
    return outlet;
}
