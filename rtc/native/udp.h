/* One UDP socket, read and written in batches: recvmmsg with UDP_GRO, sendmmsg with UDP_SEGMENT (GSO), both as far as
 * the kernel takes them.
 *
 * Bound to one address the socket answers from it. Bound to a wildcard, the local address of every datagram is learnt
 * (IP_PKTINFO, RFC 3542) and given back on the way out, so a host with many addresses answers from the one it was asked
 * on. Address `::` serves both families. */
#ifndef WD_UDP_H
#define WD_UDP_H

#include <netinet/in.h>
#include <sys/socket.h>

#include "egress.h"

#define WD_UDP_RECEIVE_BATCH 32 /* messages; with GRO each holds up to 64 KiB of datagrams */
#define WD_UDP_SEND_BATCH 128 /* messages in one system call */

/* Datagrams of one sender that arrived together: `length` bytes, cut every `segment` bytes (0 = one datagram). */
struct wd_udp_arrival {
    uint8_t *data;
    size_t length, segment;
    struct wd_addr from, local; /* local.family 0 = bound to one address */
    bool truncated;
};

struct wd_udp {
    int fd;
    uint16_t port; /* bound to */
    bool v6, wildcard;
    bool gso; /* the kernel has not refused UDP_SEGMENT */
    bool gso_works; /* it has sent a message with it */
    unsigned gso_refusals; /* messages that went out only when split, while gso_works was false */
    struct wd_udp_batch *batch;
};

/* `port` 0 = any free one. `shared`: several sockets may have the port, and the kernel keeps each peer with one of them
 * (SO_REUSEPORT). False with errno; EINVAL when `address` is no IP address. */
bool wd_udp_open(struct wd_udp *udp, const char *address, uint16_t port, bool shared);
void wd_udp_close(struct wd_udp *udp);
/* Batches without a socket, for sockets of others: set `fd` and `v6` before each use. False when out of memory. */
bool wd_udp_borrow(struct wd_udp *udp);
void wd_udp_tune(int fd); /* a bound socket for use with it */
void wd_udp_dont_fragment(int fd, bool v6, bool on);

/* Reads up to WD_UDP_RECEIVE_BATCH messages without waiting. A full batch means that more may wait. */
size_t wd_udp_receive(struct wd_udp *udp);
/* Message `index` of the last wd_udp_receive; valid until the next. */
void wd_udp_arrival(const struct wd_udp *udp, size_t index, struct wd_udp_arrival *out);

/* Sends all messages whose way is UDP in order, and leaves egress alone. A full socket buffer is waited for, a few
 * milliseconds in all. Returns the number of datagrams lost. */
size_t wd_udp_send(struct wd_udp *udp, const struct wd_egress *egress);

/* Datagrams that the kernel has thrown away because this socket was not read in time. */
uint32_t wd_udp_overflow(const struct wd_udp *udp);

/* Datagrams in a run of `length` bytes. */
static inline size_t wd_udp_count(size_t length, size_t segment) {
    return segment ? (length + segment - 1) / segment : 1;
}

/* Text to address and back; a v4-mapped address becomes family 4. */
bool wd_addr_parse(const char *host, uint16_t port, struct wd_addr *out);
void wd_addr_host(const struct wd_addr *address, char out[INET6_ADDRSTRLEN]);

#endif
