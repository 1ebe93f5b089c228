#define _GNU_SOURCE
#include "worker_demux.h"
#include "worker_manual.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define THREAD_NAME "wadud-media"
#define SLICE_NS 100000 /* the least that the kernel takes */
#define SOON_ONE 1024
#define READ_SOCKET 1u /* the worker's own */
#define READ_OTHERS 2u /* others */
#define RUNG 4u

static int64_t monotonic_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static void emit(void *owner, const struct wd_event *event) { wd_worker_emit(owner, event); }

static void send_on_socket(struct wd_egress *egress) {
    struct wd_worker *worker = egress->owner;
    wd_demux_divert(worker, egress);
    worker->counters->drop_send_error += wd_udp_send(&worker->udp, egress);
    egress->used = egress->count = 0;
}

/* ---- the thread ---- */

static void carry_out_commands(struct wd_worker *worker, int64_t now_ns) {
    if (!wd_commands_waiting(worker->commands)) return;
    wd_router_flush(worker->router, now_ns, false); /* tells the core the time: it may have slept for long */
    uint64_t refused = wd_commands_apply(worker->commands, wd_demux_command, worker, now_ns);
    if (refused) atomic_fetch_add_explicit(&worker->commands_refused, refused, memory_order_relaxed);
}

/* One message, which GRO may have put together of several datagrams; returns how many. */
static size_t take(struct wd_worker *worker, const struct wd_udp_arrival *arrival, int64_t now_ns) {
    if (arrival->truncated) {
        worker->counters->drop_too_large++;
        return 1;
    }
    const struct wd_addr *local = arrival->local.family ? &arrival->local : NULL;
    size_t step = arrival->segment ? arrival->segment : arrival->length, at = 0, datagrams = 0;
    do {
        size_t length = arrival->length - at < step ? arrival->length - at : step;
        wd_demux_receive(worker, arrival->data + at, length, &arrival->from, local, now_ns);
        at += step;
        datagrams++;
    } while (at < arrival->length);
    return datagrams;
}

_Static_assert(WD_UDP_RECEIVE_BATCH <= WD_PREFETCH_MOST, "a batch is prefetched whole");

/* True when the socket may hold more. */
static bool read_socket(struct wd_worker *worker) {
    size_t datagrams = 0, messages = WD_UDP_RECEIVE_BATCH;
    while (messages == WD_UDP_RECEIVE_BATCH && datagrams < WD_ROUND_DATAGRAMS) {
        messages = wd_udp_receive(&worker->udp);
        int64_t now = worker->now_ns = monotonic_ns();
        carry_out_commands(worker, now); /* what was commanded before a datagram came holds for that datagram */
        struct wd_udp_arrival arrivals[WD_UDP_RECEIVE_BATCH];
        struct wd_arrival next[WD_UDP_RECEIVE_BATCH];
        for (size_t i = 0; i < messages; i++) {
            wd_udp_arrival(&worker->udp, i, &arrivals[i]);
            next[i] = (struct wd_arrival){arrivals[i].data, arrivals[i].length, &arrivals[i].from};
        }
        wd_router_prefetch(worker->router, next, messages);
        for (size_t i = 0; i < messages; i++) datagrams += take(worker, &arrivals[i], now);
    }
    worker->datagrams += datagrams;
    return messages == WD_UDP_RECEIVE_BATCH;
}

/* Media before signalling, also where both share a core: an interpreter that is busy for milliseconds must not delay
 * packets. As a real-time thread where that is allowed (root, or RLIMIT_RTPRIO). Else with short time slices: under the
 * scheduler of Linux 6.12 and later (EEVDF) a thread with an early deadline mostly runs as soon as it is woken. Older
 * kernels ignore that. */
static void run_first(struct wd_worker *worker) {
    struct {
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t runtime, deadline, period;
    } attributes = {.size = sizeof attributes};
    worker->first = pthread_setschedparam(pthread_self(), SCHED_RR, &(struct sched_param){.sched_priority = 1}) == 0;
    if (worker->first || syscall(SYS_sched_getattr, 0, &attributes, sizeof attributes, 0) != 0 ||
        attributes.policy != SCHED_OTHER)
        return;
    attributes.runtime = SLICE_NS;
    syscall(SYS_sched_setattr, 0, &attributes, 0);
}

/* Who never comes to rest has more work than a core can do, a flood perhaps. Then the others get their share of the
 * core until there was rest again. */
static void give_way(struct wd_worker *worker) {
    if (!worker->first || monotonic_ns() - worker->woke_ns < WD_TIRELESS_NS) return;
    worker->gave_way = pthread_setschedparam(pthread_self(), SCHED_OTHER, &(struct sched_param){0}) == 0;
    worker->first = false;
}

static void rested(struct wd_worker *worker) {
    if (!worker->gave_way) return;
    worker->gave_way = false;
    run_first(worker);
}

static void learn(struct wd_worker *worker, bool soon) { worker->soon += ((soon ? SOON_ONE : 0) - worker->soon) / 8; }

static void learn_work(struct wd_worker *worker) {
    if (!worker->datagrams) return;
    double work_ns = (double)(monotonic_ns() - worker->woke_ns) / (double)worker->datagrams;
    if (work_ns > 4 * WD_WORTH_WAKING_NS)
        work_ns = 4 * WD_WORTH_WAKING_NS; /* the thread was held up, or did something else */
    worker->work_ns += (work_ns - worker->work_ns) / 16;
}

static bool should_gather(const struct wd_worker *worker) {
    return worker->datagrams && worker->soon > SOON_ONE / 2 && worker->work_ns < WD_WORTH_WAKING_NS;
}

/* A wake-up costs as much as forwarding several packets. While most rounds are followed by the next datagram within
 * WD_SOON_NS, the thread sleeps blindly for a while and takes what has gathered: many bursts become one round. The
 * busier the core, the more gathers in a shorter time: a wake-up per WD_GATHER_WORK_NS of work is few enough. A nap
 * that gathered nothing is followed by waiting for the socket, and so is work that outweighs a wake-up by itself, where
 * a datagram goes to dozens of receivers. */
static unsigned nap(struct wd_worker *worker, int64_t wake_ns) {
    int64_t now = monotonic_ns(), cycle_ns = now - worker->slept_ns, length = WD_GATHER_NS;
    double busy = cycle_ns > 0 ? (double)(now - worker->woke_ns) / (double)cycle_ns : 1;
    worker->load += (busy - worker->load) / 16;
    if (length * worker->load > WD_GATHER_WORK_NS * (1 - worker->load))
        length = (int64_t)(WD_GATHER_WORK_NS * (1 - worker->load) / worker->load);
    worker->slept_ns = now;
    if (wake_ns != INT64_MAX && length > wake_ns - now) length = wake_ns - now;
    if (length > 0) clock_nanosleep(CLOCK_MONOTONIC, 0, &(struct timespec){.tv_nsec = length}, NULL);
    worker->napped = true;
    return READ_SOCKET | READ_OTHERS;
}

/* Sleeps until `wake_ns`, a command or a datagram; what can be read, and whether the bell rang. */
static unsigned sleep_until(struct wd_worker *worker, int64_t wake_ns) {
    struct epoll_event wakers[3];
    struct timespec most = {0};
    int64_t left = wake_ns == INT64_MAX ? 0 : wake_ns - monotonic_ns();
    int64_t began = worker->slept_ns = monotonic_ns();
    if (left > 0) most = (struct timespec){.tv_sec = left / 1000000000, .tv_nsec = left % 1000000000};
    int count = epoll_pwait2(worker->wakers, wakers, 3, wake_ns == INT64_MAX ? NULL : &most, NULL);
    worker->napped = false;
    learn(worker, count > 0 && monotonic_ns() - began < WD_SOON_NS);
    unsigned ready = 0;
    for (int i = 0; i < count; i++) ready |= wakers[i].data.u32;
    uint64_t rings;
    if (ready & RUNG)
        while (read(worker->bell, &rings, sizeof rings) < 0 && errno == EINTR) continue;
    return ready;
}

static bool wakes(struct wd_worker *worker, int fd, uint32_t as) {
    return epoll_ctl(worker->wakers, EPOLL_CTL_ADD, fd, &(struct epoll_event){.events = EPOLLIN, .data.u32 = as}) == 0;
}

/* An epoll set is made once; what poll would be told of anew for each of thousands of sleeps stays with the kernel.
 * Tried at once: a kernel before Linux 5.11, or a sandbox, may not have the call that sleeps to the nanosecond, and a
 * thread that cannot sleep would never say so. */
static bool open_wakers(struct wd_worker *worker) {
    struct epoll_event none;
    return (worker->wakers = epoll_create1(EPOLL_CLOEXEC)) >= 0 && wakes(worker, worker->udp.fd, READ_SOCKET) &&
           wakes(worker, worker->epoll, READ_OTHERS) && wakes(worker, worker->bell, RUNG) &&
           epoll_pwait2(worker->wakers, &none, 1, &(struct timespec){0}, NULL) >= 0;
}

static int64_t run_core(struct wd_worker *worker) {
    int64_t now = worker->now_ns = monotonic_ns();
    int64_t flush_ns = wd_router_flush(worker->router, now, false);
    if (worker->egress.count) send_on_socket(&worker->egress); /* media leaves before any other work begins */
    wd_demux_flush(worker);
    carry_out_commands(worker, now);
    wd_router_tick(worker->router, now);
    int64_t demux_ns = wd_demux_tick(worker);
    if (worker->egress.count) send_on_socket(&worker->egress);
    wd_demux_flush(worker);
    int64_t tick_ns =
        wd_router_tick(worker->router, now); /* once more: a stream that has ended leaves others something to do */
    if (worker->egress.count) {
        send_on_socket(&worker->egress);
        wd_demux_flush(worker);
    }
    wd_ring_notify(worker->events);
    if (demux_ns < tick_ns) tick_ns = demux_ns;
    return flush_ns < tick_ns ? flush_ns : tick_ns;
}

static void *run(void *argument) {
    struct wd_worker *worker = argument;
    worker->thread_id = gettid();
    pthread_setname_np(pthread_self(), THREAD_NAME);
    run_first(worker);
    prctl(PR_SET_TIMERSLACK, 1000ul); /* ns; the default of 50 us is as long as a good part of a nap */
    sem_post(&worker->started);
    bool more = false;
    int64_t wake_ns = 0;
    for (bool stop = false; !stop;) {
        if (!more) learn_work(worker);
        unsigned ready = more                    ? READ_SOCKET | READ_OTHERS
                         : should_gather(worker) ? nap(worker, wake_ns)
                                                 : sleep_until(worker, wake_ns);
        if (more)
            give_way(worker);
        else {
            worker->woke_ns = monotonic_ns();
            worker->datagrams = 0;
            rested(worker);
        }
        stop = atomic_load_explicit(
            &worker->stop, memory_order_acquire); /* commands posted before it are still carried out in this round */
        more = ready & READ_SOCKET && read_socket(worker);
        if (ready & READ_OTHERS) {
            worker->now_ns = monotonic_ns();
            worker->datagrams += wd_demux_read(worker, &more);
        }
        if (worker->napped && !more)
            learn(worker, worker->woke_ns - worker->slept_ns < (int64_t)worker->datagrams * WD_SOON_NS);
        wake_ns = run_core(worker);
    }
    wd_router_flush(worker->router, monotonic_ns(), true);
    send_on_socket(&worker->egress);
    wd_demux_flush(worker);
    return NULL;
}

static bool start(struct wd_worker *worker, int cpu) {
    pthread_attr_t attributes;
    sigset_t all, before;
    pthread_attr_init(&attributes);
    int error = 0;
    if (cpu >= 0) {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET((size_t)cpu, &set);
        error = pthread_attr_setaffinity_np(&attributes, sizeof set, &set);
    }
    /* Signals are Python's business: the thread inherits a full mask. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    if (!error) error = pthread_create(&worker->thread, &attributes, run, worker);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    if (error) {
        errno = error;
        return false;
    }
    worker->running = true;
    worker->process = getpid();
    while (sem_wait(&worker->started) < 0) continue;
    return true;
}

/* ---- both ---- */

struct wd_worker *wd_worker_new(const struct wd_worker_config *config) {
    struct wd_worker *worker = calloc(1, sizeof *worker);
    if (!worker) return NULL;
    worker->manual = !config->threaded;
    worker->bell = worker->wakers = worker->epoll = worker->udp.fd = worker->borrowed.fd = -1;
    worker->index = config->index;
    sem_init(&worker->started, 0, 0);
    worker->egress.owner = worker->to_clients.owner = worker->to_peers.owner = worker;
    worker->egress.flush = worker->to_clients.flush = worker->manual ? wd_manual_send : send_on_socket;
    worker->to_peers.flush = worker->manual ? wd_manual_send : wd_demux_send_to_peers;

    errno = 0;
    if (!(worker->events = wd_ring_new())) goto failed;
    struct wd_router_config core = {.max_transports = config->max_transports,
                                    .seed = config->seed,
                                    .emit = emit,
                                    .owner = worker,
                                    .egress = &worker->egress};
    if (!(worker->router = wd_router_new(&core))) goto failed;
    worker->counters = wd_router_counters(worker->router);
    if (!wd_demux_open(worker, config)) goto failed;
    if (worker->manual) return worker;

    if (!wd_udp_open(&worker->udp, config->address, config->port, config->shared_port)) goto failed;
    if ((worker->bell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) < 0 || !open_wakers(worker)) goto failed;
    if (!(worker->commands = wd_commands_new(worker->bell))) goto failed;
    if (start(worker, config->cpu)) return worker;

failed:;
    int error = errno ? errno : ENOMEM;
    wd_worker_free(worker);
    errno = error;
    return NULL;
}

static void stop(struct wd_worker *worker) {
    atomic_store_explicit(&worker->stop, true, memory_order_release);
    uint64_t one = 1;
    while (write(worker->bell, &one, sizeof one) < 0 && errno == EINTR) continue;
    pthread_join(worker->thread, NULL);
}

void wd_worker_free(struct wd_worker *worker) {
    if (!worker) return;
    /* A forked child has inherited memory and descriptors, but not the thread: there is nobody to stop. */
    if (worker->running && worker->process == getpid())
        stop(worker);
    else if (worker->running)
        wd_demux_unwatched(worker);
    if (worker->commands) wd_commands_shut(worker->commands);
    wd_demux_close(worker);
    wd_udp_close(&worker->udp);
    wd_commands_release(worker->commands);
    if (worker->bell >= 0) close(worker->bell);
    if (worker->wakers >= 0) close(worker->wakers);
    if (worker->router) wd_router_free(worker->router);
    wd_ring_free(worker->events);
    sem_destroy(&worker->started);
    free(worker->sent);
    free(worker->sent_bytes);
    free(worker);
}

uint16_t wd_worker_port(const struct wd_worker *worker) { return worker->udp.port; }
pid_t wd_worker_thread_id(const struct wd_worker *worker) { return worker->thread_id; }
uint32_t wd_worker_index(const struct wd_worker *worker) { return worker->index; }
struct wd_commands *wd_worker_hold_queue(struct wd_worker *worker) {
    return worker->commands ? wd_commands_hold(worker->commands) : NULL;
}
struct wd_ring *wd_worker_events(struct wd_worker *worker) { return worker->events; }

bool wd_worker_command(struct wd_worker *worker, const struct wd_command *command, const void *data) {
    if (!worker->manual)
        return worker->held ? wd_commands_leave(worker->commands, command, data)
                            : wd_commands_post(worker->commands, command, data);
    if (!wd_demux_command(worker, command, (void *)data, worker->now_ns))
        atomic_fetch_add_explicit(&worker->commands_refused, 1, memory_order_relaxed);
    wd_manual_settle(worker);
    return true;
}

/* The worker goes on counting meanwhile: every word is right, the sum of two may be a moment off. */
static void read_words(void *out, const void *counters, size_t size) {
    const uint64_t *from = counters;
    uint64_t *to = out;
    for (size_t i = 0; i < size / sizeof *to; i++) to[i] = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
}

void wd_worker_hold(struct wd_worker *worker, bool held) {
    worker->held = held;
    if (!held && worker->commands) wd_commands_ring(worker->commands);
}

void wd_worker_read_counters(struct wd_worker *worker, struct wd_worker_counters *out) {
    read_words(&out->router, worker->counters, sizeof out->router);
    read_words(&out->relay, wd_relay_counters(worker->relay), sizeof out->relay);
    read_words(&out->streams, wd_streams_counters(worker->streams), sizeof out->streams);
    out->commands_refused = atomic_load_explicit(&worker->commands_refused, memory_order_relaxed);
    out->drop_socket_full = worker->manual ? 0 : wd_udp_overflow(&worker->udp);
}
