/* A single viewer's estimate (REMB) becomes its publisher's limit: sending what cannot arrive helps nobody. With
 * several viewers it does not: one bad link must not lower everybody.
 *
 * Estimates and limits are about pictures: libwebrtc's REMB counts their payload and its repetitions, not the sound. A
 * publisher is told a limit for all that it sends, so the sound is added there.
 *
 * libwebrtc's estimate tells of congestion at once, by falling, or by not growing while more is sent. But it grows by 8
 * % a second at most, and only up to 1.5 times what arrives. A publisher that is held to it never shows that the path
 * could carry more: behind a minute of a jam it would take 20 s to come back. So a limit begins with a sign of
 * congestion. For a second, and while the round trip tells of a queue, it is the estimate itself. Then it rises,
 * carefully as long as it is near what was too much, faster beyond, but not far ahead of what is really sent, and not
 * to more than twice what a report has shown to pass without a queue. With the next sign it starts over. It ends when
 * the publisher has for a while not needed what it is allowed; the estimate cannot end it, because it is 1.5 times what
 * arrives in a jam, too.
 *
 * Loss behind a queue is a sign of congestion, too: a queue that is full grows no more, and of what does not arrive
 * nothing can be estimated. (A queue alone may be that of the viewer's own pictures, a loss alone is the path's.) Then
 * what reports show to pass stands for the estimate until the estimate grows without a queue. If sound is lost like
 * that although only the least is sent, the path carries sound alone: pictures are kept back, and tried again later. */
#include "limit.h"

#include "destination.h"
#include "keyframes.h"
#include "leg.h"
#include "track.h"

#define INTERVAL_NS (200 * WD_MS) /* between two limits passed on for a viewer */
#define REST_NS WD_SECOND /* so long behind a sign of congestion the estimate is passed on as it is: queues drain */
#define STALE_NS (2500 * WD_MS) /* an older estimate says nothing of the path now */
#define CONTENT_NS (5 * WD_SECOND) /* who is allowed so long more than it uses needs no limit */
#define ENDS 5 /* so often a publisher is told that its limit ended */
/* so long behind a sign of congestion a queue may be there: then pictures are kept back */
#define DRAINS_NS (1500 * WD_MS)
#define KEPT_NS (8 * WD_SECOND) /* for so long, twice that the next time, */
/* at most so long; and for the first time again when it did not happen for so long */
#define KEPT_MOST_NS (64 * WD_SECOND)
#define NO_LIMIT_BPS UINT64_C(20000000)
#define MOST_BPS UINT64_C(1000000000)
#define ROOM_BPS 200000u /* that a limit may be above what is sent, and above twice that */
#define LEAST_BPS 50000u /* no useful pictures take less */
/* a round trip without a queue is taken for shorter: the first that is measured may have one */
#define LEAST_AT_FIRST_US 500000
#define LIMIT_ROOM 200
#define LOSSY 25 /* of 256 */
#define VERY_LOSSY 50

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
        if (track->config.kind == WD_VIDEO && track->legs && !track->legs->next_in_track &&
            track->legs->transport->estimate.capped)
            return true;
    return false;
}

static void pass(struct wd_router *router, struct transport *viewer) {
    for (struct leg *leg = viewer->legs; leg; leg = leg->next) {
        struct track *track = leg->track;
        if (!track || leg->config.kind != WD_VIDEO || track->legs != leg || leg->next_in_track) continue;
        struct transport *publisher = track->transport;
        if (viewer->estimate.capped) {
            send_limit(router, track, (uint64_t)viewer->estimate.limit_bps + viewer->sound_bps);
            publisher->estimate.ends = ENDS;
        } else if (publisher->estimate.ends && !is_limited(publisher)) {
            send_limit(router, track, NO_LIMIT_BPS);
        }
    }
}

/* Of 256. */
static uint8_t worst_loss(const struct transport *viewer, uint8_t kind) {
    uint8_t worst = 0;
    for (const struct leg *leg = viewer->legs; leg; leg = leg->next)
        if (leg->track && leg->config.kind == kind && leg->loss > worst) worst = leg->loss;
    return worst;
}

/* 0 = there is none that says anything of the path now. */
static uint64_t current_estimate(const struct wd_router *router, const struct transport *viewer) {
    bool fresh = viewer->estimate.at_ns && router->now_ns - viewer->estimate.at_ns < STALE_NS;
    return fresh && (!viewer->estimate.passes_bps || viewer->estimate.bps < viewer->estimate.passes_bps)
               ? viewer->estimate.bps
               : viewer->estimate.passes_bps;
}

static bool has_queue(const struct transport *viewer) {
    return viewer->rtt_now_us > viewer->estimate.rtt_least_us + viewer->estimate.rtt_least_us / 4 + 100000;
}

static bool may_have_queue(const struct transport *viewer) {
    return viewer->rtt_now_us > viewer->estimate.rtt_least_us + viewer->estimate.rtt_least_us / 8 + 40000;
}

/* It fell, or stands still though it is less than what is sent, behind a limit only where a queue may be the reason. */
static bool is_congested(struct wd_router *router, struct transport *viewer, uint64_t estimate_bps) {
    uint64_t before =
        viewer->estimate.bps > viewer->estimate.mark_bps ? viewer->estimate.bps : viewer->estimate.mark_bps;
    bool short_of = estimate_bps < (uint64_t)viewer->video_bps * 95 / 100;
    bool fell = viewer->estimate.at_ns && estimate_bps < before * 97 / 100, stands = false;
    if (fell || router->now_ns - viewer->estimate.mark_ns >= WD_SECOND / 2) {
        stands = estimate_bps < (uint64_t)viewer->estimate.mark_bps * 1003 / 1000;
        viewer->estimate.mark_bps = (uint32_t)estimate_bps;
        viewer->estimate.mark_ns = router->now_ns;
    }
    if (!viewer->estimate.at_ns)
        return estimate_bps <
               (uint64_t)viewer->video_bps * 3 / 4; /* it is what has arrived: not always in the same second */
    bool could_grow = estimate_bps < (uint64_t)viewer->video_bps * 13 / 10;
    /* libwebrtc tells an estimate that grows once a second and follows what arrives by 8 % a second: behind a limit
     * that rises faster it stands, without any congestion */
    return viewer->estimate.capped ? fell || (stands && could_grow && may_have_queue(viewer))
                                   : short_of && (fell || stands);
}

static void limit_to(struct wd_router *router, struct transport *viewer, uint64_t bps) {
    viewer->estimate.capped = true;
    viewer->estimate.limit_bps = viewer->estimate.known_bps = viewer->estimate.shown_bps = (uint32_t)bps;
    viewer->estimate.sign_ns = viewer->estimate.tight_ns = router->now_ns;
    viewer->estimate.waits = viewer->estimate.untold = true;
    wd_due(router, viewer, router->now_ns);
}

static bool kept_lately(const struct wd_router *router, const struct transport *viewer) {
    return viewer->estimate.kept_times && router->now_ns - viewer->estimate.kept_until_ns < KEPT_MOST_NS;
}

static void keep_back(struct wd_router *router, struct transport *viewer) {
    limit_to(router, viewer, LEAST_BPS);
    viewer->destination.selected->congested |= WD_CONGESTED_THIN;
    if (!kept_lately(router, viewer)) viewer->estimate.kept_times = 0;
    int64_t ns = KEPT_NS << viewer->estimate.kept_times;
    if (ns < KEPT_MOST_NS) viewer->estimate.kept_times++;
    viewer->estimate.kept_until_ns = router->now_ns + ns;
    viewer->estimate.kept_back = true;
}

static void let_go(struct wd_router *router, struct transport *viewer) {
    viewer->estimate.kept_back = false;
    for (int i = 0; i < WD_TUPLES; i++) viewer->ice.tuples[i].congested &= (uint8_t)~WD_CONGESTED_THIN;
    limit_to(router, viewer, LEAST_BPS);
    if (wd_takes_video(viewer)) wd_ask_keyframes(router, viewer);
}

/* Is it lost behind a queue though hardly any pictures are sent? */
static void consider_sound(struct wd_router *router, struct transport *viewer) {
    bool suffers = has_queue(viewer) && viewer->video_bps && worst_loss(viewer, WD_AUDIO) > VERY_LOSSY &&
                   viewer->estimate.capped && viewer->estimate.limit_bps <= LEAST_BPS;
    if (!suffers || viewer->estimate.kept_back || !wd_ready(viewer))
        viewer->estimate.suffers_ns = 0;
    else if (!viewer->estimate.suffers_ns && !kept_lately(router, viewer))
        viewer->estimate.suffers_ns = router->now_ns;
    else if (router->now_ns - viewer->estimate.suffers_ns >= DRAINS_NS)
        keep_back(router, viewer);
}

void wd_limit_measured(struct transport *viewer) {
    if (!viewer->estimate.rtt_least_us) viewer->estimate.rtt_least_us = LEAST_AT_FIRST_US;
    if (viewer->rtt_now_us < viewer->estimate.rtt_least_us)
        viewer->estimate.rtt_least_us = viewer->rtt_now_us;
    else
        viewer->estimate.rtt_least_us += (viewer->rtt_now_us - viewer->estimate.rtt_least_us) / 64;
    if (!has_queue(viewer)) viewer->estimate.shown_bps = viewer->estimate.limit_bps;
}

void wd_limit_reported(struct wd_router *router, struct transport *viewer) {
    uint8_t loss = worst_loss(viewer, WD_VIDEO);
    if (has_queue(viewer) && viewer->video_bps && !viewer->estimate.kept_back && loss > LOSSY) {
        uint32_t passes_bps = (uint32_t)((uint64_t)viewer->video_bps * (256u - loss) / 256);
        if (passes_bps < LEAST_BPS) passes_bps = LEAST_BPS;
        if (!viewer->estimate.passes_bps || passes_bps < viewer->estimate.passes_bps ||
            viewer->estimate.limit_bps > viewer->estimate.passes_bps)
            viewer->estimate.passes_bps = passes_bps;
        limit_to(router, viewer, current_estimate(router, viewer));
    } else if (has_queue(viewer) && viewer->estimate.passes_bps) {
        viewer->estimate.passes_bps -=
            (viewer->estimate.passes_bps - LEAST_BPS) / 4; /* what waits has to pass as well */
    }
    consider_sound(router, viewer);
}

/* Once in INTERVAL_NS. */
static void reconsider(struct wd_router *router, struct transport *viewer) {
    if (viewer->estimate.kept_back) {
        viewer->estimate.tight_ns = router->now_ns;
        viewer->estimate.limit_bps = LEAST_BPS;
        bool is_there = viewer->destination.selected && viewer->destination.selected->congested & WD_CONGESTED_THIN;
        int64_t since_ns = router->now_ns - viewer->estimate.kept_until_ns;
        if (!is_there || since_ns >= (has_queue(viewer) ? KEPT_MOST_NS : 0)) let_go(router, viewer);
        return;
    }
    uint64_t limit = viewer->estimate.limit_bps, estimate = current_estimate(router, viewer), used = viewer->video_bps,
             most = used * 2 + ROOM_BPS;
    if (has_queue(viewer)) {
        most = (estimate ? estimate : LEAST_BPS) * 3 / 4; /* what waits has to pass as well */
        if (limit > most) limit = most;
    } else {
        if (viewer->rtt_us && most > (uint64_t)viewer->estimate.shown_bps * 2)
            most = (uint64_t)viewer->estimate.shown_bps * 2;
        if (router->now_ns - viewer->estimate.sign_ns >= REST_NS && (estimate || !viewer->estimate.at_ns) &&
            !may_have_queue(viewer) && worst_loss(viewer, WD_VIDEO) <= LOSSY)
            limit += limit /
                     (limit < (uint64_t)viewer->estimate.known_bps * 4 / 3 ? 20 : 6); /* 1.28 and 2.2 times a second */
        if (limit > most) limit = most;
        if (limit < estimate) limit = estimate;
    }
    viewer->estimate.limit_bps = (uint32_t)(limit < MOST_BPS ? limit : MOST_BPS);
    if (used && limit < used * 3 / 2 + ROOM_BPS / 2) viewer->estimate.tight_ns = router->now_ns;
    if (router->now_ns - viewer->estimate.tight_ns > CONTENT_NS) viewer->estimate.capped = false;
}

void wd_limit_tick(struct wd_router *router, struct transport *viewer) {
    int64_t due_ns = viewer->estimate.passed_ns + INTERVAL_NS;
    if (!viewer->estimate.waits) return;
    if (router->now_ns >= due_ns) {
        viewer->estimate.passed_ns = router->now_ns;
        uint32_t before_bps = viewer->estimate.limit_bps;
        if (viewer->estimate.capped) reconsider(router, viewer);
        if (!viewer->estimate.capped || viewer->estimate.limit_bps != before_bps || viewer->estimate.untold)
            pass(router, viewer);
        viewer->estimate.untold = false;
        viewer->estimate.waits = viewer->estimate.capped;
        due_ns = router->now_ns + INTERVAL_NS;
    }
    if (viewer->estimate.waits) wd_due(router, viewer, due_ns);
}

void wd_limit_told(struct wd_router *router, struct transport *viewer, uint64_t estimate_bps) {
    if (estimate_bps > MOST_BPS) estimate_bps = MOST_BPS;
    bool congested = is_congested(router, viewer, estimate_bps);
    if (estimate_bps > viewer->estimate.bps && !has_queue(viewer)) viewer->estimate.passes_bps = 0;
    viewer->estimate.bps = estimate_bps;
    viewer->estimate.at_ns = router->now_ns;
    if (congested) limit_to(router, viewer, estimate_bps);
    if (!viewer->estimate.capped) return;
    viewer->estimate.waits = viewer->estimate.untold = true; /* the same is said again, too: a packet may be lost */
    wd_limit_tick(router, viewer);
}

/* A sender keeps the last limit it was told, for all that it sends and whatever becomes of the track that was named: it
 * ends with the viewer it was for, and with that viewer being the only one. No answer says that the end was heard, so
 * it is told with several reports. */
void wd_limit_end(struct wd_router *router, struct transport *publisher) {
    if (!publisher->estimate.ends || !publisher->tracks || is_limited(publisher) || !wd_ready(publisher)) return;
    send_limit(router, publisher->tracks, NO_LIMIT_BPS);
    publisher->estimate.ends--;
}
