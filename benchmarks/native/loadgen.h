/* Load generator: many participants with connected sockets and keys, paced in real time, in one thread. Loaded by
 * ctypes (benchmarks/generator.py).
 *
 * Everything before (ICE, DTLS, signalling) is done by others; a participant comes here with its socket and keys.
 * Publishers send real SRTP in the bursts of load.h, sender reports every second, and a keyframe when asked; everybody
 * sends consent checks, receiver reports and REMB, counts what arrives by sequence number, and decrypts one packet of
 * `sample`, which proves its keys and carries the instant at which it was sent. */
#ifndef LOADGEN_H
#define LOADGEN_H

#include <stddef.h>
#include <stdint.h>

#define GEN_BUCKETS 10000 /* of 2 us */
#define GEN_BUCKET_NS 2000
#define GEN_MAX_CHECK 256

struct gen_participant {
    int32_t fd; /* connected, non-blocking; stays the caller's */
    uint16_t profile;
    uint16_t check_length;
    uint8_t send_key[16], send_salt[14], receive_key[16], receive_salt[14];
    uint32_t audio_ssrc, video_ssrc; /* 0 = does not send */
    uint8_t audio_payload_type, video_payload_type;
    uint8_t transport_cc, audio_level; /* header extension ids, 0 = none */
    uint8_t check[GEN_MAX_CHECK]; /* a STUN binding request, sent again and again */
    char password[64]; /* of ours, to answer the server's checks */
};

struct gen_options {
    uint32_t sample; /* decrypt one packet of so many of each stream */
    uint32_t kernel_times; /* 1: the kernel's arrival times (SO_TIMESTAMPNS) instead of our own clock */
    uint32_t spin; /* 1: never sleep, so that no server pays for waking us */
    uint32_t gro; /* 1: receive with UDP_GRO */
    uint32_t gso; /* 1: publishers hand runs of equal packets to the kernel at once (UDP_SEGMENT), so they may arrive as
                     one */
    uint64_t seed;
};

struct gen_totals { /* of one gen_run */
    uint64_t sent, sent_bytes, keyframes, received, received_bytes, expected, lost, checked, forged;
    uint64_t rtcp_received, rtcp_bad, nacked, keyframes_asked, send_errors, other;
    uint64_t streams, silent_streams; /* receiving streams ever seen; of them without a packet in this run */
    uint64_t late_ns, worst_late_ns; /* sum and worst of how much later than planned bursts left */
    uint64_t bursts;
    double cpu_s, wall_s;
    uint64_t latency_count[2], latency_over[2]; /* audio, video */
    uint32_t latency[2][GEN_BUCKETS];
};

struct gen;
struct gen *gen_new(const struct gen_options *options);
void gen_free(struct gen *gen);
/* Before the next gen_run. 0, or -1. */
int gen_add(struct gen *gen, const struct gen_participant *participant);
/* Kernel arrival times on (1) or off (0) for all sockets. */
void gen_kernel_times(struct gen *gen, int on);
/* Runs for so many seconds; what happened in them. 0, or -1. */
int gen_run(struct gen *gen, double seconds, struct gen_totals *totals);

#endif
