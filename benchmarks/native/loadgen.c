#include "loadgen_internal.h"

/* ---- plan: a binary heap of what is due ---- */

static const int64_t interval[EVENTS] = {LOAD_AUDIO_INTERVAL_NS, LOAD_VIDEO_INTERVAL_NS, REPORT_INTERVAL_NS,
                                         CHECK_INTERVAL_NS};

static void push_due(struct gen *g, struct due item) {
    size_t i = g->heap_count++;
    for (; i && g->heap[(i - 1) / 2].at_ns > item.at_ns; i = (i - 1) / 2) g->heap[i] = g->heap[(i - 1) / 2];
    g->heap[i] = item;
}

static void sink_first(struct gen *g) {
    struct due item = g->heap[0];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= g->heap_count) break;
        if (child + 1 < g->heap_count && g->heap[child + 1].at_ns < g->heap[child].at_ns) child++;
        if (g->heap[child].at_ns >= item.at_ns) break;
        g->heap[i] = g->heap[child];
        i = child;
    }
    g->heap[i] = item;
}

/* ---- sending ---- */

void send_one(struct gen *g, struct participant *p, const void *data, size_t length) {
    if (send(p->config.fd, data, length, MSG_DONTWAIT) < 0) g->totals->send_errors++;
}

static size_t write_header(struct participant *p, struct sender *s, uint8_t *out, bool marker, bool level) {
    size_t at = 16;
    if (p->config.transport_cc) {
        out[at] = (uint8_t)(p->config.transport_cc << 4 | 1);
        wd_put16(out + at + 1, p->transport_cc++);
        at += 3;
    }
    if (level && p->config.audio_level) {
        out[at] = (uint8_t)(p->config.audio_level << 4);
        out[at + 1] = 0x80 | 30; /* voice at -30 dBov */
        at += 2;
    }
    bool extended = at > 16;
    out[0] = extended ? 0x90 : 0x80;
    out[1] = (uint8_t)(s->payload_type | (marker ? 0x80 : 0));
    wd_put16(out + 2, s->sequence);
    wd_put32(out + 4, s->timestamp);
    wd_put32(out + 8, s->ssrc);
    if (!extended) return 12;
    while (at & 3) out[at++] = 0;
    wd_put16(out + 12, 0xbede);
    wd_put16(out + 14, (uint16_t)((at - 16) / 4));
    return at;
}

/* Encrypts packet `slot` of the burst, whose payload lies behind its header already. */
static void finish_packet(struct gen *g, struct participant *p, struct sender *s, unsigned slot, size_t header,
                          size_t payload) {
    uint8_t *out = g->out_data[slot];
    uint64_t index = (uint64_t)s->rollover << 16 | s->sequence;
    size_t length = wd_srtp_protect(p->send, index, out, header, out + header, payload);
    if (++s->sequence == 0) s->rollover++;
    s->packets++;
    s->octets += (uint32_t)payload;
    g->out_parts[slot] = (struct iovec){out, length};
    g->totals->sent++;
    g->totals->sent_bytes += length;
}

/* Packets from `first` that one UDP_SEGMENT message can hold: of equal size, only the last may be shorter. */
static unsigned run_length(const struct gen *g, unsigned first, unsigned count) {
    size_t size = g->out_parts[first].iov_len;
    unsigned n = 1;
    while (first + n < count && g->out_parts[first + n].iov_len <= size && g->out_parts[first + n - 1].iov_len == size)
        n++;
    return n;
}

static void add_segment(struct msghdr *h, union segment_control *control, uint16_t size) {
    h->msg_control = control;
    h->msg_controllen = CMSG_SPACE(sizeof size);
    struct cmsghdr *c = CMSG_FIRSTHDR(h);
    c->cmsg_level = SOL_UDP;
    c->cmsg_type = UDP_SEGMENT;
    c->cmsg_len = CMSG_LEN(sizeof size);
    memcpy(CMSG_DATA(c), &size, sizeof size);
}

static void send_burst(struct gen *g, struct participant *p, unsigned count) {
    unsigned messages = 0;
    for (unsigned i = 0, n; i < count; i += n) {
        struct msghdr *h = &g->out[messages].msg_hdr;
        n = g->options.gso ? run_length(g, i, count) : 1;
        *h = (struct msghdr){.msg_iov = &g->out_parts[i], .msg_iovlen = n};
        if (n > 1) add_segment(h, &g->segments[messages], (uint16_t)g->out_parts[i].iov_len);
        messages++;
    }
    for (unsigned at = 0; at < messages;) {
        int n = sendmmsg(p->config.fd, g->out + at, messages - at, MSG_DONTWAIT);
        if (n <= 0) {
            g->totals->send_errors += messages - at;
            return;
        }
        at += (unsigned)n;
    }
}

static void send_audio(struct gen *g, struct participant *p) {
    struct sender *s = &p->audio;
    size_t payload = load_audio_bytes(&g->random), header = write_header(p, s, g->out_data[0], false, true);
    uint8_t *body = g->out_data[0] + header;
    memset(body, 0x55, payload);
    body[0] = 0x78; /* Opus, CELT, 20 ms, one frame */
    wd_put64(body + STAMP_AUDIO, (uint64_t)clock_ns(CLOCK_REALTIME));
    finish_packet(g, p, s, 0, header, payload);
    s->timestamp += 960;
    send_burst(g, p, 1);
}

/* VP8 (RFC 7741): descriptor with a 15-bit picture id; the first packet of a keyframe carries start code and size. */
static void send_video(struct gen *g, struct participant *p) {
    struct sender *s = &p->video;
    bool key = s->until_key == 0;
    s->until_key = key ? LOAD_KEYFRAME_EVERY : s->until_key - 1;
    uint16_t sizes[LOAD_MAX_PACKETS];
    unsigned count = load_frame(&g->random, key, sizes);
    uint64_t stamp = (uint64_t)clock_ns(CLOCK_REALTIME);
    g->totals->keyframes += key;
    for (unsigned i = 0; i < count; i++) {
        static const uint8_t start[7] = {0x9d, 0x01, 0x2a, 0x80, 0x02, 0x68, 0x01}; /* 640 x 360 */
        size_t header = write_header(p, s, g->out_data[i], i + 1 == count, false);
        uint8_t *body = g->out_data[i] + header;
        memset(body, 0xa5, sizes[i]);
        body[0] = i ? 0x80 : 0x90; /* X, and S on the first */
        body[1] = 0x80; /* I */
        wd_put16(body + 2, 0x8000 | s->picture);
        if (!i) {
            body[4] = key ? 0x10 : 0x11;
            if (key) memcpy(body + 7, start, sizeof start);
        }
        wd_put64(body + STAMP_VIDEO, stamp);
        finish_packet(g, p, s, i, header, sizes[i]);
    }
    s->picture = (s->picture + 1) & 0x7fff;
    s->timestamp += 3000;
    send_burst(g, p, count);
}

static uint64_t ntp_of(int64_t ns) {
    return ((uint64_t)(ns / SECOND) + 2208988800u) << 32 | ((uint64_t)(ns % SECOND) << 32) / SECOND;
}

static void send_rtcp(struct gen *g, struct participant *p, uint8_t *packet, size_t length) {
    if (length) send_one(g, p, packet, wd_srtcp_protect(p->send, packet, length));
}

static void send_reports(struct gen *g, struct participant *p) {
    uint8_t packet[1300];
    struct wd_report reports[MAX_STREAMS];
    uint32_t video_ssrcs[MAX_STREAMS];
    size_t count = 0, videos = 0, length;
    int64_t now = clock_ns(CLOCK_REALTIME);
    for (unsigned i = 0; i < p->stream_count; i++) {
        const struct stream *s = &p->streams[i];
        reports[count] =
            (struct wd_report){.ssrc = s->ssrc, .highest = (uint32_t)s->highest, .jitter = 10, .lsr = s->lsr};
        if (s->lsr) reports[count].dlsr = (uint32_t)((uint64_t)(now - s->lsr_ns) * 65536 / SECOND);
        if (s->video) video_ssrcs[videos++] = s->ssrc;
        count++;
    }
    const struct sender *senders[2] = {&p->audio, &p->video};
    for (unsigned i = 0; i < 2; i++) {
        const struct sender *s = senders[i];
        if (!s->ssrc) continue;
        struct wd_sender_info info = {
            .ssrc = s->ssrc, .ntp = ntp_of(now), .rtp = s->timestamp, .packets = s->packets, .octets = s->octets};
        length = wd_rtcp_write_sr(packet, 1200, &info, NULL, 0);
        length += wd_rtcp_write_cname(packet + length, 1200 - length, s->ssrc, "load");
        send_rtcp(g, p, packet, length);
    }
    if (!count) return;
    uint32_t reporter = p->audio.ssrc ? p->audio.ssrc : p->video.ssrc ? p->video.ssrc : 1;
    length = wd_rtcp_write_rr(packet, 1200, reporter, reports, count);
    if (videos) length += wd_rtcp_write_remb(packet + length, 1200 - length, reporter, REMB_BPS, video_ssrcs, videos);
    send_rtcp(g, p, packet, length);
}

static void perform(struct gen *g, struct due *due, int64_t now) {
    struct participant *p = g->people[due->participant];
    int64_t late = now - due->at_ns;
    due->at_ns += interval[due->event];
    if (due->at_ns < now - CATCH_UP_NS) due->at_ns = now;
    switch (due->event) {
    case AUDIO:
    case VIDEO:
        g->totals->bursts++;
        g->totals->late_ns += (uint64_t)late;
        if ((uint64_t)late > g->totals->worst_late_ns) g->totals->worst_late_ns = (uint64_t)late;
        if (due->event == AUDIO)
            send_audio(g, p);
        else
            send_video(g, p);
        break;
    case REPORT: send_reports(g, p); break;
    default:
        if (p->config.check_length) send_one(g, p, p->config.check, p->config.check_length);
    }
}

/* Does what is due, but only so much: who is behind his plan must still receive. Returns when it wants to be called
 * again. */
static int64_t perform_due(struct gen *g) {
    for (unsigned i = 0; g->heap_count; i++) {
        int64_t now = clock_ns(CLOCK_MONOTONIC);
        if (g->heap[0].at_ns > now || i == MOST_AT_ONCE) return g->heap[0].at_ns;
        perform(g, &g->heap[0], now);
        sink_first(g);
    }
    return INT64_MAX;
}

/* ---- life ---- */

EXPORT struct gen *gen_new(const struct gen_options *options) {
    struct gen *g = calloc(1, sizeof *g);
    if (!g) return NULL;
    g->options = *options;
    g->random = options->seed;
    g->in_size = options->gro ? MESSAGE_BYTES_GRO : MESSAGE_BYTES;
    g->in_data = malloc(BATCH * g->in_size);
    g->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (!g->in_data || g->epoll < 0) {
        gen_free(g);
        return NULL;
    }
    for (unsigned i = 0; i < BATCH; i++) {
        g->in_parts[i] = (struct iovec){g->in_data + i * g->in_size, g->in_size};
        g->in[i].msg_hdr = (struct msghdr){.msg_iov = &g->in_parts[i], .msg_iovlen = 1};
    }
    return g;
}

EXPORT void gen_free(struct gen *g) {
    if (!g) return;
    for (size_t i = 0; i < g->count; i++) {
        wd_srtp_free(g->people[i]->send);
        wd_srtp_free(g->people[i]->receive);
        free(g->people[i]);
    }
    if (g->epoll >= 0) close(g->epoll);
    free(g->people);
    free(g->heap);
    free(g->in_data);
    free(g);
}

static bool grow(struct gen *g) {
    if (g->count < g->capacity) return true;
    size_t capacity = g->capacity ? 2 * g->capacity : 64;
    struct participant **people = realloc(g->people, capacity * sizeof *people);
    if (people) g->people = people;
    struct due *heap = realloc(g->heap, capacity * EVENTS * sizeof *heap);
    if (heap) g->heap = heap;
    if (!people || !heap) return false;
    g->capacity = capacity;
    return true;
}

static void start_sender(struct gen *g, struct sender *s, uint32_t ssrc, uint8_t payload_type) {
    *s = (struct sender){.ssrc = ssrc, .payload_type = payload_type, .timestamp = load_random(&g->random)};
    s->sequence = load_random(&g->random) & 0x3fff;
    s->picture = load_random(&g->random) & 0x7fff;
}

static void plan(struct gen *g, uint32_t participant, enum event event) {
    push_due(g,
             (struct due){clock_ns(CLOCK_MONOTONIC) + load_random(&g->random) % interval[event], participant, event});
}

EXPORT int gen_add(struct gen *g, const struct gen_participant *config) {
    struct participant *p = calloc(1, sizeof *p);
    if (!p || !grow(g)) {
        free(p);
        return -1;
    }
    p->config = *config;
    p->send = wd_srtp_new(config->profile, config->send_key, config->send_salt);
    p->receive = wd_srtp_new(config->profile, config->receive_key, config->receive_salt);
    uint32_t number = (uint32_t)g->count;
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = number};
    if (!p->send || !p->receive || epoll_ctl(g->epoll, EPOLL_CTL_ADD, config->fd, &event) < 0) {
        wd_srtp_free(p->send);
        wd_srtp_free(p->receive);
        free(p);
        return -1;
    }
    setsockopt(config->fd, SOL_SOCKET, SO_RCVBUFFORCE, &(int){4 << 20}, sizeof(int));
    setsockopt(config->fd, SOL_UDP, UDP_GRO, &(int){g->options.gro != 0}, sizeof(int));
    start_sender(g, &p->audio, config->audio_ssrc, config->audio_payload_type);
    start_sender(g, &p->video, config->video_ssrc, config->video_payload_type);
    g->people[g->count++] = p;
    if (config->audio_ssrc) plan(g, number, AUDIO);
    if (config->video_ssrc) plan(g, number, VIDEO);
    plan(g, number, REPORT);
    plan(g, number, CHECK);
    return 0;
}

EXPORT void gen_kernel_times(struct gen *g, int on) {
    g->options.kernel_times = on != 0;
    for (size_t i = 0; i < g->count; i++)
        setsockopt(g->people[i]->config.fd, SOL_SOCKET, SO_TIMESTAMPNS, &(int){on != 0}, sizeof(int));
}

/* After a pause everybody goes on in his own phase, from now: nothing of the pause is caught up, and those who came
 * during it begin at once. */
static void resume_plan(struct gen *g) {
    int64_t now = clock_ns(CLOCK_MONOTONIC);
    size_t count = g->heap_count;
    for (g->heap_count = 0; g->heap_count < count;) {
        struct due item = g->heap[g->heap_count];
        int64_t phase = (item.at_ns - now) % interval[item.event];
        item.at_ns = now + (phase < 0 ? phase + interval[item.event] : phase);
        push_due(g, item);
    }
}

static void begin_count(struct gen *g) {
    for (size_t i = 0; i < g->count; i++)
        for (unsigned k = 0; k < g->people[i]->stream_count; k++) {
            struct stream *s = &g->people[i]->streams[k];
            s->expected_before = s->highest - s->first + 1;
            s->received_before = s->received;
        }
}

static void end_count(struct gen *g) {
    struct gen_totals *t = g->totals;
    for (size_t i = 0; i < g->count; i++)
        for (unsigned k = 0; k < g->people[i]->stream_count; k++) {
            struct stream *s = &g->people[i]->streams[k];
            uint64_t expected = s->highest - s->first + 1 - s->expected_before,
                     received = s->received - s->received_before;
            t->streams++;
            t->silent_streams += received == 0;
            t->expected += expected;
            t->lost += expected > received ? expected - received : 0;
        }
}

static void wait_for_datagrams(struct gen *g, int64_t wake_ns) {
    struct epoll_event ready[64];
    struct timespec most = {0};
    int64_t left = wake_ns == INT64_MAX ? SECOND : wake_ns - clock_ns(CLOCK_MONOTONIC);
    if (!g->options.spin && left > 0) most = (struct timespec){left / SECOND, left % SECOND};
    int n = epoll_pwait2(g->epoll, ready, 64, &most, NULL);
    for (int i = 0; i < n; i++) {
        receive_all(g, g->people[ready[i].data.u32]);
        perform_due(g);
    }
}

EXPORT int gen_run(struct gen *g, double seconds, struct gen_totals *totals) {
    memset(totals, 0, sizeof *totals);
    g->totals = totals;
    begin_count(g);
    resume_plan(g);
    int64_t begin = clock_ns(CLOCK_MONOTONIC), end = begin + (int64_t)(seconds * 1e9),
            cpu = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    for (;;) {
        int64_t wake = perform_due(g);
        int64_t now = clock_ns(CLOCK_MONOTONIC);
        if (now >= end) break;
        wait_for_datagrams(g, wake < end ? wake : end);
    }
    totals->cpu_s = (double)(clock_ns(CLOCK_THREAD_CPUTIME_ID) - cpu) / 1e9;
    totals->wall_s = (double)(clock_ns(CLOCK_MONOTONIC) - begin) / 1e9;
    end_count(g);
    return 0;
}
