/* Events on their way from a worker's thread to Python: a byte ring with one producer and one consumer, and no lock.
 *
 * Positions only grow; a record is a struct wd_event and its data, copied in and out, padded to 8 bytes, and may wrap
 * around the end. The eventfd is written once per nap of the consumer, not once per event: the consumer arms the bell
 * when it has seen an empty ring, and the producer who finds it armed disarms and rings it. Both sides change the flag
 * by an atomic exchange, so whoever comes second sees what the first has done: either the producer finds the bell
 * armed, or the consumer finds the record. */
#ifndef WD_RING_H
#define WD_RING_H

#include "router.h"

#define WD_RING_BYTES (1u << 20) /* about 8,700 events */
#define WD_RING_MAX_DATA 4096 /* of one event; a handshake's datagrams stay under the path MTU */

struct wd_ring;

struct wd_ring *wd_ring_new(void); /* NULL with errno */
void wd_ring_free(struct wd_ring *ring);
int wd_ring_fd(const struct wd_ring *ring); /* readable when the consumer should look */

/* Producer. False when the event does not fit: it is lost. A patient event alone does not make the ring readable before
 * it is half full. */
bool wd_ring_put(struct wd_ring *ring, const struct wd_event *event);
bool wd_ring_busy(struct wd_ring *ring); /* half full: what can be asked again should wait */
void wd_ring_notify(struct wd_ring *ring); /* after a round of puts; cheap when there were none */

/* Consumer: begin, take until false, rest. Events put after `begin` wait for the next turn, so a busy producer cannot
 * hold the consumer. */
void wd_ring_begin(struct wd_ring *ring);
bool wd_ring_take(struct wd_ring *ring, struct wd_event *event,
                  uint8_t data[WD_RING_MAX_DATA]); /* event->data points to `data` */
void wd_ring_rest(struct wd_ring *ring);

#endif
