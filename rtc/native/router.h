/* The forwarding core of one worker, without I/O: datagrams, commands and `now` in; datagrams (egress) and events out.
 *
 * A transport is one participant's 5-tuple-with-keys (ICE-lite + SRTP). A track is one media source that a transport
 * sends. A leg is one slot of a receiving transport: fixed SSRC, fed by at most one track at a time. Only the worker's
 * own thread calls in here. */
#ifndef WD_ROUTER_H
#define WD_ROUTER_H

#include "egress.h"
#include "payload.h"

#define WD_MAX_CODECS 16
#define WD_MAX_MID 16

enum wd_kind { WD_AUDIO = 1, WD_VIDEO = 2 };

/* Everything that is dropped is dropped for one of these reasons, and counted. Names in counters.def order. */
/* clang-format off */
#define WD_COUNTERS(X) \
    X(packets_in) X(bytes_in) X(packets_out) X(bytes_out) X(forwarded) \
    X(stun_in) X(stun_out) X(dtls_in) X(dtls_out) X(rtp_in) X(rtcp_in) X(rtcp_out) \
    X(nack_in) X(nack_out) X(nack_packets_in) X(nack_packets_out) X(rtx_in) X(rtx_out) X(pli_in) X(pli_out) X(fir_in) X(remb_in) X(remb_out) X(twcc_in) X(twcc_out) \
    X(keyframes_in) X(checks_out) X(ice_switches) X(trials_failed) X(recovered) \
    X(drop_junk) X(drop_short) X(drop_unknown_tuple) X(drop_stun_malformed) X(drop_stun_unknown_user) X(drop_stun_integrity) X(drop_stun_other) \
    X(drop_dtls_unverified) X(drop_dtls_early_full) X(drop_no_keys) X(drop_rtp_malformed) X(drop_srtp_auth) X(drop_srtp_replay) X(drop_srtp_old) X(drop_srtcp) \
    X(drop_rtcp_malformed) X(drop_unknown_ssrc) X(drop_unknown_payload_type) X(drop_ssrc_limit) X(drop_payload_malformed) X(drop_padding_only) X(drop_duplicate) X(drop_rtx_malformed) \
    X(drop_too_large) X(drop_no_consent) X(drop_awaiting_keyframe) X(drop_congested) X(drop_no_payload_type) X(drop_rtx_miss) X(drop_rtx_late) X(drop_rtx_throttled) X(drop_rtx_budget) X(drop_send_error) X(drop_event_ring_full) X(drop_no_memory)
/* clang-format on */

struct wd_counters {
#define X(name) uint64_t name;
    WD_COUNTERS(X)
#undef X
};

struct wd_codec_entry {
    uint8_t codec; /* enum wd_codec */
    uint8_t variant; /* told apart by the control plane (H.264 profile and packetization mode ...); equal numbers are
                        interchangeable */
    uint8_t payload_type;
    uint8_t rtx_payload_type; /* 0 = none */
    uint8_t nack; /* generic NACK negotiated */
    uint8_t pli;
    uint32_t clock_rate;
};

/* Header extension ids of one m-line; 0 = not negotiated. */
struct wd_extension_ids {
    uint8_t mid, rid, repaired_rid, audio_level, transport_cc, abs_send_time, orientation, playout_delay;
};

struct wd_track_config {
    uint32_t id, transport;
    uint32_t ssrc, rtx_ssrc; /* 0 = not signalled: latched by mid extension, else by payload type */
    struct wd_extension_ids extensions;
    uint8_t kind, codec_count;
    struct wd_codec_entry codecs[WD_MAX_CODECS];
    char mid[WD_MAX_MID + 1];
};

struct wd_leg_config {
    uint32_t id, transport;
    uint32_t ssrc, rtx_ssrc;
    struct wd_extension_ids extensions;
    uint8_t kind, codec_count;
    struct wd_codec_entry codecs[WD_MAX_CODECS]; /* with the receiver's payload types */
    char mid[WD_MAX_MID + 1];
};

enum wd_event_type {
    WD_EVENT_DTLS = 1, /* transport, data: one datagram for the handshake */
    WD_EVENT_SELECTED, /* transport, address: newly nominated pair (first, or after an address change) of somebody who
                          is heard */
    WD_EVENT_QUIET, /* transport: nothing authentic heard for 1.8 s while it was sending (else 6 s) */
    WD_EVENT_HEARD, /* transport: heard again after QUIET, or consents again */
    WD_EVENT_CONSENT_LOST, /* transport: no valid check for 30 s, sending has stopped */
    WD_EVENT_TRACK_STARTED, /* track: first authentic packet */
    WD_EVENT_LEVEL, /* track, value = 0..127 (-dBov, 127 = silence), flag = voice; at_ns = when; about every 100 ms per
                       track where it changes, each 2 s while it stays, once when silence begins. `patient` unless a
                       voice begins */
    WD_EVENT_STATS, /* transport: see struct wd_stats; of every other second when they have changed so that somebody
                       would notice, else each 10 s. `patient` */
    /* of the shell and the relay, not of the forwarding core */
    WD_EVENT_REQUEST, /* address, local, data: a STUN or TURN request for the control plane */
    WD_EVENT_STREAM_CLOSED, /* stream */
};

struct wd_stats { /* of the last second, except where said */
    uint32_t rtt_us; /* smoothed from RR of this receiver; 0 = unknown */
    uint32_t in_bps, out_bps;
    uint32_t loss_in, loss_out; /* packets of 10,000: publisher to us after repair; us to receiver as its RRs say */
    uint32_t estimate_bps; /* newest REMB of this receiver; 0 = none */
    uint32_t jitter_us; /* worst of this transport's tracks */
};

struct wd_event {
    uint8_t type;
    uint8_t flag;
    bool patient; /* nobody need be woken for it */
    uint32_t id; /* transport or track */
    uint32_t value;
    int64_t at_ns;
    struct wd_addr address, local;
    struct wd_stats stats;
    const uint8_t *data;
    size_t length;
};

struct wd_router_config {
    uint32_t max_transports; /* 0 = 4096 */
    uint64_t seed; /* of outbound sequence numbers and timestamps (not secret) */
    void (*emit)(void *owner, const struct wd_event *event); /* must copy what it keeps */
    void *owner;
    struct wd_egress *egress;
};

struct wd_router;

struct wd_router *wd_router_new(const struct wd_router_config *config);
void wd_router_free(struct wd_router *router);
struct wd_counters *wd_router_counters(struct wd_router *router); /* plain 64-bit words, written by the worker only */

/* One datagram; may be changed in place. `local` may be NULL. The packet's fan-out is deferred to wd_router_flush.
 * Times are CLOCK_MONOTONIC nanoseconds. */
void wd_router_receive(struct wd_router *router, uint8_t *datagram, size_t length, const struct wd_addr *from,
                       const struct wd_addr *local, int64_t now_ns);
#define WD_PREFETCH_MOST 64
/* These datagrams come next, at most WD_PREFETCH_MOST. Asks for the memory that they will need and changes nothing. */
struct wd_arrival {
    const uint8_t *data;
    size_t length;
    const struct wd_addr *from;
};
void wd_router_prefetch(const struct wd_router *router, const struct wd_arrival *arrivals, size_t count);
/* Forwards what waits. Audio always; video where the frame is complete (marker) or has waited for a millisecond, or
 * everything with `all`. Messages stay in egress until it fills or the caller flushes it. Returns when it wants to be
 * called again (INT64_MAX = nothing held). */
int64_t wd_router_flush(struct wd_router *router, int64_t now_ns, bool all);
/* The way to that address is jammed, or free again: for streams, which lose nothing and deliver late instead. While it
 * is jammed, a transport that sends there gets no new video frames and no repetitions; audio and RTCP go on. A frame
 * that was begun is sent to its end, for else a large keyframe would never arrive. `true` may be said at any time, also
 * from `flush` of the egress; `false` asks for the keyframes that are now needed. */
void wd_router_congested(struct wd_router *router, const struct wd_addr *remote, bool congested);
/* There is nobody at that address any more (its stream was closed). A transport that sent there sends to where it was
 * last heard from else, within the time of its consent, or nowhere until the next check. */
void wd_router_forget_address(struct wd_router *router, const struct wd_addr *remote);
/* A check from there was verified, and it was not forgotten since. */
bool wd_router_knows(const struct wd_router *router, const struct wd_addr *remote);
/* Timers: RTCP, NACK, feedback, consent, levels, statistics. Returns the next deadline; cheap when called early. */
int64_t wd_router_tick(struct wd_router *router, int64_t now_ns);

/* Commands. False when refused: unknown or duplicate id, table full, out of memory. */
bool wd_router_add_transport(struct wd_router *router, uint32_t id, const char *ufrag, const char *password,
                             int64_t now_ns);
/* New local credentials (ICE restart, RFC 8445 section 9): old ones stay valid until a check with the new ones
 * nominates a pair. */
bool wd_router_restart_ice(struct wd_router *router, uint32_t id, const char *ufrag, const char *password);
/* The participant's own, of the newest local ones: with them we ask whether an address that they name is theirs.
 * Without, it is believed. */
#define WD_MAX_REMOTE_UFRAG 256
#define WD_MAX_REMOTE_PASSWORD 256
bool wd_router_set_remote(struct wd_router *router, uint32_t id, const char *ufrag, const char *password);
bool wd_router_set_keys(struct wd_router *router, uint32_t id, uint16_t profile, const uint8_t *send_key,
                        const uint8_t *send_salt, const uint8_t *receive_key, const uint8_t *receive_salt);
bool wd_router_send_dtls(struct wd_router *router, uint32_t id, const uint8_t *datagram, size_t length);
bool wd_router_remove_transport(struct wd_router *router, uint32_t id); /* with its tracks and legs */
bool wd_router_add_track(struct wd_router *router, const struct wd_track_config *config);
bool wd_router_remove_track(struct wd_router *router, uint32_t id);
bool wd_router_add_leg(struct wd_router *router, const struct wd_leg_config *config);
bool wd_router_remove_leg(struct wd_router *router, uint32_t id);
bool wd_router_set_source(struct wd_router *router, uint32_t leg,
                          uint32_t track); /* track 0 = none; asks for a keyframe when video */

#endif
