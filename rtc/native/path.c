#include "path.h"

#include "events.h"
#include "keyframes.h"
#include "trial.h"

#define SELECTED_PER_SECOND 10 /* events of one transport */
#define HELD_NS (6 * WD_SECOND) /* so long after a check or media an address belongs to its transport alone */

uint64_t wd_ufrag_key(const char *ufrag, size_t length) {
    uint64_t key = length;
    for (size_t i = 0; i < length; i++) key = wd_mix(key ^ (uint8_t)ufrag[i]) + i;
    return key;
}

/* --- bound and forgotten --------------------------------------------------------------------------------------------
 */

struct tuple *wd_find_tuple(const struct wd_router *router, const struct wd_addr *from) {
    struct tuple *tuple = wd_table_get(&router->by_tuple, wd_address_key(from));
    return tuple && wd_same_address(&tuple->remote, from) ? tuple : NULL;
}

void wd_forget_tuple(struct wd_router *router, struct tuple *tuple) {
    if (!tuple->used) return;
    struct transport *t = tuple->transport;
    wd_table_remove(&router->by_tuple, wd_address_key(&tuple->remote));
    if (t->destination.selected == tuple) t->destination.selected = NULL;
    if (t->handshake.from == tuple) t->handshake.from = NULL;
    if (t->handshake.to == tuple) {
        t->handshake.to = NULL;
        t->handshake.split = true;
    }
    if (t->trial.tuple == tuple) wd_trial_fail(router, t);
    if (t->trial.next == tuple) t->trial.next = NULL;
    tuple->used = false;
}

void wd_forget_tuples(struct wd_router *router, struct transport *t) {
    for (int i = 0; i < WD_TUPLES; i++) wd_forget_tuple(router, &t->ice.tuples[i]);
}

/* A free place, or that of the longest unheard tuple that is not selected. */
static struct tuple *place_for_tuple(struct transport *t) {
    struct tuple *place = NULL;
    for (int i = 0; i < WD_TUPLES; i++) {
        struct tuple *c = &t->ice.tuples[i];
        if (!c->used) return c;
        if (c != t->destination.selected && (!place || c->heard_ns < place->heard_ns)) place = c;
    }
    return place;
}

struct tuple *wd_bind_tuple(struct wd_router *router, struct transport *t, const struct wd_addr *from,
                            const struct wd_addr *local) {
    struct tuple *known = wd_table_get(&router->by_tuple, wd_address_key(from));
    if (known && known->transport == t && wd_same_address(&known->remote, from)) return known;
    /* The address of a call is not given away: a check with a forged source would silence its owner. Nor is one whose
     * key only looks the same. */
    bool held =
        known && known->transport != t && known->transport->keys.send && router->now_ns - known->heard_ns < HELD_NS;
    if (known && (held || !wd_same_address(&known->remote, from))) return NULL;
    if (known) wd_forget_tuple(router, known);
    struct tuple *place = place_for_tuple(t);
    wd_forget_tuple(router, place);
    *place = (struct tuple){
        .remote = *from, .transport = t, .heard_ns = router->now_ns, .checked_ns = router->now_ns, .used = true};
    if (local) place->local = *local;
    if (!wd_table_add(&router->by_tuple, wd_address_key(from), place)) {
        place->used = false;
        return NULL;
    }
    return place;
}

struct tuple *wd_newest_other(const struct wd_router *router, struct transport *t, const struct tuple *than,
                              bool validated) {
    struct tuple *newest = NULL;
    for (int i = 0; i < WD_TUPLES; i++) {
        struct tuple *c = &t->ice.tuples[i];
        if (!c->used || c == than || (validated && !wd_is_validated(t, c))) continue;
        /* Longer ago it may be somebody else's by now (RFC 7675 section 5.1: consent is for an address). */
        if (router->now_ns - c->heard_ns <= WD_CONSENT_NS && (!newest || c->heard_ns > newest->heard_ns)) newest = c;
    }
    return newest;
}

bool wd_router_knows(const struct wd_router *router, const struct wd_addr *remote) {
    return wd_find_tuple(router, remote) != NULL;
}

/* --- selected -------------------------------------------------------------------------------------------------------
 */

bool wd_is_validated(const struct transport *t, const struct tuple *tuple) {
    return tuple->validation == WD_VALIDATED || tuple->remote.via != WD_VIA_UDP || !t->keys.send ||
           !t->ice.remote[0].text;
}

/* Events of this kind are never left out for others, so who nominates two addresses in turns must not fill the ring
 * with them: the newest waits. */
static void report_selected(struct wd_router *router, struct transport *t) {
    struct ice *ice = &t->ice;
    ice->selection_unreported =
        t->destination.selected && t->destination.consent &&
        !t->live.quiet; /* else it would be taken for their return, which WD_EVENT_HEARD tells */
    if (!ice->selection_unreported) return;
    if (router->now_ns - ice->selection_window_ns >= WD_SECOND) {
        ice->selection_window_ns = router->now_ns;
        ice->selection_events = 0;
    }
    if (ice->selection_events >= SELECTED_PER_SECOND) {
        wd_due(router, t, ice->selection_window_ns + WD_SECOND);
        return;
    }
    ice->selection_events++;
    ice->selection_unreported = false;
    struct wd_event event = {.type = WD_EVENT_SELECTED, .id = t->id, .address = t->destination.selected->remote};
    router->config.emit(router->config.owner, &event);
}

void wd_path_tick(struct wd_router *router, struct transport *t) {
    if (t->ice.selection_unreported) report_selected(router, t);
}

void wd_select(struct wd_router *router, struct transport *t, struct tuple *tuple) {
    if (t->destination.selected == tuple) return;
    if (t->destination.selected) router->counters.ice_switches++;
    t->destination.selected = tuple;
    t->live.ever_selected = true;
    report_selected(router, t);
    wd_ask_keyframes(router, t);
}

void wd_router_congested(struct wd_router *router, const struct wd_addr *remote, bool congested) {
    struct tuple *tuple = wd_find_tuple(router, remote);
    if (!tuple || (tuple->congested & WD_CONGESTED_STREAM) == congested) return;
    tuple->congested ^= WD_CONGESTED_STREAM; /* and no more: this may be the midst of a fan-out */
    if (!congested && tuple->transport->destination.selected == tuple) wd_ask_keyframes(router, tuple->transport);
}

void wd_heard(struct wd_router *router, struct transport *t) {
    t->live.heard_ns = router->now_ns;
    if (t->live.quiet && t->destination.consent) { /* without it we send nothing, whatever comes from them */
        t->live.quiet = false;
        wd_emit(router, WD_EVENT_HEARD, t->id);
    }
}
