#include "rtp.h"

#include "bytes.h"

#define FIXED 12
#define ONE_BYTE 0xbede /* RFC 8285 section 4.2 */
#define TWO_BYTE 0x1000 /* section 4.3; the low four bits are free */

static void keep(struct wd_rtp *out, uint8_t id, size_t length, size_t at) {
    if (out->extension_count < WD_RTP_MAX_EXTENSIONS)
        out->extensions[out->extension_count++] = (struct wd_rtp_extension){id, (uint8_t)length, (uint16_t)at};
}

static bool parse_one_byte(const uint8_t *packet, size_t at, size_t end, struct wd_rtp *out) {
    while (at < end) {
        uint8_t id = packet[at] >> 4;
        if (packet[at] == 0) {
            at++;
            continue;
        }
        if (!id || id == 15)
            return true; /* padding with a length, or reserved: what follows is nobody's word (RFC 8285 section 4.2) */
        size_t length = (packet[at] & 15) + 1u;
        if (at + 1 + length > end) return false;
        keep(out, id, length, at + 1);
        at += 1 + length;
    }
    return true;
}

static bool parse_two_byte(const uint8_t *packet, size_t at, size_t end, struct wd_rtp *out) {
    while (at < end) {
        uint8_t id = packet[at];
        if (id == 0) {
            at++;
            continue;
        }
        if (at + 2 > end || at + 2 + packet[at + 1] > end) return false;
        keep(out, id, packet[at + 1], at + 2);
        at += 2u + packet[at + 1];
    }
    return true;
}

bool wd_rtp_parse(const uint8_t *packet, size_t length, struct wd_rtp *out) {
    if (length < FIXED || length > UINT16_MAX || packet[0] >> 6 != 2) return false;
    size_t at = FIXED + 4u * (packet[0] & 15);
    if (at > length) return false;
    out->padding = packet[0] >> 5 & 1;
    out->marker = packet[1] >> 7;
    out->payload_type = packet[1] & 0x7f;
    out->sequence = wd_get16(packet + 2);
    out->timestamp = wd_get32(packet + 4);
    out->ssrc = wd_get32(packet + 8);
    out->extension_count = 0;
    if (packet[0] & 0x10) {
        if (at + 4 > length) return false;
        uint16_t profile = wd_get16(packet + at);
        size_t end = at + 4 + 4u * wd_get16(packet + at + 2);
        if (end > length) return false;
        if (profile == ONE_BYTE && !parse_one_byte(packet, at + 4, end, out)) return false;
        if ((profile & 0xfff0) == TWO_BYTE && !parse_two_byte(packet, at + 4, end, out)) return false;
        at = end;
    }
    out->header_length = (uint16_t)at;
    return true;
}

bool wd_rtp_payload_length(const uint8_t *packet, size_t length, const struct wd_rtp *rtp, size_t *out) {
    *out = length - rtp->header_length;
    if (!rtp->padding) return true;
    if (!*out || !packet[length - 1] || packet[length - 1] > *out) return false;
    *out -= packet[length - 1];
    return true;
}
