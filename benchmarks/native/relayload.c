#include "relayload_internal.h"

#include <sys/resource.h>

#define SPARE_FILES 256
/* of those that relays reach: the ports that systems choose from hold some that are closed to peers */
#define FIRST_PEER_PORT 12000
#define PEER_PORTS 5000
#define STAGGER 1344 /* between buffers: at powers of two they would share the same few lines of every cache */

static struct sockaddr_in address_of(uint32_t ip, uint16_t port) {
    return (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(ip), .sin_port = htons(port)};
}

int relay_connect(int fd, const struct sockaddr_in *to) { return connect(fd, (const struct sockaddr *)to, sizeof *to); }

/* A socket on that address and, if it is free, that port (0 = any), else any, which `own` then tells; -1 when there is
 * none. */
static int open_socket(const struct relay *r, uint32_t ip, uint32_t port, struct sockaddr_in *own) {
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    socklen_t length = sizeof *own;
    *own = address_of(ip, (uint16_t)port);
    if (fd >= 0 && port && bind(fd, (struct sockaddr *)own, length) < 0) *own = address_of(ip, port = 0);
    if (fd < 0 || (!port && bind(fd, (struct sockaddr *)own, length) < 0) ||
        getsockname(fd, (struct sockaddr *)own, &length) < 0) {
        if (fd >= 0) close(fd);
        return -1;
    }
    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &(int){SOCKET_BYTES}, sizeof(int));
    setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &(int){SOCKET_BYTES}, sizeof(int));
    if (r->options.gro) setsockopt(fd, SOL_UDP, UDP_GRO, &(int){1}, sizeof(int));
    return fd;
}

static int watch(const struct relay *r, int fd, uint32_t client, enum direction arriving) {
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = (uint64_t)client << 1 | (arriving == UP)};
    return epoll_ctl(r->epoll, EPOLL_CTL_ADD, fd, &event);
}

static int open_client(struct relay *r, uint32_t number, const struct sockaddr_in *server) {
    struct client *c = &r->clients[number];
    if ((c->fd = open_socket(r, r->options.client_ip + number % r->options.addresses, 0, &c->own)) < 0) return -1;
    if (relay_connect(c->fd, server) < 0 || watch(r, c->fd, number, DOWN) < 0) return -1;
    if (r->common_fd >= 0) {
        socklen_t length = sizeof c->peer;
        return getsockname(r->common_fd, (struct sockaddr *)&c->peer, &length);
    }
    if ((c->peer_fd =
             open_socket(r, r->options.peer_ip, number < PEER_PORTS ? FIRST_PEER_PORT + number : 0, &c->peer)) < 0)
        return -1;
    return watch(r, c->peer_fd, number, UP);
}

static void allow_files(size_t count) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur >= count) return;
    limit.rlim_cur = count;
    if (limit.rlim_max < count) limit.rlim_max = count;
    setrlimit(RLIMIT_NOFILE, &limit); /* refused: the sockets will say so */
}

EXPORT struct relay *relay_new(const struct relay_options *options) {
    bool shared = options->peers == 1 && options->clients > 1;
    if (!options->clients || !options->addresses || (!shared && options->peers != options->clients)) {
        errno = EINVAL;
        return NULL;
    }
    struct relay *r = calloc(1, sizeof *r);
    if (!r || !(r->clients = calloc(options->clients, sizeof *r->clients))) {
        free(r);
        return NULL;
    }
    r->options = *options;
    r->common_fd = -1;
    for (uint32_t i = 0; i < options->clients; i++) r->clients[i].fd = r->clients[i].peer_fd = -1;
    allow_files(options->clients + (shared ? 1 : options->clients) + SPARE_FILES);
    r->in_size = options->gro ? 65536 : 2048;
    r->in_data = malloc(BATCH * (r->in_size + STAGGER));
    r->epoll = epoll_create1(EPOLL_CLOEXEC);
    struct sockaddr_in unused, server = address_of(options->server.ip, (uint16_t)options->server.port);
    bool ready = r->in_data && r->epoll >= 0 &&
                 (!shared || (r->common_fd = open_socket(r, options->peer_ip, FIRST_PEER_PORT, &unused)) >= 0);
    for (uint32_t i = 0; ready && i < options->clients; i++) ready = open_client(r, i, &server) == 0;
    if (!ready) {
        int why = errno;
        relay_free(r);
        errno = why;
        return NULL;
    }
    for (unsigned i = 0; i < BATCH; i++) {
        r->in_parts[i] = (struct iovec){r->in_data + i * (r->in_size + STAGGER), r->in_size};
        r->in[i].msg_hdr = (struct msghdr){.msg_iov = &r->in_parts[i], .msg_iovlen = 1};
    }
    return r;
}

EXPORT void relay_free(struct relay *r) {
    if (!r) return;
    for (uint32_t i = 0; i < r->options.clients; i++) {
        if (r->clients[i].fd >= 0) close(r->clients[i].fd);
        if (r->clients[i].peer_fd >= 0) close(r->clients[i].peer_fd);
    }
    if (r->common_fd >= 0) close(r->common_fd);
    if (r->epoll >= 0) close(r->epoll);
    free(r->clients);
    free(r->in_data);
    free(r);
}

EXPORT int relay_assume(struct relay *r, uint32_t client, const struct relay_address *relayed) {
    if (client >= r->options.clients) return -1;
    struct client *c = &r->clients[client];
    c->relayed = address_of(relayed->ip, (uint16_t)relayed->port);
    return c->peer_fd < 0 ? 0 : relay_connect(c->peer_fd, &c->relayed);
}

EXPORT int relay_direct(struct relay *r) {
    r->direct = true;
    for (uint32_t i = 0; i < r->options.clients; i++) {
        struct client *c = &r->clients[i];
        c->relayed = c->own;
        if (c->peer_fd < 0 || relay_connect(c->fd, &c->peer) < 0 || relay_connect(c->peer_fd, &c->own) < 0) return -1;
    }
    return 0;
}

EXPORT void relay_addresses(const struct relay *r, uint32_t client, struct relay_address *own,
                            struct relay_address *peer, struct relay_address *relayed) {
    const struct client *c = &r->clients[client];
    *own = (struct relay_address){ntohl(c->own.sin_addr.s_addr), ntohs(c->own.sin_port)};
    *peer = (struct relay_address){ntohl(c->peer.sin_addr.s_addr), ntohs(c->peer.sin_port)};
    *relayed = (struct relay_address){ntohl(c->relayed.sin_addr.s_addr), ntohs(c->relayed.sin_port)};
}
