/* The physical limit: what one core can carry if it does nothing but decrypt every publisher's packet once, encrypt it
 * once per receiver and send it.
 *
 * No receiving, no parsing, no address look-up, no feedback. The bursts are those of load.h; the packets of a burst are
 * padded to equal sizes, so each receiver's share is one UDP_SEGMENT message; audio leaves packet by packet; messages
 * are collected for sendmmsg. A second process on another core drains the receivers' sockets. Keys, contexts and
 * sockets are as many as in the load that it stands beside, so caches are as cold; the publishers' packets come from
 * one small buffer, as hot as if they had just been received.
 *
 *   limit [--sources N] [--receivers N] [--seconds S] [--cpu N] [--sink-cpu N] [--profile gcm|cm] [--crypto
 * product|evp] [--batch N] [--gro] [--paced [--nap US]]
 *
 * `--crypto product` is rtc/native/srtp.c, `evp` (GCM only) calls OpenSSL directly. Without `--paced` one burst follows
 * the other and the core never rests. With it bursts come when publishers send them (limit_pace.h) and the loop sleeps
 * in between, as any server must: what the load itself, and not the code, lets a core reach. `--nap`: it sleeps so long
 * before it looks again, so that more have come. Prints one JSON object. */
#define _GNU_SOURCE
#include "limit_pace.h"
#include "load.h"
#include "rtc/native/bytes.h"
#include "rtc/native/srtp.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/udp.h>
#include <openssl/evp.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define HEADER_IN 20 /* with transport-wide sequence number */
#define HEADER_OUT 20 /* with abs-send-time */
#define TAG 16
#define RING_FRAMES 10 /* different frames; audio has as many packets */
#define ARENA_BYTES (256 * 1024)
#define MAX_BATCH 128
#define SINK_BATCH 32
#define SINK_BYTES 2048
#define SINK_BYTES_GRO 65536

struct options {
    unsigned sources, receivers, batch;
    double seconds;
    int cpu, sink_cpu, nap_us;
    bool gcm, evp, gro, paced;
};

struct direction {
    struct wd_srtp *srtp;
    EVP_CIPHER_CTX *evp;
    uint8_t salt[12];
};

struct receiver {
    struct direction keys;
    struct sockaddr_in address;
    int fd;
    uint64_t audio_index, video_index;
};

struct packet {
    uint16_t length; /* encrypted */
    uint8_t data[HEADER_IN + LOAD_MAX_PAYLOAD + WD_SRTP_MAX_OVERHEAD];
};

struct burst {
    unsigned count;
    unsigned largest; /* payload */
    struct packet packets[LOAD_MAX_PACKETS];
};

static struct options options = {
    .sources = 1, .receivers = 50, .batch = 32, .seconds = 3, .cpu = 0, .sink_cpu = 1, .gcm = true};
static struct direction *publishers;
static struct receiver *receivers;
static struct burst video[RING_FRAMES], audio[RING_FRAMES];
static _Atomic uint64_t *drained;

static int out_fd;
static uint8_t arena[ARENA_BYTES + 65536];
static size_t arena_used;
static struct mmsghdr messages[MAX_BATCH];
static struct iovec parts[MAX_BATCH];
static union {
    struct cmsghdr align;
    uint8_t bytes[CMSG_SPACE(sizeof(uint16_t))];
} controls[MAX_BATCH];
static unsigned message_count;
static struct pace *pace;
static struct {
    int64_t rung_ns;
    unsigned packets;
} waiting[MAX_BATCH]; /* what a message is, if paced */
static int64_t rung_ns;
static uint64_t sent_packets, sent_calls, refused, decrypted;

_Noreturn static void fail(const char *what) {
    fprintf(stderr, "limit: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void pin(int cpu) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((size_t)cpu, &set);
    if (cpu >= 0 && sched_setaffinity(0, sizeof set, &set) < 0) fail("cannot pin");
}

/* ---- crypto ---- */

static void make_keys(struct direction *d, uint8_t seed) {
    uint8_t key[WD_SRTP_KEY], salt[WD_SRTP_MAX_SALT];
    for (unsigned i = 0; i < sizeof key; i++) key[i] = (uint8_t)(seed + i * 7);
    for (unsigned i = 0; i < sizeof salt; i++) salt[i] = (uint8_t)(seed ^ (i * 5 + 1));
    uint16_t profile = options.gcm ? WD_SRTP_AEAD_AES_128_GCM : WD_SRTP_AES128_CM_SHA1_80;
    if (!(d->srtp = wd_srtp_new(profile, key, salt))) fail("no SRTP context");
    if (!options.evp) return;
    struct wd_srtp_session_keys session;
    EVP_CIPHER *cipher = EVP_CIPHER_fetch(NULL, "AES-128-GCM", NULL);
    d->evp = EVP_CIPHER_CTX_new();
    if (!cipher || !d->evp || !wd_srtp_derive(profile, key, salt, &session) ||
        !EVP_CipherInit_ex2(d->evp, cipher, session.rtp_key, NULL, 1, NULL))
        fail("no EVP context");
    memcpy(d->salt, session.rtp_salt, sizeof d->salt);
    EVP_CIPHER_free(cipher);
}

static void write_iv(uint8_t iv[12], const uint8_t *salt, const uint8_t *header, uint64_t index) {
    wd_put16(iv, 0);
    memcpy(iv + 2, header + 8, 4);
    wd_put16(iv + 6, (uint16_t)(index >> 32));
    wd_put32(iv + 8, (uint32_t)index);
    for (size_t i = 0; i < 12; i++) iv[i] ^= salt[i];
}

static size_t encrypt(struct direction *d, uint64_t index, uint8_t *out, const uint8_t *payload, size_t length) {
    if (!options.evp) return wd_srtp_protect(d->srtp, index, out, HEADER_OUT, payload, length);
    uint8_t iv[12];
    int n;
    write_iv(iv, d->salt, out, index);
    EVP_CipherInit_ex2(d->evp, NULL, NULL, iv, 1, NULL);
    EVP_CipherUpdate(d->evp, NULL, &n, out, HEADER_OUT);
    EVP_CipherUpdate(d->evp, out + HEADER_OUT, &n, payload, (int)length);
    EVP_CipherFinal_ex(d->evp, out + HEADER_OUT + length, &n);
    EVP_CIPHER_CTX_ctrl(d->evp, EVP_CTRL_AEAD_GET_TAG, TAG, out + HEADER_OUT + length);
    return HEADER_OUT + length + TAG;
}

static void decrypt(struct direction *d, struct wd_srtp_stream *stream, const struct packet *packet, uint8_t *clear) {
    size_t length = packet->length;
    decrypted++;
    if (!options.evp) {
        uint64_t index;
        memcpy(clear - HEADER_IN, packet->data,
               length); /* in place is how it works: this copy is in the limit's disfavour by some 20 ns */
        if (wd_srtp_unprotect(d->srtp, stream, clear - HEADER_IN, &length, HEADER_IN, &index) != WD_SRTP_OK)
            fail("decryption");
        return;
    }
    uint8_t iv[12], none[16];
    int n;
    write_iv(iv, d->salt, packet->data, wd_get16(packet->data + 2));
    size_t payload = length - HEADER_IN - TAG;
    if (!EVP_CipherInit_ex2(d->evp, NULL, NULL, iv, 0, NULL) ||
        !EVP_CIPHER_CTX_ctrl(d->evp, EVP_CTRL_AEAD_SET_TAG, TAG, (void *)(packet->data + HEADER_IN + payload)) ||
        !EVP_CipherUpdate(d->evp, NULL, &n, packet->data, HEADER_IN) ||
        !EVP_CipherUpdate(d->evp, clear, &n, packet->data + HEADER_IN, (int)payload) ||
        EVP_CipherFinal_ex(d->evp, none, &n) <= 0)
        fail("decryption");
}

/* ---- what publishers sent ---- */

static void write_header(uint8_t *out, uint32_t ssrc, uint16_t sequence) {
    static const uint8_t extension[8] = {0xbe, 0xde, 0, 1, 0x32, 0, 0, 0};
    out[0] = 0x90;
    out[1] = 96;
    wd_put16(out + 2, sequence);
    wd_put32(out + 4, sequence * 3000u);
    wd_put32(out + 8, ssrc);
    memcpy(out + 12, extension, sizeof extension);
}

static void write_burst(struct burst *burst, struct direction *keys, uint32_t ssrc, uint16_t *sequence,
                        const uint16_t *sizes, unsigned count) {
    uint8_t clear[LOAD_MAX_PAYLOAD];
    memset(clear, 0x5a, sizeof clear);
    burst->count = count;
    for (unsigned i = 0; i < count; i++) {
        struct packet *p = &burst->packets[i];
        write_header(p->data, ssrc, *sequence);
        p->length = (uint16_t)wd_srtp_protect(keys->srtp, *sequence, p->data, HEADER_IN, clear, sizes[i]);
        ++*sequence;
        if (sizes[i] > burst->largest) burst->largest = sizes[i];
    }
}

static void write_bursts(struct direction *keys) {
    uint64_t random = 1;
    uint16_t video_sequence = 1, audio_sequence = 1, sizes[LOAD_MAX_PACKETS];
    for (unsigned i = 0; i < RING_FRAMES; i++) {
        unsigned count = load_frame(&random, false, sizes);
        write_burst(&video[i], keys, 1, &video_sequence, sizes, count);
        sizes[0] = (uint16_t)load_audio_bytes(&random);
        write_burst(&audio[i], keys, 2, &audio_sequence, sizes, 1);
    }
}

/* ---- sending ---- */

static int64_t clock_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

/* One call sent `count` messages from `at` on, since `began_ns`: they arrived one after the other meanwhile. */
static void note(unsigned at, unsigned count, int64_t began_ns) {
    int64_t took_ns = clock_ns() - began_ns;
    for (unsigned i = 0; i < count; i++)
        pace_note(pace, waiting[at + i].rung_ns, began_ns + took_ns * (i + 1) / count, waiting[at + i].packets);
}

static void flush(void) {
    for (unsigned at = 0; at < message_count;) {
        int64_t began_ns = pace ? clock_ns() : 0;
        int n = sendmmsg(out_fd, messages + at, message_count - at, 0);
        sent_calls++;
        if (n <= 0) {
            refused++;
            at++;
            continue;
        }
        if (pace) note(at, (unsigned)n, began_ns);
        at += (unsigned)n;
    }
    message_count = 0;
    arena_used = 0;
}

static void queue(const struct receiver *r, size_t length, size_t segment, unsigned packets) {
    waiting[message_count].rung_ns = rung_ns;
    waiting[message_count].packets = packets;
    struct msghdr *h = &messages[message_count].msg_hdr;
    parts[message_count] = (struct iovec){arena + arena_used, length};
    *h = (struct msghdr){.msg_name = (void *)&r->address,
                         .msg_namelen = sizeof r->address,
                         .msg_iov = &parts[message_count],
                         .msg_iovlen = 1};
    if (segment < length) {
        h->msg_control = &controls[message_count];
        h->msg_controllen = CMSG_SPACE(sizeof(uint16_t));
        struct cmsghdr *c = CMSG_FIRSTHDR(h);
        c->cmsg_level = SOL_UDP;
        c->cmsg_type = UDP_SEGMENT;
        c->cmsg_len = CMSG_LEN(sizeof(uint16_t));
        uint16_t s = (uint16_t)segment;
        memcpy(CMSG_DATA(c), &s, sizeof s);
    }
    arena_used += length;
    if (++message_count == options.batch || arena_used > ARENA_BYTES) flush();
}

static void forward(const struct burst *burst, struct direction *publisher, struct wd_srtp_stream *stream,
                    struct receiver *to, bool is_video) {
    static uint8_t clear[LOAD_MAX_PACKETS][64 + LOAD_MAX_PAYLOAD + WD_SRTP_MAX_OVERHEAD];
    for (unsigned i = 0; i < burst->count; i++) decrypt(publisher, stream, &burst->packets[i], clear[i] + 64);
    for (unsigned k = 0; k < options.receivers; k++) {
        struct receiver *r = &to[k];
        uint64_t *index = is_video ? &r->video_index : &r->audio_index;
        size_t at = 0, segment = 0;
        for (unsigned i = 0; i < burst->count; i++) {
            uint8_t *out = arena + arena_used + at;
            write_header(out, is_video ? 3 : 4, (uint16_t)*index);
            segment = encrypt(&r->keys, (*index)++, out, clear[i] + 64, burst->largest);
            at += segment;
        }
        queue(r, at, segment, burst->count);
        sent_packets += burst->count;
    }
}

/* 100 ms of every publisher: three frames, five audio packets. */
static void round_of_all(void) {
    static unsigned next;
    for (unsigned step = 0; step < 5; step++)
        for (unsigned s = 0; s < options.sources; s++) {
            struct receiver *to = &receivers[(size_t)s * options.receivers];
            struct wd_srtp_stream fresh = {0},
                                  again = {0}; /* the same packets come again and again: no memory of them */
            if (step < 3) forward(&video[next % RING_FRAMES], &publishers[s], &fresh, to, true);
            forward(&audio[next % RING_FRAMES], &publishers[s], &again, to, false);
            next++;
        }
}

/* What is due, and sleep until something is. */
static void round_of_due(void) {
    static unsigned next;
    for (uint64_t due = pace_wait(pace); due; due--) {
        struct pace_burst burst = pace_next(pace);
        struct wd_srtp_stream fresh = {0};
        rung_ns = burst.rung_ns;
        forward(burst.is_video ? &video[next % RING_FRAMES] : &audio[next % RING_FRAMES], &publishers[burst.source],
                &fresh, &receivers[(size_t)burst.source * options.receivers], burst.is_video);
        next++;
    }
    flush();
}

/* ---- receiving ---- */

_Noreturn static void drain(void) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    pin(options.sink_cpu);
    size_t size = options.gro ? SINK_BYTES_GRO : SINK_BYTES, count = (size_t)options.sources * options.receivers;
    uint8_t *data = malloc(SINK_BATCH * size);
    struct mmsghdr in[SINK_BATCH] = {0};
    struct iovec into[SINK_BATCH];
    union {
        struct cmsghdr align;
        uint8_t bytes[CMSG_SPACE(sizeof(int))];
    } control[SINK_BATCH];
    int epoll = epoll_create1(0);
    for (size_t i = 0; i < count; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.fd = receivers[i].fd};
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, receivers[i].fd, &event) < 0) fail("epoll");
    }
    for (unsigned i = 0; i < SINK_BATCH; i++) into[i] = (struct iovec){data + i * size, size};
    if (pace) pace_begin(pace);
    for (;;) {
        struct epoll_event ready[256];
        if (pace) pace_ring(pace);
        int n = epoll_wait(epoll, ready, 256, 0);
        for (int k = 0; k < n; k++) {
            for (unsigned i = 0; i < SINK_BATCH; i++)
                in[i].msg_hdr = (struct msghdr){.msg_iov = &into[i],
                                                .msg_iovlen = 1,
                                                .msg_control = &control[i],
                                                .msg_controllen = options.gro ? sizeof control[i] : 0};
            int got = recvmmsg(ready[k].data.fd, in, SINK_BATCH, MSG_DONTWAIT, NULL);
            for (int i = 0; i < got; i++) {
                const struct cmsghdr *c = CMSG_FIRSTHDR(&in[i].msg_hdr);
                int segment = 0;
                if (c && c->cmsg_type == UDP_GRO) memcpy(&segment, CMSG_DATA(c), sizeof segment);
                atomic_fetch_add_explicit(drained,
                                          segment ? (in[i].msg_len + (unsigned)segment - 1) / (unsigned)segment : 1,
                                          memory_order_relaxed);
            }
        }
    }
}

static void open_receivers(void) {
    size_t count = (size_t)options.sources * options.receivers;
    receivers = calloc(count, sizeof *receivers);
    for (size_t i = 0; i < count; i++) {
        struct receiver *r = &receivers[i];
        make_keys(&r->keys, (uint8_t)(i + 3));
        socklen_t length = sizeof r->address;
        r->address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        r->fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
        if (r->fd < 0 || bind(r->fd, (struct sockaddr *)&r->address, length) < 0 ||
            getsockname(r->fd, (struct sockaddr *)&r->address, &length) < 0)
            fail("receiver's socket");
        setsockopt(r->fd, SOL_SOCKET, SO_RCVBUFFORCE, &(int){4 << 20}, sizeof(int));
        if (options.gro) setsockopt(r->fd, SOL_UDP, UDP_GRO, &(int){1}, sizeof(int));
    }
}

static double seconds_of(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double system_seconds(void) {
    struct rusage usage;
    getrusage(RUSAGE_THREAD, &usage);
    return (double)usage.ru_stime.tv_sec + (double)usage.ru_stime.tv_usec / 1e6;
}

static void measure(void) {
    void (*round)(void) = pace ? round_of_due : round_of_all;
    for (double until = seconds_of(CLOCK_MONOTONIC) + options.seconds / 4; seconds_of(CLOCK_MONOTONIC) < until;)
        round(); /* warm up */
    if (pace) pace_reset(pace);
    sent_packets = sent_calls = refused = decrypted = 0;
    uint64_t before = atomic_load(drained);
    double cpu = seconds_of(CLOCK_THREAD_CPUTIME_ID), wall = seconds_of(CLOCK_MONOTONIC), kernel = system_seconds();
    while (seconds_of(CLOCK_MONOTONIC) < wall + options.seconds) round();
    flush();
    cpu = seconds_of(CLOCK_THREAD_CPUTIME_ID) - cpu;
    wall = seconds_of(CLOCK_MONOTONIC) - wall;
    kernel = system_seconds() - kernel;
    usleep(50000);
    uint64_t arrived = atomic_load(drained) - before;
    double percent =
        sent_packets ? 100.0 * (double)(arrived < sent_packets ? arrived : sent_packets) / (double)sent_packets : 0;
    printf("{\"packets\": %lu, \"decrypted\": %lu, \"cpu_s\": %.4f, \"system_s\": %.4f, \"wall_s\": %.4f, "
           "\"packets_per_cpu_s\": %.0f, \"ns_per_packet\": %.1f, "
           "\"send_calls\": %lu, \"refused\": %lu, \"arrived_percent\": %.2f, \"latency_p50_us\": %.0f, "
           "\"latency_p99_us\": %.0f}\n",
           sent_packets, decrypted, cpu, kernel, wall, (double)sent_packets / cpu, cpu / (double)sent_packets * 1e9,
           sent_calls, refused, percent, pace ? pace_latency_us(pace, 0.5) : 0, pace ? pace_latency_us(pace, 0.99) : 0);
}

static void read_options(int count, char **words) {
    for (int i = 1; i < count; i++) {
        const char *name = words[i], *value = i + 1 < count ? words[i + 1] : "";
        if (!strcmp(name, "--gro") || !strcmp(name, "--paced")) {
            *(name[2] == 'g' ? &options.gro : &options.paced) = true;
            continue;
        }
        i++;
        if (!strcmp(name, "--sources"))
            options.sources = (unsigned)atoi(value);
        else if (!strcmp(name, "--receivers"))
            options.receivers = (unsigned)atoi(value);
        else if (!strcmp(name, "--seconds"))
            options.seconds = atof(value);
        else if (!strcmp(name, "--cpu"))
            options.cpu = atoi(value);
        else if (!strcmp(name, "--sink-cpu"))
            options.sink_cpu = atoi(value);
        else if (!strcmp(name, "--profile"))
            options.gcm = strcmp(value, "cm") != 0;
        else if (!strcmp(name, "--crypto"))
            options.evp = strcmp(value, "evp") == 0;
        else if (!strcmp(name, "--nap"))
            options.nap_us = atoi(value);
        else if (!strcmp(name, "--batch"))
            options.batch = (unsigned)atoi(value);
        else {
            fprintf(stderr, "limit: unknown option %s\n", name);
            exit(2);
        }
    }
    if (options.evp && !options.gcm) options.evp = false;
    if (!options.sources || !options.receivers || !options.batch || options.batch > MAX_BATCH || options.nap_us < 0 ||
        options.nap_us > 100000) {
        fprintf(stderr, "limit: a number is out of range\n");
        exit(2);
    }
}

int main(int count, char **words) {
    read_options(count, words);
    drained = mmap(NULL, sizeof *drained, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (drained == MAP_FAILED) fail("shared memory");
    publishers = calloc(options.sources, sizeof *publishers);
    for (unsigned i = 0; i < options.sources; i++)
        make_keys(&publishers[i], 1); /* one key, many contexts: all decrypt the same hot packets */
    write_bursts(&publishers[0]);
    open_receivers();
    out_fd = socket(AF_INET, SOCK_DGRAM, 0);
    if (out_fd < 0) fail("socket");
    setsockopt(out_fd, SOL_SOCKET, SO_SNDBUFFORCE, &(int){8 << 20}, sizeof(int));
    if (options.paced && !(pace = pace_new(options.sources, options.nap_us * INT64_C(1000)))) fail("no clock");
    pid_t sink = fork();
    if (sink < 0) fail("fork");
    if (sink == 0) drain();
    pin(options.cpu);
    prctl(PR_SET_TIMERSLACK, 1000ul); /* ns; the default of 50 us is as long as a good part of a nap */
    measure();
    kill(sink, SIGKILL);
    waitpid(sink, NULL, 0);
    return 0;
}
