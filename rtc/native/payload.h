/* What forwarding must know of a payload: does a decodable picture start here, and where stand the fields that are
 * rewritten per subscriber.
 *
 * VP8 RFC 7741, VP9 RFC 9628, H.264 RFC 6184, AV1 RTP specification section 4. Hostile sizes end in false, never in a
 * read past `length`. */
#ifndef WD_PAYLOAD_H
#define WD_PAYLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum wd_codec {
    WD_CODEC_NONE = 0,
    WD_CODEC_OPUS = 1,
    WD_CODEC_VP8 = 2,
    WD_CODEC_H264 = 3,
    WD_CODEC_VP9 = 4,
    WD_CODEC_AV1 = 5
};

struct wd_payload {
    /* A decoder can start at this packet: VP8 S=1, PID=0, P=0; H.264 SPS or IDR (also in STAP-A, FU-A start); VP9 P=0,
     * B=1, SID=0; AV1 N=1 or a sequence header. */
    bool keyframe;
    /* VP8 only, but for the last: */
    uint8_t picture_id_bits; /* 0, 7 or 15 */
    uint8_t picture_id_at; /* offset in the payload, valid when picture_id_bits != 0 */
    uint8_t tl0_at; /* offset of TL0PICIDX, 0 = absent */
    uint8_t tid; /* temporal layer id; 0 when absent */
    uint16_t picture_id;
    uint8_t tl0;
    bool may_follow; /* H.264: a slice of an IDR picture alone. Its parameter sets and other slices of it may be in
                        packets before this one */
};

/* False when malformed. Opus always gives true with keyframe = true. Empty payloads are malformed. */
bool wd_payload_parse(uint8_t codec, const uint8_t *payload, size_t length, struct wd_payload *out);

/* Rewrites PictureID (keeping its width: 7 or 15 bits, wrapping) and TL0PICIDX in place. */
void wd_vp8_patch(uint8_t *payload, const struct wd_payload *at, uint16_t picture_id, uint8_t tl0);

#endif
