/* Requests: who is answered here, and who is heard by the control plane. The theory is in relay_gate.c. */
#ifndef WD_RELAY_GATE_H
#define WD_RELAY_GATE_H

#include "relay_state.h"

bool wd_relay_key_gate(struct wd_relay *relay); /* after `rules` were set; false when out of memory */
void wd_relay_free_gate(struct wd_relay *relay);
void wd_relay_request(struct wd_relay *relay, const uint8_t *data, size_t length, const struct wd_addr *from,
                      const struct wd_addr *local, int64_t now_ns);

#endif
