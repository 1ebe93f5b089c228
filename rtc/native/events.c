/* What Python is told of media again and again: how loud each microphone is and how good each path. It acts on most of
 * that at its ticks, so these events are patient; a voice that begins is not. What stays as it is is said again only
 * now and then: an event costs tens of microseconds of an interpreter whose objects have left the caches. */
#include "events.h"

#include "leg.h"
#include "track.h"

#define STATS_EVERY 2 /* reports: participants are told of quality each 2 s */
#define STATS_RENEWAL 5 /* of these a path that stays as it is is told once */
#define STATS_STEP_US 5000 /* of round trip and jitter; smaller changes nobody would notice */
#define STATS_LOSS_STEP 25 /* of 10,000 */
#define LEVEL_RENEWAL_NS (1995 * WD_MS) /* a steady level is said again so often */
#define LEVEL_STEP 4 /* dB; smaller changes are not worth an event */
#define LEVEL_LEAP 12 /* dB louder at once: a voice, or a louder one */
#define SOUND_HEADERS 60 /* octets of IP, UDP, RTP and SRTP with each packet, which a sender's limit counts */
#define LEVEL_QUIET 70 /* -dBov from which speakers.py takes everything for silence */

void wd_emit(struct wd_router *router, uint8_t type, uint32_t id) {
    struct wd_event event = {.type = type, .id = id};
    router->config.emit(router->config.owner, &event);
}

/* Nobody waits for a tick to hear the first syllable. Where silence ends differs: some senders say 127, some say the
 * noise of the room, some call all of it voice. */
static bool voice_begins(const struct track *track) {
    return (track->voice && !track->voice_sent) || (track->level < LEVEL_QUIET && track->level_sent >= LEVEL_QUIET) ||
           track->level_sent - track->level >= LEVEL_LEAP;
}

void wd_emit_levels(struct wd_router *router, struct transport *t) {
    t->level_due_ns = wd_beat(router, WD_LEVEL_INTERVAL_NS + WD_BEAT_NS / 2);
    for (struct track *track = t->tracks; track; track = track->next) {
        if (track->config.kind != WD_AUDIO) continue;
        int change = track->level - track->level_sent;
        bool renew = track->level != 127 && router->now_ns - track->level_sent_ns >= LEVEL_RENEWAL_NS;
        if (renew || change >= LEVEL_STEP || change <= -LEVEL_STEP || track->voice != track->voice_sent ||
            (change && track->level == 127)) {
            bool begins = voice_begins(track);
            struct wd_event event = {.type = WD_EVENT_LEVEL,
                                     .flag = track->voice,
                                     .patient = !begins && (renew || !track->began),
                                     .id = track->config.id,
                                     .value = track->level,
                                     .at_ns = router->now_ns};
            router->config.emit(router->config.owner, &event);
            track->began = begins;
            track->level_sent = track->level;
            track->voice_sent = track->voice;
            track->level_sent_ns = router->now_ns;
        }
        track->level = 127;
        track->voice = false;
    }
}

static uint32_t apart(uint32_t a, uint32_t b) { return a > b ? a - b : b - a; }

/* Would somebody who knows `reported` learn anything? */
static bool is_news(const struct wd_stats *stats, const struct wd_stats *reported) {
    return !stats->in_bps != !reported->in_bps || !stats->out_bps != !reported->out_bps ||
           !stats->rtt_us != !reported->rtt_us || apart(stats->rtt_us, reported->rtt_us) >= STATS_STEP_US ||
           apart(stats->jitter_us, reported->jitter_us) >= STATS_STEP_US ||
           apart(stats->loss_in, reported->loss_in) >= STATS_LOSS_STEP ||
           apart(stats->loss_out, reported->loss_out) >= STATS_LOSS_STEP ||
           apart(stats->estimate_bps, reported->estimate_bps) > reported->estimate_bps / 8;
}

/* Of pictures and of sound, that t was sent since it was last asked. Counted here, by leg: a packet on its way out
 * counts itself once. */
static void measure_media(struct transport *t, int64_t span_ns) {
    uint64_t sums[2] = {0};
    for (struct leg *leg = t->legs; leg; leg = leg->next) {
        uint64_t bytes =
            leg->bytes + leg->bytes_again + (leg->config.kind == WD_AUDIO ? leg->packets * SOUND_HEADERS : 0);
        sums[leg->config.kind == WD_VIDEO] += bytes - leg->bytes_told;
        leg->bytes_told = bytes;
    }
    t->sound_bps = (uint32_t)(sums[0] * 8000 / (uint64_t)(span_ns / WD_MS + 1));
    t->video_bps = (uint32_t)(sums[1] * 8000 / (uint64_t)(span_ns / WD_MS + 1));
}

void wd_emit_stats(struct wd_router *router, struct transport *t) {
    int64_t span_ns = router->now_ns - t->stats.at_ns;
    if (span_ns <= 0) return;
    uint32_t in_bps =
        (uint32_t)((t->bytes_in - t->stats.bytes_in_before) * 8 * 1000 / (uint64_t)(span_ns / 1000000 + 1));
    t->out_bps = (uint32_t)((t->bytes_out - t->stats.bytes_out_before) * 8 * 1000 / (uint64_t)(span_ns / 1000000 + 1));
    measure_media(t, span_ns);
    t->stats.bytes_in_before = t->bytes_in;
    t->stats.bytes_out_before = t->bytes_out;
    t->stats.at_ns = router->now_ns;
    if (++t->stats.seconds % STATS_EVERY) return;
    struct wd_stats stats = {.rtt_us = t->rtt_us, .in_bps = in_bps, .out_bps = t->out_bps};
    stats.estimate_bps = t->estimate.bps > UINT32_MAX ? UINT32_MAX : (uint32_t)t->estimate.bps;
    for (struct track *track = t->tracks; track; track = track->next) {
        uint32_t clock_rate = track->config.codec_count ? track->config.codecs[track->last_entry].clock_rate : 0;
        uint32_t loss = (uint32_t)track->fraction_lost * 10000 / 256,
                 jitter = clock_rate ? (uint32_t)((uint64_t)(track->jitter >> 4) * 1000000 / clock_rate) : 0;
        if (loss > stats.loss_in) stats.loss_in = loss;
        if (jitter > stats.jitter_us) stats.jitter_us = jitter;
    }
    for (struct leg *leg = t->legs; leg; leg = leg->next)
        if (leg->track && (uint32_t)leg->loss * 10000 / 256 > stats.loss_out)
            stats.loss_out = (uint32_t)leg->loss * 10000 / 256;
    if (!is_news(&stats, &t->stats.reported) && ++t->stats.unreported < STATS_RENEWAL) return;
    t->stats.reported = stats;
    t->stats.unreported = 0;
    struct wd_event event = {.type = WD_EVENT_STATS, .patient = true, .id = t->id, .stats = stats};
    router->config.emit(router->config.owner, &event);
}
