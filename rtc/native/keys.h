/* The keys of a transport, and what goes on under them when its tracks change: rollover counters and replay windows
 * (RFC 3711 section 3.3.1). */
#ifndef WD_KEYS_H
#define WD_KEYS_H

#include "core.h"

void wd_keys_free(struct transport *t);
struct wd_srtp_stream wd_stream_of(const struct transport *t,
                                   uint32_t ssrc); /* as far as it is known from a track that is gone */
void wd_depart(struct transport *t, uint32_t ssrc, const struct wd_srtp_stream *stream); /* its track is gone */

#endif
