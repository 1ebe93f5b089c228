/* Fuzzes the walk through compound packets and every reader and writer of a block.
 *
 * Invariants: blocks lie in the packet, one after the other; readers stay inside capacities; what a reader understood,
 * written anew, reads the same. */
#include "fuzz.h"

#include "../../rtc/native/bytes.h"
#include "../../rtc/native/rtcp.h"

static struct wd_rtcp_block only_block(const uint8_t *data, size_t length) {
    struct wd_rtcp_block block = {0};
    const uint8_t *at = data;
    size_t left = length;
    require(length >= 4 && length % 4 == 0 && wd_rtcp_next(&at, &left, &block) && !left && at == data + length &&
            block.data == data);
    return block;
}

static bool is_same_report(const struct wd_report *a, const struct wd_report *b) {
    return a->ssrc == b->ssrc && a->fraction_lost == b->fraction_lost && a->lost == b->lost &&
           a->highest == b->highest && a->jitter == b->jitter && a->lsr == b->lsr && a->dlsr == b->dlsr;
}

static void check_reports(const struct wd_rtcp_block *block, uint8_t *out, size_t capacity) {
    struct wd_report reports[31], again[31];
    struct wd_sender_info info, info_again;
    uint32_t reporter = 0, reporter_again = 0;
    size_t count = wd_rtcp_read_reports(block, &reporter, reports), length;
    bool is_sender = wd_rtcp_read_sender(block, &info);
    require(count <= block->count && (!count || block->type == WD_RTCP_SR || block->type == WD_RTCP_RR));
    require(!is_sender || (block->type == WD_RTCP_SR && info.ssrc == wd_get32(block->data + 4)));
    for (size_t i = 0; i < count; i++) require(reports[i].lost >= -0x800000 && reports[i].lost <= 0x7fffff);
    if (is_sender)
        length = wd_rtcp_write_sr(out, capacity, &info, reports, count);
    else
        length = wd_rtcp_write_rr(out, capacity, reporter, reports, count);
    require(length == (capacity >= (is_sender ? 28 : 8) + 24 * count ? (is_sender ? 28 : 8) + 24 * count : 0));
    if (!length) return;
    struct wd_rtcp_block written = only_block(out, length);
    require(wd_rtcp_read_reports(&written, &reporter_again, again) == count && reporter_again == reporter);
    for (size_t i = 0; i < count; i++) require(is_same_report(&reports[i], &again[i]));
    if (!is_sender) return;
    require(wd_rtcp_read_sender(&written, &info_again) && info.ntp == info_again.ntp && info.rtp == info_again.rtp);
    require(info.packets == info_again.packets && info.octets == info_again.octets);
}

static void mark(uint8_t bits[8192], const uint16_t *numbers, size_t count) {
    memset(bits, 0, 8192);
    for (size_t i = 0; i < count; i++) bits[numbers[i] / 8] |= (uint8_t)(1u << (numbers[i] & 7));
}

static void check_nack(const struct wd_rtcp_block *block, uint8_t *out, size_t capacity) {
    static uint8_t before[8192], after[8192];
    uint32_t media = 0, media_again = 0;
    uint16_t some[7] = {0}, *lost = malloc(17 * 400 * sizeof *lost), *again = malloc(17 * 400 * sizeof *again);
    size_t count = wd_rtcp_read_nack(block, &media, lost, 17 * 400), few = wd_rtcp_read_nack(block, &media, some, 5);
    require(few == (count < 5 ? count : 5) && memcmp(some, lost, few * sizeof *lost) == 0 && !some[5] && !some[6]);
    size_t length = wd_rtcp_write_nack(out, capacity, 1, media, lost, count);
    require(length <= capacity && (count || !length));
    if (length) {
        struct wd_rtcp_block written = only_block(out, length);
        size_t count_again = wd_rtcp_read_nack(&written, &media_again, again, 17 * 400);
        mark(before, lost, count);
        mark(after, again, count_again);
        require(media == media_again && memcmp(before, after, sizeof before) == 0);
    }
    free(lost);
    free(again);
}

static void check_requests(const struct wd_rtcp_block *block, uint8_t *out, size_t capacity) {
    uint32_t media, media_again, ssrcs[4] = {0};
    uint8_t sequences[4] = {0};
    uint64_t bitrate, again;
    if (wd_rtcp_read_pli(block, &media)) {
        require(block->length >= 12);
        size_t length = wd_rtcp_write_pli(out, capacity, 1, media);
        require(length == (capacity >= 12 ? 12 : 0));
        if (length) {
            struct wd_rtcp_block written = only_block(out, length);
            require(wd_rtcp_read_pli(&written, &media_again) && media == media_again);
        }
    }
    size_t count = wd_rtcp_read_fir(block, ssrcs, sequences, 3);
    require(count <= 3 && !ssrcs[3] && !sequences[3] && (!count || 12 + 8 * count <= block->length));
    if (wd_rtcp_read_remb(block, &bitrate)) {
        uint32_t named[255] = {0};
        size_t length = wd_rtcp_write_remb(out, capacity, 1, bitrate, named, block->data[16]);
        require(length == (capacity >= 20 + 4u * block->data[16] ? 20 + 4u * block->data[16] : 0));
        if (length) {
            struct wd_rtcp_block written = only_block(out, length);
            require(wd_rtcp_read_remb(&written, &again) && again == bitrate);
        }
    }
}

static void walk(const uint8_t *packet, size_t size, size_t capacity) {
    const uint8_t *at = packet;
    size_t left = size;
    uint8_t *out = malloc(capacity ? capacity : 1);
    struct wd_rtcp_block block;
    struct wd_twcc_summary summary;
    while (left) {
        const uint8_t *start = at;
        size_t before = left;
        if (!wd_rtcp_next(&at, &left, &block)) {
            require(at == start && left == before);
            break;
        }
        require(block.data == start && at > start && (size_t)(at - start) == before - left && block.length >= 4 &&
                block.length <= (size_t)(at - start));
        require(block.length == (size_t)(at - start) || !left); /* padding in the last only */
        require(block.type == start[1] && block.count == (start[0] & 31));
        uint8_t *alone = malloc(block.length); /* no reader may look past the block, padding included */
        memcpy(alone, block.data, block.length);
        block.data = alone;
        check_reports(&block, out, capacity);
        check_nack(&block, out, capacity);
        check_requests(&block, out, capacity);
        if (wd_rtcp_read_twcc(&block, &summary)) require(summary.received <= summary.count);
        free(alone);
    }
    free(out);
}

/* Sets versions and lengths right, block by block, so that chance goes to the contents. */
static void mend(uint8_t *packet, size_t size) {
    for (size_t at = 0; at + 4 <= size;) {
        size_t words = (size - at) / 4, wanted = 1 + packet[at + 3] % (words < 40 ? words : 40);
        packet[at] = (uint8_t)(0x80 | (packet[at] & 0x1f));
        packet[at + 1] = packet[at + 1] < 0xf0 ? (uint8_t)(200 + packet[at + 1] % 7) : packet[at + 1];
        wd_put16(packet + at + 2, (uint16_t)(wanted - 1));
        at += 4 * wanted;
    }
}

static void write_cname(struct tape *t, size_t capacity) {
    size_t length;
    uint8_t *text = take_copy(t, 300, &length), *out = malloc(capacity ? capacity : 1);
    char name[301] = {0};
    memcpy(name, text, length);
    size_t written = wd_rtcp_write_cname(out, capacity, 7, name), expected = strlen(name);
    if (written) {
        struct wd_rtcp_block block = only_block(out, written);
        require(block.type == WD_RTCP_SDES && block.count == 1 && expected <= 255 && wd_get32(out + 4) == 7 &&
                out[8] == 1 && out[9] == expected);
        require(memcmp(out + 10, name, expected) == 0);
        for (size_t i = 10 + expected; i < written; i++) require(out[i] == 0);
        require(written > 10 + expected); /* at least one null octet ends the chunk, RFC 3550 section 6.5 */
    } else {
        require(expected > 255 || capacity < 14 + expected);
    }
    free(text);
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct tape t = {data, size};
    uint8_t mode = (uint8_t)take(&t, 1);
    size_t capacity = take(&t, 2) % 1600, length;
    if ((mode & 7) == 7) {
        write_cname(&t, capacity);
        return 0;
    }
    uint8_t *packet = take_copy(&t, 1500, &length);
    if (mode & 1) mend(packet, length);
    walk(packet, length, capacity);
    free(packet);
    return 0;
}
