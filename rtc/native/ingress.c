/* RTP from a publisher: find its track, authenticate, unwrap retransmissions (RFC 4588), remember the clear packet,
 * notice what is missing.
 *
 * A track's SSRC is signalled, or latched from the mid extension, or from a payload type that only one track uses (RFC
 * 9143 section 9.2); always after authentication, so only the publisher itself can move it. There is one primary and
 * one RTX stream per track, hence no state per invented SSRC. */
#include "ingress.h"

#include "bytes.h"
#include "events.h"
#include "fanout.h"
#include "feedback.h"
#include "keyframes.h"
#include "keys.h"
#include "leg.h"
#include "path.h"
#include "path_validation.h"
#include "rtp.h"
#include "track.h"

#define VIDEO_CACHE_BYTES (480u << 10) /* about 2.1 s of 1.8 Mbps */
#define AUDIO_CACHE_BYTES (32u << 10)
#define LATCH_NS (200 * WD_MS) /* a track's SSRC moves at most this often */
#define NACK_GRACE_NS (8 * WD_MS) /* reordering allowance before the first NACK */

struct source {
    struct track *track;
    bool rtx;
    bool latch; /* the SSRC is not the track's yet */
};

/* Which of the track's codecs a payload type means; false = none. */
static bool find_codec(const struct track *track, uint8_t payload_type, uint8_t *entry, bool *rtx) {
    for (uint8_t i = 0; i < track->config.codec_count; i++) {
        const struct wd_codec_entry *c = &track->config.codecs[i];
        *entry = i;
        *rtx = c->payload_type != payload_type;
        if (!*rtx || (c->rtx_payload_type && c->rtx_payload_type == payload_type)) return true;
    }
    return false;
}

static struct source find_source(struct transport *t, const uint8_t *packet, const struct wd_rtp *rtp) {
    for (struct track *track = t->tracks; track; track = track->next) {
        if (track->ssrc == rtp->ssrc) return (struct source){track, false, false};
        if (track->rtx_ssrc == rtp->ssrc) return (struct source){track, true, false};
    }
    struct source by_type = {0};
    unsigned candidates = 0;
    for (struct track *track = t->tracks; track; track = track->next) {
        uint8_t unused;
        bool rtx;
        if (!find_codec(track, rtp->payload_type, &unused, &rtx)) continue;
        const struct wd_rtp_extension *mid = wd_rtp_find(rtp, track->config.extensions.mid);
        if (mid) {
            if (mid->length == strlen(track->config.mid) && !memcmp(packet + mid->at, track->config.mid, mid->length))
                return (struct source){track, rtx, true};
            continue;
        }
        if (rtx ? track->rtx_ssrc : track->ssrc) continue; /* only a track still without an SSRC is guessed */
        by_type = (struct source){track, rtx, true};
        candidates++;
    }
    return candidates == 1 ? by_type : (struct source){0};
}

/* A new SSRC: everybody starts over. */
static void reset_track(struct wd_router *router, struct track *track) {
    wd_unpend(router, track);
    memset(&track->stream, 0, sizeof track->stream);
    for (uint32_t i = 0; track->slots && i <= track->slot_mask; i++) track->slots[i].index = 0;
    track->started = false;
    track->lost_count = 0;
    track->received = track->repaired = track->expected_before = track->received_before = 0;
    track->jitter = 0;
    track->has_transit = track->has_sender = false;
    for (struct leg *leg = track->legs; leg; leg = leg->next_in_track) leg->waiting = true;
    track->keyframe_from = track->keyframe_newest = 0;
    track->keyframe_asked_ns = track->keyframe_due_ns = INT64_MIN / 2; /* of the former SSRC */
    wd_due(router, track->transport,
           router->now_ns); /* the tick asks the new one, unless it has begun with a keyframe by then */
}

void wd_forget_ssrc(struct wd_router *router, const struct track *track) {
    if (wd_table_get(&router->by_ssrc, track->ssrc) == track->transport) wd_table_remove(&router->by_ssrc, track->ssrc);
}

static void latch(struct wd_router *router, const struct source *source, const struct wd_rtp *rtp,
                  const struct wd_srtp_stream *stream) {
    struct track *track = source->track;
    track->latched_ns = router->now_ns;
    if (source->rtx) {
        track->rtx_ssrc = rtp->ssrc;
        track->rtx_stream = *stream;
    } else {
        if (track->ssrc) {
            wd_forget_ssrc(router, track);
            track->former_ssrc = track->ssrc;
            track->former_stream = track->stream;
            reset_track(router, track);
        }
        track->ssrc = rtp->ssrc;
        track->stream = *stream;
        if (track->announced) wd_table_add(&router->by_ssrc, track->ssrc, track->transport);
    }
}

static void count_refusal(struct wd_counters *counters, enum wd_srtp_result result) {
    if (result == WD_SRTP_AUTH)
        counters->drop_srtp_auth++;
    else if (result == WD_SRTP_REPLAY)
        counters->drop_srtp_replay++;
    else if (result == WD_SRTP_TOO_OLD)
        counters->drop_srtp_old++;
    else
        counters->drop_rtp_malformed++;
}

static void forget_lost(struct track *track, uint64_t index) {
    for (unsigned i = 0; i < track->lost_count; i++)
        if (track->lost[i].index == index) {
            track->lost[i] = track->lost[--track->lost_count];
            return;
        }
}

static void note_lost(struct wd_router *router, struct track *track, uint64_t from, uint64_t to) {
    if (to - from > WD_LOST / 2 || track->lost_count + (to - from) > WD_LOST) {
        track->lost_count = 0; /* too much to repair one by one: start over from a keyframe */
        if (track->config.kind == WD_VIDEO) wd_wish_keyframe(router, track);
        return;
    }
    for (uint64_t index = from; index < to; index++)
        track->lost[track->lost_count++] =
            (struct lost){.index = index, .since_ns = router->now_ns, .due_ns = router->now_ns + NACK_GRACE_NS};
    struct transport *t = track->transport;
    if (t->feedback.nack_due_ns > router->now_ns + NACK_GRACE_NS)
        t->feedback.nack_due_ns = router->now_ns + NACK_GRACE_NS;
    wd_due(router, t, t->feedback.nack_due_ns);
}

/* Interarrival jitter, RFC 3550 appendix A.8, in the clock of the packet's own codec. */
static void measure_jitter(struct wd_router *router, struct track *track, uint32_t timestamp, uint32_t clock_rate) {
    uint32_t arrival = (uint32_t)((uint64_t)(router->now_ns / 1000) * clock_rate / 1000000);
    uint32_t transit = arrival - timestamp;
    if (track->has_transit) {
        int32_t d = (int32_t)(transit - track->transit);
        uint32_t distance = d < 0 ? 0u - (uint32_t)d : (uint32_t)d;
        if (distance < clock_rate)
            track->jitter += distance - ((track->jitter + 8) >> 4); /* a leap (DTX, seek) is not jitter */
    }
    track->transit = transit;
    track->has_transit = true;
}

/* Index of the packet in the track's sequence space; false when it is a repetition or too old to matter. */
static bool admit(struct wd_router *router, struct track *track, uint64_t index) {
    struct wd_counters *n = &router->counters;
    if (!track->started) {
        track->started = true;
        track->highest = track->lowest = index;
    } else if (index > track->highest) {
        if (index > track->highest + 1 && track->config.codecs[track->last_entry].nack)
            note_lost(router, track, track->highest + 1, index);
        track->highest = index;
    } else {
        if (track->highest - index > track->slot_mask) return n->drop_srtp_old++, false;
        if (track->slots[index & track->slot_mask].index == index + 1) return n->drop_duplicate++, false;
        if (index < track->lowest) track->lowest = index;
        forget_lost(track, index);
    }
    return true;
}

static void read_extensions(struct track *track, struct slot *slot, const uint8_t *packet, const struct wd_rtp *rtp) {
    const struct wd_extension_ids *ids = &track->config.extensions;
    const struct wd_rtp_extension *e;
    slot->has_orientation = slot->has_playout = false;
    if (track->config.kind == WD_AUDIO) {
        if ((e = wd_rtp_find(rtp, ids->audio_level)) && e->length >= 1) {
            uint8_t level = packet[e->at] & 0x7f;
            if (level < track->level) track->level = level;
            track->voice |= packet[e->at] >> 7;
        }
        return;
    }
    if ((e = wd_rtp_find(rtp, ids->orientation)) && e->length >= 1) {
        track->orientation = packet[e->at];
        track->has_orientation = true;
        slot->has_orientation = true;
    } else if (slot->keyframe && track->has_orientation) {
        slot->has_orientation = true;
    }
    slot->orientation = track->orientation;
    if ((e = wd_rtp_find(rtp, ids->playout_delay)) && e->length == 3) {
        memcpy(slot->playout, packet + e->at, 3);
        slot->has_playout = true;
    }
}

/* What a track needs once it sends: allocated with its first authentic packet and never again. False while there is no
 * memory for it. */
static bool prepare(struct track *track) {
    struct transport *t = track->transport;
    if (!track->lost && !(track->lost = calloc(WD_LOST, sizeof *track->lost))) return false;
    if (track->config.extensions.transport_cc && !t->feedback.twcc &&
        !(t->feedback.twcc = calloc(1, sizeof *t->feedback.twcc)))
        return false;
    track->store.size = track->config.kind == WD_VIDEO ? VIDEO_CACHE_BYTES : AUDIO_CACHE_BYTES;
    if (!track->store.bytes && !(track->store.bytes = malloc(track->store.size))) return false;
    return (track->slots = calloc(track->slot_mask + 1, sizeof *track->slots));
}

/* The cache holds several times what may wait for the next flush, so nothing that is pending is ever overwritten. */
_Static_assert(VIDEO_CACHE_BYTES > 2 * WD_PENDING * (WD_MAX_PAYLOAD + WD_MAX_PADDING + 8), "pending video fits");
_Static_assert(AUDIO_CACHE_BYTES > (WD_AUDIO_CACHE / 2 + 2) * (WD_MAX_PAYLOAD + WD_MAX_PADDING + 8),
               "pending audio fits");

static void keep(struct store *store, struct slot *slot, const uint8_t *payload, size_t length) {
    uint32_t size = (uint32_t)(length + WD_MAX_PADDING + 7) & ~7u;
    if (store->head + size > store->size) {
        store->head = 0;
        store->round++;
    }
    slot->at = store->head;
    slot->round = store->round;
    slot->length = (uint16_t)length;
    memcpy(store->bytes + store->head, payload, length);
    store->head += size;
}

static void pend(struct wd_router *router, struct track *track, uint16_t place, bool marker) {
    if (!track->in_pending) {
        if (router->pending_count == sizeof router->pending / sizeof *router->pending) wd_fanout(router, true);
        router->pending[router->pending_count++] = track;
        track->in_pending = true;
        track->frame_complete = false;
        track->pending_count = 0;
        track->pending_since = router->now_ns;
    }
    track->pending[track->pending_count++] = place;
    if (marker || track->pending_count >= (track->config.kind == WD_VIDEO ? 32 : 1)) track->frame_complete = true;
    if (track->pending_count == (track->config.kind == WD_VIDEO ? WD_PENDING : WD_AUDIO_CACHE / 2))
        wd_fanout(router, false);
}

static void accept_packet(struct wd_router *router, struct track *track, const uint8_t *packet,
                          const struct wd_rtp *rtp, uint8_t entry, uint64_t index, const uint8_t *payload,
                          size_t length, bool repaired) {
    const struct wd_codec_entry *codec = &track->config.codecs[entry];
    struct wd_counters *n = &router->counters;
    struct wd_payload info = {0};
    /* Padding-only probes stay in the sequence, as one padding byte: dropping them would leave holes that receivers ask
     * for in vain. */
    if (length && !wd_payload_parse(codec->codec, payload, length, &info)) {
        n->drop_payload_malformed++;
        return;
    }
    if (!length) n->drop_padding_only++;
    if (length > WD_MAX_PAYLOAD) {
        n->drop_too_large++;
        return;
    }
    struct transport *t = track->transport;
    track->last_entry = entry;
    if (!admit(router, track, index)) return;
    if (repaired) {
        track->repaired++;
        n->recovered++;
    } else if (length) {
        measure_jitter(router, track, rtp->timestamp, codec->clock_rate);
    }
    track->received++;
    track->bytes += length;
    t->live.media_ns = router->now_ns;
    if (!track->announced) {
        track->announced = true;
        wd_table_add(&router->by_ssrc, track->ssrc, t);
        wd_emit(router, WD_EVENT_TRACK_STARTED, track->config.id);
        wd_due(router, t, router->now_ns + WD_LEVEL_INTERVAL_NS);
    }
    uint16_t place = (uint16_t)(index & track->slot_mask);
    struct slot *slot = &track->slots[place];
    keep(&track->store, slot, payload, length);
    slot->index = index + 1;
    slot->timestamp = rtp->timestamp;
    slot->padding = length ? 0 : 1;
    slot->entry = entry;
    slot->marker = rtp->marker;
    slot->keyframe = length && info.keyframe;
    slot->payload_info = info;
    slot->abs_send_time = UINT32_MAX;
    if (!length) wd_stored(track, slot)[0] = 1;
    if (track->config.kind == WD_VIDEO && wd_begins_picture(track, slot)) {
        n->keyframes_in++;
        wd_keyframe_seen(router, track, index);
    }
    read_extensions(track, slot, packet, rtp);
    if (track->config.kind == WD_AUDIO && t->level_due_ns <= router->now_ns) wd_emit_levels(router, t);
    if (track->legs) pend(router, track, place, rtp->marker);
}

/* With many publishers the caches of clear packets are larger than the processor's: prefetch the lines to be written
 * while the packet is being decrypted. */
static void prefetch_place(const struct track *track, uint16_t sequence, size_t length) {
    if (!track->slots) return;
    const struct store *store = &track->store;
    __builtin_prefetch(&track->slots[sequence & track->slot_mask], 1);
    for (size_t at = 0; at < length; at += WD_LINE) __builtin_prefetch(store->bytes + store->head + at, 1);
}

void wd_rtp_received(struct wd_router *router, struct tuple *tuple, uint8_t *packet, size_t length) {
    struct transport *t = tuple->transport;
    struct wd_counters *n = &router->counters;
    struct wd_rtp rtp;
    if (!wd_rtp_parse(packet, length, &rtp)) {
        n->drop_rtp_malformed++;
        return;
    }
    struct source source = find_source(t, packet, &rtp);
    if (!source.track) {
        n->drop_unknown_ssrc++;
        return;
    }
    struct track *track = source.track;
    if (source.latch && router->now_ns - track->latched_ns < LATCH_NS && (source.rtx ? track->rtx_ssrc : track->ssrc)) {
        n->drop_ssrc_limit++;
        return;
    }
    prefetch_place(track, rtp.sequence, length);
    struct wd_srtp_stream fresh = {0};
    if (source.latch)
        fresh = !source.rtx && rtp.ssrc == track->former_ssrc ? track->former_stream : wd_stream_of(t, rtp.ssrc);
    struct wd_srtp_stream *stream = source.latch ? &fresh : source.rtx ? &track->rtx_stream : &track->stream;
    uint64_t index;
    /* A stream whose first packets were lost may have rolled over already, which its receiver cannot know (RFC 3711
     * section 3.3.1): while none of it is authentic, every second packet is taken for one after the roll-over. */
    bool rolled = !stream->started && track->refused & 1 && rtp.sequence < 0x8000;
    if (rolled) *stream = (struct wd_srtp_stream){.highest = 0x10000, .started = true};
    enum wd_srtp_result result = wd_srtp_unprotect(t->keys.receive, stream, packet, &length, rtp.header_length, &index);
    if (result != WD_SRTP_OK) {
        if (rolled) stream->started = false;
        if (!stream->started) track->refused++;
        count_refusal(n, result);
        return;
    }
    if (source.latch) latch(router, &source, &rtp, &fresh);
    tuple->heard_ns = router->now_ns;
    wd_heard(router, t);
    if (tuple != t->destination.selected) wd_path_media_arrived(router, tuple);
    if (!track->slots && !prepare(track)) {
        n->drop_no_memory++;
        return;
    }

    const struct wd_rtp_extension *cc = wd_rtp_find(&rtp, track->config.extensions.transport_cc);
    if (cc && cc->length == 2 && t->feedback.twcc) {
        wd_twcc_arrived(t->feedback.twcc, wd_get16(packet + cc->at), router->now_ns / 1000);
        wd_feedback_arrival(router, t);
    }
    size_t payload_length;
    if (!wd_rtp_payload_length(packet, length, &rtp, &payload_length)) {
        n->drop_rtp_malformed++;
        return;
    }
    uint8_t entry;
    bool rtx;
    if (!find_codec(track, rtp.payload_type, &entry, &rtx) || rtx != source.rtx) {
        n->drop_unknown_payload_type++;
        return;
    }
    const uint8_t *payload = packet + rtp.header_length;
    if (!rtx) {
        accept_packet(router, track, packet, &rtp, entry, index, payload, payload_length, false);
        return;
    }
    n->rtx_in++;
    if (payload_length == 0) return; /* a probe */
    if (payload_length < 2 || !track->started) {
        n->drop_rtx_malformed++;
        return;
    }
    /* The original sequence number, extended next to the newest one. */
    int16_t distance = (int16_t)(uint16_t)(wd_get16(payload) - (uint16_t)track->highest);
    if (distance > 0 || track->highest < (uint64_t)-(int64_t)distance) {
        n->drop_rtx_malformed++;
        return;
    }
    accept_packet(router, track, packet, &rtp, entry, track->highest - (uint64_t)-(int64_t)distance, payload + 2,
                  payload_length - 2, true);
}
