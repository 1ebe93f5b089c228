/* Datagrams of the DTLS handshake, which Python drives: they come in as events and go out as commands. */
#ifndef WD_HANDSHAKE_H
#define WD_HANDSHAKE_H

#include "core.h"

void wd_dtls_received(struct wd_router *router, const uint8_t *data, size_t length, const struct wd_addr *from);
void wd_deliver_early(struct wd_router *router, struct tuple *tuple); /* what came from there before it was bound */

#endif
