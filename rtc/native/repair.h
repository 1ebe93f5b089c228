/* Retransmissions to subscribers: which, when, how many. The theory is in repair.c. */
#ifndef WD_REPAIR_H
#define WD_REPAIR_H

#include "core.h"
#include "leg.h"
#include "track.h"

/* and two round trips: then a keyframe is asked for beside a packet that is still missing */
#define WD_REPAIR_NS (700 * WD_MS)
#define WD_RESEND_AGE_NS (2500 * WD_MS) /* what is older helps no receiver: it has asked for a keyframe by then */

void wd_resend(struct wd_router *router, struct leg *leg, uint16_t sequence); /* which its receiver misses */
void wd_give_up(struct wd_router *router, struct track *track,
                uint64_t index); /* that packet will not come any more: a keyframe has to */

#endif
