/* Life of transports. */
#include "core.h"
#include "events.h"
#include "feedback.h"
#include "ice.h"
#include "keys.h"
#include "leg.h"
#include "track.h"

static void forget_id(struct wd_router *router, struct transport *t) {
    wd_table_remove(&router->transports_by_id, t->id);
    free(t);
}

bool wd_router_add_transport(struct wd_router *router, uint32_t id, const char *ufrag, const char *password,
                             int64_t now_ns) {
    router->now_ns = now_ns;
    if (router->transport_count >= router->config.max_transports) return false;
    struct transport *t = wd_new_zeros(sizeof *t);
    if (!t) return false;
    t->id = id;
    t->place = router->transport_count;
    if (!wd_table_add(&router->transports_by_id, id, t)) {
        free(t);
        return false;
    }
    if (!wd_ice_open(router, t, ufrag, password)) {
        forget_id(router, t);
        return false;
    }
    t->live.heard_ns = t->live.checked_ns = t->stats.at_ns = now_ns;
    t->feedback_ssrc = (uint32_t)wd_random(router) | 1;
    t->feedback.report_due_ns = wd_beat(router, WD_REPORT_INTERVAL_NS);
    t->feedback.twcc_due_ns = t->feedback.nack_due_ns = INT64_MAX;
    t->level_due_ns = wd_beat(router, WD_LEVEL_INTERVAL_NS);
    router->transports[t->place] = t;
    router->due_ns[t->place] = t->level_due_ns;
    router->transport_count++;
    wd_due(router, t, t->level_due_ns);
    return true;
}

bool wd_router_remove_transport(struct wd_router *router, uint32_t id) {
    struct transport *t = wd_table_get(&router->transports_by_id, id);
    if (!t) return false;
    while (t->tracks) wd_router_remove_track(router, t->tracks->config.id);
    while (t->legs) wd_router_remove_leg(router, t->legs->config.id);
    wd_ice_close(router, t);
    uint32_t last = --router->transport_count;
    router->transports[t->place] = router->transports[last];
    router->due_ns[t->place] = router->due_ns[last];
    router->transports[t->place]->place = t->place;
    wd_keys_free(t);
    free(t->feedback.twcc);
    forget_id(router, t);
    return true;
}
