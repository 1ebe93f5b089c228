/* The send queue of a stream, and what epoll watches it for. The theory is in stream.h. */
#ifndef WD_STREAM_QUEUE_H
#define WD_STREAM_QUEUE_H

#include "stream_state.h"

bool wd_stream_watch(const struct wd_streams *streams, struct stream *s, int operation,
                     bool writable); /* false with errno */
bool wd_stream_write(struct wd_streams *streams, struct stream *s,
                     int64_t now_ns); /* everything that the kernel takes; returns whether it took anything */
void wd_stream_drop_stale(struct wd_streams *streams, struct stream *s, int64_t now_ns);
void wd_stream_drop_all(struct wd_streams *streams, struct stream *s);

#endif
