#define _GNU_SOURCE
#include "udp.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/sock_diag.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define RECEIVE_BUFFER_BYTES (8 << 20) /* a whole scheduling hiccup of a busy worker */
#define SEND_BUFFER_BYTES (4 << 20)
#define BORROWED_BUFFER_BYTES (1 << 20) /* one client's */
#define MESSAGE_BYTES 65536u
/* not a power of two, else all messages meet in the same cache sets */
#define MESSAGE_STRIDE (MESSAGE_BYTES + 37 * 64)
#define PATIENCE_NS 3000000 /* for a full socket buffer, per wd_udp_send */
#define GSO_REFUSALS 16

/* Room for a UDP_SEGMENT or UDP_GRO and a packet-info element. */
union control {
    struct cmsghdr align;
    uint8_t bytes[CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(struct in6_pktinfo))];
};

union name {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

struct slots {
    struct mmsghdr headers[WD_UDP_SEND_BATCH];
    struct iovec parts[WD_UDP_SEND_BATCH];
    union name names[WD_UDP_SEND_BATCH];
    union control controls[WD_UDP_SEND_BATCH];
};

_Static_assert(WD_UDP_RECEIVE_BATCH <= WD_UDP_SEND_BATCH, "one struct serves both directions");

struct wd_udp_batch {
    struct slots in, out;
    uint8_t *data; /* WD_UDP_RECEIVE_BATCH messages, MESSAGE_STRIDE apart */
};

static int64_t monotonic_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

/* ---- addresses ---- */

static void from_in(const struct in_addr *ip, uint16_t port, struct wd_addr *out) {
    *out = (struct wd_addr){.family = 4, .port = port};
    memcpy(out->ip, ip, 4);
}

static void from_in6(const struct in6_addr *ip, uint16_t port, struct wd_addr *out) {
    *out = (struct wd_addr){.family = IN6_IS_ADDR_V4MAPPED(ip) ? 4 : 6, .port = port};
    if (out->family == 4)
        memcpy(out->ip, ip->s6_addr + 12, 4);
    else
        memcpy(out->ip, ip, 16);
}

static struct in6_addr to_in6(const struct wd_addr *address) {
    struct in6_addr ip = {0};
    if (address->family == 4) {
        ip.s6_addr[10] = ip.s6_addr[11] = 0xff;
        memcpy(ip.s6_addr + 12, address->ip, 4);
    } else
        memcpy(&ip, address->ip, 16);
    return ip;
}

static void from_name(const union name *name, struct wd_addr *out) {
    if (name->any.sa_family == AF_INET)
        from_in(&name->v4.sin_addr, ntohs(name->v4.sin_port), out);
    else
        from_in6(&name->v6.sin6_addr, ntohs(name->v6.sin6_port), out);
}

static socklen_t to_name(const struct wd_addr *address, bool v6, union name *out) {
    if (v6) {
        out->v6 = (struct sockaddr_in6){
            .sin6_family = AF_INET6, .sin6_port = htons(address->port), .sin6_addr = to_in6(address)};
        return sizeof out->v6;
    }
    out->v4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(address->port)};
    memcpy(&out->v4.sin_addr, address->ip, 4);
    return sizeof out->v4;
}

bool wd_addr_parse(const char *host, uint16_t port, struct wd_addr *out) {
    struct in_addr v4;
    struct in6_addr v6;
    if (inet_pton(AF_INET, host, &v4) == 1)
        from_in(&v4, port, out);
    else if (inet_pton(AF_INET6, host, &v6) == 1)
        from_in6(&v6, port, out);
    else
        return false;
    return true;
}

void wd_addr_host(const struct wd_addr *address, char out[INET6_ADDRSTRLEN]) {
    if (!inet_ntop(address->family == 4 ? AF_INET : AF_INET6, address->ip, out, INET6_ADDRSTRLEN)) out[0] = 0;
}

/* ---- opening ---- */

static void size_buffer(int fd, int force, int ask, int bytes) {
    if (setsockopt(fd, SOL_SOCKET, force, &bytes, sizeof bytes) < 0)
        setsockopt(fd, SOL_SOCKET, ask, &bytes, sizeof bytes);
}

static bool switch_on(int fd, int level, int option) {
    return setsockopt(fd, level, option, &(int){1}, sizeof(int)) == 0;
}

static void size_buffers(int fd, int receive, int send) {
    size_buffer(fd, SO_RCVBUFFORCE, SO_RCVBUF, receive);
    size_buffer(fd, SO_SNDBUFFORCE, SO_SNDBUF, send);
}

static void set_options(int fd) {
    switch_on(fd, SOL_UDP, UDP_GRO); /* without it every message is one datagram */
    /* An ICMP "fragmentation needed" is easily forged and must not shrink our packets; with DF clear, IPv4 routers
     * fragment where they must. */
    setsockopt(fd, IPPROTO_IP, IP_MTU_DISCOVER, &(int){IP_PMTUDISC_OMIT}, sizeof(int));
}

static bool configure(struct wd_udp *udp, const union name *name, socklen_t name_length) {
    size_buffers(udp->fd, RECEIVE_BUFFER_BYTES, SEND_BUFFER_BYTES);
    set_options(udp->fd);
    udp->gso = setsockopt(udp->fd, SOL_UDP, UDP_SEGMENT, &(int){0}, sizeof(int)) == 0;
    if (udp->v6 && setsockopt(udp->fd, IPPROTO_IPV6, IPV6_V6ONLY, &(int){!udp->wildcard}, sizeof(int)) < 0)
        return false;
    if (udp->wildcard &&
        !switch_on(udp->fd, udp->v6 ? IPPROTO_IPV6 : IPPROTO_IP, udp->v6 ? IPV6_RECVPKTINFO : IP_PKTINFO))
        return false;
    union name bound;
    socklen_t bound_length = sizeof bound;
    if (bind(udp->fd, &name->any, name_length) < 0 || getsockname(udp->fd, &bound.any, &bound_length) < 0) return false;
    udp->port = ntohs(udp->v6 ? bound.v6.sin6_port : bound.v4.sin_port);
    return true;
}

/* What recvmmsg does not overwrite. */
static void lay_out_receive(struct wd_udp_batch *batch) {
    for (size_t i = 0; i < WD_UDP_RECEIVE_BATCH; i++) {
        batch->in.parts[i] = (struct iovec){.iov_base = batch->data + i * MESSAGE_STRIDE, .iov_len = MESSAGE_BYTES};
        batch->in.headers[i].msg_hdr = (struct msghdr){.msg_name = &batch->in.names[i],
                                                       .msg_iov = &batch->in.parts[i],
                                                       .msg_iovlen = 1,
                                                       .msg_control = &batch->in.controls[i]};
    }
}

static bool make_batch(struct wd_udp *udp) {
    udp->batch = calloc(1, sizeof *udp->batch);
    if (udp->batch) udp->batch->data = aligned_alloc(64, (size_t)WD_UDP_RECEIVE_BATCH * MESSAGE_STRIDE);
    if (!udp->batch || !udp->batch->data) return false;
    lay_out_receive(udp->batch);
    return true;
}

bool wd_udp_borrow(struct wd_udp *udp) {
    *udp = (struct wd_udp){.fd = -1, .gso = true};
    if (make_batch(udp)) return true;
    wd_udp_close(udp);
    return false;
}

void wd_udp_tune(int fd) {
    size_buffers(fd, BORROWED_BUFFER_BYTES, BORROWED_BUFFER_BYTES);
    set_options(fd);
}

void wd_udp_dont_fragment(int fd, bool v6, bool on) {
    if (v6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_DONTFRAG, &(int){on}, sizeof(int));
    else
        setsockopt(fd, IPPROTO_IP, IP_MTU_DISCOVER, &(int){on ? IP_PMTUDISC_PROBE : IP_PMTUDISC_OMIT}, sizeof(int));
}

bool wd_udp_open(struct wd_udp *udp, const char *address, uint16_t port, bool shared) {
    struct wd_addr where;
    *udp = (struct wd_udp){.fd = -1};
    if (!wd_addr_parse(address, port, &where)) {
        errno = EINVAL;
        return false;
    }
    static const uint8_t any[16];
    udp->v6 = where.family == 6;
    udp->wildcard = memcmp(where.ip, any, sizeof any) == 0;
    union name name;
    socklen_t name_length = to_name(&where, udp->v6, &name);
    udp->fd = socket(udp->v6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (udp->fd < 0) return false;
    if (shared && !switch_on(udp->fd, SOL_SOCKET, SO_REUSEPORT)) {
        int refused = errno;
        wd_udp_close(udp);
        errno = refused;
        return false;
    }
    if (!make_batch(udp))
        errno = ENOMEM;
    else if (configure(udp, &name, name_length))
        return true;
    int error = errno;
    wd_udp_close(udp);
    errno = error;
    return false;
}

void wd_udp_close(struct wd_udp *udp) {
    if (udp->fd >= 0) close(udp->fd);
    if (udp->batch) free(udp->batch->data);
    free(udp->batch);
    *udp = (struct wd_udp){.fd = -1};
}

/* ---- receiving ---- */

size_t wd_udp_receive(struct wd_udp *udp) {
    struct mmsghdr *headers = udp->batch->in.headers;
    for (size_t i = 0; i < WD_UDP_RECEIVE_BATCH; i++) {
        headers[i].msg_hdr.msg_namelen = sizeof(union name);
        headers[i].msg_hdr.msg_controllen = sizeof(union control);
    }
    int got = recvmmsg(udp->fd, headers, WD_UDP_RECEIVE_BATCH, MSG_DONTWAIT, NULL);
    return got > 0 ? (size_t)got : 0; /* an error is "nothing there", or an ICMP error that is now consumed */
}

void wd_udp_arrival(const struct wd_udp *udp, size_t index, struct wd_udp_arrival *out) {
    struct mmsghdr *header = &udp->batch->in.headers[index];
    out->data = header->msg_hdr.msg_iov->iov_base;
    out->length = header->msg_len;
    out->segment = 0;
    out->local.family = 0;
    out->truncated = header->msg_hdr.msg_flags & MSG_TRUNC;
    from_name(header->msg_hdr.msg_name, &out->from);
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&header->msg_hdr); c; c = CMSG_NXTHDR(&header->msg_hdr, c)) {
        if (c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_GRO) {
            int segment;
            memcpy(&segment, CMSG_DATA(c), sizeof segment);
            if (segment > 0 && (size_t)segment < out->length) out->segment = (size_t)segment;
        } else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
            struct in_pktinfo info;
            memcpy(&info, CMSG_DATA(c), sizeof info);
            from_in(&info.ipi_spec_dst, udp->port, &out->local);
        } else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
            struct in6_pktinfo info;
            memcpy(&info, CMSG_DATA(c), sizeof info);
            from_in6(&info.ipi6_addr, udp->port, &out->local);
        }
    }
}

uint32_t wd_udp_overflow(const struct wd_udp *udp) {
    uint32_t words[SK_MEMINFO_VARS] = {0};
    socklen_t length = sizeof words;
    return getsockopt(udp->fd, SOL_SOCKET, SO_MEMINFO, words, &length) == 0 ? words[SK_MEMINFO_DROPS] : 0;
}

/* ---- sending ---- */

static void add_control(struct msghdr *header, int level, int type, const void *data, size_t length) {
    struct cmsghdr *c = (struct cmsghdr *)((uint8_t *)header->msg_control + header->msg_controllen);
    c->cmsg_level = level;
    c->cmsg_type = type;
    c->cmsg_len = CMSG_LEN(length);
    memcpy(CMSG_DATA(c), data, length);
    header->msg_controllen += CMSG_SPACE(length);
}

static void lay_out_message(const struct wd_udp *udp, struct slots *slots, size_t at, const struct wd_message *message,
                            const uint8_t *data) {
    struct msghdr *header = &slots->headers[at].msg_hdr;
    slots->parts[at] = (struct iovec){.iov_base = (void *)(data + message->offset), .iov_len = message->length};
    *header = (struct msghdr){.msg_name = &slots->names[at],
                              .msg_iov = &slots->parts[at],
                              .msg_iovlen = 1,
                              .msg_control = &slots->controls[at]};
    header->msg_namelen = to_name(&message->to, udp->v6, &slots->names[at]);
    if (message->segment && message->segment < message->length) /* first, where segment_of looks */
        add_control(header, SOL_UDP, UDP_SEGMENT, &message->segment, sizeof message->segment);
    if (message->from.family && udp->v6) {
        struct in6_pktinfo info = {.ipi6_addr = to_in6(&message->from)};
        add_control(header, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof info);
    } else if (message->from.family) {
        struct in_pktinfo info = {0};
        memcpy(&info.ipi_spec_dst, message->from.ip, 4);
        add_control(header, IPPROTO_IP, IP_PKTINFO, &info, sizeof info);
    }
}

static uint16_t segment_of(const struct msghdr *header) {
    const struct cmsghdr *c = header->msg_control;
    uint16_t segment = 0;
    if (header->msg_controllen && c->cmsg_level == SOL_UDP) memcpy(&segment, CMSG_DATA(c), sizeof segment);
    return segment;
}

static size_t datagrams_in(const struct msghdr *header) {
    return wd_udp_count(header->msg_iov->iov_len, segment_of(header));
}

/* True when it is worth trying again. */
static bool wait_writable(const struct wd_udp *udp, int64_t *give_up_ns) {
    int64_t now = monotonic_ns();
    if (!*give_up_ns) *give_up_ns = now + PATIENCE_NS;
    if (now >= *give_up_ns) return false;
    struct pollfd wanted = {.fd = udp->fd, .events = POLLOUT};
    struct timespec most = {.tv_nsec = *give_up_ns - now};
    ppoll(&wanted, 1, &most, NULL);
    return true;
}

static size_t transmit(struct wd_udp *udp, struct mmsghdr *headers, size_t count, int64_t *give_up_ns);

/* One message without the kernel's help: same receiver and packet info, one datagram each. */
static size_t transmit_split(struct wd_udp *udp, const struct msghdr *whole, int64_t *give_up_ns) {
    struct mmsghdr headers[WD_EGRESS_SEGMENTS];
    struct iovec parts[WD_EGRESS_SEGMENTS];
    size_t segment = segment_of(whole), length = whole->msg_iov->iov_len,
           skip = segment ? CMSG_SPACE(sizeof(uint16_t)) : 0, lost = 0;
    uint8_t *data = whole->msg_iov->iov_base;
    for (size_t at = 0; at < length;) {
        size_t count = 0;
        for (; count < WD_EGRESS_SEGMENTS && at < length; count++, at += segment) {
            parts[count] =
                (struct iovec){.iov_base = data + at, .iov_len = length - at < segment ? length - at : segment};
            headers[count].msg_hdr = *whole;
            headers[count].msg_hdr.msg_iov = &parts[count];
            headers[count].msg_hdr.msg_control = (uint8_t *)whole->msg_control + skip;
            headers[count].msg_hdr.msg_controllen = whole->msg_controllen - skip;
        }
        lost += transmit(udp, headers, count, give_up_ns);
    }
    return lost;
}

/* Is it UDP_SEGMENT that the kernel minds? EIO: the device cannot (no checksum offload, IPsec). EINVAL, EMSGSIZE: not
 * with this segment size on this route. */
static bool refuses_segments(int error) {
    return error == EIO || error == EINVAL || error == EMSGSIZE || error == EOPNOTSUPP || error == ENOPROTOOPT;
}

static size_t retry_split(struct wd_udp *udp, const struct msghdr *whole, int error, int64_t *give_up_ns) {
    size_t lost = transmit_split(udp, whole, give_up_ns);
    bool by_route = error == EINVAL || error == EMSGSIZE;
    /* One receiver behind a narrow link is no reason to give up GSO for all the others. The device's refusal is, and
     * one that never ends. */
    if (lost < datagrams_in(whole) && (!by_route || (!udp->gso_works && ++udp->gso_refusals >= GSO_REFUSALS)))
        udp->gso = false;
    return lost;
}

/* In order; what cannot be sent is skipped, never the messages behind it. Returns datagrams lost. */
static size_t transmit(struct wd_udp *udp, struct mmsghdr *headers, size_t count, int64_t *give_up_ns) {
    size_t lost = 0;
    bool tried = false;
    for (size_t at = 0; at < count;) {
        struct msghdr *first = &headers[at].msg_hdr;
        bool segmented = segment_of(first) != 0;
        if (segmented && !udp->gso) {
            lost += transmit_split(udp, first, give_up_ns);
            at++;
            continue;
        }
        int sent = sendmmsg(udp->fd, headers + at, (unsigned)(count - at), MSG_DONTWAIT);
        int error = errno;
        if (sent > 0) {
            if (segmented) udp->gso_works = true;
            at += (size_t)sent;
            tried = false;
        } else if (error == EINTR) {
            continue;
        } else if (error == EAGAIN || error == EWOULDBLOCK) {
            if (wait_writable(udp, give_up_ns)) continue;
            for (; at < count; at++) lost += datagrams_in(&headers[at].msg_hdr);
        } else if (segmented && refuses_segments(error)) {
            lost += retry_split(udp, first, error, give_up_ns);
            at++;
        } else if (error == ECONNREFUSED && !tried) {
            tried = true; /* an ICMP error of some earlier datagram, reported here; it is consumed now */
        } else {
            lost += datagrams_in(first);
            at++;
            tried = false;
        }
    }
    return lost;
}

size_t wd_udp_send(struct wd_udp *udp, const struct wd_egress *egress) {
    struct slots *slots = &udp->batch->out;
    int64_t give_up_ns = 0;
    size_t lost = 0, waiting = 0;
    for (size_t i = 0; i < egress->count; i++) {
        const struct wd_message *message = &egress->messages[i];
        if (message->to.via)
            ; /* not ours */
        else if (message->to.family == (udp->v6 ? message->to.family : 4))
            lay_out_message(udp, slots, waiting++, message, egress->data);
        else
            lost += wd_udp_count(message->length, message->segment);
        if (waiting == WD_UDP_SEND_BATCH || i + 1 == egress->count) {
            lost += transmit(udp, slots->headers, waiting, &give_up_ns);
            waiting = 0;
        }
    }
    return lost;
}
