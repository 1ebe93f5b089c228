/* RTCP both ways: reports, NACK, transport-wide feedback. The theory is in feedback.c. */
#ifndef WD_FEEDBACK_H
#define WD_FEEDBACK_H

#include "core.h"

#define WD_REPORT_INTERVAL_NS WD_SECOND

void wd_rtcp_received(struct wd_router *router, struct tuple *tuple, uint8_t *packet, size_t length);
void wd_feedback_follow_media(
    struct wd_router *router,
    struct transport *t); /* media for t were just written: what is due may follow in the same message */
void wd_feedback_arrival(struct wd_router *router,
                         struct transport *t); /* a packet of t's that transport-wide feedback will tell of */
void wd_feedback_tick(struct wd_router *router, struct transport *t);

#endif
