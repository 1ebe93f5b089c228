/* From one publisher's clear packets to every subscriber.
 *
 * Receiver by receiver: all packets that wait for it, of all its slots, are written side by side into the egress arena,
 * equal sizes form one UDP_SEGMENT message. Packets of one burst that differ by a few bytes are made equal with RTP
 * padding, once, in the shared clear copy. How a receiver takes its packets is its destination's business (delivery.c).
 */
#include "fanout.h"

#include "delivery.h"
#include "feedback.h"
#include "keyframes.h"
#include "leg.h"
#include "track.h"

#define HOLD_NS WD_MS /* video waits at most this long for the end of its frame */

void wd_unpend(struct wd_router *router, struct track *track) {
    if (!track->in_pending) return;
    for (uint32_t i = 0; i < router->pending_count; i++)
        if (router->pending[i] == track) {
            router->pending[i] = router->pending[--router->pending_count];
            break;
        }
    track->in_pending = false;
    track->pending_count = 0;
}

void wd_leg_restart(struct wd_router *router, struct leg *leg) {
    leg->waiting = true;
    /* Who is not ready yet or congested asks when it is (wd_ask_keyframes): a keyframe before that would be wasted, and
     * delay the next. */
    if (leg->config.kind == WD_VIDEO && wd_takes_video(leg->transport)) wd_ask_keyframe(router, leg->track);
}

/* Stamps the burst once for everybody and makes nearly equal packets equal, so that each receiver's share is one run.
 */
static void prepare_burst(struct wd_router *router, struct track *track) {
    uint32_t abs_send_time = wd_abs_send_time(router);
    unsigned largest = 0;
    for (unsigned i = 0; i < track->pending_count; i++) {
        struct slot *slot = &track->slots[track->pending[i]];
        slot->abs_send_time = abs_send_time;
        if (slot->length > largest) largest = slot->length;
    }
    if (track->config.kind != WD_VIDEO || track->pending_count < 2) return;
    for (unsigned i = 0; i + 1 < track->pending_count; i++) {
        struct slot *slot = &track->slots[track->pending[i]];
        unsigned missing = largest - slot->length;
        if (!missing || missing > WD_MAX_PADDING || !slot->length) continue;
        uint8_t *end = wd_stored(track, slot) + slot->length;
        memset(end, 0, missing - 1);
        end[missing - 1] = (uint8_t)missing;
        slot->padding = (uint8_t)missing;
    }
}

static bool is_ready(const struct wd_router *router, const struct track *track, bool all) {
    return all || track->frame_complete || track->config.kind == WD_AUDIO ||
           router->now_ns - track->pending_since >= HOLD_NS;
}

/* See prefetch.c: all receivers are led through the steps together. */
static void prefetch_receivers(const struct wd_router *router) {
    for (uint32_t i = 0; i < router->pending_count; i++)
        if (router->pending[i]->flushing && router->pending[i]->legs)
            wd_prefetch(router->pending[i]->legs, WD_LEG_HEAD);
    for (uint32_t i = 0; i < router->pending_count; i++) {
        if (!router->pending[i]->flushing) continue;
        for (const struct leg *leg = router->pending[i]->legs; leg; leg = leg->next_in_track) {
            wd_prefetch(leg->transport, WD_TRANSPORT_HEAD);
            if (leg->next_in_track) wd_prefetch(leg->next_in_track, WD_LEG_HEAD);
        }
    }
}

static void prefetch_keys(const struct transport *t) {
    size_t longest = 0;
    for (const struct leg *leg = t->batch.first; leg; leg = leg->next_in_batch) {
        const struct track *track = leg->track;
        size_t length = track->slots[track->pending[track->pending_count - 1]].length;
        if (length > longest) longest = length;
    }
    wd_srtp_prefetch_keys(t->keys.send, longest);
}

/* The only place that looks at the kind of a destination: once per receiver and flush. */
static void deliver(struct wd_router *router, struct transport *t) {
    switch (t->destination.kind) {
    case WD_TO_PEER:
        wd_deliver(router, t);
        wd_feedback_follow_media(router, t);
        break;
    }
}

/* The receivers of what is to be flushed, each with its legs, in the order of their packets' arrival. */
static struct transport *gather(struct wd_router *router) {
    struct transport *first = NULL, **end = &first;
    for (uint32_t i = 0; i < router->pending_count; i++) {
        struct track *track = router->pending[i];
        if (!track->flushing) continue;
        prepare_burst(router, track);
        for (struct leg *leg = track->legs; leg; leg = leg->next_in_track) {
            struct transport *t = leg->transport;
            if (!wd_ready(t)) continue;
            leg->next_in_batch = NULL;
            if (!t->batch.first) {
                t->batch = (struct batch){.first = leg, .last = leg};
                wd_prefetch(t->destination.selected, WD_TUPLE_HEAD);
                wd_srtp_prefetch(t->keys.send);
                *end = t;
                end = &t->batch.next;
            } else {
                t->batch.last->next_in_batch = leg;
                t->batch.last = leg;
            }
        }
    }
    return first;
}

static void forget_flushed(struct wd_router *router) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < router->pending_count; i++) {
        struct track *track = router->pending[i];
        if (track->flushing) {
            track->flushing = track->in_pending = false;
            track->pending_count = 0;
        } else {
            router->pending[kept++] = track;
        }
    }
    router->pending_count = kept;
}

void wd_fanout(struct wd_router *router, bool all) {
    for (uint32_t i = 0; i < router->pending_count; i++)
        router->pending[i]->flushing = is_ready(router, router->pending[i], all);
    prefetch_receivers(router);
    struct transport *t = gather(router);
    if (t) prefetch_keys(t);
    for (; t; t = t->batch.next) {
        if (t->batch.next) prefetch_keys(t->batch.next);
        wd_egress_stay_near(router->egress);
        deliver(router, t);
        t->batch.first = NULL;
    }
    forget_flushed(router);
}

int64_t wd_fanout_deadline(const struct wd_router *router) {
    int64_t deadline = INT64_MAX;
    for (uint32_t i = 0; i < router->pending_count; i++)
        if (router->pending[i]->pending_since + HOLD_NS < deadline)
            deadline = router->pending[i]->pending_since + HOLD_NS;
    return deadline;
}
