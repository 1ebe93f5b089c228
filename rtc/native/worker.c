#define _GNU_SOURCE
#include "worker.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define THREAD_NAME "wadud-media"
#define SLICE_NS 100000 /* the least that the kernel takes */
#define SOON_ONE 1024

struct sent_entry {
    struct wd_addr to;
    size_t offset, length;
};

struct wd_worker {
    struct wd_router *router;
    struct wd_ring *events;
    struct wd_egress egress;
    struct wd_counters *counters; /* the router's */
    _Atomic uint64_t commands_refused;

    /* threaded */
    struct wd_udp udp;
    struct wd_commands *commands;
    int bell; /* eventfd: commands wait, or stop */
    pthread_t thread;
    bool running;
    pid_t process; /* the one that has the thread */
    pid_t thread_id;
    sem_t started;
    int64_t slept_ns, woke_ns; /* when the newest sleep began and ended */
    double load; /* share of the time between sleeps that was work, of late */
    size_t round_datagrams; /* read in the newest round */
    bool first, gave_way; /* runs before ordinary threads; would, but is overloaded */
    bool napped; /* before it, instead of waiting for the socket */
    int soon; /* how often, of late, a round's datagrams were followed by the next within WD_GATHER_NS: 0 to SOON_ONE */
    _Atomic bool stop;

    /* by hand */
    bool by_hand;
    int64_t now_ns;
    struct sent_entry *sent;
    size_t sent_count, sent_capacity;
    uint8_t *sent_bytes;
    size_t sent_used, sent_bytes_capacity;
};

static int64_t monotonic_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static void emit(void *owner, const struct wd_event *event) {
    struct wd_worker *worker = owner;
    if (!wd_ring_put(worker->events, event)) worker->counters->drop_event_ring_full++;
}

static void send_on_socket(struct wd_egress *egress) {
    struct wd_worker *worker = egress->owner;
    worker->counters->drop_send_error += wd_udp_send(&worker->udp, egress);
    egress->used = egress->count = 0;
}

/* ---- the thread ---- */

static void carry_out_commands(struct wd_worker *worker, int64_t now_ns) {
    if (!wd_commands_waiting(worker->commands)) return;
    wd_router_flush(worker->router, now_ns, false); /* tells the core the time: it may have slept for long */
    uint64_t refused = wd_commands_apply(worker->commands, worker->router, now_ns);
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
        wd_router_receive(worker->router, arrival->data + at, length, &arrival->from, local, now_ns);
        at += step;
        datagrams++;
    } while (at < arrival->length);
    return datagrams;
}

/* True when the socket may hold more. */
static bool read_socket(struct wd_worker *worker) {
    size_t datagrams = 0, messages = WD_UDP_RECEIVE_BATCH;
    while (messages == WD_UDP_RECEIVE_BATCH && datagrams < WD_ROUND_DATAGRAMS) {
        messages = wd_udp_receive(&worker->udp);
        int64_t now = monotonic_ns();
        carry_out_commands(worker, now); /* what was commanded before a datagram came holds for that datagram */
        struct wd_udp_arrival arrivals[WD_UDP_RECEIVE_BATCH];
        for (size_t i = 0; i < messages; i++) {
            wd_udp_arrival(&worker->udp, i, &arrivals[i]);
            wd_router_expect(worker->router, &arrivals[i].from, false);
        }
        for (size_t i = 0; i < messages; i++) {
            if (i + 2 < messages) wd_router_expect(worker->router, &arrivals[i + 2].from, true);
            datagrams += take(worker, &arrivals[i], now);
        }
    }
    worker->round_datagrams = datagrams;
    return messages == WD_UDP_RECEIVE_BATCH;
}

/* Media before signalling, also where both share a core: an interpreter that is busy for milliseconds must not delay packets. As a real-time thread where that is
 * allowed (root, or RLIMIT_RTPRIO). Else with short time slices: under the scheduler of Linux 6.12 and later (EEVDF) a thread with an early deadline mostly runs
 * as soon as it is woken. Older kernels ignore that. */
static void run_first(struct wd_worker *worker) {
    struct { uint32_t size, policy; uint64_t flags; int32_t nice; uint32_t priority; uint64_t runtime, deadline, period; } attributes = {.size = sizeof attributes};
    worker->first = pthread_setschedparam(pthread_self(), SCHED_RR, &(struct sched_param){.sched_priority = 1}) == 0;
    if (worker->first || syscall(SYS_sched_getattr, 0, &attributes, sizeof attributes, 0) != 0 || attributes.policy != SCHED_OTHER) return;
    attributes.runtime = SLICE_NS;
    syscall(SYS_sched_setattr, 0, &attributes, 0);
}

/* Who never comes to rest has more work than a core can do, a flood perhaps. Then the others get their share of the core until there was rest again. */
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

/* A wake-up costs as much as forwarding several packets. While most rounds are followed by the next datagram within WD_GATHER_NS, the thread sleeps blindly
 * for a while and takes what has gathered: many bursts become one round. The busier the core, the more gathers in a shorter time: a wake-up per WD_GATHER_WORK_NS
 * of work is few enough. A nap that gathered nothing is followed by waiting for the socket. */
static bool nap(struct wd_worker *worker, int64_t wake_ns) {
    int64_t now = monotonic_ns(), cycle_ns = now - worker->slept_ns, length = WD_GATHER_NS;
    double busy = cycle_ns > 0 ? (double)(now - worker->woke_ns) / (double)cycle_ns : 1;
    worker->load += (busy - worker->load) / 16;
    if (length * worker->load > WD_GATHER_WORK_NS * (1 - worker->load)) length = (int64_t)(WD_GATHER_WORK_NS * (1 - worker->load) / worker->load);
    worker->slept_ns = now;
    if (wake_ns != INT64_MAX && length > wake_ns - now) length = wake_ns - now;
    if (length > 0) clock_nanosleep(CLOCK_MONOTONIC, 0, &(struct timespec){.tv_nsec = length}, NULL);
    worker->napped = true;
    return true;
}

/* Sleeps until `wake_ns`, a command or a datagram; true when there are datagrams. */
static bool sleep_until(struct wd_worker *worker, int64_t wake_ns) {
    struct pollfd wanted[2] = {{.fd = worker->udp.fd, .events = POLLIN}, {.fd = worker->bell, .events = POLLIN}};
    struct timespec most = {0};
    int64_t left = wake_ns == INT64_MAX ? 0 : wake_ns - monotonic_ns();
    int64_t began = worker->slept_ns = monotonic_ns();
    if (left > 0) most = (struct timespec){.tv_sec = left / 1000000000, .tv_nsec = left % 1000000000};
    int ready = ppoll(wanted, 2, wake_ns == INT64_MAX ? NULL : &most, NULL);
    worker->napped = false;
    learn(worker, ready > 0 && monotonic_ns() - began < WD_GATHER_NS);
    if (ready <= 0) return false;
    uint64_t count;
    if (wanted[1].revents)
        while (read(worker->bell, &count, sizeof count) < 0 && errno == EINTR) continue;
    return wanted[0].revents != 0;
}

static int64_t run_core(struct wd_worker *worker) {
    int64_t now = monotonic_ns();
    int64_t flush_ns = wd_router_flush(worker->router, now, false);
    if (worker->egress.count) send_on_socket(&worker->egress); /* media leaves before any other work begins */
    carry_out_commands(worker, now);
    int64_t tick_ns = wd_router_tick(worker->router, now);
    if (worker->egress.count) send_on_socket(&worker->egress);
    wd_ring_notify(worker->events);
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
        bool gather = worker->round_datagrams && worker->soon > SOON_ONE / 2;
        bool readable = more || (gather ? nap(worker, wake_ns) : sleep_until(worker, wake_ns));
        if (more) give_way(worker);
        else {
            worker->woke_ns = monotonic_ns();
            rested(worker);
        }
        worker->round_datagrams = 0;
        stop = atomic_load_explicit(&worker->stop, memory_order_acquire); /* commands posted before it are still carried out in this round */
        more = readable && read_socket(worker);
        if (worker->napped) learn(worker, worker->round_datagrams);
        wake_ns = run_core(worker);
    }
    wd_router_flush(worker->router, monotonic_ns(), true);
    send_on_socket(&worker->egress);
    return NULL;
}

static int start(struct wd_worker *worker, int cpu) {
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
        return -1;
    }
    worker->running = true;
    worker->process = getpid();
    while (sem_wait(&worker->started) < 0) continue;
    return 0;
}

/* ---- by hand ---- */

static bool grow(void **block, size_t *capacity, size_t wanted, size_t item) {
    if (wanted <= *capacity) return true;
    size_t bigger = *capacity ? *capacity : 64;
    while (bigger < wanted) bigger *= 2;
    void *moved = realloc(*block, bigger * item);
    if (!moved) return false;
    *block = moved;
    *capacity = bigger;
    return true;
}

static bool keep_sent(struct wd_worker *worker, const struct wd_message *message, const uint8_t *data, size_t length) {
    if (!grow((void **)&worker->sent, &worker->sent_capacity, worker->sent_count + 1, sizeof *worker->sent) ||
        !grow((void **)&worker->sent_bytes, &worker->sent_bytes_capacity, worker->sent_used + length, 1))
        return false;
    worker->sent[worker->sent_count++] = (struct sent_entry){.to = message->to, .offset = worker->sent_used, .length = length};
    memcpy(worker->sent_bytes + worker->sent_used, data, length);
    worker->sent_used += length;
    return true;
}

static void send_by_hand(struct wd_egress *egress) {
    struct wd_worker *worker = egress->owner;
    for (size_t i = 0; i < egress->count; i++) {
        const struct wd_message *message = &egress->messages[i];
        size_t step = message->segment ? message->segment : message->length;
        for (size_t at = 0; at < message->length; at += step) {
            size_t length = message->length - at < step ? message->length - at : step;
            if (!keep_sent(worker, message, egress->data + message->offset + at, length)) worker->counters->drop_send_error++;
        }
    }
    egress->used = egress->count = 0;
}

static void settle(struct wd_worker *worker) {
    send_by_hand(&worker->egress);
    wd_ring_notify(worker->events);
}

int64_t wd_worker_now(const struct wd_worker *worker) { return worker->now_ns; }

void wd_worker_receive(struct wd_worker *worker, uint8_t *datagram, size_t length, const struct wd_addr *from, int64_t now_ns) {
    worker->now_ns = now_ns;
    wd_router_receive(worker->router, datagram, length, from, NULL, now_ns);
    settle(worker);
}

int64_t wd_worker_advance(struct wd_worker *worker, int64_t now_ns) {
    worker->now_ns = now_ns;
    int64_t flush_ns = wd_router_flush(worker->router, now_ns, false), tick_ns = wd_router_tick(worker->router, now_ns);
    settle(worker);
    return flush_ns < tick_ns ? flush_ns : tick_ns;
}

size_t wd_worker_sent_count(const struct wd_worker *worker) { return worker->sent_count; }

struct wd_sent wd_worker_sent(const struct wd_worker *worker, size_t index) {
    const struct sent_entry *entry = &worker->sent[index];
    return (struct wd_sent){.to = entry->to, .data = worker->sent_bytes + entry->offset, .length = entry->length};
}

void wd_worker_forget_sent(struct wd_worker *worker) { worker->sent_count = worker->sent_used = 0; }

/* ---- both ---- */

struct wd_worker *wd_worker_new(const struct wd_worker_config *config) {
    struct wd_worker *worker = calloc(1, sizeof *worker);
    if (!worker) return NULL;
    worker->by_hand = !config->threaded;
    worker->bell = worker->udp.fd = -1;
    sem_init(&worker->started, 0, 0);
    worker->egress.owner = worker;
    worker->egress.flush = worker->by_hand ? send_by_hand : send_on_socket;

    errno = 0;
    if (!(worker->events = wd_ring_new())) goto failed;
    struct wd_router_config core = {.max_transports = config->max_transports, .seed = config->seed, .emit = emit, .owner = worker, .egress = &worker->egress};
    if (!(worker->router = wd_router_new(&core))) goto failed;
    worker->counters = wd_router_counters(worker->router);
    if (worker->by_hand) return worker;

    if (wd_udp_open(&worker->udp, config->address, config->port) < 0) goto failed;
    if ((worker->bell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) < 0) goto failed;
    if (!(worker->commands = wd_commands_new(worker->bell))) goto failed;
    if (start(worker, config->cpu) == 0) return worker;

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
    if (worker->running && worker->process == getpid()) stop(worker);
    wd_udp_close(&worker->udp);
    wd_commands_free(worker->commands);
    if (worker->bell >= 0) close(worker->bell);
    if (worker->router) wd_router_free(worker->router);
    wd_ring_free(worker->events);
    sem_destroy(&worker->started);
    free(worker->sent);
    free(worker->sent_bytes);
    free(worker);
}

uint16_t wd_worker_port(const struct wd_worker *worker) { return worker->udp.port; }
pid_t wd_worker_thread_id(const struct wd_worker *worker) { return worker->thread_id; }
struct wd_ring *wd_worker_events(struct wd_worker *worker) { return worker->events; }

int wd_worker_command(struct wd_worker *worker, const struct wd_command *command, const void *data) {
    if (!worker->by_hand) return wd_commands_post(worker->commands, command, data);
    if (wd_command_apply(command, data, worker->router, worker->now_ns) != 0) atomic_fetch_add_explicit(&worker->commands_refused, 1, memory_order_relaxed);
    settle(worker);
    return 0;
}

void wd_worker_read_counters(struct wd_worker *worker, struct wd_worker_counters *out) {
    const uint64_t *from = (const uint64_t *)worker->counters;
    uint64_t *to = (uint64_t *)&out->router;
    /* The worker goes on counting meanwhile: every word is right, the sum of two may be a moment off. */
    for (size_t i = 0; i < sizeof out->router / sizeof *to; i++) to[i] = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
    out->commands_refused = atomic_load_explicit(&worker->commands_refused, memory_order_relaxed);
    out->drop_socket_full = worker->by_hand ? 0 : wd_udp_overflow(&worker->udp);
}
