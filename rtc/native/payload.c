#include "payload.h"

/* RFC 7741 section 4.2 and, for the P bit, 4.3. */
static bool parse_vp8(const uint8_t *p, size_t length, struct wd_payload *out) {
    uint8_t descriptor = p[0];
    size_t at = 1;
    if (descriptor & 0x80) {
        if (at >= length) return false;
        uint8_t extension = p[at++];
        if (extension & 0x80) {
            if (at >= length) return false;
            out->picture_id_at = (uint8_t)at;
            out->picture_id_bits = p[at] & 0x80 ? 15 : 7;
            out->picture_id = p[at++] & 0x7f;
            if (out->picture_id_bits == 15) {
                if (at >= length) return false;
                out->picture_id = (uint16_t)(out->picture_id << 8 | p[at++]);
            }
        }
        if (extension & 0x40) {
            if (at >= length) return false;
            out->tl0_at = (uint8_t)at;
            out->tl0 = p[at++];
        }
        if (extension & 0x30) {
            if (at >= length) return false;
            if (extension & 0x20) out->tid = p[at] >> 6;
            at++;
        }
    }
    if (at >= length) return false;
    out->keyframe = (descriptor & 0x10) && !(descriptor & 0x07) && !(p[at] & 1);
    return true;
}

static bool is_parameters(uint8_t nal) { return (nal & 0x1f) == 7; } /* SPS */
static bool is_picture(uint8_t nal) { return (nal & 0x1f) == 5; } /* IDR */

/* RFC 6184 sections 5.7 (aggregation) and 5.8 (fragmentation). */
static bool parse_h264(const uint8_t *p, size_t length, struct wd_payload *out) {
    bool parameters = false, picture = false;
    switch (p[0] & 0x1f) {
    case 24: /* STAP-A */
        for (size_t at = 1; at < length;) {
            if (at + 3 > length) return false;
            size_t size = (size_t)p[at] << 8 | p[at + 1];
            if (!size || at + 2 + size > length) return false;
            parameters |= is_parameters(p[at + 2]);
            picture |= is_picture(p[at + 2]);
            at += 2 + size;
        }
        break;
    case 28: /* FU-A */
        if (length < 2) return false;
        parameters = (p[1] & 0x80) && is_parameters(p[1]);
        picture = (p[1] & 0x80) && is_picture(p[1]);
        break;
    default: parameters = is_parameters(p[0]); picture = is_picture(p[0]);
    }
    out->keyframe = parameters || picture;
    out->may_follow = picture && !parameters;
    return true;
}

/* RFC 9628 section 4.2: not inter-predicted, begin of frame, lowest spatial layer. */
static bool parse_vp9(const uint8_t *p, size_t length, struct wd_payload *out) {
    uint8_t flags = p[0];
    size_t at = 1;
    unsigned spatial = 0;
    if (flags & 0x80) {
        if (at >= length) return false;
        at += p[at] & 0x80 ? 2 : 1;
    }
    if (flags & 0x20) {
        if (at >= length) return false;
        spatial = p[at] >> 1 & 7;
    }
    out->keyframe = !(flags & 0x40) && (flags & 0x08) && !spatial;
    return true;
}

/* leb128() of the AV1 specification section 4.10.5, of at most four octets: no packet is longer. False when it is cut,
 * or longer. */
static bool read_leb128(const uint8_t *p, size_t length, size_t *at, size_t *value) {
    *value = 0;
    for (unsigned i = 0; i < 4 && *at < length; i++) {
        uint8_t octet = p[(*at)++];
        *value |= (size_t)(octet & 0x7f) << (7 * i);
        if (!(octet & 0x80)) return true;
    }
    return false;
}

/* AV1 RTP specification section 4.4: N says it; an encoder that forgets N still begins with a sequence header OBU. */
static bool parse_av1(const uint8_t *p, size_t length, struct wd_payload *out) {
    bool continued = p[0] & 0x80; /* Z: the first element is the rest of an OBU */
    unsigned elements = p[0] >> 4 & 3; /* W: that many, the last without a size; 0 = each with a size */
    out->keyframe = p[0] & 0x08;
    size_t at = 1;
    for (unsigned i = 1; at < length; i++) {
        size_t size = length - at;
        if (i != elements && !read_leb128(p, length, &at, &size)) return false;
        if (size > length - at) return false;
        if (size && !(i == 1 && continued) && (p[at] >> 3 & 15) == 1) out->keyframe = true;
        at += size;
        if (i == elements) break;
    }
    return true;
}

bool wd_payload_parse(uint8_t codec, const uint8_t *payload, size_t length, struct wd_payload *out) {
    *out = (struct wd_payload){0};
    if (!length) return false;
    switch (codec) {
    case WD_CODEC_VP8: return parse_vp8(payload, length, out);
    case WD_CODEC_H264: return parse_h264(payload, length, out);
    case WD_CODEC_VP9: return parse_vp9(payload, length, out);
    case WD_CODEC_AV1: return parse_av1(payload, length, out);
    default: out->keyframe = true; return true;
    }
}

void wd_vp8_patch(uint8_t *payload, const struct wd_payload *at, uint16_t picture_id, uint8_t tl0) {
    if (at->picture_id_bits == 15) {
        payload[at->picture_id_at] = (uint8_t)(0x80 | (picture_id >> 8 & 0x7f));
        payload[at->picture_id_at + 1] = (uint8_t)picture_id;
    } else if (at->picture_id_bits == 7) {
        payload[at->picture_id_at] = picture_id & 0x7f;
    }
    if (at->tl0_at) payload[at->tl0_at] = tl0;
}
