/* Life of tracks and legs. */
#include "core.h"
#include "fanout.h"
#include "ingress.h"
#include "keys.h"
#include "leg.h"
#include "track.h"

bool wd_router_add_track(struct wd_router *router, const struct wd_track_config *config) {
    struct transport *t = wd_table_get(&router->transports_by_id, config->transport);
    if (!t || config->codec_count > WD_MAX_CODECS) return false;
    struct track *track = wd_new_zeros(sizeof *track);
    if (!track) return false;
    if (!wd_table_add(&router->tracks_by_id, config->id, track)) {
        free(track);
        return false;
    }
    track->config = *config;
    track->ssrc = config->ssrc;
    track->rtx_ssrc = config->rtx_ssrc;
    track->stream = wd_stream_of(t, config->ssrc);
    track->rtx_stream = wd_stream_of(t, config->rtx_ssrc);
    track->transport = t;
    track->slot_mask = (config->kind == WD_VIDEO ? WD_VIDEO_CACHE : WD_AUDIO_CACHE) - 1;
    track->level = track->level_sent = 127;
    track->keyframe_asked_ns = track->keyframe_seen_ns = INT64_MIN / 2;
    /* A signalled SSRC has the first word: packets that are still under way from the line's former track must not move
     * it. */
    track->latched_ns = config->ssrc ? router->now_ns : INT64_MIN / 2;
    track->next = t->tracks;
    t->tracks = track;
    return true;
}

bool wd_router_remove_track(struct wd_router *router, uint32_t id) {
    struct track *track = wd_table_get(&router->tracks_by_id, id);
    if (!track) return false;
    while (track->legs) wd_router_set_source(router, track->legs->config.id, 0);
    wd_unpend(router, track);
    wd_forget_ssrc(router, track);
    wd_depart(track->transport, track->ssrc, &track->stream);
    wd_depart(track->transport, track->rtx_ssrc, &track->rtx_stream);
    for (struct track **at = &track->transport->tracks; *at; at = &(*at)->next)
        if (*at == track) {
            *at = track->next;
            break;
        }
    wd_table_remove(&router->tracks_by_id, id);
    free(track->slots);
    free(track->store.bytes);
    free(track->lost);
    free(track);
    return true;
}

bool wd_router_add_leg(struct wd_router *router, const struct wd_leg_config *config) {
    struct transport *t = wd_table_get(&router->transports_by_id, config->transport);
    if (!t || !config->ssrc || config->codec_count > WD_MAX_CODECS) return false;
    struct leg *leg = wd_new_zeros(sizeof *leg);
    if (!leg) return false;
    if (!wd_table_add(&router->legs_by_id, config->id, leg)) {
        free(leg);
        return false;
    }
    leg->config = *config;
    leg->transport = t;
    /* Below 2^15 with rollover counter 0: a receiver that misses the first packets still guesses the counter right (RFC
     * 3711 section 3.3.1). */
    leg->highest_out = wd_random(router) & 0x3fff;
    leg->rtx_next = wd_random(router) & 0x3fff;
    leg->last_timestamp = (uint32_t)wd_random(router);
    leg->resend_credit = WD_RESEND_LEAST;
    leg->next = t->legs;
    t->legs = leg;
    return true;
}

bool wd_router_remove_leg(struct wd_router *router, uint32_t id) {
    struct leg *leg = wd_table_get(&router->legs_by_id, id);
    if (!leg) return false;
    wd_router_set_source(router, id, 0);
    for (struct leg **at = &leg->transport->legs; *at; at = &(*at)->next)
        if (*at == leg) {
            *at = leg->next;
            break;
        }
    wd_table_remove(&router->legs_by_id, id);
    free(leg->resends);
    free(leg);
    return true;
}

/* The receiver's payload types for each codec that this source may send. */
static void map_payload_types(struct leg *leg, const struct track *track) {
    memset(leg->payload_types, 0, sizeof leg->payload_types);
    memset(leg->rtx_payload_types, 0, sizeof leg->rtx_payload_types);
    for (unsigned i = 0; i < track->config.codec_count; i++)
        for (unsigned j = 0; j < leg->config.codec_count; j++)
            if (track->config.codecs[i].codec == leg->config.codecs[j].codec &&
                track->config.codecs[i].variant == leg->config.codecs[j].variant) {
                leg->payload_types[i] = leg->config.codecs[j].payload_type;
                leg->rtx_payload_types[i] = leg->config.codecs[j].rtx_payload_type;
                break;
            }
}

bool wd_router_set_source(struct wd_router *router, uint32_t leg_id, uint32_t track_id) {
    struct leg *leg = wd_table_get(&router->legs_by_id, leg_id);
    struct track *track = track_id ? wd_table_get(&router->tracks_by_id, track_id) : NULL;
    if (!leg || (track_id && (!track || track->config.kind != leg->config.kind))) return false;
    if (leg->track == track) return true;
    if (leg->track) {
        for (struct leg **at = &leg->track->legs; *at; at = &(*at)->next_in_track)
            if (*at == leg) {
                *at = leg->next_in_track;
                break;
            }
        if (!leg->track->legs) wd_unpend(router, leg->track); /* what nobody waits for any more */
        leg->track = NULL;
        leg->next_in_track = NULL;
    }
    if (!track) return true;
    if (leg->config.kind == WD_VIDEO && !leg->resends && !(leg->resends = calloc(WD_VIDEO_CACHE, sizeof *leg->resends)))
        return false;
    leg->track = track;
    leg->next_in_track = track->legs;
    track->legs = leg;
    map_payload_types(leg, track);
    wd_leg_restart(router, leg);
    return true;
}
