#include "dtls_flight.h"

#include <stdlib.h>
#include <string.h>

void wd_datagrams_clear(struct wd_datagrams *datagrams) {
    for (size_t i = 0; i < datagrams->count; i++) free(datagrams->items[i].data);
    datagrams->count = 0;
}

void wd_datagrams_put(struct wd_datagrams *datagrams, const uint8_t *data, size_t length) {
    if (datagrams->count == WD_MAX_WAITING || length > WD_MAX_DATAGRAM) return;
    uint8_t *copy = malloc(length ? length : 1);
    if (!copy) return;
    memcpy(copy, data, length);
    datagrams->items[datagrams->count].data = copy;
    datagrams->items[datagrams->count++].length = (uint16_t)length;
}

size_t wd_datagrams_take_back(struct wd_datagrams *datagrams, uint8_t *data, size_t room) {
    if (!datagrams->count) return 0;
    size_t last = --datagrams->count, length = datagrams->items[last].length;
    if (length <= room) memcpy(data, datagrams->items[last].data, length);
    free(datagrams->items[last].data);
    return length <= room ? length : 0;
}

static void put_range(struct wd_datagrams *to, const struct wd_datagrams *from, size_t begin, size_t end) {
    for (size_t i = begin; i < end; i++) wd_datagrams_put(to, from->items[i].data, from->items[i].length);
}

/* OpenSSL repeats each message in a datagram of its own; records that fit travel together, or a flight would be lost
 * more often than at first. */
static void put_repetition(struct wd_flight *flight, const uint8_t *data, size_t length) {
    struct wd_datagrams *q = &flight->repetitions;
    size_t begin = flight->count ? flight->ends[flight->count - 1] : 0, last = q->count - 1;
    uint8_t *longer = q->count > begin && q->items[last].length + length <= flight->mtu
                          ? realloc(q->items[last].data, q->items[last].length + length)
                          : NULL;
    if (!longer) {
        wd_datagrams_put(q, data, length);
        return;
    }
    memcpy(longer + q->items[last].length, data, length);
    q->items[last].data = longer;
    q->items[last].length = (uint16_t)(q->items[last].length + length);
}

void wd_flight_write(struct wd_flight *flight, const uint8_t *data, size_t length) {
    if (flight->repeating)
        put_repetition(flight, data, length);
    else
        wd_datagrams_put(&flight->out, data, length);
}

void wd_flight_begin_repetition(struct wd_flight *flight) { flight->repeating = flight->count < WD_REPETITIONS; }

void wd_flight_end_repetition(struct wd_flight *flight) {
    if (flight->repeating) flight->ends[flight->count++] = flight->repetitions.count;
    flight->repeating = false;
}

void wd_flight_drop_repetitions(struct wd_flight *flight) {
    wd_datagrams_clear(&flight->repetitions);
    flight->count = flight->next = 0;
}

void wd_flight_keep(struct wd_flight *flight, size_t begin) {
    wd_datagrams_clear(&flight->last);
    put_range(&flight->last, &flight->out, begin, flight->out.count);
}

void wd_flight_resend(struct wd_flight *flight) { put_range(&flight->out, &flight->last, 0, flight->last.count); }

void wd_flight_repeat(struct wd_flight *flight) {
    if (!flight->count) {
        wd_flight_resend(flight);
        return;
    }
    size_t k = flight->next++ % flight->count;
    put_range(&flight->out, &flight->repetitions, k ? flight->ends[k - 1] : 0, flight->ends[k]);
}

void wd_flight_forget(struct wd_flight *flight) {
    wd_datagrams_clear(&flight->last);
    wd_flight_drop_repetitions(flight);
}
