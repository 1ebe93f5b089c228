/* Datagrams on their way out: one contiguous arena per round, and messages that name runs in it.
 *
 * A message is one datagram, or (segment > 0) a run of equal datagrams of `segment` bytes to one receiver of which only
 * the last may be shorter: exactly what UDP_SEGMENT sends in one system call. An empty datagram is a message of its
 * own. The router fills the arena; the shell that owns the socket empties it in `flush`. */
#ifndef WD_EGRESS_H
#define WD_EGRESS_H

#include <stddef.h>

#include "address.h"

#define WD_EGRESS_BYTES (256 * 1024)
/* with the kernel's copy and the clear packets well within the smallest second-level cache, 256 KiB */
#define WD_EGRESS_NEAR_BYTES (56 * 1024)
#define WD_EGRESS_MESSAGES 128
#define WD_EGRESS_RUN_BYTES 63000 /* of one message */
#define WD_EGRESS_SEGMENTS 44 /* datagrams in one message: under 64 KiB and the kernel's 64 segments */

struct wd_message {
    struct wd_addr to;
    struct wd_addr from; /* local address the peer talked to; family 0 when the socket is bound to one address */
    uint32_t offset;
    uint32_t length;
    uint16_t segment; /* 0 = one datagram */
    bool closed; /* a shorter one has come: nothing can follow */
};

struct wd_egress {
    size_t used;
    size_t count;
    void (*flush)(struct wd_egress *egress); /* sends all messages, then sets used = count = 0 */
    void *owner;
    struct wd_message messages[WD_EGRESS_MESSAGES];
    uint8_t data[WD_EGRESS_BYTES];
};

/* Room for `length` bytes at the end of the arena, flushing if needed. */
static inline uint8_t *wd_egress_room(struct wd_egress *e, size_t length) {
    if (e->used + length > WD_EGRESS_BYTES || e->count + 1 > WD_EGRESS_MESSAGES) e->flush(e);
    return e->data + e->used;
}

static inline bool wd_egress_joins(const struct wd_message *m, const struct wd_addr *to, const struct wd_addr *from,
                                   size_t length) {
    size_t segment = m->segment ? m->segment : m->length;
    return length && length <= segment && !m->closed && m->length < segment * WD_EGRESS_SEGMENTS &&
           m->length + length <= WD_EGRESS_RUN_BYTES && wd_same_address(&m->to, to) && wd_same_address(&m->from, from);
}

/* Much leaves while it is still in the near caches, and the first receivers need not wait for the last. For use between
 * two of them: it ends the newest run. */
static inline void wd_egress_stay_near(struct wd_egress *e) {
    if (e->used >= WD_EGRESS_NEAR_BYTES) e->flush(e);
}

/* The largest datagram to that address that would leave with the newest message. */
static inline size_t wd_egress_tail(const struct wd_egress *e, const struct wd_addr *to, const struct wd_addr *from) {
    const struct wd_message *newest = e->count ? &e->messages[e->count - 1] : NULL;
    size_t segment = !newest ? 0 : newest->segment ? newest->segment : newest->length;
    return segment && wd_egress_joins(newest, to, from, segment) ? segment : 0;
}

/* What was just written there leaves as a datagram: the next of the newest message where that goes to the same address
 * and sizes allow. */
static inline void wd_egress_commit(struct wd_egress *e, const struct wd_addr *to, const struct wd_addr *from,
                                    size_t length) {
    struct wd_message *newest = e->count ? &e->messages[e->count - 1] : NULL;
    if (newest && wd_egress_joins(newest, to, from, length)) {
        if (!newest->segment) newest->segment = (uint16_t)newest->length;
        newest->closed = length < newest->segment;
        newest->length += (uint32_t)length;
    } else {
        e->messages[e->count++] =
            (struct wd_message){.to = *to, .from = *from, .offset = (uint32_t)e->used, .length = (uint32_t)length};
    }
    e->used += length;
}

#endif
