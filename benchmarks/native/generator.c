/* The load generator: participants with keys in hand, in one thread on one core. Called from Python (benchmarks/load.py) by ctypes.
 *
 * Publishers send real SRTP in the shape of shape.h, their frames spread over the frame time. Receivers count every packet, find losses by sequence
 * number, and decrypt one datagram in `sample` to check it is authentic and to read the sending time out of it. */
#define _GNU_SOURCE
#include "shape.h"

#include "../../rtc/native/bytes.h"
#include "../../rtc/native/rtp.h"
#include "../../rtc/native/srtp.h"

#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define STAMP_AT 8 /* offset of the sending time in the payload */
#define MAX_LATENCIES (1 << 20)
#define MAX_STREAMS 8
#define SECOND INT64_C(1000000000)

/* What Python fills in; the layout is mirrored in benchmarks/load.py. */
struct participant {
    int32_t fd; /* connected UDP socket */
    uint16_t profile;
    uint8_t publishes, video_type, audio_type, level_id, cc_id, mid_id;
    uint8_t send_key[16], send_salt[16], receive_key[16], receive_salt[16];
    uint32_t video_ssrc, audio_ssrc;
    char audio_mid[4], video_mid[4];
};

struct result {
    uint64_t sent, received, lost, sampled, refused, keyframes;
    uint64_t latency_count;
    double seconds;
};

struct seen { uint32_t ssrc; bool used; uint64_t first, highest, count; struct wd_srtp_stream stream; };

struct party {
    struct participant config;
    struct wd_srtp *send, *receive;
    uint64_t video_index, audio_index;
    uint16_t cc;
    uint32_t video_time, audio_time;
    int64_t frame_due, audio_due;
    bool keyframe;
    struct seen seen[MAX_STREAMS];
};

struct generator {
    struct party *parties;
    unsigned count;
    unsigned sample, tick;
    bool gso, measuring;
    int epoll;
    struct result result;
    uint32_t *latencies_us;
};

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * SECOND + t.tv_nsec;
}

static size_t extension(uint8_t *at, uint8_t id, const uint8_t *value, size_t length) {
    if (!id) return 0;
    at[0] = (uint8_t)(id << 4 | (length - 1));
    memcpy(at + 1, value, length);
    return 1 + length;
}

static size_t header(struct party *p, uint8_t *out, bool video, bool marker, uint16_t sequence) {
    const struct participant *c = &p->config;
    uint8_t cc[2], level = 30 | 0x80;
    const char *mid = video ? c->video_mid : c->audio_mid;
    size_t at = 16;
    wd_put16(cc, p->cc++);
    at += extension(out + at, c->cc_id, cc, 2);
    at += extension(out + at, c->mid_id, (const uint8_t *)mid, strlen(mid));
    if (!video) at += extension(out + at, c->level_id, &level, 1);
    bool extended = at > 16;
    while (at & 3) out[at++] = 0;
    out[0] = extended ? 0x90 : 0x80;
    out[1] = (uint8_t)((video ? c->video_type : c->audio_type) | (marker ? 0x80 : 0));
    wd_put16(out + 2, sequence);
    wd_put32(out + 4, video ? p->video_time : p->audio_time);
    wd_put32(out + 8, video ? c->video_ssrc : c->audio_ssrc);
    wd_put16(out + 12, 0xbede);
    wd_put16(out + 14, (uint16_t)((at - 16) / 4));
    return extended ? at : 12;
}

static size_t packet(struct party *p, uint8_t *out, bool video, bool first, bool marker, size_t payload_length, int64_t now) {
    uint8_t payload[1400] = {0};
    payload[0] = video ? (first ? 0x10 : 0x00) : 0x78; /* VP8 descriptor; Opus TOC */
    payload[1] = video && first && p->keyframe ? 0x00 : 0x01; /* VP8 P bit */
    wd_put64(payload + STAMP_AT, (uint64_t)now);
    uint64_t index = video ? p->video_index++ : p->audio_index++;
    size_t at = header(p, out, video, marker, (uint16_t)index);
    return wd_srtp_protect(p->send, index, out, at, payload, payload_length);
}

static void send_frame(struct generator *g, struct party *p, int64_t now) {
    unsigned sizes[MAX_FRAME_PACKETS], count = split_frame(FRAME_BYTES * (p->keyframe ? KEYFRAME_FACTOR : 1), sizes);
    static uint8_t data[MAX_FRAME_PACKETS][1500];
    struct mmsghdr headers[MAX_FRAME_PACKETS] = {0};
    struct iovec parts[MAX_FRAME_PACKETS];
    for (unsigned i = 0; i < count; i++) {
        parts[i].iov_base = data[i];
        parts[i].iov_len = packet(p, data[i], true, i == 0, i + 1 == count, sizes[i], now);
        headers[i].msg_hdr.msg_iov = &parts[i];
        headers[i].msg_hdr.msg_iovlen = 1;
    }
    for (unsigned at = 0; at < count;) { /* one GSO message per run of equal sizes, or one datagram at a time */
        unsigned run = 1;
        while (g->gso && at + run < count && parts[at + run].iov_len == parts[at].iov_len) run++;
        struct { struct cmsghdr head; uint16_t segment; char padding[6]; } control = {
            .head = {.cmsg_len = CMSG_LEN(2), .cmsg_level = SOL_UDP, .cmsg_type = UDP_SEGMENT}, .segment = (uint16_t)parts[at].iov_len};
        if (run > 1) {
            struct msghdr whole = {.msg_iov = &parts[at], .msg_iovlen = run, .msg_control = &control, .msg_controllen = CMSG_SPACE(2)};
            sendmsg(p->config.fd, &whole, 0);
        } else if (g->gso) {
            send(p->config.fd, parts[at].iov_base, parts[at].iov_len, 0);
        } else {
            run = count - at;
            sendmmsg(p->config.fd, headers + at, run, 0);
        }
        at += run;
    }
    p->video_time += 90000 / FRAMES_PER_SECOND;
    g->result.keyframes += p->keyframe;
    p->keyframe = false;
    if (g->measuring) g->result.sent += count;
}

static void send_audio(struct generator *g, struct party *p, int64_t now) {
    uint8_t data[300];
    size_t length = packet(p, data, false, false, false, AUDIO_BYTES, now);
    send(p->config.fd, data, length, 0);
    p->audio_time += 48000 / AUDIO_PER_SECOND;
    if (g->measuring) g->result.sent++;
}

/* A keyframe request in clear RTCP: PSFB with PLI or FIR. */
static bool wants_keyframe(const uint8_t *data, size_t length) {
    for (size_t at = 0; at + 4 <= length; at += ((size_t)wd_get16(data + at + 2) + 1) * 4)
        if (data[at + 1] == 206 && ((data[at] & 31) == 1 || (data[at] & 31) == 4)) return true;
    return false;
}

static struct seen *seen_of(struct party *p, uint32_t ssrc) {
    for (unsigned i = 0; i < MAX_STREAMS; i++) {
        if (p->seen[i].used && p->seen[i].ssrc == ssrc) return &p->seen[i];
        if (!p->seen[i].used) {
            p->seen[i] = (struct seen){.ssrc = ssrc, .used = true};
            return &p->seen[i];
        }
    }
    return NULL;
}

static void receive_rtp(struct generator *g, struct party *p, uint8_t *data, size_t length, int64_t now) {
    struct wd_rtp rtp;
    if (wd_rtp_parse(data, length, &rtp)) return;
    struct seen *s = seen_of(p, rtp.ssrc);
    if (!s) return;
    uint64_t extended = rtp.sequence;
    if (s->count) extended = s->highest + (uint64_t)(int64_t)(int16_t)(uint16_t)(rtp.sequence - (uint16_t)s->highest);
    if (!s->count) s->first = s->highest = extended;
    if (extended > s->highest) s->highest = extended;
    s->count++;
    if (g->measuring) g->result.received++;
    if (g->tick++ % g->sample) return;
    uint64_t index;
    if (!s->stream.started) s->stream = (struct wd_srtp_stream){.started = true, .highest = extended ? extended - 1 : 0};
    if (wd_srtp_unprotect(p->receive, &s->stream, data, &length, rtp.header_length, &index) != WD_SRTP_OK) {
        g->result.refused++;
        return;
    }
    if (!g->measuring || length < rtp.header_length + STAMP_AT + 8u) return;
    g->result.sampled++;
    int64_t sent = (int64_t)wd_get64(data + rtp.header_length + STAMP_AT);
    if (sent > 0 && now > sent && g->result.latency_count < MAX_LATENCIES) g->latencies_us[g->result.latency_count++] = (uint32_t)((now - sent) / 1000);
}

static void receive_datagram(struct generator *g, struct party *p, uint8_t *data, size_t length, int64_t now) {
    if (length < 12 || data[0] < 128 || data[0] >= 192) return; /* answers to consent checks */
    if (data[1] >= 192 && data[1] <= 223) {
        if (wd_srtcp_unprotect(p->receive, data, &length) == WD_SRTP_OK && wants_keyframe(data, length)) p->keyframe = true;
        return;
    }
    receive_rtp(g, p, data, length, now);
}

static void receive_all(struct generator *g, struct party *p) {
    static uint8_t data[1 << 16];
    for (int turn = 0; turn < 64; turn++) {
        union { struct cmsghdr align; uint8_t bytes[CMSG_SPACE(sizeof(int))]; } control;
        struct iovec part = {data, sizeof data};
        struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
        ssize_t length = recvmsg(p->config.fd, &message, MSG_DONTWAIT);
        if (length <= 0) return;
        int64_t now = now_ns();
        size_t step = (size_t)length;
        struct cmsghdr *c = CMSG_FIRSTHDR(&message);
        if (c && c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_GRO) {
            int segment;
            memcpy(&segment, CMSG_DATA(c), sizeof segment);
            step = (size_t)segment;
        }
        for (size_t at = 0; at < (size_t)length; at += step) receive_datagram(g, p, data + at, (size_t)length - at < step ? (size_t)length - at : step, now);
    }
}

static void send_due(struct generator *g, int64_t now) {
    for (unsigned i = 0; i < g->count; i++) {
        struct party *p = &g->parties[i];
        if (!p->config.publishes) continue;
        if (p->audio_due <= now) {
            send_audio(g, p, now);
            p->audio_due += SECOND / AUDIO_PER_SECOND;
        }
        if (p->frame_due <= now) {
            send_frame(g, p, now_ns());
            p->frame_due += SECOND / FRAMES_PER_SECOND;
        }
    }
}

static int64_t next_due(const struct generator *g) {
    int64_t due = INT64_MAX;
    for (unsigned i = 0; i < g->count; i++) {
        const struct party *p = &g->parties[i];
        if (!p->config.publishes) continue;
        if (p->audio_due < due) due = p->audio_due;
        if (p->frame_due < due) due = p->frame_due;
    }
    return due;
}

static void run_until(struct generator *g, int64_t end) {
    struct epoll_event events[256];
    int64_t due = 0;
    for (int64_t now = now_ns(); now < end; now = now_ns()) {
        if (now >= due) {
            send_due(g, now);
            due = next_due(g);
        }
        int n = epoll_wait(g->epoll, events, 256, 0); /* never sleeps: waking us would be paid by the server's core, and no network asks for that */
        for (int i = 0; i < n; i++) receive_all(g, events[i].data.ptr);
    }
}

static void start_counting(struct generator *g) {
    g->measuring = true;
    for (unsigned i = 0; i < g->count; i++)
        for (unsigned k = 0; k < MAX_STREAMS; k++) {
            struct seen *s = &g->parties[i].seen[k];
            s->first = s->highest;
            s->count = s->used && s->count ? 1 : 0;
        }
}

static void count_losses(struct generator *g) {
    for (unsigned i = 0; i < g->count; i++)
        for (unsigned k = 0; k < MAX_STREAMS; k++) {
            struct seen *s = &g->parties[i].seen[k];
            if (s->used && s->count) {
                uint64_t expected = s->highest - s->first + 1;
                g->result.lost += expected > s->count ? expected - s->count : 0;
            }
        }
}

struct generator *generator_new(const struct participant *participants, unsigned count, unsigned sample, int gso) {
    struct generator *g = calloc(1, sizeof *g);
    int on = 1, buffer = 8 << 20;
    int64_t start = now_ns() + SECOND / 100;
    g->parties = calloc(count, sizeof *g->parties);
    g->latencies_us = calloc(MAX_LATENCIES, sizeof *g->latencies_us);
    g->count = count;
    g->sample = sample;
    g->gso = gso;
    g->epoll = epoll_create1(EPOLL_CLOEXEC);
    for (unsigned i = 0; i < count; i++) {
        struct party *p = &g->parties[i];
        p->config = participants[i];
        p->send = wd_srtp_new(p->config.profile, p->config.send_key, p->config.send_salt);
        p->receive = wd_srtp_new(p->config.profile, p->config.receive_key, p->config.receive_salt);
        p->keyframe = true;
        p->frame_due = start + (int64_t)((uint64_t)i * 7919 % count * (uint64_t)(SECOND / FRAMES_PER_SECOND) / count);
        p->audio_due = start + (int64_t)((uint64_t)i * 104729 % count * (uint64_t)(SECOND / AUDIO_PER_SECOND) / count);
        p->video_index = p->audio_index = 100;
        setsockopt(p->config.fd, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof buffer);
        setsockopt(p->config.fd, SOL_UDP, UDP_GRO, &on, sizeof on);
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = p};
        epoll_ctl(g->epoll, EPOLL_CTL_ADD, p->config.fd, &e);
    }
    return g;
}

/* Sends and receives for so long. With `measure` the counts of this stretch stand in the result, which is then complete. */
void generator_run(struct generator *g, double seconds, int measure, struct result *out) {
    int64_t begin = now_ns();
    if (measure) start_counting(g);
    for (unsigned i = 0; i < g->count; i++) { /* what waited between two stretches is not made up for */
        struct party *p = &g->parties[i];
        while (p->frame_due < begin) p->frame_due += SECOND / FRAMES_PER_SECOND;
        while (p->audio_due < begin) p->audio_due += SECOND / AUDIO_PER_SECOND;
    }
    run_until(g, begin + (int64_t)(seconds * 1e9));
    if (!measure) return;
    count_losses(g);
    g->measuring = false;
    g->result.seconds = (double)(now_ns() - begin) / 1e9;
    *out = g->result;
    g->result = (struct result){0};
}

const uint32_t *generator_latencies(const struct generator *g) { return g->latencies_us; }

void generator_free(struct generator *g) {
    for (unsigned i = 0; i < g->count; i++) {
        wd_srtp_free(g->parties[i].send);
        wd_srtp_free(g->parties[i].receive);
    }
    close(g->epoll);
    free(g->parties);
    free(g->latencies_us);
    free(g);
}
