/* What leaves the relay: messages to clients, by whichever way they are reached, and datagrams to peers. */
#ifndef WD_RELAY_EGRESS_H
#define WD_RELAY_EGRESS_H

#include "relay_state.h"

void wd_relay_to_client(struct wd_relay *relay, const struct wd_addr *client, const struct wd_addr *local,
                        const uint8_t *message, size_t length, int64_t now_ns);
void wd_relay_flush_peers(struct wd_relay *relay);

#endif
