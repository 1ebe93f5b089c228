/* The forwarding core's life, the demultiplexing of datagrams (RFC 7983), and the timer wheel's simplest form: one due
 * time per transport. */
#include "core.h"
#include "fanout.h"
#include "feedback.h"
#include "handshake.h"
#include "ice.h"
#include "ingress.h"
#include "path.h"

struct wd_router *wd_router_new(const struct wd_router_config *config) {
    struct wd_router *router = calloc(1, sizeof *router);
    if (!router) return NULL;
    router->config = *config;
    if (!router->config.max_transports) router->config.max_transports = 4096;
    router->egress = config->egress;
    router->random = config->seed;
    router->next_tick_ns = INT64_MAX;
    size_t n = router->config.max_transports;
    uint64_t seed = wd_random(router);
    router->transports = calloc(n, sizeof *router->transports);
    router->due_ns = calloc(n, sizeof *router->due_ns);
    if (!router->transports || !router->due_ns ||
        !wd_table_init(&router->transports_by_id, n, seed, WD_TABLE_COUNTED) ||
        !wd_table_init(&router->tracks_by_id, n * 4, seed, WD_TABLE_COUNTED) ||
        !wd_table_init(&router->legs_by_id, n * 16, seed, WD_TABLE_COUNTED) ||
        !wd_table_init(&router->by_ufrag, n * (WD_GENERATIONS + 1), seed, 0) ||
        !wd_table_init(&router->by_tuple, n * WD_TUPLES, seed, 0) || !wd_table_init(&router->by_ssrc, n * 4, seed, 0)) {
        wd_router_free(router);
        return NULL;
    }
    return router;
}

void wd_router_free(struct wd_router *router) {
    if (!router) return;
    while (router->transport_count) wd_router_remove_transport(router, router->transports[0]->id);
    free(router->transports);
    free(router->due_ns);
    free(router->transports_by_id.cells);
    free(router->tracks_by_id.cells);
    free(router->legs_by_id.cells);
    free(router->by_ufrag.cells);
    free(router->by_tuple.cells);
    free(router->by_ssrc.cells);
    free(router);
}

struct wd_counters *wd_router_counters(struct wd_router *router) { return &router->counters; }

static void receive_media(struct wd_router *router, struct tuple *tuple, bool rtcp, uint8_t *packet, size_t length) {
    struct transport *t = tuple->transport;
    t->bytes_in += length;
    if (!t->keys.receive) {
        router->counters.drop_no_keys++;
    } else if (rtcp) {
        router->counters.rtcp_in++;
        wd_rtcp_received(router, tuple, packet, length);
    } else {
        router->counters.rtp_in++;
        wd_rtp_received(router, tuple, packet, length);
    }
}

/* Media or reports from an address that nobody has checked from: a network address translator that rebinds, in the
 * midst of media. The next check may be seconds away, and what comes until then is authentic all the same. Only an SSRC
 * that has been authentic is looked for, so a stranger's packet costs a look-up, and one that knows the SSRC no more
 * than one with a forged source. */
static void receive_unbound_media(struct wd_router *router, bool rtcp, uint8_t *packet, size_t length,
                                  const struct wd_addr *from, const struct wd_addr *local) {
    struct transport *t = wd_table_get(&router->by_ssrc, wd_get32(packet + (rtcp ? 4 : 8)));
    if (!t || !t->keys.receive) {
        router->counters.drop_unknown_tuple++;
        return;
    }
    struct tuple unbound = {.transport = t, .remote = *from};
    if (local) unbound.local = *local;
    receive_media(router, &unbound, rtcp, packet, length);
}

void wd_router_receive(struct wd_router *router, uint8_t *datagram, size_t length, const struct wd_addr *from,
                       const struct wd_addr *local, int64_t now_ns) {
    router->now_ns = now_ns;
    router->counters.packets_in++;
    router->counters.bytes_in += length;
    if (length < 12) {
        router->counters.drop_short++;
        return;
    }
    uint8_t first = datagram[0];
    if (first >= 128 && first < 192) {
        struct tuple *tuple = wd_find_tuple(router, from);
        bool rtcp = datagram[1] >= 192 && datagram[1] <= 223;
        if (tuple)
            receive_media(router, tuple, rtcp, datagram, length);
        else
            receive_unbound_media(router, rtcp, datagram, length, from, local);
    } else if (first < 4) {
        router->counters.stun_in++;
        wd_stun_received(router, datagram, length, from, local);
    } else if (first >= 20 && first < 64) {
        router->counters.dtls_in++;
        wd_dtls_received(router, datagram, length, from);
    } else {
        router->counters.drop_junk++;
    }
}

int64_t wd_router_flush(struct wd_router *router, int64_t now_ns, bool all) {
    router->now_ns = now_ns;
    if (router->pending_count) wd_fanout(router, all);
    return wd_fanout_deadline(router);
}

int64_t wd_router_tick(struct wd_router *router, int64_t now_ns) {
    router->now_ns = now_ns;
    if (now_ns < router->next_tick_ns) return router->next_tick_ns;
    router->next_tick_ns = INT64_MAX;
    for (uint32_t i = 0; i < router->transport_count; i++) {
        if (router->due_ns[i] > now_ns) continue;
        router->due_ns[i] = now_ns + WD_SECOND;
        wd_ice_tick(router, router->transports[i]);
        wd_feedback_tick(router, router->transports[i]);
    }
    int64_t next = INT64_MAX;
    for (uint32_t i = 0; i < router->transport_count; i++)
        if (router->due_ns[i] < next) next = router->due_ns[i];
    /* One tick serves everything due within 5 ms: a thousand participants do not mean a thousand wake-ups. */
    router->next_tick_ns = next == INT64_MAX ? next : (next > now_ns + 5 * WD_MS ? next : now_ns + 5 * WD_MS);
    return router->next_tick_ns;
}
