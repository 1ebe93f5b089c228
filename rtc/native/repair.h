/* Retransmissions to subscribers: which, when, how many. The theory is in repair.c. */
#ifndef WD_REPAIR_H
#define WD_REPAIR_H

#include "core.h"
#include "leg.h"
#include "track.h"

#define WD_REPAIR_NS (700 * WD_MS) /* and two round trips: then a keyframe is asked for beside a packet that is still missing */
#define WD_RESEND_TRIES 10
#define WD_RESEND_AGE_NS (2500 * WD_MS) /* what is older helps no receiver: it has asked for a keyframe by then */
#define WD_RESEND_RECENT 32 /* but these newest packets are not old: of a screen at rest, or of somebody who was away */
#define WD_RESEND_RTT_MS 100 /* of a receiver that has not told its own yet */
#define WD_RESEND_SHARE 77 /* of 256: bytes that may be sent again, of what a leg sends */
#define WD_RESEND_SHARE_OVERLOADED 38 /* to a receiver that takes less than it is sent */

void wd_resend(struct wd_router *router, struct leg *leg, uint16_t sequence); /* which its receiver misses */
void wd_hopeless(struct wd_router *router, struct track *track, uint64_t index); /* that packet will not come any more: a keyframe has to */

#endif
