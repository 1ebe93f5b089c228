/* RTCP is terminated here: every leg of a call gets its own reports, and only wishes travel on (RFC 3550 section 7, RFC
 * 7667 section 3.7).
 *
 * Upstream: receiver reports, NACK, keyframe requests (keyframes.c), transport-wide feedback, and for a source with a
 * single viewer a limit by that viewer's estimate (limit.c). Downstream: sender reports in our clock, with the
 * publisher's own relation of media time to clock. */
#include "feedback.h"

#include "bytes.h"
#include "destination.h"
#include "events.h"
#include "keyframes.h"
#include "leg.h"
#include "limit.h"
#include "path.h"
#include "path_validation.h"
#include "repair.h"
#include "rtcp.h"
#include "track.h"

#define NACK_TRIES 16
#define NACK_RETRY_NS (25 * WD_MS) /* at least so long between two requests for a packet */
/* from the first arrival after the last feedback: from then on it leaves behind media for the same receiver */
#define TWCC_INTERVAL_NS (60 * WD_MS)
#define TWCC_PATIENCE_NS (40 * WD_MS) /* and by itself when there was none for so long */
#define REPORT_PATIENCE_NS (100 * WD_MS) /* so long a due report waits for media that it can follow */
#define LEVEL_PATIENCE_NS (100 * WD_MS) /* so long due levels wait for a packet of sound */

#define RTCP_ROOM 1200
#define CNAME "wadud"
#define MAX_REPORTS 16
#define RR_BYTES 8u
#define SR_BYTES 28u
#define REPORT_BYTES 24u
#define CNAME_BYTES 16u

struct compound {
    uint8_t data[RTCP_ROOM + WD_SRTP_MAX_OVERHEAD];
    size_t length;
};

/* Wall clock as NTP 32.32. One constant offset per process keeps reports of all legs comparable. */
static uint64_t ntp_now(const struct wd_router *router) {
    uint64_t ns =
        (uint64_t)router->now_ns + UINT64_C(3900000000) * 1000000000; /* any epoch serves: receivers only compare */
    return (ns / 1000000000) << 32 | ((ns % 1000000000) << 32) / 1000000000;
}

static int64_t ntp_to_ns(uint64_t ntp) {
    return (int64_t)((ntp >> 32) * 1000000000 + (((ntp & 0xffffffff) * 1000000000) >> 32));
}

static uint64_t ns_to_ntp(int64_t ns) {
    return ((uint64_t)ns / 1000000000) << 32 | (((uint64_t)ns % 1000000000) << 32) / 1000000000;
}

/* --- what a receiver says -------------------------------------------------------------------------------------------
 */

static struct leg *find_leg(struct transport *t, uint32_t ssrc) {
    for (struct leg *leg = t->legs; leg; leg = leg->next)
        if (leg->config.ssrc == ssrc) return leg;
    return NULL;
}

static struct track *find_track(struct transport *t, uint32_t ssrc) {
    for (struct track *track = t->tracks; track; track = track->next)
        if (track->ssrc == ssrc) return track;
    return NULL;
}

static void read_reports(struct wd_router *router, struct tuple *tuple, const struct wd_rtcp_block *block) {
    struct transport *t = tuple->transport;
    struct wd_report reports[31];
    uint32_t reporter;
    size_t count = wd_rtcp_read_reports(block, &reporter, reports);
    for (size_t i = 0; i < count; i++) {
        struct leg *leg = find_leg(t, reports[i].ssrc);
        if (!leg) continue;
        leg->loss = reports[i].fraction_lost;
        wd_path_report_confirmed(router, tuple, reports[i].lsr);
        for (int k = 0; k < WD_REPORTS; k++) {
            if (!reports[i].lsr || reports[i].lsr != leg->report_lsr[k]) continue;
            int64_t rtt_us =
                (router->now_ns - leg->report_sent_ns[k]) / 1000 - (int64_t)((uint64_t)reports[i].dlsr * 1000000 >> 16);
            if (rtt_us < 0) rtt_us = 0;
            if (rtt_us >= 10000000) continue;
            t->rtt_us = t->rtt_us ? (t->rtt_us * 7 + (uint32_t)rtt_us) / 8 : (uint32_t)rtt_us + 1;
            t->rtt_now_us = (uint32_t)rtt_us;
            wd_limit_measured(t);
        }
    }
    if (count) wd_limit_reported(router, t);
}

static void read_nack(struct wd_router *router, struct transport *t, const struct wd_rtcp_block *block) {
    uint16_t lost[256];
    uint32_t media;
    size_t count = wd_rtcp_read_nack(block, &media, lost, sizeof lost / sizeof *lost);
    struct leg *leg = find_leg(t, media);
    router->counters.nack_in++;
    router->counters.nack_packets_in += count;
    if (!leg) return;
    for (size_t i = count; i-- > 0;)
        wd_resend(router, leg, lost[i]); /* the newest first: what there is room for goes to what can still be shown */
}

/* A picture that a congested receiver misses is still on its way to it, or has to wait like everything else. And who
 * asks less than a round trip after the newest keyframe left did not have it yet. */
static void pass_keyframe_request(struct wd_router *router, const struct leg *leg) {
    if (!leg || !leg->track ||
        (leg->transport->destination.selected && leg->transport->destination.selected->congested))
        return;
    if (!leg->waiting &&
        router->now_ns - leg->track->keyframe_seen_ns < (int64_t)wd_round_trip_us(leg->transport) * 1000)
        return;
    if (leg->config.kind == WD_VIDEO) wd_wish_keyframe(router, leg->track);
}

static void read_payload_feedback(struct wd_router *router, struct transport *t, const struct wd_rtcp_block *block) {
    uint32_t media, ssrcs[32];
    uint8_t sequences[32];
    uint64_t bitrate;
    if (block->count == WD_PSFB_PLI && wd_rtcp_read_pli(block, &media)) {
        router->counters.pli_in++;
        pass_keyframe_request(router, find_leg(t, media));
    } else if (block->count == WD_PSFB_FIR) {
        router->counters.fir_in++;
        size_t count = wd_rtcp_read_fir(block, ssrcs, sequences, 32);
        for (size_t i = 0; i < count; i++) pass_keyframe_request(router, find_leg(t, ssrcs[i]));
    } else if (block->count == WD_PSFB_AFB && wd_rtcp_read_remb(block, &bitrate)) {
        router->counters.remb_in++;
        wd_limit_told(router, t, bitrate);
    }
}

static void read_sender(struct wd_router *router, struct transport *t, const struct wd_rtcp_block *block) {
    struct wd_sender_info info;
    if (!wd_rtcp_read_sender(block, &info)) return;
    struct track *track = find_track(t, info.ssrc);
    if (!track) return;
    track->sender = info;
    track->sender_ns = router->now_ns;
    track->has_sender = true;
    if (!t->has_clock_offset) {
        /* One offset for all tracks of a publisher: what their reports say of each other stays exactly true. */
        t->clock_offset_ns = ntp_to_ns(ntp_now(router)) - ntp_to_ns(info.ntp);
        t->has_clock_offset = true;
    }
}

void wd_rtcp_received(struct wd_router *router, struct tuple *tuple, uint8_t *packet, size_t length) {
    struct transport *t = tuple->transport;
    if (wd_srtcp_unprotect(t->keys.receive, packet, &length) != WD_SRTP_OK) {
        router->counters.drop_srtcp++;
        return;
    }
    tuple->heard_ns = router->now_ns;
    wd_heard(router, t);
    if (tuple != t->destination.selected) wd_path_media_arrived(router, tuple);
    const uint8_t *data = packet;
    struct wd_rtcp_block block;
    while (wd_rtcp_next(&data, &length, &block)) {
        if (block.type == WD_RTCP_SR) read_sender(router, t, &block);
        if (block.type == WD_RTCP_SR || block.type == WD_RTCP_RR) read_reports(router, tuple, &block);
        if (block.type == WD_RTCP_RTPFB && block.count == WD_RTPFB_NACK) read_nack(router, t, &block);
        if (block.type == WD_RTCP_RTPFB && block.count == WD_RTPFB_TWCC) router->counters.twcc_in++;
        if (block.type == WD_RTCP_PSFB) read_payload_feedback(router, t, &block);
    }
    if (length) router->counters.drop_rtcp_malformed++;
}

/* --- what we say ----------------------------------------------------------------------------------------------------
 */

/* A packet that is asked for again and again may be lost each time, and while it is missing nobody sees anything new:
 * behind a burst of losses a keyframe is there sooner. It is asked for beside the packet, which may still come first.
 */
static void give_up_on(struct wd_router *router, struct track *track, struct lost *lost, int64_t round_trip_ns) {
    if (lost->given_up || router->now_ns - lost->since_ns < WD_REPAIR_NS + 2 * round_trip_ns) return;
    lost->given_up = true;
    wd_give_up(router, track, lost->index);
}

static void send_nacks(struct wd_router *router, struct transport *t, struct track *track, int64_t *next_ns) {
    uint16_t wanted[WD_LOST];
    size_t count = 0;
    int64_t round_trip_ns = t->rtt_us ? (int64_t)t->rtt_us * 1000 : 50 * WD_MS,
            retry_ns = round_trip_ns * 9 / 8 + 10 * WD_MS;
    if (retry_ns < NACK_RETRY_NS) retry_ns = NACK_RETRY_NS;
    for (unsigned i = 0; i < track->lost_count;) {
        struct lost *lost = &track->lost[i];
        give_up_on(router, track, lost, round_trip_ns);
        if (lost->tries >= NACK_TRIES || track->highest - lost->index > track->slot_mask ||
            router->now_ns - lost->since_ns > WD_RESEND_AGE_NS) {
            if (!lost->given_up) wd_give_up(router, track, lost->index);
            track->lost[i] = track->lost[--track->lost_count];
            continue;
        }
        if (lost->due_ns <= router->now_ns) {
            wanted[count++] = (uint16_t)lost->index;
            lost->tries++;
            lost->due_ns = router->now_ns + retry_ns * (1 + lost->tries / 4);
        }
        if (lost->due_ns < *next_ns) *next_ns = lost->due_ns;
        i++;
    }
    if (!count) return;
    uint16_t base = (uint16_t)track->highest; /* ascending, by distance from the newest */
    for (size_t i = 1; i < count; i++)
        for (size_t k = i; k > 0 && (uint16_t)(base - wanted[k]) > (uint16_t)(base - wanted[k - 1]); k--) {
            uint16_t swap = wanted[k];
            wanted[k] = wanted[k - 1];
            wanted[k - 1] = swap;
        }
    struct compound c = {.length = 0};
    c.length = wd_rtcp_write_rr(c.data, RTCP_ROOM, t->feedback_ssrc, NULL, 0);
    c.length +=
        wd_rtcp_write_nack(c.data + c.length, RTCP_ROOM - c.length, t->feedback_ssrc, track->ssrc, wanted, count);
    wd_send_rtcp(router, t, c.data, c.length);
    router->counters.nack_out++;
    router->counters.nack_packets_out += count;
}

static void send_transport_feedback(struct wd_router *router, struct transport *t) {
    struct compound c;
    t->feedback.twcc_due_ns = INT64_MAX; /* the next arrival sets it again */
    for (;;) {
        c.length = wd_rtcp_write_rr(c.data, RTCP_ROOM, t->feedback_ssrc, NULL, 0);
        size_t n = wd_twcc_write(t->feedback.twcc, c.data + c.length, RTCP_ROOM - c.length, t->feedback_ssrc,
                                 t->tracks ? t->tracks->ssrc : 0);
        if (!n) return;
        wd_send_rtcp(router, t, c.data, c.length + n);
        router->counters.twcc_out++;
    }
}

static uint8_t worst_leg_loss(const struct track *track) {
    uint8_t worst = 0;
    for (const struct leg *leg = track->legs; leg; leg = leg->next_in_track)
        if (leg->loss > worst) worst = leg->loss;
    return worst;
}

static struct wd_report receiver_report(struct wd_router *router, struct track *track) {
    uint64_t expected = track->started ? track->highest - track->lowest + 1 : 0;
    uint64_t expected_now = expected - track->expected_before, received_now = track->received - track->received_before;
    track->expected_before = expected;
    track->received_before = track->received;
    track->fraction_lost = expected_now > received_now && expected_now < UINT64_C(1) << 32
                               ? (uint8_t)((expected_now - received_now) * 256 / expected_now)
                               : 0;
    int64_t lost = (int64_t)(expected - track->received);
    struct wd_report report = {.ssrc = track->ssrc,
                               .highest = (uint32_t)track->highest,
                               .jitter = track->jitter >> 4,
                               .fraction_lost = track->fraction_lost};
    report.lost = lost > 0x7fffff ? 0x7fffff : lost < -0x800000 ? -0x800000 : (int32_t)lost;
    if (track->has_sender) {
        report.lsr = (uint32_t)(track->sender.ntp >> 16);
        report.dlsr = (uint32_t)(((uint64_t)(router->now_ns - track->sender_ns) << 16) / WD_SECOND);
    }
    /* Opus protects itself by the loss it is told of: tell it the worst leg's. Only the fraction says so; the
     * cumulative count, which bandwidth estimators read, stays our own uplink's. */
    if (track->config.kind == WD_AUDIO) {
        uint8_t worst = worst_leg_loss(track);
        if (worst > report.fraction_lost) report.fraction_lost = worst;
    }
    return report;
}

static bool says_report(const struct leg *leg) {
    return leg->track && leg->started && !leg->waiting && leg->track->has_sender;
}

/* Would what `send_reports` sends be as short as that? */
static bool reports_fit(const struct transport *t, size_t room) {
    size_t length = RR_BYTES + CNAME_BYTES + WD_SRTP_MAX_OVERHEAD;
    for (const struct track *track = t->tracks; track && length <= room; track = track->next) length += REPORT_BYTES;
    for (const struct leg *leg = t->legs; leg && length <= room; leg = leg->next)
        if (says_report(leg)) length += SR_BYTES + CNAME_BYTES;
    return length <= room;
}

static void write_receiver_reports(struct wd_router *router, struct transport *t, struct compound *c) {
    struct wd_report reports[MAX_REPORTS];
    size_t count = 0;
    for (struct track *track = t->tracks; track && count < MAX_REPORTS; track = track->next)
        if (track->started) reports[count++] = receiver_report(router, track);
    if (!count) return;
    c->length += wd_rtcp_write_rr(c->data, RTCP_ROOM, t->feedback_ssrc, reports, count);
    c->length += wd_rtcp_write_cname(c->data + c->length, RTCP_ROOM - c->length, t->feedback_ssrc, CNAME);
}

static size_t write_sender_report(struct wd_router *router, struct leg *leg, uint8_t *out, size_t capacity) {
    struct track *track = leg->track;
    struct transport *publisher = track->transport;
    int64_t since_ns = router->now_ns - track->sender_ns - wd_path_report_shift_ns(leg->transport);
    uint64_t ntp = ns_to_ntp(ntp_to_ns(track->sender.ntp) + publisher->clock_offset_ns + since_ns);
    uint32_t clock_rate = track->config.codecs[track->last_entry].clock_rate;
    struct wd_sender_info info = {
        .ssrc = leg->config.ssrc,
        .ntp = ntp,
        .rtp = track->sender.rtp + leg->timestamp_offset + (uint32_t)(since_ns / 1000 * clock_rate / 1000000),
        .packets = (uint32_t)leg->packets,
        .octets = (uint32_t)leg->bytes,
    };
    memmove(leg->report_lsr + 1, leg->report_lsr, sizeof leg->report_lsr - sizeof *leg->report_lsr);
    memmove(leg->report_sent_ns + 1, leg->report_sent_ns, sizeof leg->report_sent_ns - sizeof *leg->report_sent_ns);
    leg->report_lsr[0] = (uint32_t)(ntp >> 16);
    leg->report_sent_ns[0] = router->now_ns;
    wd_path_report_sent(leg->transport, leg->report_lsr[0]);
    return wd_rtcp_write_sr(out, capacity, &info, NULL, 0);
}

/* One compound packet (RFC 3550 section 6.1) of all that we receive from t and send to it, as long as there is room in
 * one. */
static void send_reports(struct wd_router *router, struct transport *t) {
    struct compound c = {.length = 0};
    write_receiver_reports(router, t, &c);
    for (struct leg *leg = t->legs; leg; leg = leg->next) {
        if (!says_report(leg)) continue;
        if (c.length + SR_BYTES + CNAME_BYTES > RTCP_ROOM) {
            wd_send_rtcp(router, t, c.data, c.length);
            c.length = 0;
        }
        c.length += write_sender_report(router, leg, c.data + c.length, RTCP_ROOM - c.length);
        c.length += wd_rtcp_write_cname(c.data + c.length, RTCP_ROOM - c.length, leg->config.ssrc, CNAME);
    }
    wd_send_rtcp(router, t, c.data, c.length);
}

static void report(struct wd_router *router, struct transport *t) {
    t->feedback.report_due_ns += WD_REPORT_INTERVAL_NS;
    if (t->feedback.report_due_ns <= router->now_ns) t->feedback.report_due_ns = wd_beat(router, WD_REPORT_INTERVAL_NS);
    wd_due(router, t, t->feedback.report_due_ns + REPORT_PATIENCE_NS);
    send_reports(router, t);
    wd_limit_end(router, t);
    wd_emit_stats(router, t);
}

/* A short packet as the last of a run costs the kernel next to nothing, a message of its own as much as the whole run.
 */
void wd_feedback_follow_media(struct wd_router *router, struct transport *t) {
    t->feedback.fed_ns = router->now_ns;
    if (t->feedback.twcc && t->feedback.twcc_due_ns <= router->now_ns)
        send_transport_feedback(router, t);
    else if (t->feedback.report_due_ns <= router->now_ns &&
             reports_fit(
                 t, wd_egress_tail(router->egress, &t->destination.selected->remote, &t->destination.selected->local)))
        report(router, t);
}

void wd_feedback_arrival(struct wd_router *router, struct transport *t) {
    if (t->feedback.twcc_due_ns == INT64_MAX) t->feedback.twcc_due_ns = router->now_ns + TWCC_INTERVAL_NS;
    if (router->now_ns - t->feedback.fed_ns > TWCC_PATIENCE_NS)
        wd_due(router, t, t->feedback.twcc_due_ns + TWCC_PATIENCE_NS); /* else it is likely to follow media */
}

void wd_feedback_tick(struct wd_router *router, struct transport *t) {
    int64_t now = router->now_ns;
    if (t->feedback.nack_due_ns <= now) {
        int64_t next = INT64_MAX;
        for (struct track *track = t->tracks; track; track = track->next)
            if (track->lost_count) send_nacks(router, t, track, &next);
        t->feedback.nack_due_ns = next;
    }
    if (t->feedback.nack_due_ns != INT64_MAX) wd_due(router, t, t->feedback.nack_due_ns);
    if (t->feedback.twcc && t->feedback.twcc_due_ns <= now - TWCC_PATIENCE_NS) send_transport_feedback(router, t);
    if (t->feedback.twcc_due_ns != INT64_MAX) wd_due(router, t, t->feedback.twcc_due_ns + TWCC_PATIENCE_NS);
    for (struct track *track = t->tracks; track; track = track->next) wd_keyframe_tick(router, track);
    wd_limit_tick(router, t);
    if (t->level_due_ns <= now - LEVEL_PATIENCE_NS) wd_emit_levels(router, t);
    if (t->tracks) wd_due(router, t, t->level_due_ns + LEVEL_PATIENCE_NS);
    if (t->feedback.report_due_ns <= now - REPORT_PATIENCE_NS) report(router, t);
    wd_due(router, t, t->feedback.report_due_ns + REPORT_PATIENCE_NS);
}
