/* The relayed packet path of a TURN server (RFC 8656), without I/O: what comes from clients goes to peers, and what
 * comes from peers to clients.
 *
 * An allocation belongs to a client (an address, and the way it is reached by) and has one relayed address per family.
 * Requests are not decided here: a request that may be somebody's is handed to the control plane, which answers and
 * commands allocations, permissions and channels with the times at which they end. Before that stands the gate
 * (relay_gate.c): who has not shown that an address is theirs is answered here, and is never sent much more than it
 * sent.
 *
 * A peer that is one of our own media addresses needs no socket: its packets are handed to the forwarding core as if
 * they had come from the relayed address, and what the core sends there comes back through wd_relay_back. A relayed
 * address therefore gets a socket only when the control plane permits a peer elsewhere.
 *
 * A permission is for a host (RFC 8656 section 9), so ports are checked here, with every datagram and in both
 * directions: known media addresses pass; any other port passes only if the permission is not for media alone and the
 * port is among the open ones, of which there are none until they are configured. */
#ifndef WD_RELAY_H
#define WD_RELAY_H

#include "egress.h"
#include "epoll_source.h"

/* Names in this order. */
/* clang-format off */
#define WD_RELAY_COUNTERS(X) \
    X(turn_requests) X(turn_replies) X(turn_bindings) X(turn_challenges) X(turn_stale_nonces) \
    X(relay_to_peers) X(relay_to_peers_bytes) X(relay_to_clients) X(relay_to_clients_bytes) X(relay_handed_over) X(relay_handed_back) \
    X(drop_turn_malformed) X(drop_turn_unexpected) X(drop_turn_unanswered) X(drop_turn_rate) X(drop_turn_busy) \
    X(drop_relay_no_allocation) X(drop_relay_no_channel) X(drop_relay_no_permission) X(drop_relay_port) X(drop_relay_peer_unknown) X(drop_relay_no_socket) X(drop_relay_bandwidth) \
    X(drop_relay_malformed) X(drop_relay_too_large) X(drop_relay_send_error)
/* clang-format on */

struct wd_relay_counters {
#define X(name) uint64_t name;
    WD_RELAY_COUNTERS(X)
#undef X
};

#define WD_MAX_REALM 64
#define WD_NONCE_KEY 32
#define WD_PORT_SET 8192 /* bytes: one bit for each port, the lowest of a byte first */

/* Of the gate, and of peers' ports. */
struct wd_relay_rules {
    uint8_t realm_length;
    char realm[WD_MAX_REALM];
    uint8_t nonce_key[WD_NONCE_KEY];
    uint32_t nonce_lifetime_s;
    uint32_t requests_per_s; /* to the control plane, of one address (IPv6: of one /64) */
    bool answer_binding; /* here; else the control plane does (RFC 5780) */
    uint8_t open_ports[WD_PORT_SET]; /* of peers that are no known media address */
};

struct wd_relayed; /* one relayed address of an allocation */

struct wd_relay_config {
    uint32_t max_allocations;
    uint32_t index; /* of this worker, in the relayed addresses' way */
    uint64_t seed;
    void *owner;
    void (*request)(void *owner, const uint8_t *message, size_t length, const struct wd_addr *from,
                    const struct wd_addr *local);
    bool (*busy)(void *owner); /* the control plane is behind */
    /* One datagram from `relayed` to our own media address `media`; may be changed in place. `target` is what
     * wd_relay_know_media was given. */
    void (*hand_over)(void *owner, void *target, uint8_t *datagram, size_t length, const struct wd_addr *relayed,
                      const struct wd_addr *media, int64_t now_ns);
    void (*send_stream)(void *owner, uint32_t stream, const uint8_t *message, size_t length, int64_t now_ns);
    void (*watch)(void *owner, int fd, struct wd_epoll_source *source);
    void (*unwatch)(
        void *owner,
        int fd); /* before it is closed: a duplicate elsewhere (a child between fork and exec) would keep it watched */
    void (*gone)(void *owner, const struct wd_addr *relayed); /* nobody is reached there any more */
    struct wd_egress *clients; /* leaves by the worker's own socket */
    struct wd_egress *peers; /* leaves by wd_relay_outlet's */
};

struct wd_relay;
struct wd_relay *wd_relay_new(const struct wd_relay_config *config); /* NULL when out of memory */
void wd_relay_free(struct wd_relay *relay); /* closes the sockets */
struct wd_relay_counters *wd_relay_counters(struct wd_relay *relay);

/* ---- datagrams; all may be changed in place ---- */

/* True when the forwarding core has no use for it: ChannelData, and STUN that is not an ICE check. */
bool wd_relay_wants(const uint8_t *datagram, size_t length);
void wd_relay_client(struct wd_relay *relay, uint8_t *datagram, size_t length, const struct wd_addr *from,
                     const struct wd_addr *local, int64_t now_ns);
void wd_relay_peer(struct wd_relay *relay, struct wd_relayed *relayed, const uint8_t *datagram, size_t length,
                   const struct wd_addr *from, int64_t now_ns);
/* From our own media address `from` to a relayed address of this worker. */
void wd_relay_back(struct wd_relay *relay, const struct wd_addr *to, const struct wd_addr *from,
                   const uint8_t *datagram, size_t length, int64_t now_ns);
void wd_relay_flush(struct wd_relay *relay); /* both egresses */

/* Where the forwarding core reaches that client: its relayed address of a family (4 or 6), or NULL. */
const struct wd_addr *wd_relay_address_of(const struct wd_relay *relay, const struct wd_addr *client, uint8_t family);
/* Its client's stream, when `relayed` is an address of this worker and its client came by one; else 0. */
uint32_t wd_relay_stream_of(const struct wd_relay *relay, const struct wd_addr *relayed);

/* Where `peers` is to be sent, while it is flushed: the descriptor (-1 = none, or a manual worker), and what it is of.
 */
struct wd_outlet {
    int fd;
    struct wd_addr address;
    bool dont_fragment;
};
struct wd_outlet wd_relay_outlet(const struct wd_relay *relay);
struct wd_outlet wd_relayed_socket(const struct wd_relayed *relayed);
/* By hand. NULL when there is no such relayed address. */
struct wd_relayed *wd_relay_find(const struct wd_relay *relay, const struct wd_addr *address);

/* ---- commands: false when refused (unknown or duplicate id or address, table full, out of memory) ---- */

void wd_relay_configure(struct wd_relay *relay, const struct wd_relay_rules *rules);
bool wd_relay_know_media(struct wd_relay *relay, const struct wd_addr *address, void *target);
bool wd_relay_know_media_elsewhere(struct wd_relay *relay,
                                   const struct wd_addr *address); /* another node's: reached by a socket */
bool wd_relay_forget_media(struct wd_relay *relay, const struct wd_addr *address);
void wd_relay_reply(struct wd_relay *relay, const struct wd_addr *client, const struct wd_addr *local,
                    const uint8_t *message, size_t length, int64_t now_ns);
bool wd_relay_add(struct wd_relay *relay, uint32_t id, const struct wd_addr *client, const struct wd_addr *local,
                  uint64_t bandwidth_bps);
bool wd_relay_add_relayed(struct wd_relay *relay, uint32_t id, const struct wd_addr *address);
bool wd_relay_open(struct wd_relay *relay, uint32_t id, const struct wd_addr *address,
                   int fd); /* owns fd, also when it fails */
/* `media_only`: of that host only the known media addresses. */
bool wd_relay_permit(struct wd_relay *relay, uint32_t id, const struct wd_addr *peer, int64_t until_ns,
                     bool media_only);
bool wd_relay_bind(struct wd_relay *relay, uint32_t id, uint16_t number, const struct wd_addr *peer, int64_t until_ns);
bool wd_relay_move(struct wd_relay *relay, uint32_t id, const struct wd_addr *client, const struct wd_addr *local);
bool wd_relay_remove(struct wd_relay *relay, uint32_t id);

#endif
