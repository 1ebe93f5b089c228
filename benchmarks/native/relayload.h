/* TURN load client: many allocations with a channel each, packets both ways, in one thread. Loaded by ctypes
 * (benchmarks/relay_client.py).
 *
 * A client has a UDP socket of its own, one allocation and one channel (RFC 8656 sections 7, 12) to a peer, which is a
 * UDP socket of ours too. The control transactions know nothing of the server: 401 and 438 are answered with its realm
 * and nonce, requests without an answer are sent again, and every answer's MESSAGE-INTEGRITY is checked. The packets
 * know nothing of TURN: both ends count what the other end sent, look at who sent it, and tell how long it took, so
 * that the bare loop (relay_limit.c) and a direct path without any server carry exactly the same load. */
#ifndef RELAYLOAD_H
#define RELAYLOAD_H

#include <stddef.h>
#include <stdint.h>

#define RELAY_BUCKETS 20000 /* of 1 us */
#define RELAY_BUCKET_NS 1000
#define RELAY_PAYLOAD 1200 /* bytes of a packet, as the peer sees it */
#define RELAY_MAX_BURST 32
#define RELAY_FIRST_CHANNEL 0x4000
#define RELAY_CHANNELS 0x1000 /* RFC 8656 section 12 */

enum relay_request { RELAY_OPEN, RELAY_RENEW, RELAY_CLOSE, RELAY_REQUESTS };

struct relay_address {
    uint32_t ip; /* host order */
    uint32_t port;
};

struct relay_options {
    struct relay_address server;
    uint32_t client_ip, peer_ip; /* host order: of the first client and peer */
    uint32_t addresses; /* how many addresses from `client_ip` on the clients share */
    uint32_t clients;
    uint32_t peers; /* as many as clients, and both ends send; or 1, the peer of all channels, and nobody sends */
    uint32_t gro; /* 1: receive runs of datagrams (UDP_GRO) */
    uint64_t seed;
    char username[64], password[64];
};

struct relay_cycles { /* of one relay_transact */
    uint64_t done, failed; /* clients */
    uint64_t requests, repeated; /* sent for the first time; again after silence */
    uint64_t challenged, stale, refused, forged; /* answers: 401, 438, other errors, wrong MESSAGE-INTEGRITY */
    uint64_t last_error; /* code of the last error that ended a client's transaction */
    double wall_s;
};

struct relay_load { /* of one relay_run */
    double seconds; /* of this thread's CPU time when paced, which is time unless others have its core */
    double rate; /* packets per second, both ways together; 0 = as fast as `window` allows */
    uint32_t window; /* with rate 0: packets under way at most */
    uint32_t burst; /* packets that leave together, as of a video frame */
    uint32_t gso; /* 1: a burst is one UDP_SEGMENT message; 0: a datagram each */
    uint32_t timed; /* 1: latencies by the kernel's arrival times (SO_TIMESTAMPNS) */
};

struct relay_totals {
    uint64_t sent[2], received[2]; /* packets: to the peer, to the client */
    uint64_t alien; /* packets from somebody else, wrong channel or wrong length */
    uint64_t reordered; /* behind a later one of the same stream */
    uint64_t stale; /* of an earlier run */
    uint64_t other; /* no packets of ours: STUN */
    uint64_t send_errors;
    uint64_t bursts, late_ns; /* sum of how much later than planned they left */
    uint64_t gso; /* 1: bursts left as UDP_SEGMENT messages indeed */
    double send_s, cpu_s,
        wall_s; /* until the last packet was sent; CPU time of the sender until then; until the last one came */
    uint64_t over; /* latencies beyond the last bucket */
    uint64_t latency[RELAY_BUCKETS];
};

struct relay;
struct relay *relay_new(const struct relay_options *options); /* NULL, and errno */
void relay_free(struct relay *relay); /* closes the sockets; allocations stay until somebody closed or forgot them */

/* RELAY_OPEN: Allocate, 401, Allocate, ChannelBind; RELAY_RENEW: Refresh and ChannelBind; RELAY_CLOSE: Refresh with
 * lifetime 0. For `count` clients from `first` on, `window` of them at a time, for `seconds` at most. 0, or -1 when not
 * all came to an end that they wanted. */
int relay_transact(struct relay *relay, uint32_t request, uint32_t first, uint32_t count, uint32_t window,
                   double seconds, struct relay_cycles *cycles);

/* Instead of RELAY_OPEN: a relayed address that is known already. 0, or -1. */
int relay_assume(struct relay *relay, uint32_t client, const struct relay_address *relayed);
/* Instead of RELAY_OPEN: clients and peers send to each other, without channel and server. 0, or -1. */
int relay_direct(struct relay *relay);
/* Addresses of a client; a relayed address of port 0 when there is none. */
void relay_addresses(const struct relay *relay, uint32_t client, struct relay_address *own, struct relay_address *peer,
                     struct relay_address *relayed);

/* Load on all clients. Ends when the last packet has come, or none came for a while. 0, or -1 when somebody has no
 * relayed address. */
int relay_run(struct relay *relay, const struct relay_load *load, struct relay_totals *totals);

#endif
