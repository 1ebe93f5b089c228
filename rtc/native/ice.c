/* ICE-lite (RFC 8445 sections 2.5 and 7.3, consent RFC 7675): checks come in, verified ones are answered and bind the
 * sender's address.
 *
 * A sender whose MESSAGE-INTEGRITY is not right gets nothing back, so nobody can be made to receive what they did not
 * ask for. The newest nominated pair is followed at once, whatever was selected before: that is how a phone that
 * changes from Wi-Fi to mobile keeps its call. */
#include "ice.h"

#include "destination.h"
#include "events.h"
#include "handshake.h"
#include "path.h"
#include "path_validation.h"
#include "stun.h"

#define QUIET_NS (1800 * WD_MS) /* of silence after media: others are to be told within 2 s of the cut */
#define QUIET_IDLE_NS (6 * WD_SECOND) /* of silence after checks alone, which come each 2.5 s */
#define MEDIA_GAP_NS (500 * WD_MS) /* between two packets of who sends media */

/* --- credentials
 * ------------------------------------------------------------------------------------------------------ */

static bool set_credentials(struct local_credentials *c, const char *ufrag, const char *password) {
    size_t u = strlen(ufrag), p = strlen(password);
    if (u < 4 || u >= sizeof c->ufrag || p < 22 || p >= sizeof c->password) return false; /* RFC 8445 section 5.3 */
    memcpy(c->ufrag, ufrag, u + 1);
    memcpy(c->password, password, p + 1);
    c->ufrag_length = (uint8_t)u;
    c->password_length = (uint8_t)p;
    return true;
}

static bool register_credentials(struct wd_router *router, struct transport *t, const struct local_credentials *c) {
    return wd_table_add(&router->by_ufrag, wd_ufrag_key(c->ufrag, c->ufrag_length), t);
}

static void unregister_credentials(struct wd_router *router, const struct local_credentials *c) {
    wd_table_remove(&router->by_ufrag, wd_ufrag_key(c->ufrag, c->ufrag_length));
}

bool wd_ice_open(struct wd_router *router, struct transport *t, const char *ufrag, const char *password) {
    struct local_credentials *first = &t->ice.local[0];
    if (!set_credentials(first, ufrag, password) || !register_credentials(router, t, first)) return false;
    t->ice.local_count = 1;
    return true;
}

void wd_ice_close(struct wd_router *router, struct transport *t) {
    wd_forget_tuples(router, t);
    for (int i = 0; i < t->ice.local_count; i++) unregister_credentials(router, &t->ice.local[i]);
    for (int i = 0; i < WD_GENERATIONS; i++) free(t->ice.remote[i].text);
}

bool wd_router_restart_ice(struct wd_router *router, uint32_t id, const char *ufrag, const char *password) {
    struct transport *t = wd_table_get(&router->transports_by_id, id);
    struct local_credentials fresh = {0};
    if (!t || !set_credentials(&fresh, ufrag, password) || !register_credentials(router, t, &fresh)) return false;
    struct ice *ice = &t->ice;
    fresh.number = (uint8_t)(ice->local[0].number + 1);
    int place = ice->local_count;
    if (place ==
        WD_GENERATIONS) { /* the oldest gives way, but not those in use: nobody knows whether our answers arrive */
        place -= ice->local[place - 1].number == ice->used_number ? 2 : 1;
        unregister_credentials(router, &ice->local[place]);
    } else {
        ice->local_count++;
    }
    memmove(&ice->local[1], &ice->local[0], (size_t)place * sizeof fresh);
    ice->local[0] = fresh;
    return true;
}

/* The restart is complete: the old credentials end (RFC 8445 section 9). */
static void retire_credentials(struct wd_router *router, struct transport *t) {
    while (t->ice.local_count > 1) unregister_credentials(router, &t->ice.local[--t->ice.local_count]);
}

/* Where new ones are put: the oldest give way, but not those in use. */
static int place_for_remote(const struct transport *t, uint64_t key) {
    const struct remote_credentials *remote = t->ice.remote;
    int place = 0;
    while (place < WD_GENERATIONS && remote[place].text && remote[place].key != key) place++;
    if (place < WD_GENERATIONS) return place;
    const struct tuple *selected = t->destination.selected;
    return selected && remote[place - 1].key == selected->remote_key ? place - 2 : place - 1;
}

bool wd_router_set_remote(struct wd_router *router, uint32_t id, const char *ufrag, const char *password) {
    struct transport *t = wd_table_get(&router->transports_by_id, id);
    size_t u = strlen(ufrag) + 1, p = strlen(password) + 1;
    char *text = t && u <= WD_MAX_REMOTE_UFRAG + 1 && p <= WD_MAX_REMOTE_PASSWORD + 1 ? malloc(u + p) : NULL;
    if (!text) return false;
    memcpy(text, ufrag, u);
    memcpy(text + u, password, p);
    struct remote_credentials *remote = t->ice.remote;
    uint64_t key = wd_ufrag_key(ufrag, u - 1);
    int place = place_for_remote(t, key);
    free(remote[place].text);
    memmove(&remote[1], &remote[0], (size_t)place * sizeof *remote);
    remote[0] = (struct remote_credentials){.text = text, .key = key};
    wd_path_credentials_arrived(router, t);
    return true;
}

/* --- checks
 * ----------------------------------------------------------------------------------------------------------- */

static const struct local_credentials *find_credentials(struct wd_router *router, const struct wd_stun *m,
                                                        struct transport **t) {
    const uint8_t *colon = memchr(m->username, ':', m->username_len); /* ours : theirs, RFC 8445 section 7.2.2 */
    size_t length = colon ? (size_t)(colon - m->username) : 0;
    *t = length ? wd_table_get(&router->by_ufrag, wd_ufrag_key((const char *)m->username, length)) : NULL;
    if (*t)
        for (int i = 0; i < (*t)->ice.local_count; i++) {
            const struct local_credentials *c = &(*t)->ice.local[i];
            if (c->ufrag_length == length && !memcmp(c->ufrag, m->username, length)) return c;
        }
    return NULL;
}

struct check {
    const struct wd_stun *message;
    size_t length;
    const struct wd_addr *from, *local; /* local may be NULL */
    const struct local_credentials *credentials;
};

/* Answers a verified check; the tuple that it binds, or NULL when it was refused. */
static struct tuple *answer(struct wd_router *router, struct transport *t, const struct check *check) {
    static const struct wd_addr any = {0};
    const struct wd_stun *m = check->message;
    const uint8_t *key = (const uint8_t *)check->credentials->password;
    size_t key_length = check->credentials->password_length, n;
    uint8_t reply[256];
    bool accepted =
        !m->unknown_count &&
        !m->controlled; /* errors go without a phrase for people: it would make them larger than short requests */
    if (accepted)
        n = wd_stun_write_success(reply, sizeof reply, m->transaction, check->from, key, key_length);
    else
        n = wd_stun_write_error(reply, sizeof reply, m->transaction, m->unknown_count ? 420 : 487, "", m->unknown,
                                m->unknown_count, key, key_length);
    /* Who sent this is known, but not that the address is theirs: it must not get more than it gave, nor an answer in a
     * quarrel about the address. */
    struct tuple *tuple = accepted && n <= check->length ? wd_bind_tuple(router, t, check->from, check->local) : NULL;
    if (n > check->length || (accepted && !tuple)) {
        router->counters.drop_stun_other++;
        return NULL;
    }
    if (n) {
        wd_send_to_address(router, check->from, check->local ? check->local : &any, reply, n);
        router->counters.stun_out++;
    }
    return tuple;
}

/* Who sends media, as far as anybody can tell so shortly after the newest of it. */
static bool sends_media(const struct transport *t, int64_t heard_ns) {
    return t->live.media_ns && t->live.media_ns > heard_ns - MEDIA_GAP_NS;
}

static bool is_selected_silent(const struct wd_router *router, const struct transport *t) {
    const struct tuple *selected = t->destination.selected;
    if (!selected) return t->live.ever_selected;
    /* Who sends no media is heard by its checks alone: the spare path of a receiver must not take over between two of
     * them. */
    return router->now_ns - selected->heard_ns > (sends_media(t, selected->heard_ns) ? MEDIA_GAP_NS : QUIET_IDLE_NS);
}

static void accept_check(struct wd_router *router, struct transport *t, struct tuple *tuple,
                         const struct check *check) {
    const struct wd_stun *m = check->message;
    const struct local_credentials *c = check->credentials;
    bool newest = c == &t->ice.local[0];
    t->live.checked_ns = router->now_ns;
    t->live.quiet |= !t->destination.consent && t->live.ever_selected;
    t->destination.consent = true;
    bool selected_silent = is_selected_silent(router, t);
    tuple->credentials = t->ice.used_number = c->number;
    size_t theirs_at = c->ufrag_length + 1u;
    wd_path_checked(router, tuple, m->username + theirs_at, m->username_len - theirs_at);
    wd_heard(router, t);
    /* Of two pairs that differ in our address alone the nominated one is sent by (RFC 8445 section 12.1): the other may
     * be open towards us only. */
    if (check->local && (m->use_candidate || selected_silent || tuple != t->destination.selected))
        tuple->local = *check->local;
    /* Without USE-CANDIDATE too when the selected pair has fallen silent or was forgotten: a NAT that rebinds under a
     * consent check nominates nothing. */
    if ((m->use_candidate || selected_silent) && wd_path_may_select(router, t, tuple, check->length))
        wd_select(router, t, tuple);
    if (newest && m->use_candidate) retire_credentials(router, t); /* also while it is on trial */
    wd_deliver_early(router, tuple);
}

void wd_stun_received(struct wd_router *router, const uint8_t *data, size_t length, const struct wd_addr *from,
                      const struct wd_addr *local) {
    struct wd_stun m;
    struct transport *t;
    if (!wd_stun_parse(data, length, &m)) {
        router->counters.drop_stun_malformed++;
        return;
    }
    if (m.klass == WD_STUN_SUCCESS && m.method == 1) {
        wd_path_check_answered(router, data, length, &m, from);
        return;
    }
    if (m.klass != WD_STUN_REQUEST || m.method != 1 || !m.username_len) {
        router->counters.drop_stun_other++; /* errors, keep-alive indications */
        return;
    }
    const struct local_credentials *c = find_credentials(router, &m, &t);
    if (!c) {
        router->counters.drop_stun_unknown_user++;
        return;
    }
    if (!m.integrity_at || !wd_stun_verify(data, length, &m, (const uint8_t *)c->password, c->password_length)) {
        router->counters.drop_stun_integrity++;
        return;
    }
    struct check check = {.message = &m, .length = length, .from = from, .local = local, .credentials = c};
    struct tuple *tuple = answer(router, t, &check);
    if (tuple) accept_check(router, t, tuple, &check);
}

/* --- the way ends, or falls silent
 * ------------------------------------------------------------------------------------ */

void wd_router_forget_address(struct wd_router *router, const struct wd_addr *remote) {
    struct tuple *gone = wd_find_tuple(router, remote);
    if (!gone) return;
    struct transport *t = gone->transport;
    bool selected = t->destination.selected == gone;
    wd_forget_tuple(router, gone);
    if (!selected) return;
    struct tuple *other = wd_newest_other(router, t, gone, false);
    if (other && !wd_path_may_select(router, t, other, 0)) other = wd_newest_other(router, t, gone, true);
    if (!other) return;
    router->counters.ice_switches++;
    wd_select(router, t, other);
}

static void check_consent(struct wd_router *router, struct transport *t) {
    if (!t->destination.consent || router->now_ns - t->live.checked_ns <= WD_CONSENT_NS) return;
    t->destination.consent = false;
    wd_emit(router, WD_EVENT_CONSENT_LOST, t->id);
}

static void check_quiet(struct wd_router *router, struct transport *t) {
    struct liveness *live = &t->live;
    if (!live->ever_selected || live->quiet) return; /* without one, now: its stream was closed */
    int64_t patience_ns = sends_media(t, live->heard_ns) ? QUIET_NS : QUIET_IDLE_NS;
    if (router->now_ns - live->heard_ns > patience_ns) {
        live->quiet = true;
        wd_emit(router, WD_EVENT_QUIET, t->id);
    } else {
        wd_due(router, t, live->heard_ns + patience_ns + WD_MS);
    }
}

void wd_ice_tick(struct wd_router *router, struct transport *t) {
    wd_path_validation_tick(router, t);
    wd_path_tick(router, t);
    check_consent(router, t);
    check_quiet(router, t);
}
