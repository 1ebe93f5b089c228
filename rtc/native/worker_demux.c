/* Demultiplexing around the two cores: what comes by the worker's own socket, the relayed sockets and the streams goes
 * to the forwarding core or to the relay; what the cores send leaves by the way that its address names.
 *
 * What the forwarding core sends to a relayed address never sees a socket: it is taken from its egress before that is
 * sent, and handed to the relay, of this worker or of the one that has the allocation; the other way round likewise
 * (worker_handover.c). */
#define _GNU_SOURCE
#include "worker_demux.h"

#include "worker_handover.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

/* of one round: all of some hundred busy allocations, so that a nap comes between two looks at the same socket */
#define EVENTS 512

/* ---- what the relay asks of the shell ---- */

static void request(void *owner, const uint8_t *message, size_t length, const struct wd_addr *from,
                    const struct wd_addr *local) {
    wd_worker_emit(owner, &(struct wd_event){.type = WD_EVENT_REQUEST,
                                             .id = from->via,
                                             .address = *from,
                                             .local = *local,
                                             .data = message,
                                             .length = length});
}

static bool busy(void *owner) {
    struct wd_worker *worker = owner;
    return wd_ring_busy(worker->events);
}

static void send_stream(void *owner, uint32_t stream, const uint8_t *message, size_t length, int64_t now_ns) {
    struct wd_worker *worker = owner;
    wd_streams_send(worker->streams, stream, message, length, now_ns);
}

static void watch(void *owner, int fd, struct wd_epoll_source *source) {
    struct wd_worker *worker = owner;
    wd_udp_tune(fd);
    if (worker->epoll >= 0 &&
        epoll_ctl(worker->epoll, EPOLL_CTL_ADD, fd, &(struct epoll_event){.events = EPOLLIN, .data.ptr = source}) == 0)
        worker->relayed++;
}

static void unwatch(void *owner, int fd) {
    struct wd_worker *worker = owner;
    if (worker->epoll >= 0 && epoll_ctl(worker->epoll, EPOLL_CTL_DEL, fd, NULL) == 0) worker->relayed--;
}

static void gone(void *owner, const struct wd_addr *relayed) {
    struct wd_worker *worker = owner;
    wd_router_forget_address(worker->router, relayed);
}

void wd_demux_send_to_peers(struct wd_egress *egress) {
    struct wd_worker *worker = egress->owner;
    struct wd_outlet outlet = wd_relay_outlet(worker->relay);
    bool v6 = outlet.address.family == 6;
    if (outlet.fd >= 0) {
        worker->borrowed.fd = outlet.fd;
        worker->borrowed.v6 = v6;
        if (outlet.dont_fragment) wd_udp_dont_fragment(outlet.fd, v6, true);
        wd_relay_counters(worker->relay)->drop_relay_send_error += wd_udp_send(&worker->borrowed, egress);
        if (outlet.dont_fragment) wd_udp_dont_fragment(outlet.fd, v6, false);
        worker->borrowed.fd = -1;
    } else
        wd_relay_counters(worker->relay)->drop_relay_no_socket += egress->count;
    egress->used = egress->count = 0;
}

static void to_relay(struct wd_worker *worker, uint8_t *message, size_t length, const struct wd_addr *from,
                     const struct wd_addr *local, int64_t now_ns) {
    worker->counters->packets_in++;
    worker->counters->bytes_in += length;
    wd_relay_client(worker->relay, message, length, from, local, now_ns);
}

/* ---- what the streams tell ---- */

static void received(void *owner, uint8_t kind, uint8_t *message, size_t length, const struct wd_addr *from,
                     const struct wd_addr *local, int64_t now_ns) {
    struct wd_worker *worker = owner;
    if (kind == WD_STREAM_TURN) { /* vouched for when it gets an allocation */
        to_relay(worker, message, length, from, local, now_ns);
        return;
    }
    wd_router_receive(worker->router, message, length, from, local, now_ns);
    if (wd_router_knows(worker->router, from)) wd_streams_vouch(worker->streams, from->via);
}

/* A stream is jammed, or flows again: for who is sent to at its end, or through the allocation of who is. */
static void jam(struct wd_worker *worker, const struct wd_addr *remote, bool congested) {
    wd_router_congested(worker->router, remote, congested);
    for (uint8_t family = 4; family <= 6; family += 2) {
        const struct wd_addr *relayed = wd_relay_address_of(worker->relay, remote, family);
        if (relayed) wd_router_congested(worker->router, relayed, congested);
    }
}

static void left(struct wd_worker *worker, const struct wd_addr *remote) {
    wd_router_forget_address(worker->router, remote);
    jam(worker, remote, false);
}

static void closed(void *owner, uint32_t stream, const struct wd_addr *remote) {
    left(owner, remote);
    wd_worker_emit(owner, &(struct wd_event){.type = WD_EVENT_STREAM_CLOSED, .id = stream});
}

static void relieved(void *owner, uint32_t stream, const struct wd_addr *remote) {
    (void)stream;
    jam(owner, remote, false);
}

/* ---- life ---- */

bool wd_demux_open(struct wd_worker *worker, const struct wd_worker_config *config) {
    struct wd_relay_config relay = {.max_allocations = config->max_allocations,
                                    .index = config->index,
                                    .seed = config->seed,
                                    .owner = worker,
                                    .request = request,
                                    .busy = busy,
                                    .hand_over = wd_hand_over,
                                    .send_stream = send_stream,
                                    .watch = watch,
                                    .unwatch = unwatch,
                                    .gone = gone,
                                    .clients = &worker->to_clients,
                                    .peers = &worker->to_peers};
    if (!worker->manual && ((worker->epoll = epoll_create1(EPOLL_CLOEXEC)) < 0 || !wd_udp_borrow(&worker->borrowed)))
        return false;
    struct wd_streams_config streams = {.max_streams = config->max_streams,
                                        .max_unvouched = WD_STREAMS_UNVOUCHED,
                                        .epoll = worker->epoll,
                                        .owner = worker,
                                        .received = received,
                                        .closed = closed,
                                        .relieved = relieved};
    return (worker->relay = wd_relay_new(&relay)) && (worker->streams = wd_streams_new(&streams));
}

void wd_demux_unwatched(struct wd_worker *worker) {
    wd_streams_unwatched(worker->streams);
    close(worker->epoll);
    worker->epoll = -1;
}

void wd_demux_close(struct wd_worker *worker) {
    wd_relay_free(worker->relay);
    if (worker->streams) wd_streams_free(worker->streams);
    wd_udp_close(&worker->borrowed);
    if (worker->epoll >= 0) close(worker->epoll);
    wd_handover_close(worker);
}

/* ---- out ---- */

static void into_relay(struct wd_worker *worker, const struct wd_message *message, const uint8_t *data) {
    uint32_t index = message->to.via & ~WD_VIA_RELAY;
    size_t step = message->segment ? message->segment : message->length;
    for (size_t at = 0; at < message->length; at += step)
        wd_hand_back(worker, &message->to, &message->from, data + at,
                     message->length - at < step ? message->length - at : step);
    uint32_t stream = index == worker->index ? wd_relay_stream_of(worker->relay, &message->to) : 0;
    if (stream && wd_streams_congested(worker->streams, stream))
        wd_router_congested(worker->router, &message->to, true);
}

static void into_stream(struct wd_worker *worker, const struct wd_message *message, const uint8_t *data) {
    size_t step = message->segment ? message->segment : message->length;
    for (size_t at = 0; at < message->length; at += step)
        wd_streams_send(worker->streams, message->to.via, data + at,
                        message->length - at < step ? message->length - at : step, worker->now_ns);
    if (wd_streams_congested(worker->streams, message->to.via)) wd_router_congested(worker->router, &message->to, true);
}

void wd_demux_flush(struct wd_worker *worker) {
    wd_relay_flush(worker->relay);
    wd_streams_flush(worker->streams, worker->now_ns);
}

int64_t wd_demux_tick(struct wd_worker *worker) { return wd_streams_tick(worker->streams, worker->now_ns); }

void wd_demux_divert(struct wd_worker *worker, struct wd_egress *egress) {
    for (size_t i = 0; i < egress->count; i++) {
        const struct wd_message *message = &egress->messages[i];
        if (message->to.via & WD_VIA_RELAY)
            into_relay(worker, message, egress->data + message->offset);
        else if (message->to.via)
            into_stream(worker, message, egress->data + message->offset);
    }
}

/* ---- in ---- */

void wd_demux_receive(struct wd_worker *worker, uint8_t *datagram, size_t length, const struct wd_addr *from,
                      const struct wd_addr *local, int64_t now_ns) {
    static const struct wd_addr any;
    if (!wd_relay_wants(datagram, length)) {
        wd_router_receive(worker->router, datagram, length, from, local, now_ns);
        return;
    }
    to_relay(worker, datagram, length, from, local ? local : &any, now_ns);
}

static size_t read_relayed(struct wd_worker *worker, struct wd_relayed *relayed, bool *more) {
    struct wd_outlet socket = wd_relayed_socket(relayed);
    worker->borrowed.fd = socket.fd;
    worker->borrowed.v6 = socket.address.family == 6;
    size_t messages = wd_udp_receive(&worker->borrowed), datagrams = 0;
    for (size_t i = 0; i < messages; i++) {
        struct wd_udp_arrival arrival;
        wd_udp_arrival(&worker->borrowed, i, &arrival);
        size_t step = arrival.segment ? arrival.segment : arrival.length, at = 0;
        do {
            size_t length = arrival.length - at < step ? arrival.length - at : step;
            wd_relay_peer(worker->relay, relayed, arrival.data + at, length, &arrival.from, worker->now_ns);
            at += step;
            datagrams++;
        } while (at < arrival.length);
    }
    worker->borrowed.fd = -1;
    *more |= messages == WD_UDP_RECEIVE_BATCH;
    return datagrams;
}

size_t wd_demux_read(struct wd_worker *worker, bool *more) {
    if (!worker->relayed && !wd_streams_count(worker->streams)) return 0;
    struct epoll_event events[EVENTS];
    int ready = epoll_wait(worker->epoll, events, EVENTS, 0);
    size_t datagrams = 0;
    for (int i = 0; i < ready; i++) {
        struct wd_epoll_source *source = events[i].data.ptr;
        if (source->kind == WD_EPOLL_RELAYED)
            datagrams += read_relayed(worker, (struct wd_relayed *)source, more);
        else {
            wd_streams_ready(worker->streams, source, events[i].events, worker->now_ns);
            datagrams++;
        }
    }
    *more |= ready == EVENTS;
    return datagrams;
}

/* ---- commands ---- */

static bool adopt(struct wd_worker *worker, const struct wd_command *command, int64_t now_ns) {
    const struct wd_command_way *way = &command->way;
    bool adopted =
        wd_streams_adopt(worker->streams, command->id, way->fd, way->kind, &way->remote, &way->local, now_ns);
    if (!adopted)
        wd_worker_emit(worker, &(struct wd_event){.type = WD_EVENT_STREAM_CLOSED,
                                                  .id = command->id}); /* whoever gave it wants to know */
    return adopted;
}

static bool close_stream(struct wd_worker *worker, uint32_t id) {
    const struct wd_addr *remote = wd_streams_remote(worker->streams, id);
    if (remote) {
        struct wd_addr copy = *remote;
        left(worker, &copy);
    }
    return wd_streams_close(worker->streams, id);
}

/* An allocation's client is where it says now. */
static bool place(struct wd_worker *worker, const struct wd_command *command, const void *data, int64_t now_ns) {
    if (!wd_command_relay(command, data, worker->relay, now_ns)) return false;
    if (command->way.remote.via) wd_streams_vouch(worker->streams, command->way.remote.via);
    jam(worker, &command->way.remote,
        command->way.remote.via && wd_streams_congested(worker->streams, command->way.remote.via));
    return true;
}

bool wd_demux_command(void *owner, const struct wd_command *command, void *data, int64_t now_ns) {
    struct wd_worker *worker = owner;
    switch (command->type) {
    case WD_COMMAND_KNOW_MEDIA: return wd_handover_know(worker, &command->neighbour);
    case WD_COMMAND_KNOW_MEDIA_ELSEWHERE:
        return wd_relay_know_media_elsewhere(worker->relay, &command->neighbour.media);
    case WD_COMMAND_FORGET_MEDIA: return wd_relay_forget_media(worker->relay, &command->neighbour.media);
    case WD_COMMAND_HAND_OVER:
        worker->datagrams++;
        wd_router_receive(worker->router, data, command->length, &command->way.remote, &command->way.local, now_ns);
        return true;
    case WD_COMMAND_ADOPT_STREAM: return adopt(worker, command, now_ns);
    case WD_COMMAND_CLOSE_STREAM: return close_stream(worker, command->id);
    case WD_COMMAND_RELAY_ADD:
    case WD_COMMAND_RELAY_MOVE: return place(worker, command, data, now_ns);
    default:
        return command->type >= WD_COMMAND_RELAY_CONFIGURE ? wd_command_relay(command, data, worker->relay, now_ns)
                                                           : wd_command_router(command, data, worker->router, now_ns);
    }
}
