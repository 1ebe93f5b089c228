/* A single viewer's estimate (REMB) becomes its publisher's limit. The theory is in limit.c. */
#ifndef WD_LIMIT_H
#define WD_LIMIT_H

#include "core.h"

void wd_limit_told(struct wd_router *router, struct transport *viewer, uint64_t estimate_bps);
void wd_limit_measured(struct transport *viewer); /* a round trip */
void wd_limit_reported(struct wd_router *router, struct transport *viewer); /* losses */
void wd_limit_tick(struct wd_router *router, struct transport *viewer);
void wd_limit_end(struct wd_router *router, struct transport *publisher); /* with each report */

#endif
