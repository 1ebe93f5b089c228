/* A single viewer's estimate (REMB) becomes its publisher's limit: sending what cannot arrive helps nobody. With several viewers it does not: one bad link
 * must not lower everybody.
 *
 * libwebrtc's estimate tells of congestion at once, by falling, or by not growing while more is sent. But it grows by 8 % a second at most, and a publisher that is
 * held to it never shows that the path could carry more: behind a minute of a jam it would take 20 s to come back. So a limit begins with a sign of congestion. For
 * a second, and while the round trip tells of a queue, it is the estimate itself. Then it rises, carefully as long as it is near what was too much, faster beyond,
 * but not far ahead of what is really sent, and not to more than twice what a report has shown to pass without a queue. With the next sign it starts over. It ends
 * when the publisher has for a while not needed what it is allowed. */
#include "limit.h"

#include "destination.h"
#include "leg.h"
#include "track.h"

#define NO_LIMIT_BPS UINT64_C(20000000)
#define MOST_BPS UINT64_C(1000000000)
#define LIMIT_ROOM 200

static void send_limit(struct wd_router *router, const struct track *track, uint64_t bps) {
    struct transport *publisher = track->transport;
    uint8_t packet[LIMIT_ROOM + WD_SRTP_MAX_OVERHEAD];
    size_t length = wd_rtcp_write_rr(packet, LIMIT_ROOM, publisher->feedback_ssrc, NULL, 0);
    length += wd_rtcp_write_remb(packet + length, LIMIT_ROOM - length, publisher->feedback_ssrc, bps, &track->ssrc, 1);
    wd_send_rtcp(router, publisher, packet, length);
    router->counters.remb_out++;
}

static bool is_limited(const struct transport *publisher) {
    for (const struct track *track = publisher->tracks; track; track = track->next)
        if (track->config.kind == WD_VIDEO && track->legs && !track->legs->next_in_track && track->legs->transport->capped) return true;
    return false;
}

static void pass(struct wd_router *router, struct transport *viewer) {
    for (struct leg *leg = viewer->legs; leg; leg = leg->next) {
        struct track *track = leg->track;
        if (!track || leg->config.kind != WD_VIDEO || track->legs != leg || leg->next_in_track) continue;
        struct transport *publisher = track->transport;
        if (viewer->capped) {
            send_limit(router, track, viewer->limit_bps);
            publisher->limited = WD_LIMIT_ENDS;
        } else if (publisher->limited && !is_limited(publisher)) {
            send_limit(router, track, NO_LIMIT_BPS);
        }
    }
}

static bool is_lossy(const struct transport *viewer) {
    for (const struct leg *leg = viewer->legs; leg; leg = leg->next)
        if (leg->track && leg->config.kind == WD_VIDEO && leg->loss > 25) return true; /* of 256 */
    return false;
}

/* It fell, or stands still though it is less than what is sent. An estimate that only lags behind does neither. */
static bool is_congested(struct wd_router *router, struct transport *viewer, uint64_t estimate_bps) {
    uint64_t before = viewer->estimate_bps > viewer->estimate_mark_bps ? viewer->estimate_bps : viewer->estimate_mark_bps;
    bool short_of = estimate_bps < (uint64_t)viewer->out_bps * 95 / 100;
    bool fell = viewer->estimate_ns && estimate_bps < before * 97 / 100, stands = false;
    if (fell || router->now_ns - viewer->estimate_mark_ns >= WD_SECOND / 2) {
        stands = estimate_bps < (uint64_t)viewer->estimate_mark_bps * 1003 / 1000;
        viewer->estimate_mark_bps = (uint32_t)estimate_bps;
        viewer->estimate_mark_ns = router->now_ns;
    }
    if (viewer->capped) return fell || (stands && short_of);
    return short_of && (fell || stands || !viewer->estimate_ns);
}

static bool has_queue(const struct transport *viewer) { return viewer->rtt_now_us > viewer->rtt_least_us + viewer->rtt_least_us / 4 + 100000; }

void wd_limit_measured(struct transport *viewer) {
    if (!viewer->rtt_least_us || viewer->rtt_now_us < viewer->rtt_least_us) viewer->rtt_least_us = viewer->rtt_now_us;
    else viewer->rtt_least_us += (viewer->rtt_now_us - viewer->rtt_least_us) / 64;
    if (!has_queue(viewer)) viewer->limit_shown_bps = viewer->limit_bps;
}

/* Once in WD_LIMIT_INTERVAL_NS. */
static void reconsider(const struct wd_router *router, struct transport *viewer) {
    uint64_t limit = viewer->limit_bps, used = viewer->out_bps > viewer->estimate_bps ? viewer->out_bps : viewer->estimate_bps, most = used * 3 + 100000;
    if (most > (uint64_t)viewer->limit_shown_bps * 2) most = (uint64_t)viewer->limit_shown_bps * 2;
    if (has_queue(viewer)) most = viewer->estimate_bps;
    if (router->now_ns - viewer->limit_sign_ns >= WD_LIMIT_REST_NS && router->now_ns - viewer->estimate_ns < WD_LIMIT_STALE_NS && !is_lossy(viewer))
        limit += limit / (limit < (uint64_t)viewer->limit_known_bps * 3 / 2 ? 20 : 6); /* 1.28 and 2.2 times a second */
    if (limit > most) limit = most;
    if (limit < viewer->estimate_bps) limit = viewer->estimate_bps;
    viewer->limit_bps = (uint32_t)(limit < MOST_BPS ? limit : MOST_BPS);
    if (limit < (uint64_t)viewer->out_bps * 2) viewer->limit_tight_ns = router->now_ns;
    if (router->now_ns - viewer->limit_tight_ns > WD_LIMIT_CONTENT_NS) viewer->capped = false;
}

void wd_limit_tick(struct wd_router *router, struct transport *viewer) {
    int64_t due_ns = viewer->limit_passed_ns + WD_LIMIT_INTERVAL_NS;
    if (!viewer->limit_waits) return;
    if (router->now_ns >= due_ns) {
        viewer->limit_passed_ns = router->now_ns;
        uint32_t before_bps = viewer->limit_bps;
        if (viewer->capped) reconsider(router, viewer);
        if (!viewer->capped || viewer->limit_bps != before_bps || viewer->limit_untold) pass(router, viewer);
        viewer->limit_untold = false;
        viewer->limit_waits = viewer->capped;
        due_ns = router->now_ns + WD_LIMIT_INTERVAL_NS;
    }
    if (viewer->limit_waits) wd_due(router, viewer, due_ns);
}

void wd_limit_told(struct wd_router *router, struct transport *viewer, uint64_t estimate_bps) {
    if (estimate_bps > MOST_BPS) estimate_bps = MOST_BPS;
    bool congested = is_congested(router, viewer, estimate_bps), was_capped = viewer->capped;
    viewer->estimate_bps = estimate_bps;
    viewer->estimate_ns = router->now_ns;
    if (congested) {
        viewer->capped = true;
        viewer->limit_bps = viewer->limit_known_bps = viewer->limit_shown_bps = (uint32_t)estimate_bps;
        viewer->limit_sign_ns = viewer->limit_tight_ns = router->now_ns;
    } else if (estimate_bps > (uint64_t)viewer->out_bps * 14 / 10) {
        viewer->capped = false;
    }
    if (!viewer->capped && !was_capped) return;
    viewer->limit_waits = viewer->limit_untold = true; /* the same is said again, too: a packet may be lost */
    wd_limit_tick(router, viewer);
}

/* A sender keeps the last limit it was told, for all that it sends and whatever becomes of the track that was named: it ends with the viewer it was for, and
 * with that viewer being the only one. No answer says that the end was heard, so it is told with several reports. */
void wd_limit_end(struct wd_router *router, struct transport *publisher) {
    if (!publisher->limited || !publisher->tracks || is_limited(publisher) || !wd_ready(publisher)) return;
    send_limit(router, publisher->tracks, NO_LIMIT_BPS);
    publisher->limited--;
}
