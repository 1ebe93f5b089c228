/* Path validation: does somebody who names an address also receive there? A check says who sent it, but its source may
 * be forged, and media to a stranger's address would be a flood that the stranger never asked for (return routability,
 * RFC 8445 section 19.5.1; compare QUIC's path validation, RFC 9000 section 8.2).
 *
 * An address (enum wd_validation) is validated
 *   - by the handshake, when all of it went there: it could not have ended otherwise;
 *   - by the answer to a check of ours (RFC 8445 section 7.3), which only who receives it can give: WD_CHALLENGED until
 * then. The check carries the credentials that the participant's own newest check from there named: who restarts ICE
 * checks with new credentials before we know them, and with old ones afterwards, and answers none but these;
 *   - by an authentic report from there that a sender report arrived which went there alone. Its time holds 15 random
 * bits, so that nobody can guess it;
 *   - always when it is one of a stream or of our relay.
 *
 * So that a phone that changes its network keeps its call, media follow at once, for a while: on trial (trial.c). A
 * trial lasts a second, and longer while authentic and new media or reports come from there and none from elsewhere:
 * these show that the participant is there, though not yet that it receives. So one check, forged or copied, moves
 * media for a second, and whoever sends media from elsewhere has them back. Participants can forge their own sources,
 * from port to port of a stranger, so all trials of a transport that came to nothing share one credit of time: half a
 * minute, which comes back a second in each half minute. Behind a trial that failed there is none for some time for
 * addresses from which only checks come; one from which media come is tried again soon, later with each failure.
 * Without a trial the answer comes first, and there is one check of ours for each of theirs, no larger than that.
 *
 * Media that come from another address than the selected one move it when nothing has come from there for a while: a
 * NAT that rebinds, or a path that is dead in silence, nominates nothing. */
#include "path_validation.h"

#include <openssl/rand.h>
#include <stdio.h>

#include "destination.h"
#include "path.h"
#include "trial.h"

#define MESSAGE_ROOM 512
#define MOVED_NS (500 * WD_MS) /* of silence at the selected address: then media that come from another one move it */
#define GUESSES 32 /* reports of what was never sent there, and no report counts any more */

/* --- checks of ours
 * --------------------------------------------------------------------------------------------------- */

static const struct local_credentials *local_credentials(const struct transport *t, const struct tuple *tuple) {
    for (int i = 1; i < t->ice.local_count; i++)
        if (t->ice.local[i].number == tuple->credentials) return &t->ice.local[i];
    return &t->ice.local[0];
}

/* NULL while they are not known: the offer that holds them may come later than the first checks. */
static const char *remote_credentials(const struct transport *t, const struct tuple *tuple) {
    for (int i = 0; i < WD_GENERATIONS && t->ice.remote[i].text; i++)
        if (t->ice.remote[i].key == tuple->remote_key) return t->ice.remote[i].text;
    return NULL;
}

static const char *password_of(const char *remote) { return remote + strlen(remote) + 1; }

static void send_check(struct wd_router *router, struct transport *t, struct tuple *tuple, size_t most) {
    const char *remote = most ? remote_credentials(t, tuple) : NULL;
    if (!remote) return;
    if (tuple->validation == WD_UNVALIDATED && RAND_bytes(tuple->transaction, sizeof tuple->transaction) != 1) return;
    if (tuple->validation == WD_UNVALIDATED) tuple->validation = WD_CHALLENGED;
    const struct local_credentials *c = local_credentials(t, tuple);
    char username[WD_MAX_REMOTE_UFRAG + 1 + sizeof c->ufrag];
    size_t length = (size_t)snprintf(username, sizeof username, "%s:%s", remote, c->ufrag);
    struct wd_stun_check check = {.username = (const uint8_t *)username, .username_len = length, .priority = 1};
    uint8_t message[MESSAGE_ROOM];
    const char *password = password_of(remote);
    length = wd_stun_write_check(message, sizeof message, tuple->transaction, &check, (const uint8_t *)password,
                                 strlen(password));
    if (!length || length > most) return;
    wd_send_to_address(router, &tuple->remote, &tuple->local, message, length);
    router->counters.checks_out++;
}

bool wd_path_may_select(struct wd_router *router, struct transport *t, struct tuple *tuple, size_t most) {
    bool validated = wd_is_validated(t, tuple), on_trial = !validated && wd_trial_begin(router, t, tuple);
    if (!validated) send_check(router, t, tuple, most);
    t->trial.next = validated || on_trial ? NULL : tuple;
    return validated || on_trial;
}

static void validate(struct wd_router *router, struct transport *t, struct tuple *tuple) {
    tuple->validation = WD_VALIDATED;
    if (t->trial.tuple == tuple) t->trial.tuple = NULL;
    if (t->trial.next != tuple) return;
    t->trial.next = NULL;
    wd_select(router, t, tuple);
}

void wd_path_check_answered(struct wd_router *router, const uint8_t *data, size_t length, const struct wd_stun *m,
                            const struct wd_addr *from) {
    struct tuple *tuple = wd_find_tuple(router, from);
    if (!tuple || tuple->validation == WD_UNVALIDATED ||
        memcmp(tuple->transaction, m->transaction, sizeof tuple->transaction) != 0) {
        router->counters.drop_stun_other++;
        return;
    }
    struct transport *t = tuple->transport;
    /* Any of theirs: they may have checked with others since our check left. */
    for (int i = 0; m->integrity_at && i < WD_GENERATIONS && t->ice.remote[i].text; i++) {
        const char *password = password_of(t->ice.remote[i].text);
        if (!wd_stun_verify(data, length, m, (const uint8_t *)password, strlen(password))) continue;
        validate(router, t, tuple);
        return;
    }
    router->counters.drop_stun_integrity++;
}

void wd_path_credentials_arrived(struct wd_router *router, struct transport *t) {
    for (int i = 0; i < WD_TUPLES; i++) {
        struct tuple *tuple = &t->ice.tuples[i];
        if (tuple->used && (t->trial.tuple == tuple || t->trial.next == tuple))
            send_check(router, t, tuple, MESSAGE_ROOM);
    }
}

/* --- what came
 * -------------------------------------------------------------------------------------------------------- */

void wd_path_checked(struct wd_router *router, struct tuple *tuple, const uint8_t *remote_ufrag, size_t length) {
    tuple->remote_key = wd_ufrag_key((const char *)remote_ufrag, length);
    tuple->media_before_ns = wd_tuple_media_ns(tuple);
    tuple->heard_ns = tuple->checked_ns = router->now_ns;
}

/* A tuple for an address that was translated anew: the ways behind it are the same as before. */
static struct tuple *bind_like_selected(struct wd_router *router, struct transport *t, const struct tuple *unbound) {
    const struct tuple *like =
        t->destination.selected ? t->destination.selected : wd_newest_other(router, t, NULL, false);
    uint64_t remote_key = like ? like->remote_key : 0; /* read first: binding may forget it */
    uint8_t credentials = like ? like->credentials : t->ice.used_number;
    struct tuple *tuple = wd_bind_tuple(router, t, &unbound->remote, &unbound->local);
    if (!tuple) return NULL;
    tuple->remote_key = remote_key;
    tuple->credentials = credentials;
    tuple->media_before_ns = router->now_ns;
    return tuple;
}

void wd_path_media_arrived(struct wd_router *router, struct tuple *tuple) {
    struct transport *t = tuple->transport;
    if (!t->live.ever_selected ||
        (t->destination.selected && router->now_ns - t->destination.selected->heard_ns < MOVED_NS))
        return;
    if (!tuple->used && !(tuple = bind_like_selected(router, t, tuple))) return;
    if (!wd_is_validated(t, tuple) && router->now_ns < tuple->trial_from_ns) return;
    if (wd_path_may_select(router, t, tuple, 0)) wd_select(router, t, tuple);
}

/* --- a trial's course
 * ------------------------------------------------------------------------------------------------- */

static void leave(struct wd_router *router, struct transport *t) {
    struct tuple *other = wd_newest_other(router, t, t->destination.selected, true);
    t->trial.next = t->destination.selected; /* its answer may be late */
    if (other)
        wd_select(router, t, other);
    else
        t->destination.selected = NULL;
}

void wd_path_validation_tick(struct wd_router *router, struct transport *t) {
    if (!t->trial.tuple) return;
    if (wd_trial_has_ended(router, t)) {
        bool selected = t->destination.selected == t->trial.tuple;
        wd_trial_fail(router, t);
        if (selected) leave(router, t);
        return;
    }
    if (router->now_ns >= wd_trial_next_check_ns(t)) {
        t->trial.checks++;
        send_check(router, t, t->trial.tuple, MESSAGE_ROOM);
    }
    wd_trial_schedule(router, t);
}

/* --- reports as proof
 * ------------------------------------------------------------------------------------------------- */

int64_t wd_path_report_shift_ns(const struct transport *t) {
    uint16_t random;
    if (!t->destination.selected || wd_is_validated(t, t->destination.selected) ||
        RAND_bytes((uint8_t *)&random, sizeof random) != 1)
        return 0;
    return (random >> 1) * (WD_SECOND >> 16); /* under half a second, in the steps of an LSR */
}

void wd_path_report_sent(struct transport *t, uint32_t lsr) {
    struct tuple *selected = t->destination.selected;
    if (selected && !wd_is_validated(t, selected)) selected->proofs[selected->proof_next++ % WD_PROOFS] = lsr;
}

void wd_path_report_confirmed(struct wd_router *router, struct tuple *tuple, uint32_t lsr) {
    if (tuple->validation == WD_VALIDATED || !lsr || !tuple->proof_next || tuple->guesses >= GUESSES) return;
    for (int i = 0; i < WD_PROOFS; i++)
        if (tuple->proofs[i] == lsr) {
            validate(router, tuple->transport, tuple);
            return;
        }
    if ((int32_t)(lsr - tuple->proofs[0]) > -0x8000)
        tuple->guesses++; /* else of a report from before, to another address */
}

/* --- the handshake as proof
 * ------------------------------------------------------------------------------------------- */

void wd_path_handshake_sent(struct transport *t, struct tuple *tuple) {
    if (t->keys.send || !tuple) return; /* it is over, or nothing was sent */
    t->handshake.split |= t->handshake.to && t->handshake.to != tuple;
    t->handshake.to = tuple;
}

void wd_path_handshake_completed(struct wd_router *router, struct transport *t) {
    if (t->handshake.to && !t->handshake.split) t->handshake.to->validation = WD_VALIDATED;
    struct destination *destination = &t->destination;
    if (destination->selected && !wd_path_may_select(router, t, destination->selected, MESSAGE_ROOM))
        destination->selected = NULL;
}
