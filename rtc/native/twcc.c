/* The receiver's side of transport-wide congestion control (draft-holmer-rmcat-transport-wide-cc-extensions-01
 * section 3.1).
 *
 * Arrivals are kept by sequence number until the next feedback. One feedback covers a run of sequence numbers whose
 * deltas all fit (250 us units, signed 16 bits); where one does not fit, the block ends and the rest follows in the
 * next. */
#include "rtcp.h"

#include "bytes.h"

#define TICK_US 250
#define REFERENCE_US 64000
#define HEADER 20
#define MAX_STATUS 300 /* keeps a block well under the MTU: 300 two-byte deltas and their chunks */

static int64_t *arrival(struct wd_twcc *twcc, uint16_t sequence) { return &twcc->arrival_us[sequence % WD_TWCC_SPAN]; }

void wd_twcc_arrived(struct wd_twcc *twcc, uint16_t sequence, int64_t now_us) {
    if (now_us <= 0) now_us = 1;
    if (!twcc->started) {
        twcc->started = true;
        twcc->first = twcc->next = sequence;
    }
    int16_t ahead = (int16_t)(uint16_t)(sequence - twcc->next);
    if (ahead >= 0) {
        if ((uint16_t)(sequence - twcc->first) >= WD_TWCC_SPAN) { /* too much unreported: forget the oldest */
            uint16_t keep = (uint16_t)(sequence + 1 - WD_TWCC_SPAN);
            if ((int16_t)(uint16_t)(keep - twcc->next) >= 0)
                memset(twcc->arrival_us, 0, sizeof twcc->arrival_us);
            else
                for (uint16_t s = twcc->first; s != keep; s++) *arrival(twcc, s) = 0;
            twcc->first = keep;
            if ((int16_t)(uint16_t)(twcc->next - keep) < 0) twcc->next = keep;
        }
        for (uint16_t s = twcc->next; s != sequence; s++) *arrival(twcc, s) = 0;
        *arrival(twcc, sequence) = now_us;
        twcc->next = (uint16_t)(sequence + 1);
    } else if ((uint16_t)(sequence - twcc->first) < (uint16_t)(twcc->next - twcc->first) && !*arrival(twcc, sequence)) {
        *arrival(twcc, sequence) = now_us;
    }
}

enum status {
    NOT_RECEIVED,
    SMALL_DELTA,
    LARGE_DELTA,
    NO_FIT
}; /* the first three as they are written: by as many bytes of delta */

static enum status status_of(int64_t delta) {
    if (delta >= 0 && delta <= 255) return SMALL_DELTA;
    return delta >= INT16_MIN && delta <= INT16_MAX ? LARGE_DELTA : NO_FIT;
}

struct block {
    uint8_t status[MAX_STATUS];
    int16_t delta[MAX_STATUS];
    size_t count, delta_bytes;
};

/* How far one block reaches from `first`; the last status is always a received one. */
static void collect(struct wd_twcc *twcc, int64_t reference_us, size_t room, struct block *block) {
    int64_t ticks = 0;
    size_t last = 0, last_bytes = 0;
    block->count = block->delta_bytes = 0;
    for (uint16_t s = twcc->first; s != twcc->next && block->count < MAX_STATUS; s++) {
        size_t i = block->count;
        int64_t at = *arrival(twcc, s);
        block->status[i] = 0;
        if (at) {
            int64_t delta = (at - reference_us) / TICK_US - ticks;
            enum status status = status_of(delta);
            /* Two-bit chunks of seven are the worst case of the encoding below. */
            size_t needed = block->delta_bytes + (status == NO_FIT ? 0 : (size_t)status) + ((i + 1 + 6) / 7) * 2 + 4;
            if (status == NO_FIT || needed > room) break;
            ticks += delta;
            block->status[i] = (uint8_t)status;
            block->delta[i] = (int16_t)delta;
            block->delta_bytes += (size_t)status;
            last = i + 1;
            last_bytes = block->delta_bytes;
        }
        block->count++;
    }
    block->count = last;
    block->delta_bytes = last_bytes;
}

static size_t write_chunks(const struct block *block, uint8_t *out) {
    size_t at = 0;
    for (size_t i = 0; i < block->count;) {
        size_t run = 1;
        while (i + run < block->count && block->status[i + run] == block->status[i]) run++;
        if (run >= 7) { /* run length chunk, section 3.1.3 */
            wd_put16(out + at, (uint16_t)(block->status[i] << 13 | run));
            i += run;
        } else { /* status vector chunk of seven two-bit symbols, section 3.1.4 */
            uint16_t chunk = 0xc000;
            for (unsigned k = 0; k < 7; k++)
                if (i + k < block->count) chunk |= (uint16_t)(block->status[i + k] << (12 - 2 * k));
            wd_put16(out + at, chunk);
            i = i + 7 < block->count ? i + 7 : block->count;
        }
        at += 2;
    }
    return at;
}

size_t wd_twcc_write(struct wd_twcc *twcc, uint8_t *out, size_t capacity, uint32_t sender, uint32_t media) {
    uint16_t earliest =
        twcc->first; /* received; what is missing before it is reported too: the last feedback ended there */
    while (earliest != twcc->next && !*arrival(twcc, earliest)) earliest++;
    if (!twcc->started || earliest == twcc->next || capacity < HEADER + 8) return 0;
    int64_t reference = *arrival(twcc, earliest) / REFERENCE_US;
    struct block block;
    collect(twcc, reference * REFERENCE_US, capacity - HEADER, &block);
    if (!block.count) { /* the gap alone fills a block */
        twcc->first = earliest;
        collect(twcc, reference * REFERENCE_US, capacity - HEADER, &block);
    }
    if (!block.count) return 0;
    wd_put32(out + 4, sender);
    wd_put32(out + 8, media);
    wd_put16(out + 12, twcc->first);
    wd_put16(out + 14, (uint16_t)block.count);
    wd_put24(out + 16, (uint32_t)reference & 0xffffff);
    out[19] = twcc->feedback++;
    size_t at = HEADER + write_chunks(&block, out + HEADER);
    for (size_t i = 0; i < block.count; i++) {
        if (block.status[i] == 1) out[at++] = (uint8_t)block.delta[i];
        if (block.status[i] == 2) {
            wd_put16(out + at, (uint16_t)block.delta[i]);
            at += 2;
        }
    }
    size_t length = (at + 3) & ~(size_t)3, padding = length - at;
    for (size_t i = at; i < length; i++) out[i] = 0;
    if (padding) out[length - 1] = (uint8_t)padding;
    out[0] = (uint8_t)(0x80 | (padding ? 0x20 : 0) | WD_RTPFB_TWCC);
    out[1] = WD_RTCP_RTPFB;
    wd_put16(out + 2, (uint16_t)(length / 4 - 1));
    for (size_t i = 0; i < block.count; i++) *arrival(twcc, (uint16_t)(twcc->first + i)) = 0;
    twcc->first = (uint16_t)(twcc->first + block.count);
    return length;
}

bool wd_rtcp_read_twcc(const struct wd_rtcp_block *block, struct wd_twcc_summary *out) {
    if (block->type != WD_RTCP_RTPFB || block->count != WD_RTPFB_TWCC || block->length < HEADER) return false;
    *out = (struct wd_twcc_summary){
        .base = wd_get16(block->data + 12), .count = wd_get16(block->data + 14), .feedback = block->data[19]};
    size_t at = HEADER, statuses = 0, deltas = 0;
    while (statuses < out->count) {
        if (at + 2 > block->length) return false;
        uint16_t chunk = wd_get16(block->data + at);
        at += 2;
        unsigned symbols = chunk & 0x8000 ? (chunk & 0x4000 ? 7 : 14) : chunk & 0x1fff;
        if (!symbols) return false;
        for (unsigned k = 0; k < symbols && statuses < out->count; k++, statuses++) {
            unsigned symbol =
                chunk & 0x8000 ? (chunk & 0x4000 ? chunk >> (12 - 2 * k) & 3 : chunk >> (13 - k) & 1) : chunk >> 13 & 3;
            if (symbol == 3) return false;
            if (symbol) out->received++;
            deltas += symbol;
        }
    }
    return at + deltas <= block->length;
}
