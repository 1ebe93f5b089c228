/* Datagrams on their way to a transport's destination, or to an address. Everything that the forwarding core sends is
 * counted here. */
#ifndef WD_DESTINATION_H
#define WD_DESTINATION_H

#include "core.h"

/* As wd_egress_room and wd_egress_commit, counted. */
uint8_t *wd_datagram_room(struct wd_router *router, size_t length);
void wd_datagram_commit(struct wd_router *router, const struct wd_addr *to, const struct wd_addr *from, size_t length);
void wd_send_to_address(struct wd_router *router, const struct wd_addr *to, const struct wd_addr *from,
                        const uint8_t *data, size_t length);

/* The selected address; before there is one, where the handshake comes from, or any that a verified check came from.
 * NULL = none. */
struct tuple *wd_reachable_tuple(struct transport *t);
/* To wd_reachable_tuple, while the peer consents. */
void wd_send_datagram(struct wd_router *router, struct transport *t, const uint8_t *data, size_t length);
/* Encrypts `packet` in place, which needs WD_SRTP_MAX_OVERHEAD bytes of room behind it. Nothing is sent to who is not
 * ready. */
void wd_send_rtcp(struct wd_router *router, struct transport *t, uint8_t *packet, size_t length);

#endif
