/* Fuzzes streams of both kinds with arbitrary bytes in arbitrary pieces, readers that read or do not, closes at any
 * moment, and time.
 *
 * Invariants: what is handed over is, message by message, what a plain reading of all the bytes says, however they were
 * cut; what the peer reads is the frames of what was sent, whole and in order, though some may be missing; nobody hears
 * of a stream that is closed. */
#define _GNU_SOURCE
#include "../../rtc/native/stream.h"
#include "fuzz.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define STREAMS 3
#define SENT 4096 /* bytes of the kernel's buffer that make a slow reader: the least it takes */
#define KEPT (64u << 10)

struct peer {
    int fd; /* -1: no stream */
    uint8_t kind;
    uint8_t said[KEPT];
    size_t length, judged; /* of what was said; how far the plain reading has come */
    uint8_t unread[WD_FRAME_TOTAL];
    size_t unread_length;
    uint32_t newest; /* number of the newest message read */
};

static struct world {
    struct wd_streams *streams;
    struct peer peers[STREAMS];
    int64_t now_ns;
    uint32_t number;
    uint8_t answer; /* what the owner does when it hears something: nothing, send, close */
} w;

static void forget(struct peer *p) {
    close(p->fd);
    p->fd = -1;
}

static void received(void *owner, uint8_t kind, uint8_t *message, size_t length, const struct wd_addr *from,
                     const struct wd_addr *local, int64_t now_ns) {
    struct peer *p = &w.peers[from->via - 1];
    struct wd_frame frame;
    require(owner == &w && local->port == 1 && now_ns == w.now_ns && p->fd >= 0 && kind == p->kind && length > 0 &&
            length <= WD_FRAME_MESSAGE);
    do {
        require(wd_frame_read(kind, p->said + p->judged, p->length - p->judged, &frame) == WD_FRAME_FOUND &&
                frame.total <= p->length - p->judged);
        p->judged += frame.total;
    } while (!frame.length);
    require(frame.length == length && !memcmp(p->said + p->judged - frame.total + frame.at, message, length));
    memset(message, 0xee, length);
    wd_streams_vouch(w.streams, from->via);
    if (w.answer % 8 == 1) wd_streams_send(w.streams, from->via % STREAMS + 1, message, length, now_ns);
    if (w.answer % 8 == 2 && wd_streams_close(w.streams, w.answer % STREAMS + 1)) forget(&w.peers[w.answer % STREAMS]);
}

static void closed(void *owner, uint32_t stream, const struct wd_addr *remote) {
    require(owner == &w && remote->via == stream && w.peers[stream - 1].fd >= 0 &&
            !wd_streams_congested(w.streams, stream));
    forget(&w.peers[stream - 1]);
}

static void relieved(void *owner, uint32_t stream, const struct wd_addr *remote) {
    require(owner == &w && remote->via == stream && w.peers[stream - 1].fd >= 0 &&
            !wd_streams_congested(w.streams, stream));
}

static void adopt(uint32_t id, uint8_t kind) {
    struct peer *p = &w.peers[id - 1];
    struct wd_addr remote = {.ip = {192, 0, 2, 1}, .port = (uint16_t)id, .family = 4}, local = {.port = 1, .family = 4};
    int ends[2], size = SENT;
    require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) == 0);
    setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    bool taken = p->fd >= 0;
    require(wd_streams_adopt(w.streams, id, ends[0], kind, &remote, &local, w.now_ns) == !taken);
    if (taken) {
        close(ends[1]);
        return;
    }
    p->fd = ends[1];
    p->kind = kind;
    p->length = p->judged = p->unread_length = 0;
    p->newest = 0;
}

static void say(struct peer *p, struct tape *t, size_t length) {
    if (length > t->size) length = t->size;
    if (length > KEPT - p->length) length = KEPT - p->length;
    ssize_t n = send(p->fd, t->data, length, MSG_NOSIGNAL);
    if (n <= 0) return;
    memcpy(p->said + p->length, t->data, (size_t)n);
    p->length += (size_t)n;
    t->data += n;
    t->size -= (size_t)n;
}

static void send_one(uint32_t id, size_t length) {
    uint8_t message[WD_FRAME_MESSAGE + 64] = {0x40, 0x01};
    if (length < 8) length = 8;
    wd_put16(message + 2, (uint16_t)(length - 4));
    wd_put32(message + 4, ++w.number);
    bool sent = wd_streams_send(w.streams, id, message, length, w.now_ns);
    require(!sent || (length <= WD_FRAME_MESSAGE && w.peers[id - 1].fd >= 0));
}

/* The peer reads up to `length` bytes and finds whole frames with rising numbers. Answers of `received` do not look
 * like those: then only the frames count. */
static void hear(struct peer *p, size_t length) {
    while (length) {
        struct wd_frame frame;
        size_t part = sizeof p->unread - p->unread_length;
        ssize_t n = read(p->fd, p->unread + p->unread_length, part < length ? part : length);
        if (n <= 0) return;
        p->unread_length += (size_t)n;
        length -= (size_t)n;
        for (;;) {
            enum wd_frame_status status = wd_frame_read(p->kind, p->unread, p->unread_length, &frame);
            require(status != WD_FRAME_INVALID);
            if (status == WD_FRAME_SHORT || frame.total > p->unread_length) break;
            require(frame.length > 0);
            const uint8_t *message = p->unread + frame.at;
            if (frame.length >= 8 && message[0] == 0x40 && wd_get16(message + 2) == frame.length - 4) {
                uint32_t number = wd_get32(message + 4);
                require(number > p->newest && number <= w.number);
                p->newest = number;
            }
            memmove(p->unread, p->unread + frame.total, p->unread_length -= frame.total);
        }
    }
}

static void act(struct tape *t) {
    uint8_t operation = (uint8_t)take(t, 1), control = (uint8_t)take(t, 1);
    uint32_t id = control % STREAMS + 1;
    struct peer *p = &w.peers[id - 1];
    switch (operation % 16) {
    case 0: adopt(id, control & 0x80 ? WD_STREAM_ICE : WD_STREAM_TURN); break;
    case 1: wd_streams_flush(w.streams, w.now_ns); break;
    case 2: w.now_ns += (int64_t)control * control * 10000000; break;
    case 3: require(wd_streams_tick(w.streams, w.now_ns) > w.now_ns); break;
    case 4:
        if (wd_streams_close(w.streams, id)) forget(p);
        break;
    case 5: w.answer = control; break;
    case 6:
        if (p->fd >= 0) shutdown(p->fd, control & 0x40 ? SHUT_RDWR : SHUT_WR);
        break;
    case 7:
        if (p->fd >= 0) hear(p, control * 64u);
        break;
    case 8:
    case 9:
        for (unsigned i = 0; i < 1u + (operation >> 4); i++) send_one(id, control * 9u);
        break;
    case 10:
        if (p->fd >= 0) hear(p, 1u << 20);
        break;
    default:
        if (p->fd >= 0) say(p, t, (size_t)take(t, 1) * (operation & 0x40 ? 16 : 1));
        break;
    }
    if (operation & 0x80) wd_streams_poll(w.streams, w.now_ns);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct tape tape = {data, size};
    struct wd_streams_config config = {STREAMS, 2, -1, &w, received, closed, relieved};
    w.now_ns = 1000000000;
    w.number = w.answer = 0;
    require((w.streams = wd_streams_new(&config)) != NULL);
    for (uint32_t i = 0; i < STREAMS; i++) {
        w.peers[i].fd = -1;
        adopt(i + 1, i == 1 ? WD_STREAM_ICE : WD_STREAM_TURN);
    }
    while (tape.size >= 2) act(&tape);
    wd_streams_poll(w.streams, w.now_ns);
    wd_streams_flush(w.streams, w.now_ns);
    const struct wd_stream_counters *n = wd_streams_counters(w.streams);
    uint32_t open = 0;
    for (uint32_t i = 0; i < STREAMS; i++) {
        if (w.peers[i].fd < 0) continue;
        hear(&w.peers[i], 1u << 20);
        open++;
        close(w.peers[i].fd);
    }
    require(n->streams_adopted - n->streams_closed == open);
    wd_streams_free(w.streams);
    return 0;
}
