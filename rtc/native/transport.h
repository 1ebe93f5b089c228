/* A transport: one participant, reached over ICE with the keys of one DTLS association. Its state by concern: keys,
 * destination, liveness, feedback, path and estimate.
 *
 * What every packet needs comes first and fits three cache lines: with hundreds of participants each line that a packet
 * touches is a wait for memory. */
#ifndef WD_TRANSPORT_H
#define WD_TRANSPORT_H

#include "cache_line.h"
#include "path_state.h"
#include "router.h"
#include "srtp.h"

#define WD_DEPARTED 8

struct keys {
    struct wd_srtp *send, *receive; /* NULL until the handshake has ended */
};

/* Where a transport's packets go. Who forwards looks at the kind once per transport and flush, never per packet
 * (fanout.c): a new kind, such as a pipe to another node or a recorder, brings its state here, its condition to
 * wd_ready, and a delivery of its own beside wd_deliver. */
enum wd_destination_kind {
    WD_TO_PEER, /* an ICE peer: encrypted for it alone, to the selected address, while it consents */
};

struct destination {
    struct tuple *selected; /* NULL = none */
    enum wd_destination_kind kind;
    bool consent; /* a valid check came within WD_CONSENT_NS (RFC 7675) */
};

/* The legs of this transport whose tracks have packets in the flush under way. */
struct batch {
    struct leg *first, *last; /* NULL outside a flush */
    struct transport *next; /* in the order of their packets' arrival */
};

struct liveness {
    int64_t heard_ns, checked_ns, media_ns; /* when anything authentic, a valid check, media came */
    bool quiet; /* nothing has come for a while, and Python knows */
    bool ever_selected;
};

struct feedback {
    struct wd_twcc *twcc; /* NULL until it is needed */
    int64_t twcc_due_ns, report_due_ns, nack_due_ns;
    int64_t fed_ns; /* when there last was media for it, which feedback could follow */
};

/* What a transport can take, by its REMB and its reports, and the limit that follows for its publishers (limit.c). */
struct estimate {
    uint64_t bps; /* its newest REMB */
    int64_t at_ns;
    uint32_t mark_bps; /* the estimate of a moment ago: does it grow? */
    int64_t mark_ns;
    uint32_t passes_bps; /* of pictures, behind a queue and with losses; 0 = the estimate is right */
    uint32_t rtt_least_us; /* of the last half minute or so: without queues */

    bool capped; /* a limit is in force for who alone is watched */
    bool waits, untold; /* the limit is to be looked at; and to be passed on, though it is the same */
    uint32_t limit_bps, known_bps; /* passed on; and the estimate behind the newest sign of congestion */
    uint32_t shown_bps; /* passed on when a report last showed no queue */
    int64_t passed_ns;
    int64_t sign_ns, tight_ns; /* that sign; when the publisher last needed what it was allowed */
    uint8_t ends; /* so often it is still to be told, as a publisher, that a viewer's limit ended; 0 = it knows */

    bool kept_back; /* pictures are: the path carries sound alone */
    uint8_t kept_times; /* in a row */
    int64_t kept_until_ns;
    int64_t suffers_ns; /* since then sound has been lost though few pictures are sent; 0 = it is not */
};

/* Of a track that is gone: a sender's rollover counter goes on (RFC 3711 section 3.3.1), also when its line comes back
 * as another track. */
struct departed {
    uint32_t ssrc;
    struct wd_srtp_stream stream;
};

/* For the statistics that are reported. */
struct transport_stats {
    uint64_t bytes_in_before, bytes_out_before;
    uint32_t seconds;
    int64_t at_ns;
    struct wd_stats reported;
    uint32_t unreported; /* in a row */
};

struct transport {
    struct track *tracks;
    struct keys keys;
    struct destination destination;
    struct batch batch;

    struct liveness live;
    struct feedback feedback;
    int64_t level_due_ns;
    uint64_t bytes_in, bytes_out;
    uint32_t place; /* in router->transports and router->due_ns */

    uint32_t id;
    struct leg *legs;
    struct ice ice;
    struct trial trial;
    struct handshake handshake;
    uint32_t feedback_ssrc; /* our SSRC in feedback to this peer */
    int64_t clock_offset_ns; /* our wall clock minus the publisher's, from its first SR */
    bool has_clock_offset;
    uint32_t rtt_us, rtt_now_us; /* smoothed, and the newest: a queue that fills shows there first */
    struct estimate estimate;
    uint32_t out_bps; /* of the last second */
    uint32_t video_bps,
        sound_bps; /* of it, as REMB counts pictures: payload, with repetitions; sound with its headers */
    struct transport_stats stats;
    struct departed departed[WD_DEPARTED];
    uint8_t departed_next;
};
#define WD_TRANSPORT_HEAD offsetof(struct transport, id)
_Static_assert(offsetof(struct transport, live) == WD_LINE,
               "what decides whether a packet may be sent there is one line");
_Static_assert(WD_TRANSPORT_HEAD <= 3 * WD_LINE, "what every packet needs is three lines");

/* 0 = not known. */
static inline uint32_t wd_round_trip_us(const struct transport *t) {
    return t->rtt_now_us > t->rtt_us ? t->rtt_now_us : t->rtt_us;
}

/* Packets can be sent there now. */
static inline bool wd_ready(const struct transport *t) {
    return t->keys.send && t->destination.selected && t->destination.consent;
}

/* A video frame can begin there now. */
static inline bool wd_takes_video(const struct transport *t) {
    return wd_ready(t) && !t->destination.selected->congested;
}

#endif
