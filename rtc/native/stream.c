/* Life of streams, what comes from them, and their deadlines. See stream.h. */
#define _GNU_SOURCE
#include "stream_queue.h"

#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define SCAN_NS INT64_C(1000000000) /* at least, between two looks at all deadlines */

static void empty(struct pool *pool) {
    while (pool->unused) {
        void *piece = pool->unused;
        memcpy(&pool->unused, piece, sizeof pool->unused);
        free(piece);
    }
}

struct wd_streams *wd_streams_new(const struct wd_streams_config *config) {
    struct wd_streams *streams = calloc(1, sizeof *streams);
    if (!streams) return NULL;
    streams->config = *config;
    streams->open = calloc(config->max_streams, sizeof *streams->open);
    streams->blocks.size = sizeof(struct block);
    streams->rests.size = sizeof(struct rest);
    streams->due_ns = INT64_MAX;
    if (!streams->open || !wd_table_init(&streams->by_id, config->max_streams, 0, WD_TABLE_COUNTED)) {
        wd_streams_free(streams);
        return NULL;
    }
    return streams;
}

uint32_t wd_streams_count(const struct wd_streams *streams) { return streams->count; }
const struct wd_stream_counters *wd_streams_counters(const struct wd_streams *streams) { return &streams->counters; }

/* ---- life ---- */

/* Strangers: those that nobody has vouched for, in the order of their age. */
static void admit_stranger(struct wd_streams *streams, struct stream *s) {
    s->older = streams->youngest;
    if (streams->youngest)
        streams->youngest->younger = s;
    else
        streams->oldest = s;
    streams->youngest = s;
    streams->unvouched++;
}

static void no_stranger(struct wd_streams *streams, struct stream *s) {
    if (streams->oldest != s && !s->older) return; /* never was, or no longer */
    if (s->older)
        s->older->younger = s->younger;
    else
        streams->oldest = s->younger;
    if (s->younger)
        s->younger->older = s->older;
    else
        streams->youngest = s->older;
    s->older = s->younger = NULL;
    streams->unvouched--;
}

/* Ends at the next flush. */
static void displace_oldest(struct wd_streams *streams) {
    struct stream *s = streams->oldest;
    no_stranger(streams, s);
    streams->counters.streams_displaced++;
    wd_stream_fail(streams, s);
}

bool wd_streams_adopt(struct wd_streams *streams, uint32_t id, int fd, uint8_t kind, const struct wd_addr *remote,
                      const struct wd_addr *local, int64_t now_ns) {
    struct stream *s = NULL;
    if (!id || id >= WD_VIA_RELAY || (kind != WD_STREAM_TURN && kind != WD_STREAM_ICE) || !(s = calloc(1, sizeof *s)))
        goto refused;
    s->source.kind = WD_EPOLL_STREAM;
    s->kind = kind;
    s->fd = fd;
    s->id = id;
    s->remote = *remote;
    s->remote.via = id;
    s->local = *local;
    s->adopted_ns = s->heard_ns = now_ns;
    s->place = streams->count;
    if (!wd_table_add(&streams->by_id, id, s)) goto refused;
    if (!wd_stream_watch(streams, s, EPOLL_CTL_ADD, false)) {
        wd_table_remove(&streams->by_id, id);
        goto refused;
    }
    streams->open[streams->count++] = s;
    admit_stranger(streams, s);
    if (streams->unvouched > streams->config.max_unvouched) displace_oldest(streams);
    streams->counters.streams_adopted++;
    wd_streams_due(streams, now_ns + (kind == WD_STREAM_ICE ? WD_STREAM_VOUCH_ICE_NS : WD_STREAM_VOUCH_TURN_NS));
    return true;

refused:
    free(s);
    close(fd);
    streams->counters.streams_refused++;
    return false;
}

static void drop_rest(struct wd_streams *streams, struct stream *s) {
    if (s->rest) wd_give(&streams->rests, s->rest);
    s->rest = NULL;
    s->rest_length = 0;
}

static void end(struct wd_streams *streams, struct stream *s) {
    wd_table_remove(&streams->by_id, s->id);
    streams->open[s->place] = streams->open[--streams->count];
    streams->open[s->place]->place = s->place;
    if (streams->config.epoll >= 0)
        epoll_ctl(streams->config.epoll, EPOLL_CTL_DEL, s->fd,
                  NULL); /* a duplicate elsewhere would keep it registered */
    close(s->fd);
    s->fd = -1;
    wd_stream_drop_all(streams, s);
    drop_rest(streams, s);
    no_stranger(streams, s);
    s->next_dead = streams->dead;
    streams->dead = s;
    streams->counters.streams_closed++;
}

static void end_and_tell(struct wd_streams *streams, struct stream *s) {
    end(streams, s);
    streams->config.closed(streams->config.owner, s->id, &s->remote);
}

static void bury(struct wd_streams *streams) {
    while (streams->dead) {
        struct stream *s = streams->dead;
        streams->dead = s->next_dead;
        free(s);
    }
}

void wd_streams_unwatched(struct wd_streams *streams) { streams->config.epoll = -1; }

void wd_streams_free(struct wd_streams *streams) {
    if (!streams) return;
    while (streams->count) end(streams, streams->open[0]);
    bury(streams);
    empty(&streams->blocks);
    empty(&streams->rests);
    free(streams->by_id.cells);
    free(streams->open);
    free(streams);
}

const struct wd_addr *wd_streams_remote(const struct wd_streams *streams, uint32_t id) {
    const struct stream *s = wd_table_get(&streams->by_id, id);
    return s ? &s->remote : NULL;
}

void wd_streams_vouch(struct wd_streams *streams, uint32_t id) {
    struct stream *s = wd_table_get(&streams->by_id, id);
    if (!s) return;
    s->vouched = true;
    no_stranger(streams, s);
}

bool wd_streams_close(struct wd_streams *streams, uint32_t id) {
    struct stream *s = wd_table_get(&streams->by_id, id);
    if (!s) return false;
    if (!s->failed && !s->blocked) wd_stream_write(streams, s, s->heard_ns);
    end(streams, s);
    return true;
}

void wd_streams_flush(struct wd_streams *streams, int64_t now_ns) {
    while (streams->noted) { /* `closed` makes others send */
        struct stream *s = streams->noted;
        streams->noted = s->next_noted;
        s->noted = false;
        if (s->fd < 0) continue;
        if (!s->failed && !s->blocked) wd_stream_write(streams, s, now_ns);
        if (s->failed) end_and_tell(streams, s);
    }
    if (!streams->reading) bury(streams);
}

/* ---- reading ---- */

/* Hands over every whole message. False when the stream can no longer be read. */
static bool deliver(struct wd_streams *streams, struct stream *s, size_t length, int64_t now_ns) {
    size_t at = 0;
    struct wd_frame frame;
    enum wd_frame_status status;
    while ((status = wd_frame_read(s->kind, streams->scratch + at, length - at, &frame)) == WD_FRAME_FOUND &&
           frame.total <= length - at) {
        uint8_t *message = streams->scratch + at + frame.at;
        at += frame.total;
        if (!frame.length) continue; /* RFC 4571 allows the empty packet; it keeps NAT bindings */
        streams->counters.stream_frames_in++;
        streams->config.received(streams->config.owner, s->kind, message, frame.length, &s->remote, &s->local, now_ns);
        if (s->fd < 0) return true;
    }
    if (status == WD_FRAME_INVALID) {
        streams->counters.drop_stream_framing++;
        return false;
    }
    size_t left = length - at;
    if (!left) {
        drop_rest(streams, s);
        return true;
    }
    if (!s->rest && !(s->rest = wd_take(&streams->rests))) return streams->counters.drop_stream_no_memory++, false;
    if (at || !s->rest_length) {
        s->rest_ns = now_ns;
        wd_streams_due(streams, now_ns + WD_STREAM_INCOMPLETE_NS);
    }
    memcpy(s->rest->data, streams->scratch + at, left);
    s->rest_length = (uint32_t)left;
    return true;
}

/* False when the stream is at its end. */
static bool read_in(struct wd_streams *streams, struct stream *s, int64_t now_ns) {
    if (s->rest) memcpy(streams->scratch, s->rest->data, s->rest_length);
    ssize_t n = recv(s->fd, streams->scratch + s->rest_length, WD_STREAM_READ, MSG_DONTWAIT);
    if (n < 0) return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
    if (n == 0)
        return false; /* who will say nothing more cannot be asked for anything either: half a connection is none */
    streams->counters.stream_bytes_in += (size_t)n;
    s->heard_ns = now_ns;
    streams->reading = true;
    bool whole = deliver(streams, s, s->rest_length + (size_t)n, now_ns);
    streams->reading = false;
    return whole;
}

void wd_streams_ready(struct wd_streams *streams, struct wd_epoll_source *stream, uint32_t epoll_events,
                      int64_t now_ns) {
    struct stream *s = (struct stream *)stream;
    if (s->fd < 0) return;
    if (epoll_events & EPOLLOUT && s->blocked) {
        wd_stream_drop_stale(streams, s, now_ns);
        bool some = wd_stream_write(streams, s, now_ns);
        if (some && s->congested && s->waiting < WD_STREAM_LOW && !s->failed) {
            s->congested = false;
            streams->config.relieved(streams->config.owner, s->id, &s->remote);
            if (s->fd < 0) return;
        }
    }
    bool good = !s->failed;
    if (good && epoll_events & (EPOLLIN | EPOLLHUP | EPOLLERR)) good = read_in(streams, s, now_ns);
    if (s->fd >= 0 && (!good || s->failed)) end_and_tell(streams, s);
}

void wd_streams_poll(struct wd_streams *streams, int64_t now_ns) {
    for (uint32_t i = streams->count; i-- > 0;) {
        if (i >= streams->count) continue; /* more than the one were closed */
        struct stream *s = streams->open[i];
        struct pollfd wanted = {.fd = s->fd, .events = POLLIN | POLLOUT};
        if (poll(&wanted, 1, 0) > 0)
            wd_streams_ready(streams, &s->source, (uint32_t)wanted.revents, now_ns); /* EPOLLIN is POLLIN, and so on */
    }
}

/* ---- deadlines ---- */

static int64_t deadline(const struct stream *s) {
    int64_t first = s->heard_ns + WD_STREAM_SILENT_NS;
    int64_t vouch = s->adopted_ns + (s->kind == WD_STREAM_ICE ? WD_STREAM_VOUCH_ICE_NS : WD_STREAM_VOUCH_TURN_NS);
    if (!s->vouched && vouch < first) first = vouch;
    if (s->rest && s->rest_ns + WD_STREAM_INCOMPLETE_NS < first) first = s->rest_ns + WD_STREAM_INCOMPLETE_NS;
    if (s->blocked && s->blocked_ns + WD_STREAM_STUCK_NS < first) first = s->blocked_ns + WD_STREAM_STUCK_NS;
    return first;
}

int64_t wd_streams_tick(struct wd_streams *streams, int64_t now_ns) {
    if (now_ns < streams->due_ns) return streams->due_ns;
    int64_t next = INT64_MAX;
    streams->due_ns = INT64_MAX;
    for (uint32_t i = streams->count; i-- > 0;) {
        if (i >= streams->count) continue;
        struct stream *s = streams->open[i];
        int64_t at = deadline(s);
        if (at > now_ns) {
            if (at < next) next = at;
            continue;
        }
        streams->counters.streams_timed_out++;
        end_and_tell(streams, s);
    }
    if (next != INT64_MAX) wd_streams_due(streams, next > now_ns + SCAN_NS ? next : now_ns + SCAN_NS);
    return streams->due_ns;
}
