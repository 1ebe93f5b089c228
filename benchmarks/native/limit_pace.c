#define _GNU_SOURCE
#include "limit_pace.h"
#include "load.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define CYCLE_NS INT64_C(100000000) /* after which everybody's moments come again */
#define FRAMES 3 /* of a cycle */
#define AUDIO 5
#define RUNG 65536 /* bursts under way: a power of two, more than any cycle of any load has */
#define BUCKET_NS 10000
#define BUCKETS 5000

struct moment {
    int64_t offset_ns;
    uint32_t source;
    bool is_video;
};

struct pace {
    _Atomic uint64_t rung;
    uint64_t taken;
    int64_t began_ns, nap_ns;
    int bell;
    unsigned count;
    uint64_t latencies[BUCKETS];
    int64_t rung_ns[RUNG];
    struct moment moments[];
};

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static int by_offset(const void *a, const void *b) {
    const struct moment *one = a, *other = b;
    return (one->offset_ns > other->offset_ns) - (one->offset_ns < other->offset_ns);
}

static void add(struct pace *pace, uint32_t source, bool is_video, unsigned times, uint64_t *random) {
    int64_t interval_ns = CYCLE_NS / times, first_ns = load_random(random) % interval_ns;
    for (unsigned i = 0; i < times; i++)
        pace->moments[pace->count++] = (struct moment){first_ns + i * interval_ns, source, is_video};
}

struct pace *pace_new(unsigned sources, int64_t nap_ns) {
    uint64_t random = 7;
    size_t moments = (size_t)sources * (FRAMES + AUDIO);
    if (moments > RUNG) return NULL;
    struct pace *pace = mmap(NULL, sizeof *pace + moments * sizeof *pace->moments, PROT_READ | PROT_WRITE,
                             MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (pace == MAP_FAILED) return NULL;
    pace->nap_ns = nap_ns;
    pace->bell = eventfd(0, 0);
    for (uint32_t source = 0; source < sources; source++) {
        add(pace, source, true, FRAMES, &random);
        add(pace, source, false, AUDIO, &random);
    }
    qsort(pace->moments, pace->count, sizeof *pace->moments, by_offset);
    return pace->bell < 0 ? NULL : pace;
}

void pace_begin(struct pace *pace) { pace->began_ns = now_ns(); }

void pace_ring(struct pace *pace) {
    uint64_t rung = atomic_load_explicit(&pace->rung, memory_order_relaxed), before = rung;
    int64_t now = now_ns();
    while (pace->began_ns + (int64_t)(rung / pace->count) * CYCLE_NS + pace->moments[rung % pace->count].offset_ns <=
           now)
        pace->rung_ns[rung++ % RUNG] = now;
    if (rung == before) return;
    atomic_store_explicit(&pace->rung, rung, memory_order_release);
    eventfd_write(pace->bell, 1);
}

uint64_t pace_wait(struct pace *pace) {
    eventfd_t rings;
    if (pace->nap_ns) clock_nanosleep(CLOCK_MONOTONIC, 0, &(struct timespec){.tv_nsec = pace->nap_ns}, NULL);
    while (atomic_load_explicit(&pace->rung, memory_order_acquire) == pace->taken) eventfd_read(pace->bell, &rings);
    return atomic_load_explicit(&pace->rung, memory_order_acquire) - pace->taken;
}

struct pace_burst pace_next(struct pace *pace) {
    const struct moment *moment = &pace->moments[pace->taken % pace->count];
    return (struct pace_burst){pace->rung_ns[pace->taken++ % RUNG], moment->source, moment->is_video};
}

void pace_note(struct pace *pace, int64_t rung_ns, int64_t arrived_ns, unsigned packets) {
    int64_t bucket = (arrived_ns - rung_ns) / BUCKET_NS;
    pace->latencies[bucket < 0 ? 0 : bucket < BUCKETS ? bucket : BUCKETS - 1] += packets;
}

void pace_reset(struct pace *pace) {
    for (unsigned i = 0; i < BUCKETS; i++) pace->latencies[i] = 0;
}

double pace_latency_us(const struct pace *pace, double share) {
    uint64_t all = 0, seen = 0;
    for (unsigned i = 0; i < BUCKETS; i++) all += pace->latencies[i];
    if (!all) return 0;
    for (unsigned i = 0; i < BUCKETS; i++)
        if ((double)(seen += pace->latencies[i]) >= share * (double)all) return (i + 1) * (double)BUCKET_NS / 1000;
    return 0;
}
