/* What the files of the worker's shell share.
 *
 *   worker.c       the thread
 *   worker_hand.c  by hand: the same cores in the caller's time
 *   worker_ways.c  the ways that datagrams take besides the worker's own socket: relayed sockets, streams, hand-over to and from other workers
 */
#ifndef WD_WORKER_INTERNAL_H
#define WD_WORKER_INTERNAL_H

#include "stream.h"
#include "worker.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

#define WD_MAX_WORKERS 256

struct sent_entry {
    struct wd_addr to;
    size_t offset, length;
};

struct wd_worker {
    struct wd_router *router;
    struct wd_ring *events;
    int64_t now_ns; /* of this round; by hand of the last call */
    struct wd_egress egress;
    struct wd_counters *counters; /* the router's */
    struct wd_relay *relay;
    struct wd_egress to_clients, to_peers; /* the relay's */
    struct wd_streams *streams;
    uint32_t index;
    struct wd_commands *neighbours[WD_MAX_WORKERS]; /* by index; NULL = unknown, or this worker itself */
    _Atomic uint64_t commands_refused;

    /* threaded */
    struct wd_udp udp;
    struct wd_udp borrowed; /* for the relayed sockets */
    int epoll; /* of what is watched besides */
    unsigned relayed; /* sockets in it, beside the streams' */
    int wakers; /* epoll of all that ends a sleep */
    struct wd_commands *commands;
    bool held; /* the commanding thread's: more will follow */
    int bell; /* eventfd: commands wait, or stop */
    pthread_t thread;
    bool running;
    pid_t process; /* the one that has the thread */
    pid_t thread_id;
    sem_t started;
    int64_t slept_ns, woke_ns; /* when the newest sleep began and ended */
    double work_ns; /* that a datagram took, of late */
    double load; /* share of the time between sleeps that was work, of late */
    size_t datagrams; /* that came since the newest sleep */
    bool first, gave_way; /* runs before ordinary threads; would, but is overloaded */
    bool napped; /* before it, instead of waiting for the socket */
    int soon; /* how often, of late, a round's datagrams were followed by the next within WD_SOON_NS: 0 to SOON_ONE */
    _Atomic bool stop;

    /* by hand */
    bool by_hand;
    struct sent_entry *sent;
    size_t sent_count, sent_capacity;
    uint8_t *sent_bytes;
    size_t sent_used, sent_bytes_capacity;
};

/* Peers repeat their flights, the router its levels and statistics. Of all else there is no second word: who is there or gone, what was sent for the first time. */
static inline bool wd_comes_again(const struct wd_event *event) { return event->type == WD_EVENT_DTLS || event->type == WD_EVENT_LEVEL || event->type == WD_EVENT_STATS; }

static inline void wd_worker_emit(struct wd_worker *worker, const struct wd_event *event) {
    if ((wd_comes_again(event) && wd_ring_busy(worker->events)) || !wd_ring_put(worker->events, event)) worker->counters->drop_event_ring_full++;
}

/* worker_ways.c */
bool wd_ways_open(struct wd_worker *worker, const struct wd_worker_config *config); /* relay and streams; false with errno */
void wd_ways_close(struct wd_worker *worker);
void wd_ways_unwatched(struct wd_worker *worker); /* the sockets are somebody else's to watch: what is closed here goes on there */
/* Messages whose way is not UDP: taken to where they go. The others are left for the socket. */
void wd_ways_divert(struct wd_worker *worker, struct wd_egress *egress);
/* A datagram of the worker's own socket, or of one that stands for it. */
void wd_ways_receive(struct wd_worker *worker, uint8_t *datagram, size_t length, const struct wd_addr *from, const struct wd_addr *local, int64_t now_ns);
size_t wd_ways_read(struct wd_worker *worker, bool *more); /* what epoll watches; the number of datagrams and events. `more` becomes true when some are left */
void wd_ways_flush(struct wd_worker *worker); /* the end of a round */
int64_t wd_ways_tick(struct wd_worker *worker); /* the next deadline */
int wd_ways_command(void *worker, const struct wd_command *command, void *data, int64_t now_ns); /* any command */

/* worker_hand.c */
void wd_hand_send(struct wd_egress *egress);
void wd_hand_settle(struct wd_worker *worker);

#endif
