/* From one publisher's clear packets to every subscriber's encrypted ones.
 *
 * Receiver by receiver: all packets that wait for it, of all its slots, are rewritten and encrypted side by side into the egress arena, equal sizes
 * form one UDP_SEGMENT message. Packets of one burst that differ by a few bytes are made equal with RTP padding, once, in the shared clear copy.
 *
 * A leg's outbound numbers are the source's plus a constant. When the source changes the constant changes so that numbers go on without a hole;
 * source packets from before the change are never sent, so no (SSRC, index) is ever encrypted twice with different contents (RFC 7714 section 8.1). */
#include "router_internal.h"

#define HEADER_MAX (12 + 4 + 16)

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
    /* Who is not ready yet or congested asks when it is (wd_router_set_keys, ask_for_waiting): a keyframe before that would be wasted, and delay the next. */
    if (leg->config.kind == WD_VIDEO && wd_takes_video(leg->transport)) wd_ask_keyframe(router, leg->track);
}

/* A slice of an IDR picture does not say whether it is the first packet of its picture. The one before it does, unless that is missing: it may have held the
 * parameter sets, which travel in packets of their own and in no other way (RFC 7742 section 6.2), and may yet be repaired. */
bool wd_begins_picture(const struct track *track, const struct slot *slot) {
    if (!slot->keyframe || !slot->payload_info.may_follow) return slot->keyframe;
    const struct slot *before = &track->slots[(slot->index - 2) & track->slot_mask];
    return before->index == slot->index - 1 && before->timestamp != slot->timestamp;
}

/* True when the leg may start with this packet; sets the constants that carry its numbers on. */
static bool begin(struct wd_router *router, struct leg *leg, const struct slot *slot) {
    struct track *track = leg->track;
    uint64_t in = slot->index - 1;
    if (leg->config.kind == WD_VIDEO && !wd_begins_picture(track, slot)) return false;
    leg->waiting = false;
    leg->first_in = in;
    leg->first_out = leg->highest_out + 1;
    leg->offset = leg->first_out - in;
    uint32_t clock_rate = track->config.codecs[slot->entry].clock_rate;
    uint32_t next = leg->last_timestamp;
    if (leg->started) {
        uint64_t elapsed_us = (uint64_t)(router->now_ns - leg->last_sent_ns) / 1000;
        uint32_t ticks = (uint32_t)(elapsed_us * clock_rate / 1000000);
        next += ticks ? ticks : 1;
    }
    leg->timestamp_offset = next - slot->timestamp;
    const struct wd_payload *info = &slot->payload_info;
    leg->picture_offset = leg->has_picture ? (uint16_t)((leg->last_picture + 1) - info->picture_id) : 0;
    leg->tl0_offset = leg->has_picture ? (uint8_t)((leg->last_tl0 + 1) - info->tl0) : 0;
    return true;
}

/* The RTP header for this receiver, extensions included. Returns its length. Depends only on leg constants and the slot: a repetition is identical. */
static size_t write_header(const struct leg *leg, const struct slot *slot, uint8_t *out, uint8_t payload_type, uint32_t ssrc, uint16_t sequence, bool padding) {
    const struct wd_extension_ids *ids = &leg->config.extensions;
    size_t at = 16;
    if (ids->abs_send_time) {
        out[at] = (uint8_t)(ids->abs_send_time << 4 | 2);
        wd_put24(out + at + 1, slot->abs_send_time);
        at += 4;
    }
    if (slot->has_orientation && ids->orientation) {
        out[at] = (uint8_t)(ids->orientation << 4);
        out[at + 1] = slot->orientation;
        at += 2;
    }
    if (slot->has_playout && ids->playout_delay) {
        out[at] = (uint8_t)(ids->playout_delay << 4 | 2);
        memcpy(out + at + 1, slot->playout, 3);
        at += 4;
    }
    bool extended = at > 16;
    out[0] = (uint8_t)(0x80 | (padding ? 0x20 : 0) | (extended ? 0x10 : 0));
    out[1] = (uint8_t)(payload_type | (slot->marker ? 0x80 : 0));
    wd_put16(out + 2, sequence);
    wd_put32(out + 4, slot->timestamp + leg->timestamp_offset);
    wd_put32(out + 8, ssrc);
    if (!extended) return 12;
    while (at & 3) out[at++] = 0;
    wd_put16(out + 12, 0xbede);
    wd_put16(out + 14, (uint16_t)((at - 16) / 4));
    return at;
}

/* Encrypts one packet of the slot at `out`; returns its length. `in_place` payloads are built behind the header first. */
static size_t write_packet(const struct leg *leg, const struct slot *slot, uint8_t *out, uint64_t out_index, uint8_t payload_type) {
    size_t header = write_header(leg, slot, out, payload_type, leg->config.ssrc, (uint16_t)out_index, slot->padding > 0);
    size_t length = (size_t)slot->length + slot->padding;
    const uint8_t *payload = wd_stored(leg->track, slot);
    if (slot->payload_info.picture_id_bits && (leg->picture_offset || leg->tl0_offset)) {
        memcpy(out + header, payload, length);
        wd_vp8_patch(out + header, &slot->payload_info, (uint16_t)(slot->payload_info.picture_id + leg->picture_offset), (uint8_t)(slot->payload_info.tl0 + leg->tl0_offset));
        payload = out + header;
    }
    return wd_srtp_protect(leg->transport->send, out_index & UINT64_C(0xffffffffffff), out, header, payload, length);
}

static void commit(struct wd_router *router, struct transport *t, size_t length) {
    t->bytes_out += length;
    wd_router_commit(router, &t->selected->remote, &t->selected->local, length);
}

/* The source leapt, or went on while this receiver was away. Two such leaps with a loss between them and the receiver guesses a wrong rollover counter,
 * for ever (RFC 3711 section 3.3.1): its numbers go on without the hole instead. In the midst of a run, so the tick asks for the keyframe, for who waits. */
static void await_start(struct wd_router *router, struct leg *leg) {
    leg->waiting = true;
    if (leg->config.kind == WD_VIDEO) wd_due(router, leg->track->transport, router->now_ns);
}

/* Frames that would only join the queue of a congested stream are left out whole. The leg's numbers go on without them, so that its receiver misses nothing
 * and asks for nothing; it starts again at a keyframe. What belongs to the newest frame still goes: that frame can be used, half of it could not. What comes
 * late, of an older one, is left out alone and can be asked for afterwards. */
static bool leave_out(struct wd_router *router, struct leg *leg, const struct slot *slot, uint64_t in) {
    if (!leg->transport->selected->congested || leg->config.kind != WD_VIDEO) return false;
    if (leg->started && !leg->waiting && slot->timestamp + leg->timestamp_offset == leg->last_timestamp) return false;
    if ((int64_t)(in + leg->offset - leg->highest_out) > 0) leg->waiting = true;
    router->counters.drop_congested++;
    return true;
}

static void send_pending(struct wd_router *router, struct leg *leg) {
    struct track *track = leg->track;
    struct wd_counters *n = &router->counters;
    for (unsigned i = 0; i < track->pending_count; i++) {
        struct slot *slot = &track->slots[track->pending[i]];
        uint64_t in = slot->index - 1;
        uint8_t payload_type = leg->payload_types[slot->entry];
        if (!payload_type) {
            n->drop_no_payload_type++;
            continue;
        }
        if (leave_out(router, leg, slot, in)) continue;
        if (leg->started && !leg->waiting && (int64_t)(in + leg->offset - leg->highest_out) > WD_MAX_LEAP) await_start(router, leg);
        if (leg->waiting) {
            if (!begin(router, leg, slot)) {
                n->drop_awaiting_keyframe++;
                continue;
            }
            uint64_t behind = track->highest - in, to_come = track->pending_count - i - 1;
            if (behind > to_come) wd_repair_credit(leg, (behind - to_come) * WD_MAX_PAYLOAD); /* it begins with a repaired packet: what came before that one was not sent yet */
        }
        if (in < leg->first_in) {
            n->drop_awaiting_keyframe++;
            continue;
        }
        uint64_t out_index = in + leg->offset;
        uint8_t *out = wd_router_room(router, HEADER_MAX + slot->length + slot->padding + WD_SRTP_MAX_OVERHEAD);
        size_t length = write_packet(leg, slot, out, out_index, payload_type);
        commit(router, leg->transport, length);
        n->forwarded++;
        leg->packets++;
        leg->bytes += slot->length;
        if (out_index > leg->highest_out || !leg->started) {
            leg->highest_out = out_index;
            leg->last_timestamp = slot->timestamp + leg->timestamp_offset;
            leg->last_sent_ns = router->now_ns;
            if (slot->payload_info.picture_id_bits) {
                leg->has_picture = true;
                leg->last_picture = (uint16_t)(slot->payload_info.picture_id + leg->picture_offset);
                leg->last_tl0 = (uint8_t)(slot->payload_info.tl0 + leg->tl0_offset);
            }
        }
        leg->started = true;
    }
}

/* Stamps the burst once for everybody and makes nearly equal packets equal, so that each receiver's share is one run. */
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
    return all || track->frame_complete || track->config.kind == WD_AUDIO || router->now_ns - track->pending_since >= WD_HOLD_NS;
}

/* See expect.c: all receivers are led through the steps together. */
static void fetch_receivers(const struct wd_router *router) {
    for (uint32_t i = 0; i < router->pending_count; i++)
        if (router->pending[i]->flushing && router->pending[i]->legs) wd_fetch(router->pending[i]->legs, WD_LEG_HEAD);
    for (uint32_t i = 0; i < router->pending_count; i++) {
        if (!router->pending[i]->flushing) continue;
        for (const struct leg *leg = router->pending[i]->legs; leg; leg = leg->next_in_track) {
            wd_fetch(leg->transport, WD_TRANSPORT_HEAD);
            if (leg->next_in_track) wd_fetch(leg->next_in_track, WD_LEG_HEAD);
        }
    }
}

static void fetch_keys(const struct transport *t) {
    size_t longest = 0;
    for (const struct leg *leg = t->ready; leg; leg = leg->next_ready) {
        const struct track *track = leg->track;
        size_t length = track->slots[track->pending[track->pending_count - 1]].length;
        if (length > longest) longest = length;
    }
    wd_srtp_fetch_keys(t->send, longest);
}

void wd_fanout(struct wd_router *router, bool all) {
    struct transport *dirty = NULL, **end = &dirty; /* in the order of their packets' arrival */
    for (uint32_t i = 0; i < router->pending_count; i++) router->pending[i]->flushing = is_ready(router, router->pending[i], all);
    fetch_receivers(router);
    for (uint32_t i = 0; i < router->pending_count; i++) {
        struct track *track = router->pending[i];
        if (!track->flushing) continue;
        prepare_burst(router, track);
        for (struct leg *leg = track->legs; leg; leg = leg->next_in_track) {
            struct transport *t = leg->transport;
            if (!wd_ready(t)) continue;
            leg->next_ready = NULL;
            if (!t->dirty) {
                t->dirty = true;
                t->next_dirty = NULL;
                wd_fetch(t->selected, WD_TUPLE_HEAD);
                wd_srtp_fetch(t->send);
                *end = t;
                end = &t->next_dirty;
                t->ready = t->ready_tail = leg;
            } else {
                t->ready_tail->next_ready = leg;
                t->ready_tail = leg;
            }
        }
    }
    if (dirty) fetch_keys(dirty);
    for (; dirty; dirty = dirty->next_dirty) {
        if (dirty->next_dirty) fetch_keys(dirty->next_dirty);
        wd_egress_stay_near(router->egress);
        for (struct leg *leg = dirty->ready; leg; leg = leg->next_ready) send_pending(router, leg);
        wd_feedback_rides(router, dirty);
        dirty->dirty = false;
    }
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

int64_t wd_fanout_deadline(const struct wd_router *router) {
    int64_t deadline = INT64_MAX;
    for (uint32_t i = 0; i < router->pending_count; i++)
        if (router->pending[i]->pending_since + WD_HOLD_NS < deadline) deadline = router->pending[i]->pending_since + WD_HOLD_NS;
    return deadline;
}

/* Once more for one receiver, a slot that it was sent before as `out_index`: in its RTX stream (RFC 4588), or, without one, the same packet byte by byte. */
void wd_repeat(struct wd_router *router, struct leg *leg, const struct slot *slot, uint64_t out_index) {
    uint8_t payload_type = leg->payload_types[slot->entry], rtx_type = leg->rtx_payload_types[slot->entry];
    uint8_t *out = wd_router_room(router, HEADER_MAX + 2 + slot->length + slot->padding + WD_SRTP_MAX_OVERHEAD);
    size_t length;
    if (!leg->config.rtx_ssrc || !rtx_type) {
        length = write_packet(leg, slot, out, out_index, payload_type);
    } else {
        size_t header = write_header(leg, slot, out, rtx_type, leg->config.rtx_ssrc, (uint16_t)leg->rtx_next, slot->length == 0);
        uint8_t *payload = out + header;
        wd_put16(payload, (uint16_t)out_index);
        memcpy(payload + 2, wd_stored(leg->track, slot), slot->length ? slot->length : 1);
        if (slot->payload_info.picture_id_bits)
            wd_vp8_patch(payload + 2, &slot->payload_info, (uint16_t)(slot->payload_info.picture_id + leg->picture_offset), (uint8_t)(slot->payload_info.tl0 + leg->tl0_offset));
        length = wd_srtp_protect(leg->transport->send, leg->rtx_next++ & UINT64_C(0xffffffffffff), out, header, payload, 2 + (slot->length ? slot->length : 1u));
    }
    commit(router, leg->transport, length);
    leg->bytes_again += slot->length;
    router->counters.rtx_out++;
}
