/* Requests for keyframes, one owner per source: the wishes of all viewers become one, throttled, and repeated until a
 * keyframe begins.
 *
 * Keyframes are asked for while a leg has no place to start, and for a wish: what a viewer says (PLI, FIR), or more
 * lost on the way in than can be repaired. It is answered by any keyframe that begins behind the packet that was newest
 * then.
 *
 * A keyframe costs its encoder and everybody who watches, so in the long run there is one request in THROTTLE_NS. But
 * who comes, or changes the picture, sees nothing at all until there is one: for them some requests may follow each
 * other closely. One that is on its way serves all who were ready before its keyframe begins. */
#include "keyframes.h"

#include "destination.h"
#include "leg.h"
#include "track.h"

#define THROTTLE_NS (500 * WD_MS) /* between two requests, in the long run */
/* for newcomers: twice that is just above the 300 ms within which libwebrtc ignores a second request */
#define SPACING_NS (155 * WD_MS)
#define BURST 8 /* requests that may be so close */
#define MOST_UNHEARD 2 /* so often the throttle doubles for who sends nothing */
#define LONGEST_PATIENCE_NS (2 * WD_SECOND) /* between a request and its repetition */

static void send_keyframe_request(struct wd_router *router, struct track *track) {
    struct transport *t = track->transport;
    uint8_t packet[64 + WD_SRTP_MAX_OVERHEAD];
    track->keyframe_asked_ns = router->now_ns;
    track->keyframe_paid_ns =
        (track->keyframe_paid_ns > router->now_ns ? track->keyframe_paid_ns : router->now_ns) + THROTTLE_NS;
    if (track->keyframe_received != track->received)
        track->keyframe_unheard = 0;
    else if (track->keyframe_unheard < MOST_UNHEARD)
        track->keyframe_unheard++;
    track->keyframe_received = track->received;
    if (!track->config.codecs[track->last_entry].pli) return;
    size_t length = wd_rtcp_write_rr(packet, 64, t->feedback_ssrc, NULL, 0);
    length += wd_rtcp_write_pli(packet + length, 64 - length, t->feedback_ssrc, track->ssrc);
    wd_send_rtcp(router, t, packet, length);
    router->counters.pli_out++;
}

static bool someone_waits(const struct track *track) {
    for (const struct leg *leg = track->legs; leg; leg = leg->next_in_track)
        if (leg->waiting && wd_takes_video(leg->transport) && leg->payload_types[track->last_entry])
            return true; /* no keyframe helps who cannot decode it */
    return false;
}

/* A request that is not answered is taken for lost when its answer could be here, from far away too. Who sends nothing
 * at all, because the camera is off or the screen at rest, is asked less and less often. */
static int64_t next_request_ns(const struct track *track) {
    int64_t spacing = someone_waits(track) ? SPACING_NS : THROTTLE_NS,
            paid = track->keyframe_paid_ns - (BURST - 1) * THROTTLE_NS;
    if (track->keyframe_received == track->received) spacing = THROTTLE_NS << track->keyframe_unheard;
    int64_t patience =
        track->keyframe_seen_ns > track->keyframe_asked_ns ? 0 : (int64_t)track->transport->rtt_us * 1500;
    if (patience > LONGEST_PATIENCE_NS) patience = LONGEST_PATIENCE_NS;
    int64_t at = track->keyframe_asked_ns + (patience > spacing ? patience : spacing);
    return at > paid ? at : paid;
}

void wd_ask_keyframe(struct wd_router *router, struct track *track) {
    if (track->config.kind != WD_VIDEO) return;
    /* Before anything has come from the source its SSRC may be unknown and its first frame is a keyframe anyway. */
    if (!track->ssrc || !track->announced || !wd_ready(track->transport)) {
        wd_due(router, track->transport, router->now_ns + WD_BEAT_NS);
        return;
    }
    int64_t next_ns = next_request_ns(track);
    if (router->now_ns >= next_ns) {
        send_keyframe_request(router, track);
        next_ns = next_request_ns(track); /* for the case that this one is lost */
    }
    track->keyframe_due_ns = next_ns;
    wd_due(router, track->transport, next_ns);
}

void wd_ask_keyframes(struct wd_router *router, struct transport *t) {
    if (!t->keys.send || t->destination.selected->congested) return;
    for (struct leg *leg = t->legs; leg; leg = leg->next)
        if (leg->track && leg->waiting) wd_ask_keyframe(router, leg->track);
}

void wd_wish_keyframe(struct wd_router *router, struct track *track) {
    track->keyframe_wanted = true;
    track->keyframe_from = track->started ? track->highest + 1 : 0;
    if (router->now_ns >= track->keyframe_due_ns)
        wd_ask_keyframe(router, track);
    else
        wd_due(router, track->transport, router->now_ns + 20 * WD_MS); /* viewers' wishes may come by the hundred */
}

void wd_keyframe_seen(struct wd_router *router, struct track *track, uint64_t index) {
    if (index > track->keyframe_newest) track->keyframe_newest = index;
    if (index < track->keyframe_from) return; /* a late one: the wish is not about it */
    track->keyframe_wanted = false;
    track->keyframe_seen_ns = router->now_ns;
    track->keyframe_due_ns = INT64_MIN;
}

void wd_keyframe_tick(struct wd_router *router, struct track *track) {
    if (track->config.kind != WD_VIDEO || !track->announced) return;
    if (!track->legs) track->keyframe_wanted = false; /* who wished it is gone */
    if (!track->keyframe_wanted && !someone_waits(track)) return;
    wd_ask_keyframe(router, track);
    int64_t at = next_request_ns(track);
    wd_due(router, track->transport, at > router->now_ns + 50 * WD_MS ? at : router->now_ns + 50 * WD_MS);
}
