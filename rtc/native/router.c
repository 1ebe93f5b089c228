/* Life of transports, tracks and legs; demultiplexing of datagrams (RFC 7983); the timer wheel's simplest form: one due time per transport. */
#include "router_internal.h"

struct wd_router *wd_router_new(const struct wd_router_config *config) {
    struct wd_router *router = calloc(1, sizeof *router);
    if (!router) return NULL;
    router->config = *config;
    if (!router->config.max_transports) router->config.max_transports = 4096;
    router->egress = config->egress;
    router->random = config->seed;
    router->next_tick_ns = INT64_MAX;
    size_t n = router->config.max_transports;
    uint64_t seed = wd_random(router);
    router->transports = calloc(n, sizeof *router->transports);
    router->due_ns = calloc(n, sizeof *router->due_ns);
    if (!router->transports || !router->due_ns || !wd_table_init(&router->transports_by_id, n, seed, WD_TABLE_COUNTED) ||
        !wd_table_init(&router->tracks_by_id, n * 4, seed, WD_TABLE_COUNTED) || !wd_table_init(&router->legs_by_id, n * 16, seed, WD_TABLE_COUNTED) ||
        !wd_table_init(&router->by_ufrag, n * (WD_GENERATIONS + 1), seed, 0) || !wd_table_init(&router->by_tuple, n * WD_TUPLES, seed, 0) ||
        !wd_table_init(&router->by_ssrc, n * 4, seed, 0)) {
        wd_router_free(router);
        return NULL;
    }
    return router;
}

void wd_router_free(struct wd_router *router) {
    if (!router) return;
    while (router->transport_count) wd_router_remove_transport(router, router->transports[0]->id);
    free(router->transports);
    free(router->due_ns);
    free(router->transports_by_id.cells);
    free(router->tracks_by_id.cells);
    free(router->legs_by_id.cells);
    free(router->by_ufrag.cells);
    free(router->by_tuple.cells);
    free(router->by_ssrc.cells);
    free(router);
}

struct wd_counters *wd_router_counters(struct wd_router *router) { return &router->counters; }

void wd_router_receive(struct wd_router *router, uint8_t *datagram, size_t length, const struct wd_addr *from, const struct wd_addr *local, int64_t now_ns) {
    router->now_ns = now_ns;
    router->counters.packets_in++;
    router->counters.bytes_in += length;
    if (length < 12) {
        router->counters.drop_short++;
        return;
    }
    uint8_t first = datagram[0];
    if (first >= 128 && first < 192) {
        struct tuple *tuple = wd_find_tuple(router, from);
        if (!tuple) {
            wd_stray_received(router, datagram, length, from, local);
            return;
        }
        struct transport *t = tuple->transport;
        t->bytes_in += length;
        if (!t->receive) {
            router->counters.drop_no_keys++;
        } else if (datagram[1] >= 192 && datagram[1] <= 223) {
            router->counters.rtcp_in++;
            wd_rtcp_received(router, tuple, datagram, length);
        } else {
            router->counters.rtp_in++;
            wd_rtp_received(router, tuple, datagram, length);
        }
    } else if (first < 4) {
        router->counters.stun_in++;
        wd_stun_received(router, datagram, length, from, local);
    } else if (first >= 20 && first < 64) {
        router->counters.dtls_in++;
        wd_dtls_received(router, datagram, length, from);
    } else {
        router->counters.drop_junk++;
    }
}

int64_t wd_router_flush(struct wd_router *router, int64_t now_ns, bool all) {
    router->now_ns = now_ns;
    if (router->pending_count) wd_fanout(router, all);
    return wd_fanout_deadline(router);
}

int64_t wd_router_tick(struct wd_router *router, int64_t now_ns) {
    router->now_ns = now_ns;
    if (now_ns < router->next_tick_ns) return router->next_tick_ns;
    router->next_tick_ns = INT64_MAX;
    for (uint32_t i = 0; i < router->transport_count; i++) {
        if (router->due_ns[i] > now_ns) continue;
        router->due_ns[i] = now_ns + WD_SECOND;
        wd_transport_tick(router, router->transports[i]);
        wd_feedback_tick(router, router->transports[i]);
    }
    int64_t next = INT64_MAX;
    for (uint32_t i = 0; i < router->transport_count; i++)
        if (router->due_ns[i] < next) next = router->due_ns[i];
    /* One tick serves everything due within 5 ms: a thousand participants do not mean a thousand wake-ups. */
    router->next_tick_ns = next == INT64_MAX ? next : (next > now_ns + 5 * WD_MS ? next : now_ns + 5 * WD_MS);
    return router->next_tick_ns;
}

/* --- transports ----------------------------------------------------------------------------------------------------- */

static int set_credentials(struct credentials *c, const char *ufrag, const char *password) {
    size_t u = strlen(ufrag), p = strlen(password);
    if (u < 4 || u >= sizeof c->ufrag || p < 22 || p >= sizeof c->password) return -1; /* RFC 8445 section 5.3 */
    memcpy(c->ufrag, ufrag, u + 1);
    memcpy(c->password, password, p + 1);
    c->ufrag_length = (uint8_t)u;
    c->password_length = (uint8_t)p;
    return 0;
}

static int name(struct wd_router *router, struct transport *t, const struct credentials *c) {
    return wd_table_add(&router->by_ufrag, wd_ufrag_key(c->ufrag, c->ufrag_length), t) ? 0 : -1;
}

void wd_unname(struct wd_router *router, const struct credentials *c) { wd_table_remove(&router->by_ufrag, wd_ufrag_key(c->ufrag, c->ufrag_length)); }

int wd_router_add_transport(struct wd_router *router, uint32_t id, const char *ufrag, const char *password, int64_t now_ns) {
    router->now_ns = now_ns;
    if (router->transport_count >= router->config.max_transports) return -1;
    struct transport *t = wd_new_zeros(sizeof *t);
    if (!t) return -1;
    t->id = id;
    t->place = router->transport_count;
    if (set_credentials(&t->credentials[0], ufrag, password) || !wd_table_add(&router->transports_by_id, id, t)) {
        free(t);
        return -1;
    }
    if (name(router, t, &t->credentials[0])) {
        wd_table_remove(&router->transports_by_id, id);
        free(t);
        return -1;
    }
    t->credentials_count = 1;
    t->heard_ns = t->checked_ns = t->stats_ns = now_ns;
    t->feedback_ssrc = (uint32_t)wd_random(router) | 1;
    t->report_due_ns = wd_beat(router, WD_REPORT_INTERVAL_NS);
    t->twcc_due_ns = t->nack_due_ns = INT64_MAX;
    t->level_due_ns = wd_beat(router, WD_LEVEL_INTERVAL_NS);
    router->transports[t->place] = t;
    router->due_ns[t->place] = t->level_due_ns;
    router->transport_count++;
    wd_due(router, t, t->level_due_ns);
    return 0;
}

int wd_router_restart_ice(struct wd_router *router, uint32_t id, const char *ufrag, const char *password) {
    struct transport *t = wd_table_get(&router->transports_by_id, id);
    struct credentials fresh = {0};
    if (!t || set_credentials(&fresh, ufrag, password) || name(router, t, &fresh)) return -1;
    fresh.number = (uint8_t)(t->credentials[0].number + 1);
    int place = t->credentials_count;
    if (place == WD_GENERATIONS) { /* the oldest gives way, but not those in use: nobody knows whether our answers arrive */
        place -= t->credentials[place - 1].number == t->named ? 2 : 1;
        wd_unname(router, &t->credentials[place]);
    } else {
        t->credentials_count++;
    }
    memmove(&t->credentials[1], &t->credentials[0], (size_t)place * sizeof fresh);
    t->credentials[0] = fresh;
    return 0;
}

/* Where new ones are put: the oldest give way, but not those in use. */
static int remote_place(const struct transport *t, uint64_t key) {
    int place = 0;
    while (place < WD_GENERATIONS && t->remotes[place].text && t->remotes[place].key != key) place++;
    if (place < WD_GENERATIONS) return place;
    return t->selected && t->remotes[place - 1].key == t->selected->theirs ? place - 2 : place - 1;
}

int wd_router_set_remote(struct wd_router *router, uint32_t id, const char *ufrag, const char *password) {
    struct transport *t = wd_table_get(&router->transports_by_id, id);
    size_t u = strlen(ufrag) + 1, p = strlen(password) + 1;
    char *remote = t && u <= WD_MAX_REMOTE_UFRAG + 1 && p <= WD_MAX_REMOTE_PASSWORD + 1 ? malloc(u + p) : NULL;
    if (!remote) return -1;
    memcpy(remote, ufrag, u);
    memcpy(remote + u, password, p);
    uint64_t key = wd_ufrag_key(ufrag, u - 1);
    int place = remote_place(t, key);
    free(t->remotes[place].text);
    memmove(&t->remotes[1], &t->remotes[0], (size_t)place * sizeof t->remotes[0]);
    t->remotes[0] = (struct remote){.text = remote, .key = key};
    wd_routable_named(router, t);
    return 0;
}

int wd_router_set_keys(struct wd_router *router, uint32_t id, uint16_t profile, const uint8_t *send_key, const uint8_t *send_salt, const uint8_t *receive_key,
                       const uint8_t *receive_salt) {
    struct transport *t = wd_table_get(&router->transports_by_id, id);
    if (!t || t->send) return -1; /* one DTLS association per transport: new keys under old indices would be fatal */
    struct wd_srtp *send = wd_srtp_new(profile, send_key, send_salt), *receive = wd_srtp_new(profile, receive_key, receive_salt);
    if (!send || !receive) {
        wd_srtp_free(send);
        wd_srtp_free(receive);
        return -1;
    }
    t->send = send;
    t->receive = receive;
    wd_routable_shaken(router, t);
    if (!wd_ready(t)) return 0; /* nominated later: asked then, for a picture that nobody can be sent yet would only start the throttle */
    for (struct leg *leg = t->legs; leg; leg = leg->next)
        if (leg->track && leg->waiting) wd_ask_keyframe(router, leg->track);
    return 0;
}

int wd_router_send_dtls(struct wd_router *router, uint32_t id, const uint8_t *datagram, size_t length) {
    struct transport *t = wd_table_get(&router->transports_by_id, id);
    if (!t || length > 1500) return -1;
    router->counters.dtls_out++;
    if (t->consent) wd_routable_shook(t, wd_destination(t));
    wd_send_datagram(router, t, datagram, length);
    return 0;
}

int wd_router_remove_transport(struct wd_router *router, uint32_t id) {
    struct transport *t = wd_table_get(&router->transports_by_id, id);
    if (!t) return -1;
    while (t->tracks) wd_router_remove_track(router, t->tracks->config.id);
    while (t->legs) wd_router_remove_leg(router, t->legs->config.id);
    wd_forget_tuples(router, t);
    for (int i = 0; i < t->credentials_count; i++) wd_unname(router, &t->credentials[i]);
    for (int i = 0; i < WD_GENERATIONS; i++) free(t->remotes[i].text);
    wd_table_remove(&router->transports_by_id, id);
    uint32_t last = --router->transport_count;
    router->transports[t->place] = router->transports[last];
    router->due_ns[t->place] = router->due_ns[last];
    router->transports[t->place]->place = t->place;
    wd_srtp_free(t->send);
    wd_srtp_free(t->receive);
    free(t->twcc);
    free(t);
    return 0;
}

/* --- tracks and legs ------------------------------------------------------------------------------------------------ */

int wd_router_add_track(struct wd_router *router, const struct wd_track_config *config) {
    struct transport *t = wd_table_get(&router->transports_by_id, config->transport);
    if (!t || config->codec_count > WD_MAX_CODECS) return -1;
    struct track *track = wd_new_zeros(sizeof *track);
    if (!track) return -1;
    if (!wd_table_add(&router->tracks_by_id, config->id, track)) {
        free(track);
        return -1;
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
    /* A signalled SSRC has the first word: packets that are still under way from the line's former track must not move it. */
    track->latched_ns = config->ssrc ? router->now_ns : INT64_MIN / 2;
    track->next = t->tracks;
    t->tracks = track;
    return 0;
}

int wd_router_remove_track(struct wd_router *router, uint32_t id) {
    struct track *track = wd_table_get(&router->tracks_by_id, id);
    if (!track) return -1;
    while (track->legs) wd_router_set_source(router, track->legs->config.id, 0);
    wd_unpend(router, track);
    wd_track_unknow(router, track);
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
    return 0;
}

int wd_router_add_leg(struct wd_router *router, const struct wd_leg_config *config) {
    struct transport *t = wd_table_get(&router->transports_by_id, config->transport);
    if (!t || !config->ssrc || config->codec_count > WD_MAX_CODECS) return -1;
    struct leg *leg = wd_new_zeros(sizeof *leg);
    if (!leg) return -1;
    if (!wd_table_add(&router->legs_by_id, config->id, leg)) {
        free(leg);
        return -1;
    }
    leg->config = *config;
    leg->transport = t;
    /* Below 2^15 with rollover counter 0: a receiver that misses the first packets still guesses the counter right (RFC 3711 section 3.3.1). */
    leg->highest_out = wd_random(router) & 0x3fff;
    leg->rtx_next = wd_random(router) & 0x3fff;
    leg->last_timestamp = (uint32_t)wd_random(router);
    leg->resend_credit = WD_RESEND_LEAST;
    leg->next = t->legs;
    t->legs = leg;
    return 0;
}

int wd_router_remove_leg(struct wd_router *router, uint32_t id) {
    struct leg *leg = wd_table_get(&router->legs_by_id, id);
    if (!leg) return -1;
    wd_router_set_source(router, id, 0);
    for (struct leg **at = &leg->transport->legs; *at; at = &(*at)->next)
        if (*at == leg) {
            *at = leg->next;
            break;
        }
    wd_table_remove(&router->legs_by_id, id);
    free(leg->resends);
    free(leg);
    return 0;
}

/* The receiver's payload types for each codec that this source may send. */
static void map_payload_types(struct leg *leg, const struct track *track) {
    memset(leg->payload_types, 0, sizeof leg->payload_types);
    memset(leg->rtx_payload_types, 0, sizeof leg->rtx_payload_types);
    for (unsigned i = 0; i < track->config.codec_count; i++)
        for (unsigned j = 0; j < leg->config.codec_count; j++)
            if (track->config.codecs[i].codec == leg->config.codecs[j].codec && track->config.codecs[i].variant == leg->config.codecs[j].variant) {
                leg->payload_types[i] = leg->config.codecs[j].payload_type;
                leg->rtx_payload_types[i] = leg->config.codecs[j].rtx_payload_type;
                break;
            }
}

int wd_router_set_source(struct wd_router *router, uint32_t leg_id, uint32_t track_id) {
    struct leg *leg = wd_table_get(&router->legs_by_id, leg_id);
    struct track *track = track_id ? wd_table_get(&router->tracks_by_id, track_id) : NULL;
    if (!leg || (track_id && (!track || track->config.kind != leg->config.kind))) return -1;
    if (leg->track == track) return 0;
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
    if (!track) return 0;
    if (leg->config.kind == WD_VIDEO && !leg->resends && !(leg->resends = calloc(WD_VIDEO_CACHE, sizeof *leg->resends))) return -1;
    leg->track = track;
    leg->next_in_track = track->legs;
    track->legs = leg;
    map_payload_types(leg, track);
    wd_leg_restart(router, leg);
    return 0;
}
