/* ICE-lite: credentials, checks and consent. The theory is in ice.c. */
#ifndef WD_ICE_H
#define WD_ICE_H

#include "core.h"

bool wd_ice_open(struct wd_router *router, struct transport *t, const char *ufrag,
                 const char *password); /* with our credentials; false when they are malformed or known */
void wd_ice_close(struct wd_router *router, struct transport *t);
void wd_stun_received(struct wd_router *router, const uint8_t *data, size_t length, const struct wd_addr *from,
                      const struct wd_addr *local);
void wd_ice_tick(struct wd_router *router, struct transport *t); /* consent and quiet */

#endif
