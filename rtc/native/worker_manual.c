/* The manual worker: no thread, no socket; the caller brings the datagrams and the time, and takes what is sent. */
#include "worker_manual.h"

#include <stdlib.h>
#include <string.h>

#include "worker_demux.h"

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
    worker->sent[worker->sent_count++] =
        (struct sent_entry){.to = message->to, .offset = worker->sent_used, .length = length};
    memcpy(worker->sent_bytes + worker->sent_used, data, length);
    worker->sent_used += length;
    return true;
}

void wd_manual_send(struct wd_egress *egress) {
    struct wd_worker *worker = egress->owner;
    wd_demux_divert(worker, egress);
    for (size_t i = 0; i < egress->count; i++) {
        const struct wd_message *message = &egress->messages[i];
        if (message->to.via) continue;
        size_t step = message->segment ? message->segment : message->length;
        for (size_t at = 0; at < message->length; at += step) {
            size_t length = message->length - at < step ? message->length - at : step;
            if (!keep_sent(worker, message, egress->data + message->offset + at, length))
                worker->counters->drop_send_error++;
        }
    }
    egress->used = egress->count = 0;
}

void wd_manual_settle(struct wd_worker *worker) {
    wd_manual_send(&worker->egress);
    wd_demux_flush(worker);
    wd_ring_notify(worker->events);
}

int64_t wd_worker_now(const struct wd_worker *worker) { return worker->now_ns; }

void wd_worker_receive(struct wd_worker *worker, uint8_t *datagram, size_t length, const struct wd_addr *from,
                       int64_t now_ns) {
    worker->now_ns = now_ns;
    wd_demux_receive(worker, datagram, length, from, NULL, now_ns);
    wd_manual_settle(worker);
}

void wd_worker_receive_relayed(struct wd_worker *worker, uint8_t *datagram, size_t length, const struct wd_addr *peer,
                               const struct wd_addr *relayed, int64_t now_ns) {
    worker->now_ns = now_ns;
    struct wd_relayed *found = wd_relay_find(worker->relay, relayed);
    if (found) wd_relay_peer(worker->relay, found, datagram, length, peer, now_ns);
    wd_manual_settle(worker);
}

int64_t wd_worker_advance(struct wd_worker *worker, int64_t now_ns) {
    worker->now_ns = now_ns;
    wd_streams_poll(worker->streams, now_ns);
    int64_t flush_ns = wd_router_flush(worker->router, now_ns, false), tick_ns = wd_router_tick(worker->router, now_ns),
            demux_ns = wd_demux_tick(worker);
    if (demux_ns < tick_ns) tick_ns = demux_ns;
    wd_manual_settle(worker);
    return flush_ns < tick_ns ? flush_ns : tick_ns;
}

size_t wd_worker_sent_count(const struct wd_worker *worker) { return worker->sent_count; }

struct wd_sent wd_worker_sent(const struct wd_worker *worker, size_t index) {
    const struct sent_entry *entry = &worker->sent[index];
    return (struct wd_sent){.to = entry->to, .data = worker->sent_bytes + entry->offset, .length = entry->length};
}

void wd_worker_forget_sent(struct wd_worker *worker) { worker->sent_count = worker->sent_used = 0; }
