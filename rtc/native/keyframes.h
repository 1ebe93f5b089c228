/* Requests for keyframes: the wishes of all viewers of a source become one. The theory is in keyframes.c. */
#ifndef WD_KEYFRAMES_H
#define WD_KEYFRAMES_H

#include "core.h"

void wd_ask_keyframe(
    struct wd_router *router,
    struct track *track); /* for legs that wait: now or when the throttle allows, and again while they do */
void wd_ask_keyframes(struct wd_router *router,
                      struct transport *t); /* for those of its legs that wait: it has a selected address just now, or
                                               that is not congested any more */
void wd_wish_keyframe(struct wd_router *router, struct track *track); /* a video's, and again until there is one */
void wd_keyframe_seen(struct wd_router *router, struct track *track,
                      uint64_t index); /* the packet that one begins with */
void wd_keyframe_tick(struct wd_router *router, struct track *track);

#endif
