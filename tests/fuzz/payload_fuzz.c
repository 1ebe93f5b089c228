/* Fuzzes the payload descriptors of every codec.
 *
 * Invariants: offsets lie in the payload; VP8 rewritten parses back to the new numbers in the same widths and places,
 * and not one other bit changes. */
#include "fuzz.h"

#include "../../rtc/native/payload.h"

static void check_vp8(const uint8_t *payload, size_t length, const struct wd_payload *p, uint16_t picture_id,
                      uint8_t tl0) {
    uint8_t *copy = malloc(length);
    struct wd_payload again;
    uint16_t mask = p->picture_id_bits == 15 ? 0x7fff : p->picture_id_bits == 7 ? 0x7f : 0;
    memcpy(copy, payload, length);
    wd_vp8_patch(copy, p, picture_id, tl0);
    require(wd_payload_parse(WD_CODEC_VP8, copy, length, &again) && again.keyframe == p->keyframe &&
            again.tid == p->tid);
    require(again.picture_id_bits == p->picture_id_bits && again.picture_id_at == p->picture_id_at &&
            again.tl0_at == p->tl0_at);
    require(again.picture_id == (picture_id & mask) && again.tl0 == (p->tl0_at ? tl0 : 0));
    wd_vp8_patch(copy, p, p->picture_id, p->tl0);
    require(memcmp(copy, payload, length) == 0);
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct tape t = {data, size};
    uint8_t codec = (uint8_t)take(&t, 1), tl0 = (uint8_t)take(&t, 1);
    uint16_t picture_id = (uint16_t)take(&t, 2);
    size_t length;
    uint8_t *payload = take_copy(&t, 1500, &length);
    struct wd_payload p;
    codec = codec < 0xf0 ? codec % 6 : codec;
    bool parsed = wd_payload_parse(codec, payload, length, &p);
    require(length || !parsed);
    if (parsed && codec == WD_CODEC_VP8) {
        require(p.picture_id_bits == 0 || p.picture_id_bits == 7 || p.picture_id_bits == 15);
        require(!p.picture_id_bits || (size_t)p.picture_id_at + (p.picture_id_bits == 15 ? 2 : 1) < length);
        require(p.tl0_at < length && p.tid < 4 && p.picture_id < 0x8000);
        check_vp8(payload, length, &p, picture_id, tl0);
    } else if (parsed) {
        require(!p.picture_id_bits && !p.tl0_at && !p.tid);
        require(p.keyframe || (codec >= WD_CODEC_H264 && codec <= WD_CODEC_AV1));
    }
    free(payload);
    return 0;
}
