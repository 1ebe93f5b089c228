/* Events for Python: single ones, and what it is told again and again. */
#ifndef WD_EVENTS_H
#define WD_EVENTS_H

#include "core.h"

#define WD_LEVEL_INTERVAL_NS (100 * WD_MS)

void wd_emit(struct wd_router *router, uint8_t type, uint32_t id);
void wd_emit_levels(struct wd_router *router,
                    struct transport *t); /* best with a packet of sound: its track is in the nearest cache then */
void wd_emit_stats(struct wd_router *router,
                   struct transport *t); /* with each report; they are told each 2 s at most */

#endif
