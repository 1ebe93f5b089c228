#include "rtcp.h"

#include "bytes.h"

#define REPORT 24
#define SENDER_INFO 28

bool wd_rtcp_next(const uint8_t **data, size_t *length, struct wd_rtcp_block *out) {
    const uint8_t *p = *data;
    if (*length < 4 || p[0] >> 6 != 2) return false;
    size_t whole = ((size_t)wd_get16(p + 2) + 1) * 4, useful = whole;
    if (whole > *length) return false;
    if (p[0] & 0x20) { /* padding, allowed in the last block only (RFC 3550 section 6.4.1) */
        uint8_t padding = p[whole - 1];
        if (whole != *length || !padding || (size_t)padding + 4 > whole) return false;
        useful -= padding;
    }
    *out = (struct wd_rtcp_block){.type = p[1], .count = p[0] & 0x1f, .data = p, .length = useful};
    *data += whole;
    *length -= whole;
    return true;
}

/* --- readers --------------------------------------------------------------------------------------------------------
 */

bool wd_rtcp_read_sender(const struct wd_rtcp_block *block, struct wd_sender_info *out) {
    const uint8_t *p = block->data;
    if (block->type != WD_RTCP_SR || block->length < SENDER_INFO) return false;
    *out =
        (struct wd_sender_info){wd_get32(p + 4), wd_get64(p + 8), wd_get32(p + 16), wd_get32(p + 20), wd_get32(p + 24)};
    return true;
}

size_t wd_rtcp_read_reports(const struct wd_rtcp_block *block, uint32_t *reporter, struct wd_report out[31]) {
    size_t at = block->type == WD_RTCP_SR ? SENDER_INFO : 8, count = 0;
    if ((block->type != WD_RTCP_SR && block->type != WD_RTCP_RR) || block->length < at) return 0;
    *reporter = wd_get32(block->data + 4);
    for (; count < block->count && at + REPORT <= block->length; at += REPORT) {
        const uint8_t *p = block->data + at;
        int32_t lost = (int32_t)(wd_get24(p + 5) ^ 0x800000) - 0x800000; /* sign of 24 bits */
        out[count++] = (struct wd_report){
            wd_get32(p), p[4], lost, wd_get32(p + 8), wd_get32(p + 12), wd_get32(p + 16), wd_get32(p + 20)};
    }
    return count;
}

size_t wd_rtcp_read_nack(const struct wd_rtcp_block *block, uint32_t *media, uint16_t *out, size_t capacity) {
    size_t count = 0;
    if (block->type != WD_RTCP_RTPFB || block->count != WD_RTPFB_NACK || block->length < 12) return 0;
    *media = wd_get32(block->data + 8);
    for (size_t at = 12; at + 4 <= block->length; at += 4) {
        uint16_t first = wd_get16(block->data + at), others = wd_get16(block->data + at + 2);
        if (count < capacity) out[count++] = first;
        for (unsigned i = 0; i < 16; i++)
            if (others >> i & 1 && count < capacity) out[count++] = (uint16_t)(first + i + 1);
    }
    return count;
}

bool wd_rtcp_read_pli(const struct wd_rtcp_block *block, uint32_t *media) {
    if (block->type != WD_RTCP_PSFB || block->count != WD_PSFB_PLI || block->length < 12) return false;
    *media = wd_get32(block->data + 8);
    return true;
}

size_t wd_rtcp_read_fir(const struct wd_rtcp_block *block, uint32_t *ssrcs, uint8_t *sequences, size_t capacity) {
    size_t count = 0;
    if (block->type != WD_RTCP_PSFB || block->count != WD_PSFB_FIR) return 0;
    for (size_t at = 12; at + 8 <= block->length && count < capacity; at += 8) {
        ssrcs[count] = wd_get32(block->data + at);
        sequences[count++] = block->data[at + 4];
    }
    return count;
}

bool wd_rtcp_read_remb(const struct wd_rtcp_block *block, uint64_t *bitrate_bps) {
    const uint8_t *p = block->data;
    if (block->type != WD_RTCP_PSFB || block->count != WD_PSFB_AFB || block->length < 20 || memcmp(p + 12, "REMB", 4))
        return false;
    unsigned exponent = p[17] >> 2;
    uint64_t mantissa = wd_get24(p + 17) & 0x3ffff;
    if (exponent > 45) return false; /* would not fit 63 bits: nobody has such a link */
    *bitrate_bps = mantissa << exponent;
    return true;
}

/* --- writers --------------------------------------------------------------------------------------------------------
 */

/* Writes the common header of a block of `length` bytes; false when it does not fit. */
static bool open_block(uint8_t *out, size_t capacity, uint8_t count, uint8_t type, size_t length) {
    if (length > capacity) return false;
    out[0] = (uint8_t)(0x80 | count);
    out[1] = type;
    wd_put16(out + 2, (uint16_t)(length / 4 - 1));
    return true;
}

static void write_reports(uint8_t *out, const struct wd_report *reports, size_t count) {
    for (size_t i = 0; i < count; i++, out += REPORT) {
        wd_put32(out, reports[i].ssrc);
        out[4] = reports[i].fraction_lost;
        wd_put24(out + 5, (uint32_t)reports[i].lost & 0xffffff);
        wd_put32(out + 8, reports[i].highest);
        wd_put32(out + 12, reports[i].jitter);
        wd_put32(out + 16, reports[i].lsr);
        wd_put32(out + 20, reports[i].dlsr);
    }
}

size_t wd_rtcp_write_sr(uint8_t *out, size_t capacity, const struct wd_sender_info *info,
                        const struct wd_report *reports, size_t count) {
    size_t length = SENDER_INFO + REPORT * count;
    if (count > 31 || !open_block(out, capacity, (uint8_t)count, WD_RTCP_SR, length)) return 0;
    wd_put32(out + 4, info->ssrc);
    wd_put64(out + 8, info->ntp);
    wd_put32(out + 16, info->rtp);
    wd_put32(out + 20, info->packets);
    wd_put32(out + 24, info->octets);
    write_reports(out + SENDER_INFO, reports, count);
    return length;
}

size_t wd_rtcp_write_rr(uint8_t *out, size_t capacity, uint32_t reporter, const struct wd_report *reports,
                        size_t count) {
    size_t length = 8 + REPORT * count;
    if (count > 31 || !open_block(out, capacity, (uint8_t)count, WD_RTCP_RR, length)) return 0;
    wd_put32(out + 4, reporter);
    write_reports(out + 8, reports, count);
    return length;
}

size_t wd_rtcp_write_cname(uint8_t *out, size_t capacity, uint32_t ssrc, const char *cname) {
    size_t name = strlen(cname),
           length = (8 + 2 + name + 1 + 3) & ~(size_t)3; /* at least one null octet ends the chunk */
    if (name > 255 || !open_block(out, capacity, 1, WD_RTCP_SDES, length)) return 0;
    memset(out + 4, 0, length - 4);
    wd_put32(out + 4, ssrc);
    out[8] = 1;
    out[9] = (uint8_t)name;
    memcpy(out + 10, cname, name);
    return length;
}

size_t wd_rtcp_write_nack(uint8_t *out, size_t capacity, uint32_t sender, uint32_t media, const uint16_t *lost,
                          size_t count) {
    size_t at = 12;
    if (!count) return 0;
    for (size_t i = 0; i < count; at += 4) {
        if (at + 4 > capacity) return 0;
        uint16_t first = lost[i++], others = 0;
        for (; i < count && (uint16_t)(lost[i] - first - 1) < 16; i++)
            others |= (uint16_t)(1u << (uint16_t)(lost[i] - first - 1));
        wd_put16(out + at, first);
        wd_put16(out + at + 2, others);
    }
    open_block(out, capacity, WD_RTPFB_NACK, WD_RTCP_RTPFB, at);
    wd_put32(out + 4, sender);
    wd_put32(out + 8, media);
    return at;
}

size_t wd_rtcp_write_pli(uint8_t *out, size_t capacity, uint32_t sender, uint32_t media) {
    if (!open_block(out, capacity, WD_PSFB_PLI, WD_RTCP_PSFB, 12)) return 0;
    wd_put32(out + 4, sender);
    wd_put32(out + 8, media);
    return 12;
}

size_t wd_rtcp_write_remb(uint8_t *out, size_t capacity, uint32_t sender, uint64_t bitrate_bps, const uint32_t *ssrcs,
                          size_t count) {
    size_t length = 20 + 4 * count;
    unsigned exponent = 0;
    if (count > 255 || !open_block(out, capacity, WD_PSFB_AFB, WD_RTCP_PSFB, length)) return 0;
    while (bitrate_bps >> exponent > 0x3ffff) exponent++;
    wd_put32(out + 4, sender);
    wd_put32(out + 8, 0);
    memcpy(out + 12, "REMB", 4);
    out[16] = (uint8_t)count;
    wd_put24(out + 17, (uint32_t)exponent << 18 | (uint32_t)(bitrate_bps >> exponent));
    for (size_t i = 0; i < count; i++) wd_put32(out + 20 + 4 * i, ssrcs[i]);
    return length;
}
