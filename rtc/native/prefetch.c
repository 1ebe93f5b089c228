/* The memory that the next datagrams will need, prefetched side by side.
 *
 * From a datagram's address to the place where its packet is kept lead six pointers, and with hundreds of participants
 * none of what they point to is in the nearest caches. One packet after the other would wait for each of them. So
 * before a batch is dealt with, all its senders are led through the steps together: while the line of the first is on
 * its way, that of the second is asked for. Nothing is changed here, and what is not found is left for later. */
#include "bytes.h"
#include "core.h"
#include "leg.h"
#include "track.h"

struct sender {
    const struct wd_table_cell *cell;
    uint64_t key;
    const struct transport *transport;
    size_t longest; /* of its datagrams */
};

static size_t find_senders(const struct wd_router *router, const struct wd_arrival *arrivals, size_t count,
                           struct sender *senders, uint8_t *sender_of) {
    size_t found = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t key = wd_address_key(arrivals[i].from);
        if (!found || senders[found - 1].key != key) {
            const struct wd_table_cell *cell = &router->by_tuple.cells[wd_table_home(&router->by_tuple, key)];
            __builtin_prefetch(cell);
            senders[found++] = (struct sender){.cell = cell, .key = key};
        }
        if (arrivals[i].length > senders[found - 1].longest) senders[found - 1].longest = arrivals[i].length;
        sender_of[i] = (uint8_t)(found - 1);
    }
    return found;
}

static void prefetch_transports(struct sender *senders, size_t count) {
    const struct tuple *tuples[WD_PREFETCH_MOST];
    for (size_t i = 0; i < count; i++) {
        tuples[i] = senders[i].cell->key == senders[i].key ? senders[i].cell->value : NULL;
        if (tuples[i]) wd_prefetch(tuples[i], WD_LINE);
    }
    for (size_t i = 0; i < count; i++) {
        senders[i].transport = tuples[i] ? tuples[i]->transport : NULL;
        if (senders[i].transport) wd_prefetch(senders[i].transport, WD_TRANSPORT_HEAD);
    }
}

static void prefetch_tracks(const struct sender *senders, size_t count) {
    for (size_t i = 0; i < count; i++) {
        const struct transport *t = senders[i].transport;
        if (!t) continue;
        if (t->keys.receive) wd_srtp_prefetch(t->keys.receive);
        if (t->feedback.twcc) wd_prefetch(t->feedback.twcc, WD_LINE);
        if (t->tracks) __builtin_prefetch(t->tracks);
    }
    for (size_t i = 0; i < count; i++) {
        const struct transport *t = senders[i].transport;
        if (!t) continue;
        if (t->keys.receive) wd_srtp_prefetch_keys(t->keys.receive, senders[i].longest);
        if (t->tracks && t->tracks->next) __builtin_prefetch(t->tracks->next);
    }
}

static void prefetch_track(const struct transport *t, const uint8_t *packet) {
    uint32_t ssrc = wd_get32(packet + 8);
    for (const struct track *track = t->tracks; track; track = track->next) {
        if (track->ssrc != ssrc || !track->slots) continue;
        wd_prefetch(&track->lowest, WD_TRACK_HEAD - offsetof(struct track, lowest));
        wd_prefetch(&track->slots[wd_get16(packet + 2) & track->slot_mask], sizeof(struct slot));
        if (track->legs) wd_prefetch(track->legs, WD_LEG_HEAD);
        return;
    }
}

void wd_router_prefetch(const struct wd_router *router, const struct wd_arrival *arrivals, size_t count) {
    struct sender senders[WD_PREFETCH_MOST];
    uint8_t sender_of[WD_PREFETCH_MOST];
    if (count > WD_PREFETCH_MOST) count = WD_PREFETCH_MOST;
    size_t found = find_senders(router, arrivals, count, senders, sender_of);
    prefetch_transports(senders, found);
    prefetch_tracks(senders, found);
    for (size_t i = 0; i < count; i++)
        if (senders[sender_of[i]].transport && arrivals[i].length >= 12 && arrivals[i].data[0] >> 6 == 2)
            prefetch_track(senders[sender_of[i]].transport, arrivals[i].data);
}
