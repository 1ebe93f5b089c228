/* Where one message ends and the next begins on a stream.
 *
 * ICE-TCP puts 16 bits of length before every packet (RFC 4571 section 2, RFC 6544 section 3). TURN needs no frames: a
 * STUN message and a ChannelData message begin with the same first bits as in datagrams (RFC 8656 section 12) and both
 * say their length; ChannelData is padded to 4 bytes here (section 12.5). Of a stream that has lost its place no
 * message can be found again, so everything is judged as soon as its first bytes are there. */
#ifndef WD_STREAM_FRAMES_H
#define WD_STREAM_FRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bytes.h"

#define WD_STREAM_TURN 1
#define WD_STREAM_ICE 2

#define WD_FRAME_MESSAGE 2112 /* the longest message: 2 KiB, and what a Data indication puts around them */
#define WD_FRAME_TOTAL (WD_FRAME_MESSAGE + 4) /* with the length before it, or the padding behind it */

struct wd_frame {
    size_t at, length; /* the message within the frame */
    size_t total; /* of the frame */
};

enum wd_frame_status {
    WD_FRAME_INVALID, /* no frame begins like that */
    WD_FRAME_SHORT, /* too early to tell */
    WD_FRAME_FOUND, /* as much of it as may have come */
};

/* The frame at the front of `data`. */
static inline enum wd_frame_status wd_frame_read(uint8_t kind, const uint8_t *data, size_t length,
                                                 struct wd_frame *out) {
    if (kind == WD_STREAM_ICE) {
        if (length < 2) return WD_FRAME_SHORT;
        size_t said = wd_get16(data);
        *out = (struct wd_frame){.at = 2, .length = said, .total = 2 + said};
        return said <= WD_FRAME_MESSAGE ? WD_FRAME_FOUND : WD_FRAME_INVALID;
    }
    if (!length) return WD_FRAME_SHORT;
    bool stun = data[0] < 4, channel = data[0] >= 0x40 && data[0] < 0x80; /* from 0x50 on: RFC 5766 section 11 */
    if (!stun && !channel) return WD_FRAME_INVALID;
    if (length < 4) return WD_FRAME_SHORT;
    size_t said = wd_get16(data + 2), message = (stun ? 20u : 4u) + said;
    if (message > WD_FRAME_MESSAGE || (stun && said & 3)) return WD_FRAME_INVALID;
    if (stun && length >= 8 && wd_get32(data + 4) != 0x2112a442) return WD_FRAME_INVALID;
    *out = (struct wd_frame){.at = 0, .length = message, .total = (message + 3) & ~(size_t)3};
    return WD_FRAME_FOUND;
}

/* The frame of `message`: bytes before and behind it. False when it is too long, or does not have the length it says:
 * on a stream that would be the end of all. */
static inline bool wd_frame_around(uint8_t kind, const uint8_t *message, size_t length, size_t *before,
                                   size_t *behind) {
    struct wd_frame said = {0, length, 0};
    *before = kind == WD_STREAM_ICE ? 2 : 0;
    *behind = kind == WD_STREAM_ICE ? 0 : -length & 3;
    if (!length || length > WD_FRAME_MESSAGE) return false;
    return kind == WD_STREAM_ICE ||
           (wd_frame_read(kind, message, length, &said) == WD_FRAME_FOUND && said.length == length);
}

#endif
