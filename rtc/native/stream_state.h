/* The state of streams: one stream, its send queue, and the pools that its buffers come from. */
#ifndef WD_STREAM_STATE_H
#define WD_STREAM_STATE_H

#include <stdlib.h>

#include "stream.h"

#define WD_POOL_KEPT 256 /* unused pieces kept for the next need */

struct block { /* whole messages, so that it can be thrown away while none of it is sent */
    struct block *next;
    int64_t newest_ns;
    uint16_t sent, end, messages;
    uint8_t data[WD_STREAM_BLOCK - 24];
};

_Static_assert(sizeof(struct block) == WD_STREAM_BLOCK, "no padding");
_Static_assert(sizeof((struct block *)0)->data >= WD_FRAME_TOTAL, "every frame fits a block");

struct rest {
    uint8_t data[WD_FRAME_TOTAL];
};

struct pool {
    void *unused;
    size_t size;
    uint32_t kept, taken;
};

struct stream {
    struct wd_epoll_source source; /* first: what epoll points to */
    uint8_t kind;
    bool failed; /* to be closed as soon as callbacks may be made */
    bool blocked; /* the kernel took no more; it will say when it does */
    bool congested, vouched, noted;
    int fd; /* -1: closed, memory freed at the next flush */
    uint32_t id, place;
    struct wd_addr remote, local;
    struct stream *next_noted, *next_dead;
    struct stream *older, *younger; /* that nobody has vouched for either */
    struct block *head, *tail; /* the send queue */
    uint32_t waiting; /* bytes in it */
    struct rest *rest; /* the beginning of a message, while there is no more of it */
    uint32_t rest_length;
    int64_t adopted_ns, heard_ns, rest_ns;
    int64_t blocked_ns; /* when the kernel last took something, or blocking began */
};

struct wd_streams {
    struct wd_streams_config config;
    struct wd_stream_counters counters;
    struct wd_table by_id;
    struct stream **open;
    uint32_t count;
    struct stream *noted, *noted_tail; /* have something to write, or have failed */
    struct stream *dead;
    struct stream *oldest, *youngest; /* of those that nobody has vouched for */
    uint32_t unvouched;
    struct pool blocks, rests;
    int64_t due_ns;
    bool reading; /* a `received` is under way */
    uint8_t scratch[WD_FRAME_TOTAL + WD_STREAM_READ];
};

static inline void *wd_take(struct pool *pool) {
    void *piece = pool->unused;
    if (piece) {
        memcpy(&pool->unused, piece, sizeof pool->unused);
        pool->kept--;
    } else if (!(piece = malloc(pool->size))) {
        return NULL;
    }
    pool->taken++;
    return piece;
}

static inline void wd_give(struct pool *pool, void *piece) {
    pool->taken--;
    if (pool->kept >= WD_POOL_KEPT) {
        free(piece);
        return;
    }
    memcpy(piece, &pool->unused, sizeof pool->unused);
    pool->unused = piece;
    pool->kept++;
}

static inline void wd_streams_due(struct wd_streams *streams, int64_t at_ns) {
    if (at_ns < streams->due_ns) streams->due_ns = at_ns;
}

/* Flush looks at it. */
static inline void wd_stream_note(struct wd_streams *streams, struct stream *s) {
    if (s->noted) return;
    s->noted = true;
    s->next_noted = NULL;
    if (streams->noted)
        streams->noted_tail->next_noted = s;
    else
        streams->noted = s;
    streams->noted_tail = s;
}

static inline void wd_stream_fail(struct wd_streams *streams, struct stream *s) {
    s->failed = true;
    wd_stream_note(streams, s);
}

#endif
