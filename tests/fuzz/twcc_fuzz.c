/* Fuzzes transport-wide feedback: the writer by arrivals of chance, the reader by blocks of chance.
 *
 * Invariants of the writer: every block is read by our reader and by the decoder below, which knows nothing of the
 * writer; what it tells to have arrived did, at that time to a tick, and is told once; blocks follow each other without
 * a hole, unless the hole alone would fill a block; the newest arrival is told; writing ends. Of the reader: it accepts
 * exactly what the decoder accepts, and counts the same. */
#include "fuzz.h"

#include "../../rtc/native/bytes.h"
#include "../../rtc/native/rtcp.h"

#define TICK_US 250
#define REFERENCE_US 64000
#define REFERENCE_WRAP_US ((INT64_C(1) << 24) * REFERENCE_US)
#define FULL_BLOCK 300 /* sequence numbers that one block of 1,200 bytes tells at most */

struct world {
    struct wd_twcc twcc;
    int64_t arrived_us[65536]; /* first arrivals not told yet; 0 = none */
    int64_t now_us;
    uint16_t newest;
    bool has_told;
    uint16_t told_to; /* one past the last sequence number told */
};

struct decoded {
    uint16_t base, count, received;
    uint8_t symbols[65536 + 14];
    int64_t at_us[65536];
};

/* The draft's section 3.1, in two passes: symbols, then deltas. False = malformed. */
static bool decode(const struct wd_rtcp_block *block, struct decoded *d) {
    if (block->length < 20) return false;
    size_t at = 20, symbols = 0;
    d->base = wd_get16(block->data + 12);
    d->count = wd_get16(block->data + 14);
    d->received = 0;
    while (symbols < d->count) {
        if (at + 2 > block->length) return false;
        uint16_t chunk = wd_get16(block->data + at);
        at += 2;
        if (chunk >> 15 == 0) {
            size_t run = chunk & 0x1fff;
            if (!run) return false;
            for (size_t i = 0; i < run && symbols < d->count; i++) d->symbols[symbols++] = chunk >> 13;
        } else if (chunk >> 14 == 2) {
            for (int bit = 13; bit >= 0; bit--) d->symbols[symbols++] = chunk >> bit & 1;
        } else {
            for (int bit = 12; bit >= 0; bit -= 2) d->symbols[symbols++] = chunk >> bit & 3;
        }
    }
    int64_t clock = (int64_t)wd_get24(block->data + 16) * REFERENCE_US;
    for (size_t i = 0; i < d->count; i++) {
        uint8_t symbol = d->symbols[i];
        if (symbol == 3 || at + symbol > block->length) return false;
        if (symbol)
            clock += TICK_US * (symbol == 1 ? (int64_t)block->data[at] : (int64_t)(int16_t)wd_get16(block->data + at));
        at += symbol;
        d->at_us[i] = clock;
        d->received += symbol != 0;
    }
    return true;
}

static struct decoded scratch;

static void read_block(uint8_t *data, size_t length) {
    struct wd_rtcp_block block = {.type = WD_RTCP_RTPFB, .count = WD_RTPFB_TWCC, .data = data, .length = length};
    struct wd_twcc_summary summary;
    bool right = decode(&block, &scratch);
    require(wd_rtcp_read_twcc(&block, &summary) == right);
    if (right)
        require(summary.base == scratch.base && summary.count == scratch.count &&
                summary.received == scratch.received && summary.feedback == data[19]);
}

static void check_block(struct world *w, const uint8_t *out, size_t length, size_t capacity) {
    const uint8_t *at = out;
    size_t left = length;
    struct wd_rtcp_block block;
    struct wd_twcc_summary summary;
    require(wd_rtcp_next(&at, &left, &block) && !left && block.type == WD_RTCP_RTPFB && block.count == WD_RTPFB_TWCC);
    require(wd_get32(out + 4) == 0x01020304 && wd_get32(out + 8) == 0x05060708);
    require(wd_rtcp_read_twcc(&block, &summary) && decode(&block, &scratch));
    require(summary.received == scratch.received && summary.feedback == (uint8_t)(w->twcc.feedback - 1));
    require(scratch.count > 0 && scratch.symbols[scratch.count - 1] != 0); /* the last one told has arrived */
    uint16_t hole = (uint16_t)(scratch.base - w->told_to);
    require(!w->has_told || !hole || (hole < WD_TWCC_SPAN && (hole >= FULL_BLOCK || capacity < 1200)));
    for (size_t i = 0; i < scratch.count; i++) {
        if (!scratch.symbols[i]) continue;
        int64_t *arrived_us = &w->arrived_us[(uint16_t)(scratch.base + i)];
        require(*arrived_us != 0);
        int64_t difference = (scratch.at_us[i] - *arrived_us) % REFERENCE_WRAP_US;
        if (difference > REFERENCE_WRAP_US / 2) difference -= REFERENCE_WRAP_US;
        if (difference < -REFERENCE_WRAP_US / 2) difference += REFERENCE_WRAP_US;
        require(difference > -TICK_US && difference < TICK_US);
        *arrived_us = 0;
    }
    w->has_told = true;
    w->told_to = (uint16_t)(scratch.base + scratch.count);
}

static void drain(struct world *w, size_t capacity) {
    uint8_t *out = malloc(capacity ? capacity : 1);
    unsigned blocks = 0;
    bool pending = w->twcc.started && w->twcc.first != w->twcc.next;
    for (size_t length; (length = wd_twcc_write(&w->twcc, out, capacity, 0x01020304, 0x05060708)); blocks++) {
        require(length <= capacity && blocks <= WD_TWCC_SPAN);
        check_block(w, out, length, capacity);
    }
    if (capacity >= 28 && pending) require(w->twcc.first == w->twcc.next && w->told_to == (uint16_t)(w->newest + 1));
    free(out);
}

static bool is_remembered(const struct wd_twcc *twcc, uint16_t sequence) {
    return (uint16_t)(sequence - twcc->first) < (uint16_t)(twcc->next - twcc->first);
}

static void arrive(struct world *w, uint16_t sequence) {
    uint16_t next = w->twcc.next, first = w->twcc.first;
    bool is_ahead = !w->twcc.started || (int16_t)(uint16_t)(sequence - next) >= 0;
    wd_twcc_arrived(&w->twcc, sequence, w->now_us);
    require(w->twcc.started && (uint16_t)(w->twcc.next - w->twcc.first) <= WD_TWCC_SPAN);
    if (is_ahead) w->newest = sequence;
    require(w->twcc.next == (uint16_t)(w->newest + 1));
    if (w->twcc.first != first) w->has_told = false; /* the oldest were forgotten untold */
    for (uint16_t s = first; s != next; s++)
        if (!is_remembered(&w->twcc, s)) w->arrived_us[s] = 0;
    int64_t *arrived_us = &w->arrived_us[sequence];
    if (is_remembered(&w->twcc, sequence) && !*arrived_us) *arrived_us = w->now_us > 0 ? w->now_us : 1;
}

static void write_blocks(struct tape *t) {
    struct world *w = calloc(1, sizeof *w);
    uint16_t sequence = (uint16_t)take(t, 2);
    w->now_us = (int64_t)(take(t, 5) & 0xffffffffffff);
    while (t->size) {
        uint8_t operation = (uint8_t)take(t, 1), value = (uint8_t)take(t, 1);
        if (operation < 100) { /* in order, with small losses */
            w->now_us += value * 100;
            arrive(w, sequence = (uint16_t)(sequence + 1 + (operation & 3 ? 0 : value & 7)));
        } else if (operation <
                   140) { /* late, or again; the clock may step back a little, as timestamps of two sockets do */
            w->now_us += (int8_t)value * 1000;
            arrive(w, (uint16_t)(sequence - (value & 31)));
        } else if (operation < 170) { /* a dense run */
            for (unsigned i = 0; i < value; i++) {
                w->now_us += operation * 10;
                arrive(w, ++sequence);
            }
        } else if (operation < 190) {
            w->now_us += INT64_C(1) << (value % 40);
        } else if (operation < 210) {
            arrive(w, sequence = (uint16_t)(sequence + (value << (operation & 7))));
        } else {
            drain(w, operation & 1 ? 1200 : value + 20u);
        }
    }
    drain(w, 1200);
    free(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct tape t = {data, size};
    if (take(&t, 1) & 1) {
        write_blocks(&t);
    } else {
        size_t length;
        uint8_t *block = take_copy(&t, 1400, &length);
        read_block(block, length);
        free(block);
    }
    return 0;
}
