/* The send queue of a stream: frames gathered in blocks, written together, and thrown away when they have become too
 * old. */
#define _GNU_SOURCE
#include "stream_queue.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define WRITE_BLOCKS 128 /* in one system call: more than a full queue has, mostly */

bool wd_stream_watch(const struct wd_streams *streams, struct stream *s, int operation, bool writable) {
    if (streams->config.epoll < 0) return true;
    struct epoll_event event = {.events = EPOLLIN | (writable ? EPOLLOUT : 0), .data.ptr = &s->source};
    return epoll_ctl(streams->config.epoll, operation, s->fd, &event) == 0;
}

static void drop_block(struct wd_streams *streams, struct stream *s, struct block **at) {
    struct block *block = *at;
    *at = block->next;
    s->waiting -= block->end - block->sent;
    if (!s->head) s->tail = NULL;
    wd_give(&streams->blocks, block);
}

void wd_stream_drop_all(struct wd_streams *streams, struct stream *s) {
    while (s->head) drop_block(streams, s, &s->head);
}

/* Old messages make room for new ones: the receiver has given up waiting for them. Not those of a block that is partly
 * sent. */
void wd_stream_drop_stale(struct wd_streams *streams, struct stream *s, int64_t now_ns) {
    struct block **at = s->head && s->head->sent ? &s->head->next : &s->head;
    while (*at && *at != s->tail && now_ns - (*at)->newest_ns > WD_STREAM_STALE_NS) {
        streams->counters.drop_stream_late += (*at)->messages;
        drop_block(streams, s, at);
    }
}

static void set_blocked(struct wd_streams *streams, struct stream *s, bool blocked, int64_t now_ns) {
    s->blocked_ns = now_ns;
    if (blocked) wd_streams_due(streams, now_ns + WD_STREAM_STUCK_NS);
    if (s->blocked == blocked) return;
    s->blocked = blocked;
    if (!wd_stream_watch(streams, s, EPOLL_CTL_MOD, blocked)) wd_stream_fail(streams, s);
}

static void sent(struct wd_streams *streams, struct stream *s, size_t bytes) {
    streams->counters.stream_bytes_out += bytes;
    while (bytes) {
        size_t left = s->head->end - s->head->sent, part = bytes < left ? bytes : left;
        s->head->sent += (uint16_t)part;
        s->waiting -= (uint32_t)part;
        bytes -= part;
        if (part == left) drop_block(streams, s, &s->head);
    }
}

bool wd_stream_write(struct wd_streams *streams, struct stream *s, int64_t now_ns) {
    bool some = false;
    while (s->head) {
        struct iovec parts[WRITE_BLOCKS];
        size_t count = 0, wanted = 0;
        for (struct block *b = s->head; b && count < WRITE_BLOCKS; b = b->next) {
            parts[count++] = (struct iovec){b->data + b->sent, (size_t)(b->end - b->sent)};
            wanted += (size_t)(b->end - b->sent);
        }
        struct msghdr message = {.msg_iov = parts, .msg_iovlen = count};
        ssize_t n = sendmsg(s->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK) {
            wd_stream_fail(streams, s);
            return some;
        }
        if (n > 0) {
            sent(streams, s, (size_t)n);
            some = true;
        }
        if (n < (ssize_t)wanted) {
            if (some || !s->blocked) set_blocked(streams, s, true, now_ns);
            return some;
        }
    }
    set_blocked(streams, s, false, now_ns);
    return some;
}

static struct block *room(struct wd_streams *streams, struct stream *s, size_t length) {
    if (s->tail && s->tail->end + length <= sizeof s->tail->data) return s->tail;
    struct block *block = streams->blocks.taken < WD_STREAMS_BLOCKS ? wd_take(&streams->blocks) : NULL;
    if (!block) return NULL;
    block->next = NULL;
    block->sent = block->end = block->messages = 0;
    if (s->tail)
        s->tail->next = block;
    else
        s->head = block;
    return s->tail = block;
}

bool wd_streams_send(struct wd_streams *streams, uint32_t id, const uint8_t *message, size_t length, int64_t now_ns) {
    struct wd_stream_counters *n = &streams->counters;
    struct stream *s = wd_table_get(&streams->by_id, id);
    size_t before, behind;
    if (!s || s->failed) return n->drop_stream_unknown++, false;
    if (!wd_frame_around(s->kind, message, length, &before, &behind)) return n->drop_stream_too_large++, false;
    if (s->blocked) wd_stream_drop_stale(streams, s, now_ns);
    size_t total = before + length + behind,
           most = streams->blocks.taken > WD_STREAMS_BLOCKS / 2 ? WD_STREAM_SCARCE : WD_STREAM_MAX;
    if (s->waiting + total > most) return n->drop_stream_full++, false;
    struct block *block = room(streams, s, total);
    if (!block) return n->drop_stream_no_memory++, false;
    uint8_t *out = block->data + block->end;
    if (before) wd_put16(out, (uint16_t)length);
    memcpy(out + before, message, length);
    memset(out + before + length, 0, behind);
    block->end += (uint16_t)total;
    block->messages++;
    block->newest_ns = now_ns;
    s->waiting += (uint32_t)total;
    n->stream_frames_out++;
    if (!s->blocked) wd_stream_note(streams, s);
    if (!s->blocked && s->waiting >= WD_STREAM_GATHER) wd_stream_write(streams, s, now_ns);
    if (s->waiting > WD_STREAM_HIGH && !s->congested) {
        s->congested = true;
        n->stream_congestions++;
    }
    return true;
}

bool wd_streams_congested(const struct wd_streams *streams, uint32_t id) {
    const struct stream *s = wd_table_get(&streams->by_id, id);
    return s && s->congested;
}
