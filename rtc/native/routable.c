/* Does somebody who names an address also receive there? A check says who sent it, but its source may be forged, and media to a stranger's address would be a
 * flood that the stranger never asked for (return routability, RFC 8445 section 19.5.1).
 *
 * A full agent checks the way back itself. A lite one need not, so it asks only where nothing else has shown it: not an address that the whole handshake went
 * to, which could not have ended otherwise, nor one of a stream or of our relay. Of any other the participant is asked, by a check of ours, which they are to
 * answer (RFC 8445 section 7.3) and only who receives it can. So that a phone that changes its network keeps its call, media follow at once, for a while: on
 * trial. Whoever fails a trial is given no other for some time. Then, and for all addresses but one, the answer comes first, and there is one check of ours for
 * each of theirs, no larger than that. */
#include <openssl/rand.h>

#include "router_internal.h"

#define MESSAGE_ROOM 512

static bool is_shown(const struct transport *t, const struct tuple *tuple) {
    return tuple->routable || tuple->remote.via != WD_VIA_UDP || !t->send || !t->has_remote;
}

static const struct credentials *credentials_of(const struct transport *t, const struct tuple *tuple) {
    bool former = t->credentials_count == 2 && t->credentials[1].number == tuple->credentials;
    return &t->credentials[former];
}

static void ask(struct wd_router *router, struct transport *t, struct tuple *tuple, size_t most) {
    const struct credentials *c = credentials_of(t, tuple);
    if (!c->remote) return;
    if (!tuple->asked && RAND_bytes(tuple->transaction, sizeof tuple->transaction) != 1) return;
    tuple->asked = true;
    const char *password = c->remote + strlen(c->remote) + 1;
    char username[WD_MAX_REMOTE_UFRAG + 1 + sizeof c->ufrag];
    size_t length = (size_t)snprintf(username, sizeof username, "%s:%s", c->remote, c->ufrag);
    struct wd_stun_check check = {.username = (const uint8_t *)username, .username_len = length, .priority = 1};
    uint8_t message[MESSAGE_ROOM];
    length = wd_stun_write_check(message, sizeof message, tuple->transaction, &check, (const uint8_t *)password, strlen(password));
    if (!length || length > most) return;
    memcpy(wd_router_room(router, length), message, length);
    wd_router_commit(router, &tuple->remote, &tuple->local, length);
    router->counters.checks_out++;
}

bool wd_may_select(struct wd_router *router, struct transport *t, struct tuple *tuple, size_t most) {
    if (is_shown(t, tuple)) {
        t->wished = NULL;
        return true;
    }
    if (!t->trial && router->now_ns >= t->trial_from_ns) {
        t->trial = tuple;
        t->trial_began_ns = router->now_ns;
        t->trial_asks = 1;
        wd_due(router, t, router->now_ns + WD_TRIAL_STEP_NS);
    }
    ask(router, t, tuple, most);
    bool on_trial = t->trial == tuple;
    t->wished = on_trial ? NULL : tuple;
    return on_trial;
}

void wd_routable_answered(struct wd_router *router, const uint8_t *data, size_t length, const struct wd_stun *m, const struct wd_addr *from) {
    struct tuple *tuple = wd_find_tuple(router, from);
    if (!tuple || !tuple->asked || memcmp(tuple->transaction, m->transaction, sizeof tuple->transaction) != 0) {
        router->counters.drop_stun_other++;
        return;
    }
    struct transport *t = tuple->transport;
    const struct credentials *c = credentials_of(t, tuple);
    const char *password = c->remote ? c->remote + strlen(c->remote) + 1 : NULL;
    if (!password || !m->integrity_at || !wd_stun_verify(data, length, m, (const uint8_t *)password, strlen(password))) {
        router->counters.drop_stun_integrity++;
        return;
    }
    tuple->routable = true;
    if (t->trial == tuple) t->trial = NULL;
    if (t->wished != tuple) return;
    t->wished = NULL;
    wd_select(router, t, tuple);
}

struct tuple *wd_newest_other(const struct wd_router *router, struct transport *t, const struct tuple *than, bool shown) {
    struct tuple *newest = NULL;
    for (int i = 0; i < WD_TUPLES; i++) {
        struct tuple *c = &t->tuples[i];
        if (!c->used || c == than || (shown && !is_shown(t, c))) continue;
        /* Longer ago it may be somebody else's by now (RFC 7675 section 5.1: consent is for an address). */
        if (router->now_ns - c->heard_ns <= WD_CONSENT_NS && (!newest || c->heard_ns > newest->heard_ns)) newest = c;
    }
    return newest;
}

static void fail(struct wd_router *router, struct transport *t) {
    router->counters.trials_failed++;
    t->trial = NULL;
    t->trial_from_ns = router->now_ns + WD_TRIAL_PAUSE_NS;
}

static void leave(struct wd_router *router, struct transport *t) {
    struct tuple *other = wd_newest_other(router, t, t->selected, true);
    t->wished = t->selected; /* its answer may be late */
    if (other) wd_select(router, t, other);
    else t->selected = NULL;
}

/* After 100, 300 and 700 ms. */
static int64_t next_ask_ns(const struct transport *t) { return t->trial_began_ns + WD_TRIAL_STEP_NS * ((INT64_C(1) << t->trial_asks) - 1); }

void wd_routable_tick(struct wd_router *router, struct transport *t) {
    if (!t->trial) return;
    int64_t end_ns = t->trial_began_ns + WD_TRIAL_NS;
    if (router->now_ns >= end_ns) {
        bool selected = t->selected == t->trial;
        fail(router, t);
        if (selected) leave(router, t);
        return;
    }
    if (router->now_ns >= next_ask_ns(t)) {
        t->trial_asks++;
        ask(router, t, t->trial, MESSAGE_ROOM);
    }
    wd_due(router, t, next_ask_ns(t) < end_ns ? next_ask_ns(t) : end_ns);
}

void wd_routable_shook(struct transport *t, struct tuple *tuple) {
    if (t->send || !tuple) return; /* it is over, or nothing was sent */
    t->shaken_apart |= t->shaken && t->shaken != tuple;
    t->shaken = tuple;
}

void wd_routable_shaken(struct wd_router *router, struct transport *t) {
    if (t->shaken && !t->shaken_apart) t->shaken->routable = true;
    if (t->selected && !wd_may_select(router, t, t->selected, MESSAGE_ROOM)) t->selected = NULL;
}

void wd_routable_forget(struct wd_router *router, struct transport *t, const struct tuple *tuple) {
    if (t->trial == tuple) fail(router, t);
    if (t->wished == tuple) t->wished = NULL;
    if (t->shaken != tuple) return;
    t->shaken = NULL;
    t->shaken_apart = true;
}
