/* A single viewer's estimate (REMB) becomes its publisher's limit. The theory is in limit.c. */
#ifndef WD_LIMIT_H
#define WD_LIMIT_H

#include "core.h"

#define WD_LIMIT_INTERVAL_NS (200 * WD_MS) /* between two limits passed on for a viewer */
#define WD_LIMIT_REST_NS WD_SECOND /* so long behind a sign of congestion the estimate is passed on as it is: queues drain */
#define WD_LIMIT_STALE_NS (2500 * WD_MS) /* an older estimate says nothing of the path now */
#define WD_LIMIT_CONTENT_NS (2 * WD_SECOND) /* who is allowed so long more than it uses needs no limit */
#define WD_LIMIT_ENDS 5 /* so often a publisher is told that its limit ended */

void wd_limit_told(struct wd_router *router, struct transport *viewer, uint64_t estimate_bps);
void wd_limit_measured(struct transport *viewer); /* a round trip */
void wd_limit_tick(struct wd_router *router, struct transport *viewer);
void wd_limit_end(struct wd_router *router, struct transport *publisher); /* with each report */

#endif
