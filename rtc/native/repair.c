/* What a receiver misses is sent again from the publisher's cache (RFC 4585 section 6.2.1, RFC 4588): when it can still
 * help, and never so much that it takes the place of what is new.
 *
 * A leg earns the right to repeat with what it sends: a share of its bytes, larger where the receiver's estimate leaves
 * room beside them and no limit is in force (limit.c), smaller where it takes less than it is sent. So a receiver that
 * asks for everything, always, gets no more than that share. A packet is not sent twice within a round trip, at most
 * TRIES times, and not when its picture is long over. What can not be repaired any more is answered by a keyframe,
 * unless one began behind it already.
 *
 * Nothing here is touched by packets that arrive the first time: what a leg has sent is counted for its reports anyway.
 */
#include "repair.h"

#include "delivery.h"
#include "keyframes.h"

#define TRIES 10
#define RECENT 32 /* but these newest packets are not old: of a screen at rest, or of somebody who was away */
#define RTT_MS 100 /* of a receiver that has not told its own yet */
#define SHARE 77 /* of 256: bytes that may be sent again, of what a leg sends */
#define SHARE_OVERLOADED 38 /* to a receiver that takes less than it is sent */

void wd_give_up(struct wd_router *router, struct track *track, uint64_t index) {
    if (track->config.kind == WD_VIDEO && index >= track->keyframe_newest && !track->keyframe_wanted)
        wd_wish_keyframe(router, track);
}

/* Since it was first forwarded; `behind`: packets since. */
static int64_t age_ns(const struct wd_router *router, const struct slot *slot, int behind) {
    return behind > RECENT ? (int64_t)((wd_abs_send_time(router) - slot->abs_send_time) & 0xffffff) * WD_SECOND >> 18
                           : 0;
}

/* A queue that fills delays what was sent again as well: the newest round trip tells sooner than the smoothed one.
 * After each four tries it takes longer. */
static uint32_t patience_ms(const struct transport *t, const struct resend *r) {
    uint32_t round_trip_ms = t->rtt_us ? wd_round_trip_us(t) / 1000 : RTT_MS;
    return round_trip_ms * (1 + r->tries / 4u);
}

/* Of 256: what a leg may repeat of each byte that it sends. */
static uint32_t share(const struct transport *t) {
    if (!t->estimate.bps || !t->video_bps) return SHARE;
    if (t->estimate.passes_bps || (t->estimate.capped && t->estimate.limit_bps < (uint64_t)t->video_bps * 5 / 4) ||
        t->estimate.bps < (uint64_t)t->video_bps * 95 / 100)
        return SHARE_OVERLOADED;
    if (t->estimate.capped || t->estimate.bps <= t->video_bps) return SHARE;
    uint64_t room = (t->estimate.bps - t->video_bps) * 256 / t->video_bps;
    return room > 256 ? 256 : room > SHARE ? (uint32_t)room : SHARE;
}

static void save_up(struct leg *leg, uint64_t credit, uint64_t most) {
    uint64_t sum = leg->resend_credit + credit;
    if (most > WD_RESEND_MOST) most = WD_RESEND_MOST;
    if (leg->resend_credit < most) leg->resend_credit = (uint32_t)(sum < most ? sum : most);
}

/* What is saved up is for a burst of losses: of two seconds where the estimate leaves room, of a quarter where the path
 * is overloaded. */
static bool may_spend(struct leg *leg, size_t length) {
    const struct transport *t = leg->transport;
    uint32_t part = share(t);
    uint64_t second = t->video_bps ? t->video_bps / 8 : leg->bytes;
    if (t->estimate.capped && t->estimate.limit_bps / 8 < second) second = t->estimate.limit_bps / 8;
    uint64_t most = second * part * (part > SHARE ? 8 : part < SHARE ? 1 : 4) / 4;
    uint64_t least = t->estimate.capped ? WD_RESEND_LEAST / 2 : WD_RESEND_LEAST;
    if (most < least) most = least;
    save_up(leg, (uint64_t)((uint32_t)leg->bytes - leg->resend_earned) * part, most);
    leg->resend_earned = (uint32_t)leg->bytes;
    if (t->estimate.capped && leg->resend_credit > most) leg->resend_credit = (uint32_t)most; /* of better times */
    if (leg->resend_credit < length * 256) return false;
    leg->resend_credit -= (uint32_t)length * 256;
    return true;
}

enum verdict { SEND, WAIT, BROKE, NEVER };

static enum verdict judge(struct wd_router *router, struct leg *leg, const struct slot *slot, uint16_t sequence) {
    struct resend *r = &leg->resends[(slot->index - 1) & leg->track->slot_mask];
    uint32_t now_ms = (uint32_t)(router->now_ns / WD_MS);
    if (r->sequence != sequence || now_ms - r->at_ms > 2 * WD_RESEND_AGE_NS / WD_MS)
        *r = (struct resend){.sequence = sequence};
    if (r->tries >= TRIES) return NEVER;
    if (r->tries && now_ms - r->at_ms < patience_ms(leg->transport, r)) return WAIT;
    if (!may_spend(leg, slot->length + 2u)) return BROKE;
    r->tries++;
    r->at_ms = now_ms;
    return SEND;
}

void wd_resend(struct wd_router *router, struct leg *leg, uint16_t sequence) {
    struct wd_counters *n = &router->counters;
    struct track *track = leg->track;
    int16_t behind = (int16_t)(uint16_t)((uint16_t)leg->highest_out - sequence);
    uint64_t out_index = leg->highest_out - (uint64_t)(int64_t)behind;
    if (!track || !leg->resends || !leg->started || leg->waiting || behind < 0 || out_index < leg->first_out ||
        out_index > leg->highest_out || !wd_ready(leg->transport)) {
        n->drop_rtx_miss++;
        return;
    }
    if (leg->transport->destination.selected->congested) {
        n->drop_congested++;
        return;
    }
    uint64_t in = out_index - leg->offset;
    const struct slot *slot = &track->slots[in & track->slot_mask];
    bool overwritten = slot->index > in + 1 || (slot->index == in + 1 && !wd_is_stored(&track->store, slot));
    if (overwritten) wd_give_up(router, track, in);
    if (overwritten || slot->index != in + 1 || slot->abs_send_time == UINT32_MAX ||
        !leg->payload_types[slot->entry]) { /* what has not come yet is asked for at its source */
        n->drop_rtx_miss++;
        return;
    }
    int64_t since_ns = age_ns(router, slot, behind);
    if (since_ns > WD_REPAIR_NS + 2000 * (int64_t)wd_round_trip_us(leg->transport))
        wd_give_up(router, track, in); /* it may still help, but will it come? */
    if (since_ns > WD_RESEND_AGE_NS) {
        n->drop_rtx_late++;
        return;
    }
    switch (judge(router, leg, slot, sequence)) {
    case SEND: wd_repeat(router, leg, slot, out_index); break;
    case WAIT: n->drop_rtx_throttled++; break;
    case BROKE: n->drop_rtx_budget++; break;
    case NEVER: n->drop_rtx_throttled++; wd_give_up(router, track, in);
    }
}
