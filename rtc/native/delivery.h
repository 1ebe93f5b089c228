/* What an ICE peer gets of a track: each leg's packets, rewritten and encrypted. The theory is in delivery.c. */
#ifndef WD_DELIVERY_H
#define WD_DELIVERY_H

#include "core.h"
#include "leg.h"
#include "track.h"

/* All packets that wait for the legs of the transport's batch; it is ready. */
void wd_deliver(struct wd_router *router, struct transport *t);
/* Once more for one receiver, a slot that it was sent before as `out_index`. */
void wd_repeat(struct wd_router *router, struct leg *leg, const struct slot *slot, uint64_t out_index);

#endif
