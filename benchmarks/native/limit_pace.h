/* When bursts are due: every publisher sends 30 frames and 50 audio packets a second, each from a moment of its own.
 *
 * The process that drains receivers' sockets has a core that never sleeps, so it also keeps the time: it rings when a
 * burst is due, as a publisher's packet would wake a server. Who waits for bursts sleeps on an eventfd in between;
 * sleeping any longer (`nap_ns`) lets more of them gather. Latency is from ringing to the end of the send call's share
 * for that message: on the loopback device a packet has arrived by then. */
#ifndef LIMIT_PACE_H
#define LIMIT_PACE_H

#include <stdbool.h>
#include <stdint.h>

struct pace;

struct pace_burst {
    int64_t rung_ns;
    uint32_t source;
    bool is_video;
};

/* In memory that a forked child shares. NULL: no memory or no eventfd. */
struct pace *pace_new(unsigned sources, int64_t nap_ns);

/* Time keeper: bursts are due from now on. */
void pace_begin(struct pace *pace);

/* Time keeper: rings for what has come due; to be called all the time. */
void pace_ring(struct pace *pace);

/* Sleeps until a burst was rung for, or more than one; how many. */
uint64_t pace_wait(struct pace *pace);

/* The next of those. */
struct pace_burst pace_next(struct pace *pace);

/* `packets` that were rung for at `rung_ns` arrived at `arrived_ns`. */
void pace_note(struct pace *pace, int64_t rung_ns, int64_t arrived_ns, unsigned packets);

/* Forgets latencies. */
void pace_reset(struct pace *pace);

/* Latency in microseconds below which `share` (0 to 1) of the packets were; 0 without any. */
double pace_latency_us(const struct pace *pace, double share);

#endif
