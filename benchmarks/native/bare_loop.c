/* The physical limit: nothing but one decryption per publisher packet, one encryption per receiver and the batched sends, with the sizes and bursts of
 * shape.h. No receiving, no parsing, no rooms. A second thread on the other core drains the sockets, since a full socket would make sending cheap. */
#define _GNU_SOURCE
#include "shape.h"

#include "../../rtc/native/bytes.h"
#include "../../rtc/native/srtp.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BATCH 64
#define HEADER 20 /* RTP header with the abs-send-time extension, as forwarded */

struct control { struct cmsghdr head; uint16_t segment; char padding[6]; };

struct publisher {
    struct wd_srtp *send, *receive; /* the generator's key, and ours for the same direction */
    struct wd_srtp_stream stream[2];
    uint64_t index[2];
    uint8_t packets[MAX_FRAME_PACKETS][1400];
    size_t lengths[MAX_FRAME_PACKETS];
};

struct receiver {
    struct wd_srtp *srtp;
    struct sockaddr_in address;
    uint64_t index[2];
};

struct batch {
    int fd;
    unsigned count;
    size_t used;
    struct mmsghdr headers[BATCH];
    struct iovec parts[BATCH];
    struct control controls[BATCH];
    uint8_t data[256 * 1024];
};

struct sink { int *fds; unsigned count; int cpu; };

static atomic_bool stop;

static double cpu_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void pin(int cpu) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((size_t)cpu, &set);
    sched_setaffinity(0, sizeof set, &set);
}

static void *drain(void *argument) {
    struct sink *sink = argument;
    static uint8_t trash[1 << 16];
    pin(sink->cpu);
    int epoll = epoll_create1(0);
    for (unsigned i = 0; i < sink->count; i++) {
        struct epoll_event e = {.events = EPOLLIN, .data.fd = sink->fds[i]};
        epoll_ctl(epoll, EPOLL_CTL_ADD, sink->fds[i], &e);
    }
    struct epoll_event events[256];
    while (!atomic_load(&stop)) {
        int n = epoll_wait(epoll, events, 256, 50);
        for (int i = 0; i < n; i++)
            while (recv(events[i].data.fd, trash, sizeof trash, MSG_DONTWAIT) > 0) continue;
    }
    close(epoll);
    return NULL;
}

static void flush(struct batch *b) {
    for (unsigned at = 0; at < b->count;) {
        int sent = sendmmsg(b->fd, b->headers + at, b->count - at, 0);
        if (sent < 0 && errno != EINTR) {
            perror("sendmmsg");
            exit(1);
        }
        if (sent > 0) at += (unsigned)sent;
    }
    b->count = 0;
    b->used = 0;
}

/* One GSO message to one receiver: `count` packets encrypted side by side, all but the last as large as the largest, as forwarding makes them by padding. */
static void send_burst(struct batch *b, struct receiver *r, const struct publisher *p, unsigned kind, unsigned count) {
    if (b->count == BATCH || b->used + count * 1400 > sizeof b->data) flush(b);
    uint8_t *start = b->data + b->used, *at = start;
    size_t largest = 0;
    for (unsigned i = 0; i < count; i++)
        if (p->lengths[i] > largest) largest = p->lengths[i];
    for (unsigned i = 0; i < count; i++) {
        memset(at, 0, HEADER);
        at[0] = 0x80;
        wd_put16(at + 2, (uint16_t)r->index[kind]);
        wd_put32(at + 8, 0x1000 + kind);
        at += wd_srtp_protect(r->srtp, r->index[kind]++, at, HEADER, p->packets[i] + 12, (i + 1 < count ? largest : p->lengths[i]) - 12);
    }
    unsigned k = b->count++;
    b->parts[k] = (struct iovec){start, (size_t)(at - start)};
    b->headers[k].msg_hdr = (struct msghdr){.msg_name = &r->address, .msg_namelen = sizeof r->address, .msg_iov = &b->parts[k], .msg_iovlen = 1};
    if (count > 1) {
        b->controls[k] = (struct control){.head = {.cmsg_len = CMSG_LEN(2), .cmsg_level = SOL_UDP, .cmsg_type = UDP_SEGMENT}, .segment = (uint16_t)(largest - 12 + HEADER + 16)};
        b->headers[k].msg_hdr.msg_control = &b->controls[k];
        b->headers[k].msg_hdr.msg_controllen = CMSG_SPACE(2);
    }
    b->used += (size_t)(at - start);
}

/* The publisher's side, not timed: fresh authentic packets. */
static void make_burst(struct publisher *p, unsigned kind, const unsigned *sizes, unsigned count) {
    uint8_t payload[1400] = {0};
    for (unsigned i = 0; i < count; i++) {
        memset(p->packets[i], 0, 12);
        p->packets[i][0] = 0x80;
        wd_put16(p->packets[i] + 2, (uint16_t)p->index[kind]);
        wd_put32(p->packets[i] + 8, kind);
        p->lengths[i] = wd_srtp_protect(p->send, p->index[kind]++, p->packets[i], 12, payload, sizes[i]);
    }
}

static void open_burst(struct publisher *p, unsigned kind, unsigned count) {
    uint64_t index;
    for (unsigned i = 0; i < count; i++)
        if (wd_srtp_unprotect(p->receive, &p->stream[kind], p->packets[i], &p->lengths[i], 12, &index) != WD_SRTP_OK) exit(2);
}

/* One burst of every publisher to all its receivers; returns the CPU seconds that took. */
static double forward_all(struct batch *b, struct publisher *sources, unsigned publishers, struct receiver *receivers, unsigned fanout, unsigned kind, const unsigned *sizes,
                          unsigned count) {
    for (unsigned i = 0; i < publishers; i++) make_burst(&sources[i], kind, sizes, count);
    double before = cpu_seconds();
    for (unsigned i = 0; i < publishers; i++) {
        open_burst(&sources[i], kind, count);
        for (unsigned k = 0; k < fanout; k++) send_burst(b, &receivers[i * fanout + k], &sources[i], kind, count);
    }
    flush(b);
    return cpu_seconds() - before;
}

static void open_receivers(struct receiver *receivers, int *fds, unsigned count) {
    uint8_t key[16] = {9}, salt[12] = {5};
    int on = 1;
    for (unsigned i = 0; i < count; i++) {
        memcpy(key + 8, &i, sizeof i);
        receivers[i].srtp = wd_srtp_new(WD_SRTP_AEAD_AES_128_GCM, key, salt);
        receivers[i].address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t length = sizeof receivers[i].address;
        fds[i] = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        setsockopt(fds[i], SOL_UDP, UDP_GRO, &on, sizeof on); /* as the load generator's sockets */
        if (bind(fds[i], (struct sockaddr *)&receivers[i].address, length) || getsockname(fds[i], (struct sockaddr *)&receivers[i].address, &length)) exit(3);
    }
}

static struct publisher *open_publishers(unsigned count) {
    struct publisher *sources = calloc(count, sizeof *sources);
    uint8_t key[16] = {7}, salt[12] = {5};
    for (unsigned i = 0; i < count; i++) {
        memcpy(key + 1, &i, sizeof i);
        sources[i].send = wd_srtp_new(WD_SRTP_AEAD_AES_128_GCM, key, salt);
        sources[i].receive = wd_srtp_new(WD_SRTP_AEAD_AES_128_GCM, key, salt);
    }
    return sources;
}

/* Packets sent per CPU-second of core `cpu`: `publishers` sources, each to `fanout` receivers of its own, for about `seconds` of CPU. */
double measure_limit(unsigned publishers, unsigned fanout, double seconds, int cpu, int sink_cpu) {
    unsigned count = publishers * fanout;
    struct publisher *sources = open_publishers(publishers);
    struct receiver *receivers = calloc(count, sizeof *receivers);
    struct batch *b = calloc(1, sizeof *b);
    int *fds = calloc(count, sizeof *fds), buffer = 4 << 20;
    open_receivers(receivers, fds, count);
    b->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    setsockopt(b->fd, SOL_SOCKET, SO_SNDBUFFORCE, &buffer, sizeof buffer);
    struct sink sink = {fds, count, sink_cpu};
    pthread_t thread;
    atomic_store(&stop, false);
    pthread_create(&thread, NULL, drain, &sink);
    pin(cpu);

    unsigned frame[MAX_FRAME_PACKETS], packets = split_frame(FRAME_BYTES, frame), audio[1] = {AUDIO_BYTES}, audio_due = 0;
    double spent = 0;
    uint64_t sent = 0;
    while (spent < seconds) {
        spent += forward_all(b, sources, publishers, receivers, fanout, 0, frame, packets);
        sent += (uint64_t)packets * count;
        for (audio_due += AUDIO_PER_SECOND; audio_due >= FRAMES_PER_SECOND; audio_due -= FRAMES_PER_SECOND) {
            spent += forward_all(b, sources, publishers, receivers, fanout, 1, audio, 1);
            sent += count;
        }
    }
    atomic_store(&stop, true);
    pthread_join(thread, NULL);
    for (unsigned i = 0; i < count; i++) {
        close(fds[i]);
        wd_srtp_free(receivers[i].srtp);
    }
    for (unsigned i = 0; i < publishers; i++) {
        wd_srtp_free(sources[i].send);
        wd_srtp_free(sources[i].receive);
    }
    close(b->fd);
    free(b);
    free(fds);
    free(receivers);
    free(sources);
    return (double)sent / spent;
}
