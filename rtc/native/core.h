/* The forwarding core's own state (see router.h for the model), and the clock and timers that its files share. */
#ifndef WD_CORE_H
#define WD_CORE_H

#include "clock.h"
#include "router.h"
#include "table.h"
#include "transport.h"

/* what has nothing to follow falls on the same instants for all transports: one wake-up serves all */
#define WD_BEAT_NS (100 * WD_MS)
#define WD_EARLY 32 /* ClientHellos kept from addresses not yet verified */

struct early {
    struct wd_addr from;
    int64_t at_ns;
    uint16_t length;
    uint8_t data[1500];
};

struct wd_router {
    struct wd_router_config config;
    struct wd_counters counters;
    struct wd_egress *egress;
    struct wd_table transports_by_id, tracks_by_id, legs_by_id, by_ufrag, by_tuple;
    struct wd_table by_ssrc; /* transports, by what has been authentic */
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

static inline uint64_t wd_random(struct wd_router *router) { return wd_mix(router->random += 0x9e3779b97f4a7c15u); }

/* The transport's timers are to be looked at then, or before. */
static inline void wd_due(struct wd_router *router, struct transport *t, int64_t at_ns) {
    if (at_ns < router->due_ns[t->place]) router->due_ns[t->place] = at_ns;
    if (at_ns < router->next_tick_ns) router->next_tick_ns = at_ns;
}

/* The last beat not after now + interval. */
static inline int64_t wd_beat(const struct wd_router *router, int64_t interval_ns) {
    return (router->now_ns + interval_ns) / WD_BEAT_NS * WD_BEAT_NS;
}

#endif
