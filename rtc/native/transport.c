/* ICE-lite (RFC 8445 sections 2.5 and 7.3, consent RFC 7675): checks come in, verified ones are answered and bind the sender's address.
 *
 * A sender whose MESSAGE-INTEGRITY is not right gets nothing back, so nobody can be made to receive what they did not ask for. The newest
 * nominated pair is followed at once, whatever was selected before: that is how a phone that changes from Wi-Fi to mobile keeps its call. */
#include "router_internal.h"

uint64_t wd_ufrag_key(const char *ufrag, size_t length) {
    uint64_t key = length;
    for (size_t i = 0; i < length; i++) key = wd_mix(key ^ (uint8_t)ufrag[i]) + i;
    return key;
}

struct tuple *wd_find_tuple(const struct wd_router *router, const struct wd_addr *from) {
    struct tuple *tuple = wd_table_get(&router->by_tuple, wd_address_key(from));
    return tuple && wd_same_address(&tuple->remote, from) ? tuple : NULL;
}

void wd_emit(struct wd_router *router, uint8_t type, uint32_t id) {
    struct wd_event event = {.type = type, .id = id};
    router->config.emit(router->config.owner, &event);
}

void wd_heard(struct wd_router *router, struct transport *t) {
    t->heard_ns = router->now_ns;
    if (t->quiet && t->consent) { /* without it we send nothing, whatever comes from them */
        t->quiet = false;
        wd_emit(router, WD_EVENT_HEARD, t->id);
    }
}

uint8_t *wd_router_room(struct wd_router *router, size_t length) { return wd_egress_room(router->egress, length); }

void wd_router_commit(struct wd_router *router, const struct wd_addr *to, const struct wd_addr *from, size_t length) {
    router->counters.packets_out++;
    router->counters.bytes_out += length;
    wd_egress_commit(router->egress, to, from, length);
}

static void queue(struct wd_router *router, const struct wd_addr *to, const struct wd_addr *from, const uint8_t *data, size_t length) {
    memcpy(wd_router_room(router, length), data, length);
    wd_router_commit(router, to, from, length);
}

struct tuple *wd_destination(struct transport *t) {
    struct tuple *to = t->selected ? t->selected : t->greeted;
    for (int i = 0; !to && i < WD_TUPLES; i++)
        if (t->tuples[i].used) to = &t->tuples[i];
    return to;
}

void wd_send_datagram(struct wd_router *router, struct transport *t, const uint8_t *data, size_t length) {
    const struct tuple *to = wd_destination(t);
    if (to && t->consent)
        queue(router, &to->remote, &to->local, data, length);
    else
        router->counters.drop_no_consent++;
}

static void forget(struct wd_router *router, struct tuple *tuple) {
    if (!tuple->used) return;
    wd_table_remove(&router->by_tuple, wd_address_key(&tuple->remote));
    if (tuple->transport->selected == tuple) tuple->transport->selected = NULL;
    if (tuple->transport->greeted == tuple) tuple->transport->greeted = NULL;
    wd_routable_forget(router, tuple->transport, tuple);
    tuple->used = false;
}

void wd_forget_tuples(struct wd_router *router, struct transport *t) {
    for (int i = 0; i < WD_TUPLES; i++) forget(router, &t->tuples[i]);
}

/* The address's tuple of this transport, made if new; the longest unheard one that is not selected gives way. */
struct tuple *wd_bind(struct wd_router *router, struct transport *t, const struct wd_addr *from, const struct wd_addr *local) {
    struct tuple *known = wd_table_get(&router->by_tuple, wd_address_key(from)), *place = NULL;
    if (known && known->transport == t && wd_same_address(&known->remote, from)) return known;
    /* The address of a call is not given away: a check with a forged source would silence its owner. Nor is one whose key only looks the same. */
    bool held = known && known->transport != t && known->transport->send && router->now_ns - known->heard_ns < WD_HELD_NS;
    if (known && (held || !wd_same_address(&known->remote, from))) return NULL;
    if (known) forget(router, known);
    for (int i = 0; i < WD_TUPLES; i++) {
        struct tuple *c = &t->tuples[i];
        if (!c->used) {
            place = c;
            break;
        }
        if (c != t->selected && (!place || c->heard_ns < place->heard_ns)) place = c;
    }
    forget(router, place);
    *place = (struct tuple){.remote = *from, .transport = t, .heard_ns = router->now_ns, .checked_ns = router->now_ns, .used = true};
    if (local) place->local = *local;
    if (!wd_table_add(&router->by_tuple, wd_address_key(from), place)) {
        place->used = false;
        return NULL;
    }
    return place;
}

/* For legs that had no place to start while nothing could be sent: nominated just now, or congested until now. */
static void ask_for_waiting(struct wd_router *router, struct transport *t) {
    if (!t->send || t->selected->congested) return;
    for (struct leg *leg = t->legs; leg; leg = leg->next)
        if (leg->track && leg->waiting) wd_ask_keyframe(router, leg->track);
}

/* Events of this kind are never left out for others, so who nominates two addresses in turns must not fill the ring with them: the newest waits. */
static void tell_selected(struct wd_router *router, struct transport *t) {
    t->selected_untold = t->selected && t->consent && !t->quiet; /* else it would be taken for their return, which WD_EVENT_HEARD tells */
    if (!t->selected_untold) return;
    if (router->now_ns - t->selected_window_ns >= WD_SECOND) {
        t->selected_window_ns = router->now_ns;
        t->selected_count = 0;
    }
    if (t->selected_count >= WD_SELECTED_PER_SECOND) {
        wd_due(router, t, t->selected_window_ns + WD_SECOND);
        return;
    }
    t->selected_count++;
    t->selected_untold = false;
    struct wd_event event = {.type = WD_EVENT_SELECTED, .id = t->id, .address = t->selected->remote};
    router->config.emit(router->config.owner, &event);
}

void wd_select(struct wd_router *router, struct transport *t, struct tuple *tuple) {
    if (t->selected == tuple) return;
    if (t->selected) router->counters.ice_switches++;
    t->selected = tuple;
    t->ever_selected = true;
    tell_selected(router, t);
    ask_for_waiting(router, t);
}

void wd_router_congested(struct wd_router *router, const struct wd_addr *remote, bool congested) {
    struct tuple *tuple = wd_find_tuple(router, remote);
    if (!tuple || (tuple->congested & WD_CONGESTED_STREAM) == congested) return;
    tuple->congested ^= WD_CONGESTED_STREAM; /* and no more: this may be the midst of a fan-out */
    if (!congested && tuple->transport->selected == tuple) ask_for_waiting(router, tuple->transport);
}

void wd_router_forget_address(struct wd_router *router, const struct wd_addr *remote) {
    struct tuple *gone = wd_find_tuple(router, remote);
    if (!gone) return;
    struct transport *t = gone->transport;
    bool selected = t->selected == gone;
    forget(router, gone);
    if (!selected) return;
    struct tuple *other = wd_newest_other(router, t, gone, false);
    if (other && !wd_may_select(router, t, other, 0)) other = wd_newest_other(router, t, gone, true);
    if (!other) return;
    router->counters.ice_switches++;
    wd_select(router, t, other);
}

bool wd_router_knows(const struct wd_router *router, const struct wd_addr *remote) { return wd_find_tuple(router, remote) != NULL; }

static void deliver_dtls(struct wd_router *router, struct tuple *from, const uint8_t *data, size_t length) {
    struct transport *t = from->transport;
    t->greeted = from;
    if (router->now_ns - t->dtls_window_ns > WD_SECOND) {
        t->dtls_window_ns = router->now_ns;
        t->dtls_count = 0;
    }
    if (++t->dtls_count > WD_DTLS_PER_SECOND) {
        router->counters.drop_dtls_unverified++;
        return;
    }
    struct wd_event event = {.type = WD_EVENT_DTLS, .id = t->id, .data = data, .length = length};
    router->config.emit(router->config.owner, &event);
}

static void deliver_early(struct wd_router *router, struct tuple *tuple) {
    for (int i = 0; i < WD_EARLY; i++) {
        struct early *e = &router->early[i];
        if (!e->length || !wd_same_address(&e->from, &tuple->remote)) continue;
        if (router->now_ns - e->at_ns < WD_EARLY_NS) deliver_dtls(router, tuple, e->data, e->length);
        e->length = 0;
    }
}

static const struct credentials *owner_of(struct wd_router *router, const struct wd_stun *m, struct transport **t) {
    const uint8_t *colon = memchr(m->username, ':', m->username_len); /* ours : theirs, RFC 8445 section 7.2.2 */
    size_t length = colon ? (size_t)(colon - m->username) : 0;
    *t = length ? wd_table_get(&router->by_ufrag, wd_ufrag_key((const char *)m->username, length)) : NULL;
    if (*t)
        for (int i = 0; i < (*t)->credentials_count; i++) {
            const struct credentials *c = &(*t)->credentials[i];
            if (c->ufrag_length == length && !memcmp(c->ufrag, m->username, length)) return c;
        }
    return NULL;
}

/* The restart is complete: the old credentials end (RFC 8445 section 9). */
static void retire_credentials(struct wd_router *router, struct transport *t) {
    while (t->credentials_count > 1) wd_unname(router, &t->credentials[--t->credentials_count]);
}

void wd_stun_received(struct wd_router *router, const uint8_t *data, size_t length, const struct wd_addr *from, const struct wd_addr *local) {
    static const struct wd_addr any = {0};
    struct wd_stun m;
    struct transport *t;
    if (wd_stun_parse(data, length, &m)) {
        router->counters.drop_stun_malformed++;
        return;
    }
    if (m.klass == WD_STUN_SUCCESS && m.method == 1) {
        wd_routable_answered(router, data, length, &m, from);
        return;
    }
    if (m.klass != WD_STUN_REQUEST || m.method != 1 || !m.username_len) {
        router->counters.drop_stun_other++; /* errors, keep-alive indications */
        return;
    }
    const struct credentials *c = owner_of(router, &m, &t);
    if (!c) {
        router->counters.drop_stun_unknown_user++;
        return;
    }
    if (!m.integrity_at || !wd_stun_verify(data, length, &m, (const uint8_t *)c->password, c->password_length)) {
        router->counters.drop_stun_integrity++;
        return;
    }
    uint8_t reply[256];
    size_t n;
    const uint8_t *key = (const uint8_t *)c->password;
    bool ok = false; /* errors go without a phrase for people: it would make them larger than short requests */
    if (m.unknown_count)
        n = wd_stun_write_error(reply, sizeof reply, m.transaction, 420, "", m.unknown, m.unknown_count, key, c->password_length);
    else if (m.controlled)
        n = wd_stun_write_error(reply, sizeof reply, m.transaction, 487, "", NULL, 0, key, c->password_length);
    else {
        n = wd_stun_write_success(reply, sizeof reply, m.transaction, from, key, c->password_length);
        ok = true;
    }
    /* Who sent this is known, but not that the address is theirs: it must not get more than it gave, nor an answer in a quarrel about the address. */
    struct tuple *tuple = ok && n <= length ? wd_bind(router, t, from, local) : NULL;
    if (n > length || (ok && !tuple)) {
        router->counters.drop_stun_other++;
        return;
    }
    if (n) {
        queue(router, from, local ? local : &any, reply, n);
        router->counters.stun_out++;
    }
    if (!ok) return;

    bool newest = c == &t->credentials[0];
    t->checked_ns = router->now_ns;
    t->quiet |= !t->consent && t->ever_selected;
    t->consent = true;
    /* Who sends no media is heard by its checks alone: the spare path of a receiver must not take over between two of them. */
    int64_t patience = t->media_ns && t->selected && t->media_ns > t->selected->heard_ns - 500 * WD_MS ? 500 * WD_MS : WD_QUIET_IDLE_NS;
    bool selected_silent = t->selected ? router->now_ns - t->selected->heard_ns > patience : t->ever_selected;
    tuple->credentials = t->named = c->number;
    size_t named = c->ufrag_length + 1u;
    wd_routable_checked(router, tuple, m.username + named, m.username_len - named);
    wd_heard(router, t);
    /* Of two pairs that differ in our address alone the nominated one is sent by (RFC 8445 section 12.1): the other may be open towards us only. */
    if (local && (m.use_candidate || selected_silent || tuple != t->selected)) tuple->local = *local;
    /* Without USE-CANDIDATE too when the selected pair has fallen silent or was forgotten: a NAT that rebinds under a consent check nominates nothing. */
    if ((m.use_candidate || selected_silent) && wd_may_select(router, t, tuple, length)) wd_select(router, t, tuple);
    if (newest && m.use_candidate) retire_credentials(router, t); /* also while it is on trial */
    deliver_early(router, tuple);
}

void wd_dtls_received(struct wd_router *router, const uint8_t *data, size_t length, const struct wd_addr *from) {
    struct tuple *tuple = wd_find_tuple(router, from);
    if (tuple) {
        tuple->transport->bytes_in += length;
        deliver_dtls(router, tuple, data, length);
        return;
    }
    /* A ClientHello may overtake the check that verifies its address: keep it a while, never answer it (record type 22, handshake type 1). */
    if (length > sizeof router->early[0].data || length < 14 || data[0] != 22 || data[13] != 1) {
        router->counters.drop_dtls_unverified++;
        return;
    }
    struct early *place = &router->early[0];
    for (int i = 0; i < WD_EARLY; i++) {
        struct early *e = &router->early[i];
        if (!e->length || router->now_ns - e->at_ns > WD_EARLY_NS) {
            place = e;
            place->length = 0;
            break;
        }
        if (e->at_ns < place->at_ns) place = e;
    }
    if (place->length) router->counters.drop_dtls_early_full++;
    place->from = *from;
    place->at_ns = router->now_ns;
    place->length = (uint16_t)length;
    memcpy(place->data, data, length);
}

void wd_transport_tick(struct wd_router *router, struct transport *t) {
    int64_t now = router->now_ns;
    wd_routable_tick(router, t);
    if (t->selected_untold) tell_selected(router, t);
    if (t->consent && now - t->checked_ns > WD_CONSENT_NS) {
        t->consent = false;
        wd_emit(router, WD_EVENT_CONSENT_LOST, t->id);
    }
    if (t->ever_selected && !t->quiet) { /* without one, now: its stream was closed */
        int64_t patience = t->media_ns && t->media_ns > t->heard_ns - 500 * WD_MS ? WD_QUIET_NS : WD_QUIET_IDLE_NS;
        if (now - t->heard_ns > patience) {
            t->quiet = true;
            wd_emit(router, WD_EVENT_QUIET, t->id);
        } else {
            wd_due(router, t, t->heard_ns + patience + WD_MS);
        }
    }
}
