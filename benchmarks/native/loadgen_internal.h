/* What the files of the load generator share: loadgen.c plans and sends, loadgen_receive.c receives and counts. */
#ifndef LOADGEN_INTERNAL_H
#define LOADGEN_INTERNAL_H

#define _GNU_SOURCE
#include "loadgen.h"

#include "load.h"
#include "rtc/native/bytes.h"
#include "rtc/native/rtcp.h"
#include "rtc/native/rtp.h"
#include "rtc/native/srtp.h"
#include "rtc/native/stun.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
#define BATCH 32
#define MESSAGE_BYTES 2048
#define MESSAGE_BYTES_GRO 65536
#define MAX_STREAMS 8 /* received by one participant */
#define SECOND 1000000000LL
#define CHECK_INTERVAL_NS (3 * SECOND)
#define REPORT_INTERVAL_NS SECOND
#define REMB_BPS 20000000
#define STAMP_VIDEO 16 /* offset in the payload: behind descriptor and frame header */
#define STAMP_AUDIO 1 /* behind the TOC byte */
#define CATCH_UP_NS (100 * 1000000LL) /* later than this, the plan is moved instead */
#define MOST_AT_ONCE 32 /* bursts between two looks at the sockets */

enum event { AUDIO, VIDEO, REPORT, CHECK, EVENTS };

struct stream { /* that we receive */
    uint32_t ssrc;
    bool video, started;
    uint64_t first, highest, received;
    uint64_t expected_before, received_before;
    uint32_t until_sample;
    uint32_t lsr;
    int64_t lsr_ns;
    struct wd_srtp_stream srtp;
};

struct sender { /* a stream that we send */
    uint32_t ssrc;
    uint8_t payload_type;
    uint16_t rollover, sequence;
    uint32_t timestamp;
    uint32_t packets, octets;
    uint16_t picture;
    uint32_t until_key;
};

struct participant {
    struct gen_participant config;
    struct wd_srtp *send, *receive;
    struct sender audio, video;
    struct stream streams[MAX_STREAMS];
    unsigned stream_count;
    uint16_t transport_cc;
    int64_t due_ns[EVENTS];
};

struct due {
    int64_t at_ns;
    uint32_t participant;
    uint32_t event;
};

union segment_control {
    struct cmsghdr align;
    uint8_t bytes[CMSG_SPACE(sizeof(uint16_t))];
};

struct gen {
    struct gen_options options;
    struct participant **people;
    size_t count, capacity;
    struct due *heap;
    size_t heap_count;
    int epoll;
    uint64_t random;
    struct gen_totals *totals;
    uint8_t *in_data;
    size_t in_size;
    struct mmsghdr in[BATCH], out[LOAD_MAX_PACKETS];
    struct iovec in_parts[BATCH], out_parts[LOAD_MAX_PACKETS];
    union {
        struct cmsghdr align;
        uint8_t bytes[CMSG_SPACE(sizeof(struct timespec)) + CMSG_SPACE(sizeof(int))];
    } controls[BATCH];
    union segment_control segments[LOAD_MAX_PACKETS];
    uint8_t out_data[LOAD_MAX_PACKETS][64 + LOAD_MAX_PAYLOAD + WD_SRTP_MAX_OVERHEAD];
};
static inline int64_t clock_ns(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec * SECOND + t.tv_nsec;
}

void send_one(struct gen *g, struct participant *p, const void *data, size_t length);
/* Takes everything that waits on the participant's socket. */
void receive_all(struct gen *g, struct participant *p);

#endif
