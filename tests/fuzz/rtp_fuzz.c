/* Fuzzes the RTP header parser.
 *
 * Invariants: header, extension elements and payload lie in the packet and do not overlap the wrong part of it; an
 * element's id and size are what its form can say; the elements written anew in the two-byte form parse back to the
 * same; the clear header parses alike with any payload after it. */
#include "fuzz.h"

#include "../../rtc/native/bytes.h"
#include "../../rtc/native/rtp.h"

static void check_extensions(const uint8_t *packet, const struct wd_rtp *rtp) {
    size_t block = 12 + 4u * (packet[0] & 15), before = block + 4;
    require(rtp->extension_count <= WD_RTP_MAX_EXTENSIONS && (!rtp->extension_count || packet[0] & 0x10));
    for (unsigned i = 0; i < rtp->extension_count; i++) {
        const struct wd_rtp_extension *e = &rtp->extensions[i];
        bool one_byte = wd_get16(packet + block) == 0xbede;
        require(e->id > 0 && e->at >= before + (one_byte ? 1 : 2) && (size_t)e->at + e->length <= rtp->header_length);
        if (one_byte)
            require(e->id <= 14 && e->length >= 1 && e->length <= 16 &&
                    packet[e->at - 1] == (e->id << 4 | (e->length - 1)));
        else
            require(packet[e->at - 2] == e->id && packet[e->at - 1] == e->length);
        before = (size_t)e->at + e->length;
        const struct wd_rtp_extension *found = wd_rtp_find(rtp, e->id);
        require(found && found <= e && found->id == e->id);
    }
    require(!wd_rtp_find(rtp, 0));
}

/* The same elements in another form, padded between, must read the same. */
static void write_again(const uint8_t *packet, const struct wd_rtp *rtp, size_t padding) {
    uint8_t *out = malloc(16 + WD_RTP_MAX_EXTENSIONS * (257 + padding) + 4);
    size_t at = 16;
    memcpy(out, packet, 12);
    out[0] = (uint8_t)((packet[0] & 0x20) | 0x90);
    wd_put16(out + 12, (uint16_t)(0x1000 | padding));
    for (unsigned i = 0; i < rtp->extension_count; i++) {
        memset(out + at, 0, padding);
        at += padding;
        out[at++] = rtp->extensions[i].id;
        out[at++] = rtp->extensions[i].length;
        memcpy(out + at, packet + rtp->extensions[i].at, rtp->extensions[i].length);
        at += rtp->extensions[i].length;
    }
    while (at & 3) out[at++] = 0;
    wd_put16(out + 14, (uint16_t)((at - 16) / 4));
    struct wd_rtp again;
    require(wd_rtp_parse(out, at, &again) && again.header_length == at &&
            again.extension_count == rtp->extension_count);
    require(again.ssrc == rtp->ssrc && again.timestamp == rtp->timestamp && again.sequence == rtp->sequence &&
            again.payload_type == rtp->payload_type);
    require(again.marker == rtp->marker && again.padding == rtp->padding);
    for (unsigned i = 0; i < rtp->extension_count; i++) {
        const struct wd_rtp_extension *a = &rtp->extensions[i], *b = &again.extensions[i];
        require(a->id == b->id && a->length == b->length && memcmp(packet + a->at, out + b->at, a->length) == 0);
    }
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct tape t = {data, size};
    uint8_t mode = (uint8_t)take(&t, 1);
    size_t length;
    uint8_t *packet = take_copy(&t, 2000, &length);
    if (mode & 1 && length)
        packet[0] = (uint8_t)(0x80 | (packet[0] & 0x3f)); /* the right version: chance goes further in */
    size_t block = length ? 12 + 4u * (packet[0] & 15) : 0;
    if (mode & 2 && length >= block + 4) {
        packet[0] |= 0x10;
        wd_put16(packet + block, mode & 4 ? 0xbede : 0x1000);
        wd_put16(packet + block + 2, (uint16_t)(wd_get16(packet + block + 2) % ((length - block) / 4)));
    }
    struct wd_rtp rtp;
    if (wd_rtp_parse(packet, length, &rtp)) {
        require(packet[0] >> 6 == 2 && rtp.header_length >= 12 && rtp.header_length <= length);
        check_extensions(packet, &rtp);
        write_again(packet, &rtp, mode >> 3 & 3);
        size_t payload;
        bool possible = wd_rtp_payload_length(packet, length, &rtp, &payload);
        require(rtp.padding || (possible && payload == length - rtp.header_length));
        if (rtp.padding && possible) require(payload + packet[length - 1] + rtp.header_length == length);
        struct wd_rtp alone; /* what stands after the header says nothing about it */
        memset(packet + rtp.header_length, mode, length - rtp.header_length);
        require(wd_rtp_parse(packet, length, &alone) && alone.header_length == rtp.header_length &&
                alone.extension_count == rtp.extension_count);
    }
    free(packet);
    return 0;
}
