/* The state of a worker's shell (see worker.h for the model). */
#ifndef WD_WORKER_STATE_H
#define WD_WORKER_STATE_H

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
    int64_t now_ns; /* of this round; manual: of the last call */
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
    int epoll; /* of the relayed sockets and the streams */
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

    /* manual */
    bool manual;
    struct sent_entry *sent;
    size_t sent_count, sent_capacity;
    uint8_t *sent_bytes;
    size_t sent_used, sent_bytes_capacity;
};

/* Peers repeat their flights, the router its levels and statistics. Of all else there is no second word: who is there
 * or gone, what was sent for the first time. */
static inline bool wd_comes_again(const struct wd_event *event) {
    return event->type == WD_EVENT_DTLS || event->type == WD_EVENT_LEVEL || event->type == WD_EVENT_STATS;
}

static inline void wd_worker_emit(struct wd_worker *worker, const struct wd_event *event) {
    if ((wd_comes_again(event) && wd_ring_busy(worker->events)) || !wd_ring_put(worker->events, event))
        worker->counters->drop_event_ring_full++;
}

#endif
