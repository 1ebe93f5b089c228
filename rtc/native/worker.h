/* The shell around the forwarding core and the relay core: a thread that owns one UDP socket, the relayed sockets and
 * both cores, or (manual) cores that the caller drives in his own time.
 *
 * A round of the thread: sleep until the socket, a command or the router's deadline; read what has come, at most
 * WD_ROUND_DATAGRAMS, but carry out waiting commands first; flush; send; tick; send; ring for the events. Other threads
 * touch only the command queue, the event ring's consumer side and (reading) the counters. */
#ifndef WD_WORKER_H
#define WD_WORKER_H

#include <sys/types.h>

#include "commands.h"
#include "ring.h"
#include "stream.h"
#include "udp.h"

/* then what was received is forwarded, before more is read: it is still in the near caches */
#define WD_ROUND_DATAGRAMS 64
#define WD_GATHER_NS 3000000 /* most that a datagram waits for others to be forwarded with, at light load */
#define WD_SOON_NS 1500000 /* datagrams that follow each other faster are worth gathering */
#define WD_WORTH_WAKING_NS 30000 /* of forwarding, for each datagram */
#define WD_GATHER_WORK_NS 400000 /* of forwarding, for each time the thread is woken */
#define WD_TIRELESS_NS 50000000 /* without a rest: overload */

struct wd_worker_config {
    const char *address;
    uint16_t port;
    bool threaded;
    bool shared_port; /* other workers may have the same */
    int cpu; /* -1 = any */
    uint32_t max_transports, max_allocations, max_streams;
    uint32_t index; /* among the workers of this process */
    uint64_t seed;
};

struct wd_worker;

/* NULL with errno: socket and bind errors, ENOMEM, EINVAL for a CPU that is not there. */
struct wd_worker *wd_worker_new(const struct wd_worker_config *config);
/* Lets the thread carry out the commands that wait, joins it and frees everything. */
void wd_worker_free(struct wd_worker *worker);

uint16_t wd_worker_port(const struct wd_worker *worker); /* 0 when manual */
pid_t wd_worker_thread_id(const struct wd_worker *worker); /* 0 when manual */
struct wd_ring *wd_worker_events(struct wd_worker *worker);
bool wd_worker_command(struct wd_worker *worker, const struct wd_command *command,
                       const void *data); /* false when out of memory */
void wd_worker_hold(struct wd_worker *worker, bool held); /* while it is held, commands wait for others */

/* What a neighbour needs to hand datagrams to this worker; released by wd_commands_release. NULL when manual. */
struct wd_commands *wd_worker_hold_queue(struct wd_worker *worker);
uint32_t wd_worker_index(const struct wd_worker *worker);

struct wd_worker_counters {
    struct wd_counters router;
    struct wd_relay_counters relay;
    struct wd_stream_counters streams;
    uint64_t commands_refused;
    uint64_t drop_socket_full; /* by the kernel, because the worker read too late */
};
void wd_worker_read_counters(struct wd_worker *worker, struct wd_worker_counters *out);

/* Manual workers only. Time must not go back. */
int64_t wd_worker_now(const struct wd_worker *worker); /* of the last call */
void wd_worker_receive(struct wd_worker *worker, uint8_t *datagram, size_t length, const struct wd_addr *from,
                       int64_t now_ns);
void wd_worker_receive_relayed(struct wd_worker *worker, uint8_t *datagram, size_t length, const struct wd_addr *peer,
                               const struct wd_addr *relayed, int64_t now_ns);
int64_t wd_worker_advance(struct wd_worker *worker, int64_t now_ns);
struct wd_sent {
    struct wd_addr to;
    const uint8_t *data;
    size_t length;
};
/* Datagrams sent since wd_worker_forget_sent; valid until the next call of any of these. */
size_t wd_worker_sent_count(const struct wd_worker *worker);
struct wd_sent wd_worker_sent(const struct wd_worker *worker, size_t index);
void wd_worker_forget_sent(struct wd_worker *worker);

#endif
