/* The load that every server is measured with: video in frames as libwebrtc cuts them, plus 50 audio packets a second. */
#ifndef WD_SHAPE_H
#define WD_SHAPE_H

#include <stdint.h>

#define FRAME_BYTES 7500 /* 1.8 Mbps at 30 frames per second */
#define FRAMES_PER_SECOND 30
#define KEYFRAME_FACTOR 3 /* a keyframe is so many times larger */
#define AUDIO_BYTES 100
#define AUDIO_PER_SECOND 50
#define MAX_VIDEO_PAYLOAD 1180 /* libwebrtc's 1,200 less header extensions */
#define MAX_FRAME_PACKETS 32

/* Near-equal parts, the later ones one byte larger, as libwebrtc's packetizer splits a frame. Returns how many. */
static inline unsigned split_frame(unsigned bytes, unsigned sizes[MAX_FRAME_PACKETS]) {
    unsigned count = (bytes + MAX_VIDEO_PAYLOAD - 1) / MAX_VIDEO_PAYLOAD, small = bytes / count, larger = bytes % count;
    for (unsigned i = 0; i < count; i++) sizes[i] = small + (i >= count - larger);
    return count;
}

#endif
