/* Packets of the TURN load client. A payload begins with the run's number, the stream (client, direction), a sequence
 * number and the instant of sending; the rest never changes. Every stream has its own phase, drawn anew for each run,
 * in the interval that the rate leaves between two of its bursts. */
#include "relayload_internal.h"

#define RUN_AT 0
#define STREAM_AT 4
#define SEQUENCE_AT 8
#define STAMP_AT 16
#define HEAD 24
#define MOST_AT_ONCE 4 /* bursts between two looks at the sockets */
#define MOST_READY 64
#define CATCH_UP_NS (2 * 1000000LL) /* later than this, the plan is moved instead */
#define MOST_STRETCH 4 /* times the asked seconds, when others have the core */
#define SILENCE_NS (300 * 1000000LL) /* after the last burst: what has not come by then is lost */
#define CHOKED_NS (30 * 1000000LL) /* with a window: what is under way so long is lost */

struct slot {
    double phase;
    uint32_t stream;
};

static uint32_t next_random(uint64_t *state) {
    *state += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t z = (*state ^ (*state >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (uint32_t)((z ^ (z >> 31)) >> 32);
}

/* ---- receiving ---- */

static void note_latency(struct relay_totals *t, int64_t ns) {
    size_t bucket = (size_t)(ns < 0 ? 0 : ns) / RELAY_BUCKET_NS;
    if (bucket < RELAY_BUCKETS)
        t->latency[bucket]++;
    else
        t->over++;
}

static void take_packet(struct relay *r, uint32_t client, enum direction direction, const uint8_t *data, size_t length,
                        int64_t arrived_ns) {
    struct relay_totals *t = r->totals;
    struct client *c = &r->clients[client];
    if (direction == DOWN && !r->direct) {
        if (length < CHANNEL_HEADER || !(data[0] & 0x40)) {
            t->other++;
            return;
        }
        size_t inner = wd_get16(data + 2);
        bool ours = wd_get16(data) == channel_of(client) && inner + CHANNEL_HEADER <= length;
        data += CHANNEL_HEADER;
        length = ours ? inner : 0;
    }
    if (length != RELAY_PAYLOAD || wd_get32(data + STREAM_AT) != (client << 1 | direction)) {
        t->alien++;
        return;
    }
    if (wd_get32(data + RUN_AT) != r->run) {
        t->stale++;
        return;
    }
    uint64_t sequence = wd_get64(data + SEQUENCE_AT);
    if (sequence >= c->next[direction])
        c->next[direction] = sequence + 1;
    else
        t->reordered++;
    t->received[direction]++;
    if (r->load.timed) note_latency(t, arrived_ns - (int64_t)wd_get64(data + STAMP_AT));
}

static size_t read_controls(struct msghdr *h, size_t length, int64_t *arrived_ns) {
    size_t segment = length;
    for (struct cmsghdr *m = CMSG_FIRSTHDR(h); m; m = CMSG_NXTHDR(h, m)) {
        if (m->cmsg_level == SOL_SOCKET && m->cmsg_type == SCM_TIMESTAMPNS) {
            struct timespec t;
            memcpy(&t, CMSG_DATA(m), sizeof t);
            *arrived_ns = t.tv_sec * SECOND + t.tv_nsec;
        } else if (m->cmsg_level == SOL_UDP && m->cmsg_type == UDP_GRO) {
            int size;
            memcpy(&size, CMSG_DATA(m), sizeof size);
            if (size > 0) segment = (size_t)size;
        }
    }
    return segment;
}

static void receive_all(struct relay *r, uint32_t client, enum direction direction) {
    const struct client *c = &r->clients[client];
    bool controls = r->options.gro || r->load.timed;
    int got;
    do {
        for (unsigned i = 0; i < BATCH; i++) {
            r->in[i].msg_hdr.msg_control = controls ? &r->controls[i] : NULL;
            r->in[i].msg_hdr.msg_controllen = controls ? sizeof r->controls[i] : 0;
        }
        got = recvmmsg(direction == UP ? c->peer_fd : c->fd, r->in, BATCH, MSG_DONTWAIT, NULL);
        if (got <= 0) return;
        r->last_came_ns = clock_ns(CLOCK_MONOTONIC);
        for (int i = 0; i < got; i++) {
            int64_t arrived_ns = 0;
            size_t length = r->in[i].msg_len,
                   segment = controls ? read_controls(&r->in[i].msg_hdr, length, &arrived_ns) : length;
            for (size_t at = 0; at < length; at += segment)
                take_packet(r, client, direction, r->in_parts[i].iov_base + at,
                            segment < length - at ? segment : length - at, arrived_ns);
        }
    } while (got == BATCH);
}

static void receive_ready(struct relay *r) {
    struct epoll_event ready[MOST_READY];
    int n = epoll_wait(r->epoll, ready, MOST_READY, 0); /* never sleeps, so that no server pays for waking us */
    for (int i = 0; i < n; i++) receive_all(r, (uint32_t)(ready[i].data.u64 >> 1), ready[i].data.u64 & 1 ? UP : DOWN);
}

/* ---- sending ---- */

static bool send_segmented(struct relay *r, int fd, uint8_t *data, size_t size, size_t count) {
    union {
        struct cmsghdr align;
        uint8_t bytes[CMSG_SPACE(sizeof(uint16_t))];
    } control = {0};
    struct iovec part = {data, size * count};
    struct msghdr h = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    struct cmsghdr *m = CMSG_FIRSTHDR(&h);
    uint16_t segment = (uint16_t)size;
    *m = (struct cmsghdr){.cmsg_level = SOL_UDP, .cmsg_type = UDP_SEGMENT, .cmsg_len = CMSG_LEN(sizeof segment)};
    memcpy(CMSG_DATA(m), &segment, sizeof segment);
    if (sendmsg(fd, &h, MSG_DONTWAIT) >= 0) return true;
    if (errno == EIO || errno == EINVAL)
        r->gso_refused = true;
    else
        r->totals->send_errors += count;
    return !r->gso_refused;
}

static void send_singly(struct relay *r, int fd, uint8_t *data, size_t size, size_t count) {
    struct mmsghdr messages[RELAY_MAX_BURST];
    struct iovec parts[RELAY_MAX_BURST];
    for (size_t i = 0; i < count; i++) {
        parts[i] = (struct iovec){data + i * size, size};
        messages[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = &parts[i], .msg_iovlen = 1}};
    }
    for (size_t at = 0; at < count;) {
        int n = sendmmsg(fd, messages + at, (unsigned)(count - at), MSG_DONTWAIT);
        if (n <= 0) {
            r->totals->send_errors++;
            n = 1;
        }
        at += (size_t)n;
    }
}

static void send_burst(struct relay *r, uint32_t stream) {
    uint32_t client = stream >> 1;
    enum direction direction = stream & 1;
    struct client *c = &r->clients[client];
    size_t count = r->load.burst, header = direction == UP && !r->direct ? CHANNEL_HEADER : 0,
           size = header + RELAY_PAYLOAD;
    uint8_t *data = r->out[header != 0];
    uint64_t stamp = (uint64_t)clock_ns(CLOCK_REALTIME);
    for (size_t i = 0; i < count; i++) {
        uint8_t *at = data + i * size;
        if (header) {
            wd_put16(at, channel_of(client));
            wd_put16(at + 2, RELAY_PAYLOAD);
        }
        at += header;
        wd_put32(at + RUN_AT, r->run);
        wd_put32(at + STREAM_AT, stream);
        wd_put64(at + SEQUENCE_AT, c->sent[direction]++);
        wd_put64(at + STAMP_AT, stamp);
    }
    int fd = direction == UP ? c->fd : c->peer_fd;
    if (!r->load.gso || r->gso_refused || count == 1 || !send_segmented(r, fd, data, size, count))
        send_singly(r, fd, data, size, count);
    r->totals->sent[direction] += count;
    r->totals->bursts++;
}

/* ---- the two ways of asking for load ---- */

static uint64_t received(const struct relay *r) { return r->totals->received[UP] + r->totals->received[DOWN]; }

static uint64_t sent(const struct relay *r) { return r->totals->sent[UP] + r->totals->sent[DOWN]; }

static void run_window(struct relay *r, const struct slot *plan, size_t streams, int64_t end_ns) {
    uint64_t given_up = 0;
    for (size_t next = 0;;) {
        int64_t now = clock_ns(CLOCK_MONOTONIC);
        if (now >= end_ns) return;
        for (unsigned i = 0; i < MOST_AT_ONCE && sent(r) - received(r) - given_up + r->load.burst <= r->load.window;
             i++) {
            send_burst(r, plan[next].stream);
            next = (next + 1) % streams;
        }
        receive_ready(r);
        if (now - r->last_came_ns > CHOKED_NS) {
            given_up = sent(r) - received(r);
            r->last_came_ns = now;
        } else if (received(r) + given_up > sent(r))
            given_up = sent(r) - received(r); /* it came after all */
    }
}

/* The plan goes by the time that this thread had on its core: it never sleeps, so that is the time of the clock unless
 * others run there, and what they took is not made up for by sending everything at once. */
static void run_paced(struct relay *r, const struct slot *plan, size_t streams, int64_t most_ns) {
    double interval_ns = (double)r->load.burst * (double)streams / r->load.rate * 1e9;
    int64_t begin_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID), end_ns = begin_ns + (int64_t)(r->load.seconds * 1e9);
    double cycle_ns = (double)begin_ns;
    for (size_t next = 0; clock_ns(CLOCK_MONOTONIC) < most_ns;) {
        for (unsigned i = 0; i < MOST_AT_ONCE; i++) {
            int64_t now = clock_ns(CLOCK_THREAD_CPUTIME_ID), due = (int64_t)(cycle_ns + plan[next].phase * interval_ns);
            if (now >= end_ns) return;
            if (due > now) break;
            if (now - due > CATCH_UP_NS) {
                cycle_ns += (double)(now - due);
                due = now;
            }
            r->totals->late_ns += (uint64_t)(now - due);
            send_burst(r, plan[next].stream);
            if (++next == streams) {
                next = 0;
                cycle_ns += interval_ns;
            }
        }
        receive_ready(r);
    }
}

static int by_phase(const void *one, const void *other) {
    double a = ((const struct slot *)one)->phase, b = ((const struct slot *)other)->phase;
    return (a > b) - (a < b);
}

static struct slot *make_plan(struct relay *r, size_t streams) {
    struct slot *plan = malloc(streams * sizeof *plan);
    if (!plan) return NULL;
    for (size_t i = 0; i < streams; i++)
        plan[i] = (struct slot){(double)next_random(&r->options.seed) / 4294967296.0, (uint32_t)i};
    qsort(plan, streams, sizeof *plan, by_phase);
    return plan;
}

static void kernel_times(struct relay *r, bool on) {
    for (uint32_t i = 0; i < r->options.clients; i++) {
        setsockopt(r->clients[i].fd, SOL_SOCKET, SO_TIMESTAMPNS, &(int){on}, sizeof(int));
        setsockopt(r->clients[i].peer_fd, SOL_SOCKET, SO_TIMESTAMPNS, &(int){on}, sizeof(int));
    }
}

EXPORT int relay_run(struct relay *r, const struct relay_load *load, struct relay_totals *totals) {
    size_t streams = 2 * (size_t)r->options.clients;
    memset(totals, 0, sizeof *totals);
    if (!load->burst || load->burst > RELAY_MAX_BURST || r->common_fd >= 0) return -1;
    for (uint32_t i = 0; i < r->options.clients; i++) {
        struct client *c = &r->clients[i];
        if (!c->relayed.sin_port) return -1;
        memset(c->sent, 0, sizeof c->sent);
        memset(c->next, 0, sizeof c->next);
    }
    struct slot *plan = make_plan(r, streams);
    if (!plan) return -1;
    r->load = *load;
    r->totals = totals;
    r->run++;
    memset(r->out, 0x5a, sizeof r->out);
    if (load->timed) kernel_times(r, true);
    receive_ready(r); /* what an earlier run left */
    int64_t begin = r->last_came_ns = clock_ns(CLOCK_MONOTONIC), cpu = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    if (load->rate > 0)
        run_paced(r, plan, streams, begin + (int64_t)(load->seconds * MOST_STRETCH * 1e9));
    else
        run_window(r, plan, streams, begin + (int64_t)(load->seconds * 1e9));
    totals->cpu_s = (double)(clock_ns(CLOCK_THREAD_CPUTIME_ID) - cpu) / 1e9;
    int64_t last_sent = clock_ns(CLOCK_MONOTONIC);
    if (r->last_came_ns < last_sent) r->last_came_ns = last_sent;
    while (received(r) < sent(r) && clock_ns(CLOCK_MONOTONIC) - r->last_came_ns < SILENCE_NS) receive_ready(r);
    totals->send_s = (double)(last_sent - begin) / 1e9;
    totals->wall_s = (double)(r->last_came_ns - begin) / 1e9;
    totals->gso = load->gso && load->burst > 1 && !r->gso_refused;
    if (load->timed) kernel_times(r, false);
    free(plan);
    return 0;
}
