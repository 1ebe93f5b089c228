/* Adopted byte streams that carry what else comes in datagrams: TURN over TCP (RFC 8656 section 2.1) and ICE-TCP (RFC
 * 6544). The descriptor is a TCP connection, or one end of a socket pair whose other end somebody else reads and writes
 * (who has taken TLS off, for instance).
 *
 * A stream differs from datagrams in two ways, and both are this module's business. It has no message bounds:
 * stream_frames.h finds them, and what cannot be framed ends the stream. And it loses nothing: what a slow peer does
 * not take piles up, every later packet waits behind it, and media that comes seconds late is worth nothing. So the
 * queue of every stream is bounded in bytes (WD_STREAM_MAX), in time (WD_STREAM_STALE_NS: the oldest go first, as whole
 * messages) and together with all others (WD_STREAMS_BLOCKS); long before, the owner can see that it grows
 * (wd_streams_congested) and send less.
 *
 * What is sent within a round is gathered and leaves in one write at wd_streams_flush, or sooner when much has
 * gathered. Reading goes through one buffer that all streams share, at most 64 KiB of each in a round. An idle stream
 * has no buffers at all.
 *
 * epoll watches level-triggered: who read his 64 KiB and left some is simply reported again in the next round, where
 * edge-triggered we would have to keep a list of those. Writability is watched only while something waits, two system
 * calls per congestion and none per packet.
 *
 * Only the worker's own thread calls in here. The callbacks `closed` and `relieved` are made from wd_streams_ready,
 * wd_streams_poll, wd_streams_flush and wd_streams_tick, never from wd_streams_send: that is called from the midst of
 * forwarding. From `received` everything but those four may be called. */
#ifndef WD_STREAM_H
#define WD_STREAM_H

#include <stdbool.h>

#include "address.h"
#include "stream_frames.h"
#include "epoll_source.h"

#define WD_STREAM_READ (64u << 10) /* of one stream in a round */
#define WD_STREAM_GATHER (16u << 10) /* of one stream, before a round is over */
/* waiting: a keyframe of a shared screen, which is sent to its end when it was begun */
#define WD_STREAM_MAX (256u << 10)
/* the same while all streams together need more than half of what there is: a few hundred jammed ones stop no others */
#define WD_STREAM_SCARCE (32u << 10)
#define WD_STREAM_HIGH (24u << 10) /* waiting: congested, until less than */
#define WD_STREAM_LOW (4u << 10)
#define WD_STREAM_BLOCK 4096 /* what waits is kept in blocks of whole messages */
#define WD_STREAMS_BLOCKS 16384u /* of all streams together: 64 MiB */

/* what waits longer is not sent any more; the newest block always is */
#define WD_STREAM_STALE_NS INT64_C(2000000000)
#define WD_STREAM_INCOMPLETE_NS INT64_C(10000000000) /* from a message's first byte to its last */
#define WD_STREAM_VOUCH_ICE_NS INT64_C(15000000000) /* from adoption until somebody vouches for it */
#define WD_STREAM_VOUCH_TURN_NS INT64_C(30000000000) /* there a person may have to be asked for a password */
/* something waits, and the peer takes nothing (compare RFC 7675: consent) */
#define WD_STREAM_STUCK_NS INT64_C(30000000000)
#define WD_STREAM_SILENT_NS INT64_C(600000000000) /* nothing comes; an allocation's default lifetime */

/* one more pushes out the oldest: a client that means it shows it within a few round trips */
#define WD_STREAMS_UNVOUCHED 2048u

/* clang-format off */
#define WD_STREAM_COUNTERS(X) \
    X(streams_adopted) X(streams_refused) X(streams_closed) X(streams_timed_out) X(streams_displaced) X(stream_frames_in) X(stream_frames_out) X(stream_bytes_in) \
    X(stream_bytes_out) X(stream_congestions) X(drop_stream_framing) X(drop_stream_full) X(drop_stream_late) X(drop_stream_unknown) X(drop_stream_too_large) \
    X(drop_stream_no_memory)
/* clang-format on */

struct wd_stream_counters {
#define X(name) uint64_t name;
    WD_STREAM_COUNTERS(X)
#undef X
};

struct wd_streams;

struct wd_streams_config {
    uint32_t max_streams, max_unvouched;
    int epoll; /* where descriptors are registered, with a struct wd_epoll_source * as data.ptr; -1 = none: see
                  wd_streams_poll */
    void *owner;
    /* One whole message, without frame and padding; may be changed in place. `from->via` is the stream's id. */
    void (*received)(void *owner, uint8_t kind, uint8_t *message, size_t length, const struct wd_addr *from,
                     const struct wd_addr *local, int64_t now_ns);
    /* By the peer, an error or a deadline, not by wd_streams_close. The id is free again. */
    void (*closed)(void *owner, uint32_t stream, const struct wd_addr *remote);
    void (*relieved)(void *owner, uint32_t stream, const struct wd_addr *remote); /* no longer congested */
};

/* NULL when out of memory. */
struct wd_streams *wd_streams_new(const struct wd_streams_config *config);
void wd_streams_unwatched(struct wd_streams *streams); /* from now on without the epoll set */
void wd_streams_free(struct wd_streams *streams); /* closes every stream, and tells nobody */
uint32_t wd_streams_count(const struct wd_streams *streams); /* that are open */
const struct wd_stream_counters *
wd_streams_counters(const struct wd_streams *streams); /* plain 64-bit words, written by the worker only */

/* Takes the descriptor over, also when it fails: false (id 0, above 2^31-1 or in use, too many streams, no memory, no
 * epoll), and the descriptor is closed. */
bool wd_streams_adopt(struct wd_streams *streams, uint32_t id, int fd, uint8_t kind, const struct wd_addr *remote,
                      const struct wd_addr *local, int64_t now_ns);
/* Gives the kernel what it takes at once, then closes. False when there is no such stream. */
bool wd_streams_close(struct wd_streams *streams, uint32_t id);
/* Whose it is, `via` set; NULL when there is no such stream. Valid until it is closed. */
const struct wd_addr *wd_streams_remote(const struct wd_streams *streams, uint32_t id);
/* A check from there was verified, or a request authenticated: the stream may stay. */
void wd_streams_vouch(struct wd_streams *streams, uint32_t id);

/* What epoll reported. The pointer stays good until wd_streams_flush, though the stream may have been closed since
 * epoll_wait: then nothing happens. */
void wd_streams_ready(struct wd_streams *streams, struct wd_epoll_source *stream, uint32_t epoll_events,
                      int64_t now_ns);
void wd_streams_poll(struct wd_streams *streams, int64_t now_ns); /* asks the kernel about every stream itself */

/* Frames one message and queues it. False: dropped, and counted. */
bool wd_streams_send(struct wd_streams *streams, uint32_t id, const uint8_t *message, size_t length, int64_t now_ns);
/* More than WD_STREAM_HIGH waited after the kernel took what it would, and not yet less than WD_STREAM_LOW. False for
 * ids that are no stream (any more). */
bool wd_streams_congested(const struct wd_streams *streams, uint32_t id);
/* The end of a round: what was sent in it leaves, and the memory of what was closed in it is freed. What its callbacks
 * send leaves too. */
void wd_streams_flush(struct wd_streams *streams, int64_t now_ns);
/* Deadlines. Returns the next; cheap when called early. */
int64_t wd_streams_tick(struct wd_streams *streams, int64_t now_ns);

#endif
