/* The load of every measurement: one publisher as a browser sends, 1.8 Mbps of video at 30 frames per second and 50
 * audio packets per second.
 *
 * A frame is split as libwebrtc splits it: into as few packets as fit, of sizes that differ by at most one byte, the
 * larger ones last. Frame sizes vary by a fifth around their mean; a keyframe is four times as large. The limit, our
 * server and its peers all meet exactly these bursts. */
#ifndef LOAD_H
#define LOAD_H

#include <stdbool.h>
#include <stdint.h>

#define LOAD_VIDEO_INTERVAL_NS 33333333
#define LOAD_AUDIO_INTERVAL_NS 20000000
#define LOAD_FRAME_BYTES 7500 /* 1.8 Mbps */
#define LOAD_KEYFRAME_BYTES 30000
#define LOAD_KEYFRAME_EVERY 3000 /* frames, beside those that are asked for: libwebrtc's keyFrameInterval */
#define LOAD_MAX_PAYLOAD 1150 /* 1,200 bytes with header, extensions and tag */
#define LOAD_MAX_PACKETS 32 /* of one frame */
#define LOAD_AUDIO_LEAST 80 /* payload bytes; Opus at 32 to 64 kbps */
#define LOAD_AUDIO_MOST 160

static inline uint32_t load_random(uint64_t *state) {
    *state += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t z = (*state ^ (*state >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (uint32_t)((z ^ (z >> 31)) >> 32);
}

static inline unsigned load_audio_bytes(uint64_t *state) {
    return LOAD_AUDIO_LEAST + load_random(state) % (LOAD_AUDIO_MOST - LOAD_AUDIO_LEAST + 1);
}

/* Payload sizes of the next frame's packets; returns how many. */
static inline unsigned load_frame(uint64_t *state, bool key, uint16_t sizes[LOAD_MAX_PACKETS]) {
    unsigned mean = key ? LOAD_KEYFRAME_BYTES : LOAD_FRAME_BYTES;
    unsigned bytes = mean * 4 / 5 + load_random(state) % (mean * 2 / 5);
    unsigned count = (bytes + LOAD_MAX_PAYLOAD - 1) / LOAD_MAX_PAYLOAD;
    for (unsigned i = 0; i < count; i++) sizes[i] = (uint16_t)(bytes / count + (count - i <= bytes % count ? 1 : 0));
    return count;
}

#endif
