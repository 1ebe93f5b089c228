/* Datagrams on their way out: one contiguous arena per round, and messages that name runs in it.
 *
 * A message is one datagram, or (segment > 0) a run of equal datagrams of `segment` bytes to one receiver of which only the last may be shorter: exactly
 * what UDP_SEGMENT sends in one system call. The router fills the arena; the shell that owns the socket empties it in `flush`. */
#ifndef WD_EGRESS_H
#define WD_EGRESS_H

#include "stun.h"

#define WD_EGRESS_BYTES (256 * 1024)
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

#endif
