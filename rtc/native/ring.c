#define _GNU_SOURCE
#include "ring.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define RECORD_ALIGN 8u

struct wd_ring {
    int fd;
    /* Each side's words on cache lines of their own. */
    _Alignas(64) _Atomic uint64_t head; /* end of the newest record; written by the producer */
    uint64_t known_tail;
    bool unannounced;
    _Alignas(64) _Atomic uint64_t tail; /* start of the oldest record; written by the consumer */
    uint64_t known_head;
    _Alignas(64) _Atomic bool armed;
    _Alignas(64) uint8_t bytes[WD_RING_BYTES];
};

struct wd_ring *wd_ring_new(void) {
    struct wd_ring *ring = aligned_alloc(64, sizeof *ring);
    if (!ring) return NULL;
    memset(ring, 0, offsetof(struct wd_ring, bytes));
    atomic_init(&ring->head, 0);
    atomic_init(&ring->tail, 0);
    atomic_init(&ring->armed, true);
    ring->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (ring->fd < 0) {
        free(ring);
        return NULL;
    }
    return ring;
}

void wd_ring_free(struct wd_ring *ring) {
    if (!ring) return;
    close(ring->fd);
    free(ring);
}

int wd_ring_fd(const struct wd_ring *ring) { return ring->fd; }

static void copy_in(struct wd_ring *ring, uint64_t at, const void *from, size_t length) {
    size_t offset = at % WD_RING_BYTES, first = WD_RING_BYTES - offset < length ? WD_RING_BYTES - offset : length;
    if (first) memcpy(ring->bytes + offset, from, first);
    if (length > first) memcpy(ring->bytes, (const uint8_t *)from + first, length - first);
}

static void copy_out(const struct wd_ring *ring, uint64_t at, void *to, size_t length) {
    size_t offset = at % WD_RING_BYTES, first = WD_RING_BYTES - offset < length ? WD_RING_BYTES - offset : length;
    if (first) memcpy(to, ring->bytes + offset, first);
    if (length > first) memcpy((uint8_t *)to + first, ring->bytes, length - first);
}

static uint64_t record_size(size_t data_length) {
    return (sizeof(struct wd_event) + data_length + RECORD_ALIGN - 1) & ~(uint64_t)(RECORD_ALIGN - 1);
}

bool wd_ring_busy(struct wd_ring *ring) {
    uint64_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
    if (head - ring->known_tail <= WD_RING_BYTES / 2) return false;
    ring->known_tail = atomic_load_explicit(&ring->tail, memory_order_acquire);
    return head - ring->known_tail > WD_RING_BYTES / 2;
}

bool wd_ring_put(struct wd_ring *ring, const struct wd_event *event) {
    size_t length = event->data ? event->length : 0;
    if (length > WD_RING_MAX_DATA) return false;
    uint64_t head = atomic_load_explicit(&ring->head, memory_order_relaxed), size = record_size(length);
    if (head + size - ring->known_tail > WD_RING_BYTES) {
        ring->known_tail = atomic_load_explicit(&ring->tail, memory_order_acquire);
        if (head + size - ring->known_tail > WD_RING_BYTES) return false;
    }
    struct wd_event record = *event;
    record.data = NULL;
    record.length = length;
    copy_in(ring, head, &record, sizeof record);
    if (length) copy_in(ring, head + sizeof record, event->data, length);
    atomic_store_explicit(&ring->head, head + size, memory_order_release);
    if (!event->patient || wd_ring_busy(ring)) ring->unannounced = true;
    return true;
}

static void strike(struct wd_ring *ring) {
    if (!atomic_exchange_explicit(&ring->armed, false, memory_order_acq_rel)) return;
    uint64_t one = 1;
    while (write(ring->fd, &one, sizeof one) < 0 && errno == EINTR) continue;
}

void wd_ring_notify(struct wd_ring *ring) {
    if (!ring->unannounced) return;
    ring->unannounced = false;
    strike(ring);
}

void wd_ring_begin(struct wd_ring *ring) { ring->known_head = atomic_load_explicit(&ring->head, memory_order_acquire); }

bool wd_ring_take(struct wd_ring *ring, struct wd_event *event, uint8_t data[WD_RING_MAX_DATA]) {
    uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    if (tail == ring->known_head) return false;
    copy_out(ring, tail, event, sizeof *event);
    copy_out(ring, tail + sizeof *event, data, event->length);
    event->data = data;
    atomic_store_explicit(&ring->tail, tail + record_size(event->length), memory_order_release);
    return true;
}

void wd_ring_rest(struct wd_ring *ring) {
    uint64_t count;
    while (read(ring->fd, &count, sizeof count) < 0 && errno == EINTR) continue;
    atomic_exchange_explicit(&ring->armed, true, memory_order_acq_rel);
    if (atomic_load_explicit(&ring->head, memory_order_acquire) !=
        atomic_load_explicit(&ring->tail, memory_order_relaxed))
        strike(ring);
}
