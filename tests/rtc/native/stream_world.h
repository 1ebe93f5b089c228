/* One set of streams and their peers: real socket pairs, a real epoll set, what the owner was told, and a clock of our
 * own. */
#ifndef WD_STREAM_WORLD_H
#define WD_STREAM_WORLD_H

#define _GNU_SOURCE
#include "../../../rtc/native/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"

#define SECOND INT64_C(1000000000)
#define HEARD 64

struct heard {
    uint32_t stream;
    size_t length;
    uint8_t data[WD_FRAME_MESSAGE];
};

static struct {
    struct wd_streams *streams;
    int epoll;
    int64_t now_ns;
    struct heard heard[HEARD];
    size_t heard_count, closed_count, relieved_count;
    uint32_t closed, relieved;
    uint32_t close_when_heard; /* a stream that the owner closes from within `received` */
} w;

static void received(void *owner, uint8_t kind, uint8_t *message, size_t length, const struct wd_addr *from,
                     const struct wd_addr *local, int64_t now_ns) {
    check(owner == &w && (kind == WD_STREAM_TURN || kind == WD_STREAM_ICE) && local->port == 443 && now_ns == w.now_ns);
    struct heard *h = &w.heard[w.heard_count++ % HEARD];
    h->stream = from->via;
    h->length = length;
    memcpy(h->data, message, length);
    memset(message, 0xee, length); /* it is ours to change */
    if (w.close_when_heard) check(wd_streams_close(w.streams, w.close_when_heard));
    w.close_when_heard = 0;
}

static void closed(void *owner, uint32_t stream, const struct wd_addr *remote) {
    check(owner == &w && remote->via == stream);
    w.closed_count++;
    w.closed = stream;
}

static void relieved(void *owner, uint32_t stream, const struct wd_addr *remote) {
    check(owner == &w && remote->via == stream);
    w.relieved_count++;
    w.relieved = stream;
}

static void start(uint32_t max_streams) {
    w.epoll = epoll_create1(EPOLL_CLOEXEC);
    w.now_ns = 5 * SECOND;
    struct wd_streams_config config = {max_streams, 3, w.epoll, &w, received, closed, relieved};
    check(w.epoll >= 0 && (w.streams = wd_streams_new(&config)));
}

static void finish(void) {
    wd_streams_free(w.streams);
    close(w.epoll);
}

static bool adopt_fd(uint32_t id, int fd, uint8_t kind) {
    struct wd_addr remote = {.ip = {192, 0, 2, 1}, .port = 4000, .family = 4},
                   local = {.ip = {192, 0, 2, 9}, .port = 443, .family = 4};
    return wd_streams_adopt(w.streams, id, fd, kind, &remote, &local, w.now_ns);
}

/* The peer's end of a new stream. */
static int adopt(uint32_t id, uint8_t kind) {
    int ends[2];
    check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0);
    check(adopt_fd(id, ends[0], kind));
    return ends[1];
}

/* One round of the worker: what epoll reports, flush, tick. */
static void round_of_work(void) {
    struct epoll_event events[16];
    int count = epoll_wait(w.epoll, events, 16, 0);
    for (int i = 0; i < count; i++) {
        check(((struct wd_epoll_source *)events[i].data.ptr)->kind == WD_EPOLL_STREAM);
        wd_streams_ready(w.streams, events[i].data.ptr, events[i].events, w.now_ns);
    }
    wd_streams_flush(w.streams, w.now_ns);
    wd_streams_tick(w.streams, w.now_ns);
}

static void say(int peer, const void *data, size_t length) { check(write(peer, data, length) == (ssize_t)length); }

static size_t hear(int peer, uint8_t *out, size_t capacity) {
    size_t at = 0;
    ssize_t n;
    while (at < capacity && (n = read(peer, out + at, capacity - at)) > 0) at += (size_t)n;
    return at;
}

static bool is_open(int peer) {
    uint8_t byte;
    return recv(peer, &byte, 1, MSG_PEEK) < 0 && errno == EAGAIN;
}

/* A message of `length` bytes with its number in the last four; of a TURN stream it is ChannelData. */
static const uint8_t *message_of(size_t length, uint32_t number) {
    static uint8_t message[WD_FRAME_TOTAL];
    memset(message, (int)number, sizeof message);
    wd_put16(message, 0x4001);
    wd_put16(message + 2, (uint16_t)(length - 4));
    wd_put32(message + length - 4, number);
    return message;
}

static bool send_message(uint32_t id, size_t length, uint32_t number) {
    return wd_streams_send(w.streams, id, message_of(length, number), length, w.now_ns);
}

static const struct wd_stream_counters *counters(void) { return wd_streams_counters(w.streams); }

/* A STUN request of 28 bytes, ChannelData with 5 bytes and its padding; and the same two as ICE frames. */
static size_t two_messages(uint8_t kind, uint8_t out[80]) {
    uint8_t stun[28] = {0x00, 0x01, 0x00, 0x08, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3},
            channel[12] = {0x40, 0x01, 0x00, 0x05, 'h', 'e', 'l', 'l', 'o'};
    if (kind == WD_STREAM_TURN) {
        memcpy(out, stun, 28);
        memcpy(out + 28, channel, 12);
        return 40;
    }
    wd_put16(out, 28);
    memcpy(out + 2, stun, 28);
    wd_put16(out + 30, 9);
    memcpy(out + 32, channel, 9);
    return 41;
}

/* Fills the queue of a peer that does not read. Returns how many messages were taken. */
static uint32_t fill(uint32_t id, size_t length) {
    uint32_t taken = 0;
    while (send_message(id, length, taken)) taken++;
    return taken;
}

/* Reads all that comes while rounds go on, and checks that it is whole messages with rising numbers. Returns how many.
 */
static uint32_t drain(int peer, size_t length, int64_t *last) {
    static uint8_t data[1 << 20];
    size_t have = 0, got;
    do {
        have += got = hear(peer, data + have, sizeof data - have);
        round_of_work();
    } while (got);
    check(have % (length + 2) == 0);
    for (size_t at = 0; at < have; at += length + 2) {
        check(wd_get16(data + at) == length && (int64_t)wd_get32(data + at + 2 + length - 4) > *last);
        *last = wd_get32(data + at + 2 + length - 4);
    }
    return (uint32_t)(have / (length + 2));
}

#endif
