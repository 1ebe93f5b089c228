/* From one publisher's clear packets to every subscriber. The theory is in fanout.c. */
#ifndef WD_FANOUT_H
#define WD_FANOUT_H

#include "core.h"

void wd_fanout(struct wd_router *router, bool all);
int64_t wd_fanout_deadline(const struct wd_router *router);
void wd_unpend(struct wd_router *router, struct track *track); /* nothing of it waits any more */
void wd_leg_restart(struct wd_router *router, struct leg *leg); /* it waits for a place to start */

#endif
