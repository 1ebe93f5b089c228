/* Datagrams between workers: a caller's allocation may be on another worker than its room. The theory is in
 * worker_handover.c. */
#ifndef WD_WORKER_HANDOVER_H
#define WD_WORKER_HANDOVER_H

#include "worker_state.h"

/* From a relayed address of this worker to the media address of `target` (a queue of commands): the relay's callback.
 */
void wd_hand_over(void *worker, void *target, uint8_t *datagram, size_t length, const struct wd_addr *relayed,
                  const struct wd_addr *media, int64_t now_ns);
/* From our media address to a relayed address, of this worker or of the one that its `via` names. */
void wd_hand_back(struct wd_worker *worker, const struct wd_addr *relayed, const struct wd_addr *media,
                  const uint8_t *datagram, size_t length);
/* A media address of a worker of this process; takes the queue over. False when the relay refuses. */
bool wd_handover_know(struct wd_worker *worker, const struct wd_command_neighbour *neighbour);
void wd_handover_close(struct wd_worker *worker);

#endif
