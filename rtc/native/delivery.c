/* A leg's share of a batch, for an ICE peer: rewritten, encrypted, queued.
 *
 * A leg's outbound numbers are the source's plus a constant. When the source changes the constant changes so that
 * numbers go on without a hole; source packets from before the change are never sent, so no (SSRC, index) is ever
 * encrypted twice with different contents (RFC 7714 section 8.1). */
#include "delivery.h"

#include "bytes.h"
#include "destination.h"

#define HEADER_MAX (12 + 4 + 16)
#define MAX_LEAP 2048 /* packets missing at once that a leg passes on as missing */

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

/* The RTP header for this receiver, extensions included. Returns its length. Depends only on leg constants and the
 * slot: a repetition is identical. */
static size_t write_header(const struct leg *leg, const struct slot *slot, uint8_t *out, uint8_t payload_type,
                           uint32_t ssrc, uint16_t sequence, bool padding) {
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

/* Encrypts one packet of the slot at `out`; returns its length. `in_place` payloads are built behind the header first.
 */
static size_t write_packet(const struct leg *leg, const struct slot *slot, uint8_t *out, uint64_t out_index,
                           uint8_t payload_type) {
    size_t header =
        write_header(leg, slot, out, payload_type, leg->config.ssrc, (uint16_t)out_index, slot->padding > 0);
    size_t length = (size_t)slot->length + slot->padding;
    const uint8_t *payload = wd_stored(leg->track, slot);
    if (slot->payload_info.picture_id_bits && (leg->picture_offset || leg->tl0_offset)) {
        memcpy(out + header, payload, length);
        wd_vp8_patch(out + header, &slot->payload_info, (uint16_t)(slot->payload_info.picture_id + leg->picture_offset),
                     (uint8_t)(slot->payload_info.tl0 + leg->tl0_offset));
        payload = out + header;
    }
    return wd_srtp_protect(leg->transport->keys.send, out_index & UINT64_C(0xffffffffffff), out, header, payload,
                           length);
}

static void commit(struct wd_router *router, struct transport *t, size_t length) {
    t->bytes_out += length;
    wd_datagram_commit(router, &t->destination.selected->remote, &t->destination.selected->local, length);
}

/* The source leapt, or went on while this receiver was away. Two such leaps with a loss between them and the receiver
 * guesses a wrong rollover counter, for ever (RFC 3711 section 3.3.1): its numbers go on without the hole instead. In
 * the midst of a run, so the tick asks for the keyframe, for who waits. */
static void await_start(struct wd_router *router, struct leg *leg) {
    leg->waiting = true;
    if (leg->config.kind == WD_VIDEO) wd_due(router, leg->track->transport, router->now_ns);
}

/* Frames that would only join the queue of a congested stream are left out whole. The leg's numbers go on without them,
 * so that its receiver misses nothing and asks for nothing; it starts again at a keyframe. What belongs to the newest
 * frame still goes: that frame can be used, half of it could not. What comes late, of an older one, is left out alone
 * and can be asked for afterwards. */
static bool leave_out(struct wd_router *router, struct leg *leg, const struct slot *slot, uint64_t in) {
    if (!leg->transport->destination.selected->congested || leg->config.kind != WD_VIDEO) return false;
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
        if (leg->started && !leg->waiting && (int64_t)(in + leg->offset - leg->highest_out) > MAX_LEAP)
            await_start(router, leg);
        if (leg->waiting) {
            if (!begin(router, leg, slot)) {
                n->drop_awaiting_keyframe++;
                continue;
            }
            uint64_t behind = track->highest - in, to_come = track->pending_count - i - 1;
            if (behind > to_come)
                wd_resend_credit(leg, (behind - to_come) * WD_MAX_PAYLOAD); /* it begins with a repaired packet: what
                                                                               came before that one was not sent yet */
        }
        if (in < leg->first_in) {
            n->drop_awaiting_keyframe++;
            continue;
        }
        uint64_t out_index = in + leg->offset;
        uint8_t *out = wd_datagram_room(router, HEADER_MAX + slot->length + slot->padding + WD_SRTP_MAX_OVERHEAD);
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

void wd_deliver(struct wd_router *router, struct transport *t) {
    for (struct leg *leg = t->batch.first; leg; leg = leg->next_in_batch) send_pending(router, leg);
}

/* Once more for one receiver, a slot that it was sent before as `out_index`: in its RTX stream (RFC 4588), or, without
 * one, the same packet byte by byte. */
void wd_repeat(struct wd_router *router, struct leg *leg, const struct slot *slot, uint64_t out_index) {
    uint8_t payload_type = leg->payload_types[slot->entry], rtx_type = leg->rtx_payload_types[slot->entry];
    uint8_t *out = wd_datagram_room(router, HEADER_MAX + 2 + slot->length + slot->padding + WD_SRTP_MAX_OVERHEAD);
    size_t length;
    if (!leg->config.rtx_ssrc || !rtx_type) {
        length = write_packet(leg, slot, out, out_index, payload_type);
    } else {
        size_t header =
            write_header(leg, slot, out, rtx_type, leg->config.rtx_ssrc, (uint16_t)leg->rtx_next, slot->length == 0);
        uint8_t *payload = out + header;
        wd_put16(payload, (uint16_t)out_index);
        memcpy(payload + 2, wd_stored(leg->track, slot), slot->length ? slot->length : 1);
        if (slot->payload_info.picture_id_bits)
            wd_vp8_patch(payload + 2, &slot->payload_info,
                         (uint16_t)(slot->payload_info.picture_id + leg->picture_offset),
                         (uint8_t)(slot->payload_info.tl0 + leg->tl0_offset));
        length = wd_srtp_protect(leg->transport->keys.send, leg->rtx_next++ & UINT64_C(0xffffffffffff), out, header,
                                 payload, 2 + (slot->length ? slot->length : 1u));
    }
    commit(router, leg->transport, length);
    leg->bytes_again += slot->length;
    router->counters.rtx_out++;
}
