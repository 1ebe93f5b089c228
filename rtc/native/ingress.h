/* RTP from a publisher. The theory is in ingress.c. */
#ifndef WD_INGRESS_H
#define WD_INGRESS_H

#include "core.h"

void wd_rtp_received(struct wd_router *router, struct tuple *tuple, uint8_t *packet, size_t length);
void wd_forget_ssrc(struct wd_router *router, const struct track *track); /* it leads nowhere any more */

#endif
