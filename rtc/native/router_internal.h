/* What the files of the forwarding core share: its objects and the functions that cross a file. See router.h for the model.
 *
 *   transport.c  ICE-lite: STUN, address changes, consent, early DTLS
 *   routable.c   does an address receive what is sent there?
 *   expect.c     memory that the next datagrams will need
 *   ingress.c    RTP from a publisher: authenticate, unwrap RTX, remember, detect losses
 *   fanout.c     to every subscriber: rewrite, encrypt, batch
 *   repair.c     retransmissions to subscribers: which, when, how many
 *   feedback.c   RTCP both ways: reports, NACK, congestion feedback
 *   limit.c      a single viewer's estimate becomes the publisher's limit
 *   keyframes.c  requests for keyframes, merged and throttled
 *   tell.c       levels and statistics for Python
 *   router.c     life of the objects, demultiplexing, timers
 */
#ifndef WD_ROUTER_INTERNAL_H
#define WD_ROUTER_INTERNAL_H

#include "bytes.h"
#include "stun.h"
#include "fetch.h"
#include "router.h"
#include "rtcp.h"
#include "rtp.h"
#include "srtp.h"
#include "table.h"

#define WD_MS INT64_C(1000000)
#define WD_SECOND (1000 * WD_MS)

#define WD_MAX_PAYLOAD 1440 /* larger RTP payloads are dropped: they would not fit a datagram on the way out */
#define WD_MAX_PADDING 24 /* RTP padding we add to make packets of one burst equal (RFC 3550 section 5.1) */
#define WD_VIDEO_CACHE 512 /* packets */
#define WD_VIDEO_CACHE_BYTES (480u << 10) /* about 2.1 s of 1.8 Mbps */
#define WD_AUDIO_CACHE 32
#define WD_AUDIO_CACHE_BYTES (32u << 10)
#define WD_PENDING 48 /* packets of one track waiting for the next flush */
#define WD_HOLD_NS WD_MS /* video waits at most this long for the end of its frame */
#define WD_TUPLES 4 /* validated remote addresses kept per transport */
#define WD_EARLY 32 /* ClientHellos kept from addresses not yet verified */
#define WD_EARLY_NS (2 * WD_SECOND)
#define WD_DTLS_PER_SECOND 100 /* handshake datagrams handed to the control plane per transport */
#define WD_SELECTED_PER_SECOND 10 /* events of one transport */
#define WD_TRIAL_NS WD_SECOND
#define WD_TRIAL_STEP_NS (100 * WD_MS)
#define WD_TRIAL_KEPT_NS (30 * WD_SECOND) /* at most, while they speak there and nowhere else: as long as consent lasts (RFC 7675 section 5.1); and all trials of a transport that fail, as a credit */
#define WD_TRIAL_PRICE 30 /* so many seconds until one of that credit is there again */
#define WD_TRIAL_PAUSE_NS (30 * WD_SECOND) /* behind a trial that failed, for addresses from which only checks come */
#define WD_TRIAL_AGAIN_NS WD_SECOND /* for the address that failed, when media come from it; doubles with each failure */
#define WD_TRIAL_FAILURES 5
#define WD_SPEAKS_NS (2 * WD_SECOND) /* so long after its newest media or report an address is spoken from */
#define WD_MOVED_NS (500 * WD_MS) /* of silence at the selected address: then media that come from another one move it */
#define WD_LATE_NS (300 * WD_MS) /* so long after a change of address what was under way may still arrive from the old one */
#define WD_PROOFS 4
#define WD_GUESSES 32 /* reports of what was never sent there, and no report counts any more */
#define WD_GENERATIONS 4 /* of ICE credentials, ours and theirs, that can be in use: answers to offers get lost */
#define WD_DEPARTED 8
#define WD_LATCH_NS (200 * WD_MS) /* a track's SSRC moves at most this often */
#define WD_LOST 128 /* missing packets remembered per track */
#define WD_NACK_GRACE_NS (8 * WD_MS) /* reordering allowance before the first NACK */
#define WD_NACK_TRIES 16
#define WD_NACK_RETRY_NS (25 * WD_MS) /* at least so long between two requests for a packet */
#define WD_REPAIR_NS (700 * WD_MS) /* and two round trips: then a keyframe is asked for beside a packet that is still missing */
#define WD_RESEND_TRIES 10
#define WD_RESEND_AGE_NS (2500 * WD_MS) /* what is older helps no receiver: it has asked for a keyframe by then */
#define WD_RESEND_RECENT 32 /* but these newest packets are not old: of a screen at rest, or of somebody who was away */
#define WD_RESEND_RTT_MS 100 /* of a receiver that has not told its own yet */
#define WD_RESEND_SHARE 77 /* of 256: bytes that may be sent again, of what a leg sends */
#define WD_RESEND_SHARE_OVERLOADED 38 /* to a receiver that takes less than it is sent */
#define WD_RESEND_MOST (1u << 30) /* as resend_credit */
#define WD_RESEND_LEAST (5000 * 256) /* that a leg may always have saved up, as resend_credit */
#define WD_MAX_LEAP 2048 /* packets missing at once that a leg passes on as missing */
#define WD_LIMIT_INTERVAL_NS (200 * WD_MS) /* between two limits passed on for a viewer */
#define WD_LIMIT_REST_NS WD_SECOND /* so long behind a sign of congestion the estimate is passed on as it is: queues drain */
#define WD_LIMIT_STALE_NS (2500 * WD_MS) /* an older estimate says nothing of the path now */
#define WD_LIMIT_CONTENT_NS (5 * WD_SECOND) /* who is allowed so long more than it uses needs no limit */
#define WD_LIMIT_ENDS 5 /* so often a publisher is told that its limit ended */
#define WD_LIMIT_DRAINS_NS (1500 * WD_MS) /* so long behind a sign of congestion a queue may be there: then pictures are kept back */
#define WD_LIMIT_KEPT_NS (8 * WD_SECOND) /* for so long, twice that the next time, */
#define WD_LIMIT_KEPT_MOST_NS (64 * WD_SECOND) /* at most so long; and for the first time again when it did not happen for so long */
#define WD_CONGESTED_STREAM 1 /* see wd_router_congested */
#define WD_CONGESTED_THIN 2 /* see limit.c */
#define WD_HELD_NS (6 * WD_SECOND) /* so long after a check or media an address belongs to its transport alone */
#define WD_KEYFRAME_THROTTLE_NS (500 * WD_MS) /* between two requests, in the long run */
#define WD_KEYFRAME_SPACING_NS (155 * WD_MS) /* for newcomers: twice that is just above the 300 ms within which libwebrtc ignores a second request */
#define WD_KEYFRAME_BURST 8 /* requests that may be so close */
#define WD_KEYFRAME_UNHEARD 2 /* so often the throttle doubles for who sends nothing */
#define WD_KEYFRAME_PATIENCE_NS (2 * WD_SECOND) /* the most between a request and its repetition */
#define WD_CONSENT_NS (30 * WD_SECOND) /* RFC 7675 section 5.1 */
#define WD_QUIET_NS (1800 * WD_MS) /* of silence after media: others are to be told within 2 s of the cut */
#define WD_QUIET_IDLE_NS (6 * WD_SECOND) /* of silence after checks alone, which come each 2.5 s */
#define WD_TWCC_INTERVAL_NS (60 * WD_MS) /* from the first arrival after the last feedback: from then on it leaves behind media for the same receiver */
#define WD_TWCC_PATIENCE_NS (40 * WD_MS) /* and by itself when there was none for so long */
#define WD_BEAT_NS (100 * WD_MS) /* what has nothing to follow falls on the same instants for all transports: one wake-up serves all */
#define WD_REPORT_INTERVAL_NS WD_SECOND
#define WD_REPORTS 4 /* sender reports of a leg that are remembered: so many seconds may a round trip take */
#define WD_REPORT_PATIENCE_NS (100 * WD_MS) /* so long a due report waits for media that it can follow */
#define WD_STATS_EVERY 2 /* reports: participants are told of quality each 2 s */
#define WD_STATS_RENEWAL 5 /* of these a path that stays as it is is told once */
#define WD_STATS_STEP_US 5000 /* of round trip and jitter; smaller changes nobody would notice */
#define WD_STATS_LOSS_STEP 25 /* of 10,000 */
#define WD_LEVEL_INTERVAL_NS (100 * WD_MS)
#define WD_LEVEL_PATIENCE_NS (100 * WD_MS) /* so long due levels wait for a packet of sound */
#define WD_LEVEL_RENEWAL_NS (1995 * WD_MS) /* a steady level is said again so often */
#define WD_LEVEL_STEP 4 /* dB; smaller changes are not worth an event */
#define WD_LEVEL_LEAP 12 /* dB louder at once: a voice, or a louder one */
#define WD_LEVEL_QUIET 70 /* -dBov from which speakers.py takes everything for silence */

struct tuple {
    struct transport *transport;
    int64_t heard_ns;
    struct wd_addr remote, local;
    bool used;
    uint8_t congested; /* why no pictures go there: WD_CONGESTED_* */
    bool routable, asked; /* see routable.c, as for all below: what is sent there was received; our check, of that transaction, was sent */
    uint8_t credentials; /* number of those of ours that the newest check named */
    uint8_t failed, guesses, proof_next;
    uint8_t transaction[12];
    uint32_t proofs[WD_PROOFS]; /* sender reports that were sent there, by the time that is reported back (LSR); 0 = none */
    uint64_t theirs; /* key of the ufrag of theirs that the newest check named */
    int64_t checked_ns; /* newest check */
    int64_t spoke_ns; /* newest media or report before it */
    int64_t trial_from_ns;
};

struct credentials {
    uint8_t ufrag_length, password_length, number;
    char ufrag[33], password[65];
};

/* Theirs. */
struct remote {
    char *text; /* "ufrag NUL password"; NULL = none */
    uint64_t key; /* of the ufrag */
};

/* One packet of a publisher, clear, as every subscriber's packet is derived from it. */
struct slot {
    uint64_t index; /* extended sequence number + 1; 0 = empty */
    uint32_t timestamp;
    uint32_t abs_send_time; /* 24 bits, set when first forwarded: a repetition must be byte-identical */
    uint16_t length;
    uint8_t padding;
    uint8_t entry; /* which of the track's codecs */
    bool marker, keyframe, has_orientation, has_playout;
    uint8_t orientation, playout[3];
    struct wd_payload payload_info;
    uint32_t at, round; /* where in the track's store, and in which of its rounds, the payload is; WD_MAX_PADDING bytes more than `length` are ours */
};

/* The payloads of a track's slots end to end, round and round: the oldest are overwritten, which their slots are not told (see wd_is_stored). Most packets are
 * shorter than the longest. */
struct store {
    uint8_t *bytes;
    uint32_t size;
    uint32_t head; /* the next payload goes here */
    uint32_t round;
};

struct lost {
    uint64_t index; /* extended sequence number */
    int64_t since_ns, due_ns;
    uint8_t tries;
    bool given_up; /* a keyframe was asked for in its place */
};

/* Of tracks, legs and transports, what every packet needs comes first: with hundreds of participants each line of memory that a packet touches is a wait. */
struct track {
    struct track *next; /* of the same transport */
    struct transport *transport;
    struct leg *legs;
    struct slot *slots; /* NULL until the first authentic packet, as `lost`: most of what is announced is never sent */
    uint32_t slot_mask;
    bool started, announced, in_pending, frame_complete, flushing;
    uint8_t last_entry;
    uint8_t refused; /* packets that did not authenticate before the first one of a stream did */
    uint32_t ssrc, rtx_ssrc; /* now; the configuration's are what was signalled */
    uint64_t highest, lowest; /* extended sequence numbers; of the current SSRC */
    struct store store;
    uint64_t received, bytes, repaired, expected_before, received_before; /* for reports */
    int64_t pending_since;
    uint32_t jitter, transit; /* in 1/16 timestamp units, RFC 3550 appendix A.8 */
    uint16_t pending_count, lost_count;
    bool has_transit;
    uint8_t level, level_sent; /* loudest since the last event; 127 = silence */
    bool voice, voice_sent;
    struct wd_srtp_stream stream;
    struct wd_track_config config; /* its head, up to the first codecs; the rest is for joins */

    uint16_t pending[WD_PENDING];
    struct lost *lost;
    struct wd_srtp_stream rtx_stream;
    uint32_t former_ssrc; /* the one before the current one, and its replay window: who repeats its packets does not bring it back */
    struct wd_srtp_stream former_stream;
    int64_t keyframe_asked_ns, keyframe_seen_ns;
    int64_t keyframe_due_ns; /* when the next is due, as it was last reckoned */
    int64_t keyframe_paid_ns; /* up to when the requests so far have used up what is asked in the long run */
    uint64_t keyframe_newest; /* the packet that the newest keyframe begins with */
    uint64_t keyframe_from; /* behind what was there when the newest wish came: what begins before is no answer to it */
    bool keyframe_wanted;
    uint8_t keyframe_unheard; /* requests since the last that anything arrived behind */
    uint64_t keyframe_received; /* packets until the newest request */
    uint8_t fraction_lost;
    struct wd_sender_info sender; /* newest SR */
    int64_t sender_ns;
    bool has_sender;

    bool began; /* with the level told last: the next one, by which it is judged, is not patient either */
    int64_t level_sent_ns;
    bool has_orientation;
    uint8_t orientation; /* newest: repeated on keyframes for those who join late */
    int64_t latched_ns;
};

/* Of one outbound packet; it lies where the packet itself lies among the track's slots, so there is one for each that can be sent again. */
struct resend { uint16_t sequence; uint8_t tries; uint32_t at_ms; };

struct leg {
    struct transport *transport;
    struct track *track;
    struct leg *next_in_track;
    struct leg *next_ready; /* of the same transport, in this flush */
    uint64_t first_in; /* source packets before this one are not forwarded */
    uint64_t offset; /* outbound = inbound + offset, modulo 2^64 */
    uint64_t highest_out; /* newest outbound extended sequence number */
    int64_t last_sent_ns;
    uint64_t packets, bytes;
    uint8_t payload_types[WD_MAX_CODECS], rtx_payload_types[WD_MAX_CODECS]; /* by the track's codec entry; 0 = the receiver cannot decode it */
    uint32_t timestamp_offset, last_timestamp;
    uint16_t picture_offset, last_picture;
    uint8_t tl0_offset, last_tl0;
    bool has_picture;
    bool started; /* has sent anything, ever */
    bool waiting; /* for a place to start in the current source */
    struct wd_leg_config config; /* its head too; the rest is for joins */

    struct leg *next; /* of the same transport */
    uint64_t first_out; /* outbound sequence number where the current source began */
    uint64_t rtx_next;
    uint32_t report_lsr[WD_REPORTS]; /* newest first */
    int64_t report_sent_ns[WD_REPORTS];
    uint8_t loss; /* fraction lost of the newest RR */
    uint64_t bytes_again, bytes_told; /* sent again; all up to the newest statistics */
    uint32_t resend_earned; /* `bytes` up to which resend_credit counts, modulo 2^32 */
    uint32_t resend_credit; /* bytes that may be sent again, times 256 */
    struct resend *resends; /* video only: WD_VIDEO_CACHE */
};

/* Of a track that is gone: a sender's rollover counter goes on (RFC 3711 section 3.3.1), also when its line comes back as another track. */
struct departed { uint32_t ssrc; struct wd_srtp_stream stream; };

struct transport {
    struct track *tracks;
    struct wd_srtp *send, *receive;
    struct tuple *selected;
    struct leg *ready, *ready_tail;
    struct transport *next_dirty;
    bool dirty, quiet, consent, ever_selected;
    uint32_t place; /* in router->transports and router->due_ns */

    struct wd_twcc *twcc;
    int64_t twcc_due_ns, level_due_ns, report_due_ns, nack_due_ns;
    int64_t fed_ns; /* when there last was media for it, which feedback could follow */
    int64_t checked_ns, heard_ns, media_ns;
    uint64_t bytes_in, bytes_out;

    uint32_t id;
    struct leg *legs;
    struct tuple tuples[WD_TUPLES];
    struct tuple *greeted; /* where the newest datagram of the handshake came from */
    struct credentials credentials[WD_GENERATIONS]; /* newest first */
    struct remote remotes[WD_GENERATIONS]; /* newest first; see routable.c, as for all up to `trial_from_ns` */
    uint8_t credentials_count;
    uint8_t named; /* number of the credentials that the newest check named */
    bool shaken_apart; /* the handshake's datagrams went to more than one address */
    uint8_t trial_asks;
    struct tuple *shaken; /* where the newest of them went */
    struct tuple *trial; /* media may go there, or could, before it is shown that they arrive */
    struct tuple *wished; /* is selected when that is shown */
    int64_t trial_began_ns, trial_paid_ns, trial_from_ns;
    bool selected_untold;
    uint8_t selected_count;
    int64_t selected_window_ns;
    int64_t dtls_window_ns;
    uint32_t dtls_count;
    uint32_t feedback_ssrc; /* our SSRC in feedback to this peer */
    int64_t clock_offset_ns; /* our wall clock minus the publisher's, from its first SR */
    bool has_clock_offset, capped, limit_waits, limit_untold, limit_kept;
    uint32_t rtt_us, rtt_now_us; /* smoothed, and the newest: a queue that fills shows there first */
    uint32_t rtt_least_us; /* of the last half minute or so: without queues */
    uint8_t limited; /* so often it is still to be told, as a publisher, that a viewer's limit ended; 0 = it knows */
    uint64_t estimate_bps; /* its newest REMB */
    int64_t estimate_ns;
    int64_t limit_passed_ns;
    uint32_t limit_bps, limit_known_bps; /* passed on; and the estimate behind the newest sign of congestion */
    uint32_t limit_shown_bps; /* passed on when a report last showed no queue */
    uint32_t estimate_mark_bps; /* the estimate of a moment ago: does it grow? */
    int64_t estimate_mark_ns;
    int64_t limit_sign_ns, limit_tight_ns; /* that sign; when the publisher last needed what it was allowed */
    uint32_t passes_bps; /* of pictures, behind a queue and with losses; 0 = the estimate is right */
    int64_t suffers_ns; /* since then sound has been lost though few pictures are sent; 0 = it is not */
    int64_t kept_until_ns; /* so long pictures are kept back, or were */
    uint8_t kept; /* times in a row */
    uint64_t bytes_in_before, bytes_out_before;
    uint32_t out_bps, stats_count;
    uint32_t video_bps, sound_bps; /* as REMB counts pictures: payload, with repetitions; sound with its headers */
    int64_t stats_ns;
    struct wd_stats stats_told;
    uint32_t stats_untold; /* in a row */
    struct departed departed[WD_DEPARTED];
    uint8_t departed_next;
};

struct early { struct wd_addr from; int64_t at_ns; uint16_t length; uint8_t data[1500]; };

struct wd_router {
    struct wd_router_config config;
    struct wd_counters counters;
    struct wd_egress *egress;
    struct wd_table transports_by_id, tracks_by_id, legs_by_id, by_ufrag, by_tuple;
    struct wd_table by_ssrc; /* transports, by what has been authentic: see wd_stray_received */
    struct transport **transports;
    int64_t *due_ns;
    uint32_t transport_count;
    uint64_t random;
    int64_t next_tick_ns;
    int64_t now_ns;
    struct track *pending[4096];
    uint32_t pending_count;
    struct early early[WD_EARLY];
};

/* The time of the abs-send-time extension: seconds as 6.18 bits. */
static inline uint32_t wd_abs_send_time(const struct wd_router *router) {
    uint64_t now = (uint64_t)router->now_ns; /* seconds apart: shifted as a whole it would overflow after 19 hours */
    return (uint32_t)((now / WD_SECOND << 18) + (now % WD_SECOND << 18) / WD_SECOND) & 0xffffff;
}

/* Of this round, or of the last one and not yet overwritten. */
static inline bool wd_is_stored(const struct store *store, const struct slot *slot) {
    return slot->round == store->round || (slot->round + 1 == store->round && slot->at >= store->head);
}
static inline uint8_t *wd_stored(const struct track *track, const struct slot *slot) { return track->store.bytes + slot->at; }

static inline uint64_t wd_random(struct wd_router *router) { return wd_mix(router->random += 0x9e3779b97f4a7c15u); }
/* 0 = not known. */
static inline uint32_t wd_round_trip_us(const struct transport *t) { return t->rtt_now_us > t->rtt_us ? t->rtt_now_us : t->rtt_us; }
static inline bool wd_ready(const struct transport *t) { return t->send && t->selected && t->consent; }
/* A video frame can begin there now. */
static inline bool wd_takes_video(const struct transport *t) { return wd_ready(t) && !t->selected->congested; }
static inline void wd_due(struct wd_router *router, struct transport *t, int64_t at_ns) {
    if (at_ns < router->due_ns[t->place]) router->due_ns[t->place] = at_ns;
    if (at_ns < router->next_tick_ns) router->next_tick_ns = at_ns;
}

/* The last beat not after now + interval. */
static inline int64_t wd_beat(const struct wd_router *router, int64_t interval_ns) { return (router->now_ns + interval_ns) / WD_BEAT_NS * WD_BEAT_NS; }

/* transport.c */
uint64_t wd_ufrag_key(const char *ufrag, size_t length);
void wd_unname(struct wd_router *router, const struct credentials *c); /* no check is known by them any more */
struct tuple *wd_find_tuple(const struct wd_router *router, const struct wd_addr *from);
void wd_stun_received(struct wd_router *router, const uint8_t *data, size_t length, const struct wd_addr *from, const struct wd_addr *local);
void wd_dtls_received(struct wd_router *router, const uint8_t *data, size_t length, const struct wd_addr *from);
void wd_transport_tick(struct wd_router *router, struct transport *t); /* consent and quiet */
void wd_forget_tuples(struct wd_router *router, struct transport *t);
void wd_emit(struct wd_router *router, uint8_t type, uint32_t id);
void wd_heard(struct wd_router *router, struct transport *t);
/* Queues one datagram to the transport's selected address; before there is one, to where the handshake came from, or to any that is verified. */
void wd_send_datagram(struct wd_router *router, struct transport *t, const uint8_t *data, size_t length);
/* As wd_egress_room and wd_egress_commit, counted. */
uint8_t *wd_router_room(struct wd_router *router, size_t length);
void wd_router_commit(struct wd_router *router, const struct wd_addr *to, const struct wd_addr *from, size_t length);

struct tuple *wd_bind(struct wd_router *router, struct transport *t, const struct wd_addr *from, const struct wd_addr *local); /* NULL when it is somebody else's */
struct tuple *wd_destination(struct transport *t); /* of what can be sent before an address is selected, too; NULL = none */
void wd_select(struct wd_router *router, struct transport *t, struct tuple *tuple); /* one that may be */

/* routable.c */
/* Now, or on trial. If not, it is selected when it has answered; what it is asked in is at most so long. */
bool wd_may_select(struct wd_router *router, struct transport *t, struct tuple *tuple, size_t most);
struct tuple *wd_newest_other(const struct wd_router *router, struct transport *t, const struct tuple *than, bool shown); /* NULL when there is none */
void wd_routable_answered(struct wd_router *router, const uint8_t *data, size_t length, const struct wd_stun *m, const struct wd_addr *from);
void wd_routable_tick(struct wd_router *router, struct transport *t);
void wd_routable_shook(struct transport *t, struct tuple *tuple); /* a datagram of the handshake goes there */
void wd_routable_shaken(struct wd_router *router, struct transport *t); /* it has ended well */
void wd_routable_forget(struct wd_router *router, struct transport *t, const struct tuple *tuple);
void wd_routable_named(struct wd_router *router, struct transport *t); /* there are new credentials of theirs */
void wd_routable_checked(struct wd_router *router, struct tuple *tuple, const uint8_t *theirs, size_t length); /* a check came, that named this ufrag of theirs */
void wd_routable_spoke(struct wd_router *router, struct tuple *tuple); /* authentic media or reports came from one that is not selected, or not even bound */
int64_t wd_routable_shift_ns(const struct transport *t); /* by so much the next sender report is to lie, so that nobody can guess its time */
void wd_routable_reports(struct transport *t, uint32_t lsr); /* that one goes to the selected address */
void wd_routable_reported(struct wd_router *router, struct tuple *tuple, uint32_t lsr); /* from there it was said that that one arrived; 0 = none did */

/* ingress.c */
void wd_rtp_received(struct wd_router *router, struct tuple *tuple, uint8_t *packet, size_t length);
struct wd_srtp_stream wd_stream_of(const struct transport *t, uint32_t ssrc); /* as far as it is known from a track that is gone */
/* Media or reports from an address that nobody has checked from. */
void wd_stray_received(struct wd_router *router, uint8_t *packet, size_t length, const struct wd_addr *from, const struct wd_addr *local);
void wd_track_unknow(struct wd_router *router, const struct track *track); /* its SSRC leads nowhere any more */
void wd_depart(struct transport *t, uint32_t ssrc, const struct wd_srtp_stream *stream);
void wd_track_reset(struct wd_router *router, struct track *track); /* a new SSRC: everybody starts over */

/* What every packet touches of an object that begins with a line. */
#define WD_TUPLE_HEAD offsetof(struct tuple, transaction)
#define WD_TRANSPORT_HEAD offsetof(struct transport, id)
#define WD_TRACK_HEAD (offsetof(struct track, config) + offsetof(struct wd_track_config, codecs) + 2 * sizeof(struct wd_codec_entry))
#define WD_LEG_HEAD (offsetof(struct leg, config) + offsetof(struct wd_leg_config, codecs))

/* fanout.c */
void wd_fanout(struct wd_router *router, bool all);
int64_t wd_fanout_deadline(const struct wd_router *router);
void wd_unpend(struct wd_router *router, struct track *track);
bool wd_begins_picture(const struct track *track, const struct slot *slot); /* one that a decoder can start with */
void wd_leg_restart(struct wd_router *router, struct leg *leg);
void wd_repeat(struct wd_router *router, struct leg *leg, const struct slot *slot, uint64_t out_index);

/* repair.c */
void wd_repair_credit(struct leg *leg, uint64_t bytes); /* may be sent beyond its share */
void wd_resend(struct wd_router *router, struct leg *leg, uint16_t sequence); /* which its receiver misses */
void wd_hopeless(struct wd_router *router, struct track *track, uint64_t index); /* that packet will not come any more: a keyframe has to */

/* feedback.c */
void wd_rtcp_received(struct wd_router *router, struct tuple *tuple, uint8_t *packet, size_t length);
void wd_feedback_tick(struct wd_router *router, struct transport *t);
void wd_feedback_rides(struct wd_router *router, struct transport *t); /* behind the media for t: what is due may follow it in the same message */
void wd_feedback_arrival(struct wd_router *router, struct transport *t); /* a packet of t's that transport-wide feedback will tell of */
void wd_send_rtcp(struct wd_router *router, struct transport *t, uint8_t *packet, size_t length); /* needs WD_SRTP_MAX_OVERHEAD bytes of room */
uint64_t wd_ntp(const struct wd_router *router, int64_t at_ns);

/* limit.c */
void wd_limit_told(struct wd_router *router, struct transport *viewer, uint64_t estimate_bps);
void wd_limit_measured(struct transport *viewer); /* a round trip */
void wd_limit_reported(struct wd_router *router, struct transport *viewer); /* losses */
void wd_limit_tick(struct wd_router *router, struct transport *viewer);
void wd_limit_end(struct wd_router *router, struct transport *publisher); /* with each report */

/* keyframes.c */
void wd_ask_keyframe(struct wd_router *router, struct track *track); /* for legs that wait: now or when the throttle allows, and again while they do */
void wd_wish_keyframe(struct wd_router *router, struct track *track); /* a video's, and again until there is one */
void wd_keyframe_seen(struct wd_router *router, struct track *track, uint64_t index); /* the packet that one begins with */
void wd_keyframe_tick(struct wd_router *router, struct track *track);

/* tell.c */
void wd_tell_levels(struct wd_router *router, struct transport *t); /* best with a packet of sound: its track is in the nearest cache then */
void wd_tell_stats(struct wd_router *router, struct transport *t); /* once for each report: every WD_STATS_EVERY-th time they are said */

#endif
