/* Does somebody who names an address also receive there? A check says who sent it, but its source may be forged, and media to a stranger's address would be a
 * flood that the stranger never asked for (return routability, RFC 8445 section 19.5.1).
 *
 * An address is shown to receive
 *   - by the handshake, when all of it went there: it could not have ended otherwise;
 *   - by the answer to a check of ours (RFC 8445 section 7.3), which only who receives it can give. It carries the credentials that the participant's own newest
 *     check from there named: who restarts ICE checks with new credentials before we know them, and with old ones afterwards, and answers none but these;
 *   - by an authentic report from there that a sender report arrived which went there alone. Its time holds 15 random bits, so that nobody can guess it;
 *   - always when it is one of a stream or of our relay.
 *
 * So that a phone that changes its network keeps its call, media follow at once, for a while: on trial. It lasts a second, and longer while authentic and new
 * media or reports come from there and none from elsewhere: these show that the participant is there, though not yet that it receives. So one check, forged or
 * copied, moves media for a second, and whoever speaks elsewhere has them back. Participants can forge their own sources, from port to port of a stranger, so all
 * trials of a transport that came to nothing share one credit of time: half a minute, which comes back a second in each half minute. Behind a trial that failed there is none for some time for addresses from which
 * only checks come; one from which media come is tried again soon, later with each failure. Without a trial the answer comes first, and there is one check of
 * ours for each of theirs, no larger than that.
 *
 * Media that come from another address than the selected one move it when nothing has come from there for a while: a NAT that rebinds, or a path that is dead
 * in silence, nominates nothing. */
#include <openssl/rand.h>

#include "router_internal.h"

#define MESSAGE_ROOM 512

static bool is_shown(const struct transport *t, const struct tuple *tuple) {
    return tuple->routable || tuple->remote.via != WD_VIA_UDP || !t->send || !t->remotes[0].text;
}

/* Of the newest media or report. Checks do not count: they can be copied, and sent again with another source. */
static int64_t spoke_ns(const struct tuple *tuple) { return tuple->heard_ns > tuple->checked_ns ? tuple->heard_ns : tuple->spoke_ns; }

static bool speaks(const struct wd_router *router, const struct tuple *tuple) {
    return spoke_ns(tuple) && router->now_ns - spoke_ns(tuple) <= WD_SPEAKS_NS;
}

static const struct credentials *ours(const struct transport *t, const struct tuple *tuple) {
    for (int i = 1; i < t->credentials_count; i++)
        if (t->credentials[i].number == tuple->credentials) return &t->credentials[i];
    return &t->credentials[0];
}

/* NULL while they are not known: the offer that holds them may come later than the first checks. */
static const char *theirs(const struct transport *t, const struct tuple *tuple) {
    for (int i = 0; i < WD_GENERATIONS && t->remotes[i].text; i++)
        if (t->remotes[i].key == tuple->theirs) return t->remotes[i].text;
    return NULL;
}

static const char *password_of(const char *remote) { return remote + strlen(remote) + 1; }

static void ask(struct wd_router *router, struct transport *t, struct tuple *tuple, size_t most) {
    const char *remote = most ? theirs(t, tuple) : NULL;
    if (!remote) return;
    if (!tuple->asked && RAND_bytes(tuple->transaction, sizeof tuple->transaction) != 1) return;
    tuple->asked = true;
    const struct credentials *c = ours(t, tuple);
    char username[WD_MAX_REMOTE_UFRAG + 1 + sizeof c->ufrag];
    size_t length = (size_t)snprintf(username, sizeof username, "%s:%s", remote, c->ufrag);
    struct wd_stun_check check = {.username = (const uint8_t *)username, .username_len = length, .priority = 1};
    uint8_t message[MESSAGE_ROOM];
    const char *password = password_of(remote);
    length = wd_stun_write_check(message, sizeof message, tuple->transaction, &check, (const uint8_t *)password, strlen(password));
    if (!length || length > most) return;
    memcpy(wd_router_room(router, length), message, length);
    wd_router_commit(router, &tuple->remote, &tuple->local, length);
    router->counters.checks_out++;
}

/* So long media may still go to addresses that are not shown to receive. */
static int64_t credit_ns(const struct wd_router *router, const struct transport *t) {
    return WD_TRIAL_KEPT_NS - (t->trial_paid_ns > router->now_ns ? (t->trial_paid_ns - router->now_ns) / WD_TRIAL_PRICE : 0);
}

static void fail(struct wd_router *router, struct transport *t) {
    struct tuple *tuple = t->trial;
    t->trial_paid_ns = (t->trial_paid_ns > router->now_ns ? t->trial_paid_ns : router->now_ns) + WD_TRIAL_PRICE * (router->now_ns - t->trial_began_ns);
    router->counters.trials_failed++;
    t->trial = NULL;
    t->trial_from_ns = router->now_ns + WD_TRIAL_PAUSE_NS;
    tuple->trial_from_ns = router->now_ns + (WD_TRIAL_AGAIN_NS << tuple->failed);
    if (tuple->failed < WD_TRIAL_FAILURES) tuple->failed++;
}

bool wd_may_select(struct wd_router *router, struct transport *t, struct tuple *tuple, size_t most) {
    if (is_shown(t, tuple)) {
        t->wished = NULL;
        return true;
    }
    bool here = speaks(router, tuple);
    if (here && t->trial && t->trial != tuple && !speaks(router, t->trial)) fail(router, t);
    if (!t->trial && router->now_ns >= (here ? tuple->trial_from_ns : t->trial_from_ns) && credit_ns(router, t) >= WD_TRIAL_NS) {
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

static void show(struct wd_router *router, struct transport *t, struct tuple *tuple) {
    tuple->routable = true;
    if (t->trial == tuple) t->trial = NULL;
    if (t->wished != tuple) return;
    t->wished = NULL;
    wd_select(router, t, tuple);
}

void wd_routable_answered(struct wd_router *router, const uint8_t *data, size_t length, const struct wd_stun *m, const struct wd_addr *from) {
    struct tuple *tuple = wd_find_tuple(router, from);
    if (!tuple || !tuple->asked || memcmp(tuple->transaction, m->transaction, sizeof tuple->transaction) != 0) {
        router->counters.drop_stun_other++;
        return;
    }
    struct transport *t = tuple->transport;
    /* Any of theirs: they may have checked with others since we asked. */
    for (int i = 0; m->integrity_at && i < WD_GENERATIONS && t->remotes[i].text; i++) {
        const char *password = password_of(t->remotes[i].text);
        if (!wd_stun_verify(data, length, m, (const uint8_t *)password, strlen(password))) continue;
        show(router, t, tuple);
        return;
    }
    router->counters.drop_stun_integrity++;
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

static void leave(struct wd_router *router, struct transport *t) {
    struct tuple *other = wd_newest_other(router, t, t->selected, true);
    t->wished = t->selected; /* its answer may be late */
    if (other) wd_select(router, t, other);
    else t->selected = NULL;
}

static bool speaks_elsewhere(const struct transport *t, const struct tuple *than) {
    for (int i = 0; i < WD_TUPLES; i++) {
        const struct tuple *c = &t->tuples[i];
        if (c->used && c != than && spoke_ns(c) > t->trial_began_ns + WD_LATE_NS) return true;
    }
    return false;
}

static bool has_ended(const struct wd_router *router, const struct transport *t) {
    int64_t age_ns = router->now_ns - t->trial_began_ns;
    if (age_ns < WD_TRIAL_NS) return false;
    return age_ns >= credit_ns(router, t) || t->selected != t->trial || !speaks(router, t->trial) || speaks_elsewhere(t, t->trial);
}

/* After 100, 300, 700 ms and so on. */
static int64_t next_ask_ns(const struct transport *t) { return t->trial_began_ns + WD_TRIAL_STEP_NS * ((INT64_C(1) << t->trial_asks) - 1); }

void wd_routable_tick(struct wd_router *router, struct transport *t) {
    if (!t->trial) return;
    if (has_ended(router, t)) {
        bool selected = t->selected == t->trial;
        fail(router, t);
        if (selected) leave(router, t);
        return;
    }
    if (router->now_ns >= next_ask_ns(t)) {
        t->trial_asks++;
        ask(router, t, t->trial, MESSAGE_ROOM);
    }
    int64_t end_ns = t->trial_began_ns + WD_TRIAL_NS;
    wd_due(router, t, router->now_ns < end_ns && end_ns < next_ask_ns(t) ? end_ns : next_ask_ns(t));
}

void wd_routable_named(struct wd_router *router, struct transport *t) {
    for (int i = 0; i < WD_TUPLES; i++) {
        struct tuple *tuple = &t->tuples[i];
        if (tuple->used && (t->trial == tuple || t->wished == tuple)) ask(router, t, tuple, MESSAGE_ROOM);
    }
}

void wd_routable_checked(struct wd_router *router, struct tuple *tuple, const uint8_t *named, size_t length) {
    tuple->theirs = wd_ufrag_key((const char *)named, length);
    tuple->spoke_ns = spoke_ns(tuple);
    tuple->heard_ns = tuple->checked_ns = router->now_ns;
}

void wd_routable_spoke(struct wd_router *router, struct tuple *tuple) {
    struct transport *t = tuple->transport;
    if (!t->ever_selected || (t->selected && router->now_ns - t->selected->heard_ns < WD_MOVED_NS)) return;
    if (!tuple->used) {
        const struct tuple *like = t->selected ? t->selected : wd_newest_other(router, t, NULL, false); /* an address that was translated anew: the ways behind it are the same */
        uint64_t named = like ? like->theirs : 0;
        uint8_t credentials = like ? like->credentials : t->named;
        tuple = wd_bind(router, t, &tuple->remote, &tuple->local);
        if (!tuple) return;
        tuple->theirs = named;
        tuple->credentials = credentials;
        tuple->spoke_ns = router->now_ns;
    }
    if (!is_shown(t, tuple) && router->now_ns < tuple->trial_from_ns) return;
    if (wd_may_select(router, t, tuple, 0)) wd_select(router, t, tuple);
}

/* --- reports as proof ------------------------------------------------------------------------------------------------- */

int64_t wd_routable_shift_ns(const struct transport *t) {
    uint16_t random;
    if (!t->selected || is_shown(t, t->selected) || RAND_bytes((uint8_t *)&random, sizeof random) != 1) return 0;
    return (random >> 1) * (WD_SECOND >> 16); /* under half a second, in the steps of an LSR */
}

void wd_routable_reports(struct transport *t, uint32_t lsr) {
    if (t->selected && !is_shown(t, t->selected)) t->selected->proofs[t->selected->proof_next++ % WD_PROOFS] = lsr;
}

void wd_routable_reported(struct wd_router *router, struct tuple *tuple, uint32_t lsr) {
    if (tuple->routable || !lsr || !tuple->proof_next || tuple->guesses >= WD_GUESSES) return;
    for (int i = 0; i < WD_PROOFS; i++)
        if (tuple->proofs[i] == lsr) {
            show(router, tuple->transport, tuple);
            return;
        }
    if ((int32_t)(lsr - tuple->proofs[0]) > -0x8000) tuple->guesses++; /* else of a report from before, to another address */
}

/* --- the handshake ---------------------------------------------------------------------------------------------------- */

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
