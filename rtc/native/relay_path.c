/* Data between clients and peers: ChannelData (RFC 8656 section 12), Send and Data indications (section 11), and the
 * hand-over to our own forwarding core.
 *
 * Both ways are gathered in an egress: neighbours of equal size to the same receiver become one UDP_SEGMENT message.
 * What leaves for peers leaves by the allocation's socket, so its egress holds packets of one allocation at a time; a
 * burst of one client arrives together, so that is no loss. */
#include "relay_egress.h"
#include "relay_gate.h"
#include "stun.h"

#define SEND_INDICATION 0x0016
#define DATA_INDICATION 0x0017
#define XOR_PEER_ADDRESS 0x0012
#define DATA 0x0013
#define DONT_FRAGMENT 0x001a
#define STUN_HEADER 20
#define COOKIE 0x2112a442u
#define BURST_NS (WD_SECOND / 4) /* of a bandwidth cap's rate may pass at once */
#define BURST_LEAST 65536 /* bytes */

static const struct wd_addr none;

bool wd_relay_wants(const uint8_t *datagram, size_t length) {
    if (!length) return false;
    if (datagram[0] >= 64 && datagram[0] < 128)
        return true; /* from 80 on: RFC 5766 section 11, and nobody else's by RFC 7983 */
    if (datagram[0] >= 4 || length < STUN_HEADER) return false;
    size_t unused;
    return wd_get16(datagram) == 0x0001 ? !wd_stun_find(datagram, length, 0x0006, &unused)
                                        : (wd_get16(datagram) & 0xfeef) != 0x0001;
}

static bool spend(struct wd_relay *relay, struct allocation *a, size_t length, int64_t now_ns) {
    if (!a->bandwidth_bps) return true;
    int64_t most = (int64_t)(a->bandwidth_bps / 8 / 4), elapsed = now_ns - a->filled_ns;
    if (most < BURST_LEAST) most = BURST_LEAST;
    if (elapsed > BURST_NS && elapsed * (double)a->bandwidth_bps / 8e9 >= (double)most) {
        a->tokens = most;
        a->filled_ns = now_ns;
    } else if (elapsed > 1000000) { /* not for every packet: fractions of a byte would be lost */
        a->tokens += (int64_t)((double)elapsed * (double)a->bandwidth_bps / 8e9);
        a->filled_ns = now_ns;
        if (a->tokens > most) a->tokens = most;
    }
    if (a->tokens < (int64_t)length) {
        relay->counters.drop_relay_bandwidth++;
        return false;
    }
    a->tokens -= (int64_t)length;
    return true;
}

/* ---- to peers ---- */

static void to_socket(struct wd_relay *relay, struct allocation *a, const struct wd_addr *peer, const uint8_t *data,
                      size_t length, bool dont_fragment) {
    struct wd_relayed *r = &a->relayed[peer->family == 6];
    if (r->fd < 0 && !r->used) {
        relay->counters.drop_relay_no_socket++;
        return;
    }
    if (relay->outlet != r || relay->dont_fragment != dont_fragment) {
        wd_relay_flush_peers(relay);
        relay->outlet = r;
        relay->dont_fragment = dont_fragment;
    }
    memcpy(wd_egress_room(relay->config.peers, length), data, length);
    wd_egress_commit(relay->config.peers, peer, &none, length);
    relay->counters.relay_to_peers++;
    relay->counters.relay_to_peers_bytes += length;
}

/* Whether that peer may be talked to by a socket. */
static bool passes_socket(const struct wd_relay *relay, const struct permission *p, const struct wd_addr *peer) {
    if (!p->media_only && relay->rules.open_ports[peer->port >> 3] >> (peer->port & 7) & 1) return true;
    const struct media *media = wd_relay_media(relay, peer);
    return media && media->elsewhere;
}

static void to_peer(struct wd_relay *relay, struct allocation *a, const struct wd_addr *peer, uint8_t *data,
                    size_t length, bool dont_fragment, int64_t now_ns) {
    const struct permission *p = wd_relay_permission(a, peer);
    if (!p || p->until_ns <= now_ns) {
        relay->counters.drop_relay_no_permission++;
        return;
    }
    if (length > WD_MAX_RELAYED) {
        relay->counters.drop_relay_too_large++;
        return;
    }
    const struct media *media = wd_relay_media(relay, peer);
    bool ours = media && !media->elsewhere;
    const struct wd_relayed *r = &a->relayed[peer->family == 6];
    if (!ours && !passes_socket(relay, p, peer)) {
        relay->counters.drop_relay_port++;
        return;
    }
    if (!spend(relay, a, length, now_ns)) return;
    if (!ours)
        to_socket(relay, a, peer, data, length, dont_fragment);
    else if (r->used && length) {
        relay->counters.relay_handed_over++;
        relay->config.hand_over(relay->config.owner, media->target, data, length, &r->address, peer, now_ns);
    } else
        relay->counters.drop_relay_no_socket++;
}

static void channel_data(struct wd_relay *relay, uint8_t *datagram, size_t length, const struct wd_addr *from,
                         int64_t now_ns) {
    struct allocation *a = wd_relay_of_client(relay, from);
    if (!a) {
        relay->counters.drop_relay_no_allocation++;
        return;
    }
    size_t size = length >= WD_CHANNEL_HEADER ? wd_get16(datagram + 2) : 0;
    if (length < WD_CHANNEL_HEADER ||
        size > length - WD_CHANNEL_HEADER) { /* more is padding, which UDP clients may leave out (section 12.5) */
        relay->counters.drop_relay_malformed++;
        return;
    }
    uint16_t number = wd_get16(datagram);
    for (unsigned i = 0; i < a->channel_count; i++) {
        struct channel *c = &a->channels[i];
        if (c->number != number) continue;
        if (c->until_ns <= now_ns) break;
        to_peer(relay, a, &c->peer, datagram + WD_CHANNEL_HEADER, size, false, now_ns);
        return;
    }
    relay->counters.drop_relay_no_channel++;
}

static void send_indication(struct wd_relay *relay, uint8_t *message, size_t length, const struct wd_addr *from,
                            int64_t now_ns) {
    struct allocation *a = wd_relay_of_client(relay, from);
    if (!a) {
        relay->counters.drop_relay_no_allocation++;
        return;
    }
    struct wd_addr peer = {0};
    uint8_t *data = NULL;
    size_t data_length = 0;
    bool dont_fragment = false, right = length >= STUN_HEADER && wd_get32(message + 4) == COOKIE &&
                                        wd_get16(message + 2) + (size_t)STUN_HEADER == length;
    for (size_t at = STUN_HEADER; right && at < length;) {
        right = at + 4 <= length;
        if (!right) break;
        uint16_t type = wd_get16(message + at);
        size_t size = wd_get16(message + at + 2), next = at + 4 + ((size + 3) & ~(size_t)3);
        if (next > length)
            right = false;
        else if (type == XOR_PEER_ADDRESS && !peer.family)
            right = wd_stun_read_address(message, message + at + 4, size, &peer);
        else if (type == DATA && !data)
            data = message + at + 4, data_length = size;
        else if (type == DONT_FRAGMENT)
            dont_fragment = true;
        else if (type < 0x8000 && type != XOR_PEER_ADDRESS && type != DATA)
            right = false; /* must be understood, and is not */
        at = next;
    }
    if (right && peer.family && data)
        to_peer(relay, a, &peer, data, data_length, dont_fragment, now_ns);
    else
        relay->counters.drop_relay_malformed++;
}

void wd_relay_client(struct wd_relay *relay, uint8_t *datagram, size_t length, const struct wd_addr *from,
                     const struct wd_addr *local, int64_t now_ns) {
    if (!relay->configured)
        relay->counters.drop_turn_unexpected++;
    else if (datagram[0] >= 64)
        channel_data(relay, datagram, length, from, now_ns);
    else if (length >= STUN_HEADER && wd_get16(datagram) == SEND_INDICATION)
        send_indication(relay, datagram, length, from, now_ns);
    else
        wd_relay_request(relay, datagram, length, from, local, now_ns);
}

/* ---- to clients ---- */

void wd_relay_reply(struct wd_relay *relay, const struct wd_addr *client, const struct wd_addr *local,
                    const uint8_t *message, size_t length, int64_t now_ns) {
    relay->counters.turn_replies++;
    wd_relay_to_client(relay, client, local, message, length, now_ns);
}

/* What goes before the data, written at `out`, and how much follows it. */
static size_t data_indication(struct wd_relay *relay, const struct wd_addr *peer, size_t length, uint8_t *out,
                              size_t *padding) {
    size_t address = wd_stun_address_size(peer), head = STUN_HEADER + 4 + address + 4;
    *padding = (4 - (length & 3)) & 3;
    wd_put16(out, DATA_INDICATION);
    wd_put16(out + 2, (uint16_t)(head - STUN_HEADER + length + *padding));
    wd_put32(out + 4, COOKIE);
    wd_put64(out + 8, wd_relay_random(relay));
    wd_put32(out + 16, (uint32_t)wd_relay_random(relay));
    wd_put16(out + 20, XOR_PEER_ADDRESS);
    wd_put16(out + 22, (uint16_t)address);
    wd_stun_write_address(out, out + 24, peer);
    wd_put16(out + head - 4, DATA);
    wd_put16(out + head - 2, (uint16_t)length);
    return head;
}

static const struct channel *channel_of(const struct allocation *a, const struct wd_addr *peer, int64_t now_ns) {
    for (unsigned i = 0; i < a->channel_count; i++)
        if (a->channels[i].until_ns > now_ns && wd_same_address(&a->channels[i].peer, peer)) return &a->channels[i];
    return NULL;
}

/* By its own socket, or handed back by the forwarding core. True when it was permitted. */
static bool from_peer(struct wd_relay *relay, struct allocation *a, bool handed, const uint8_t *data, size_t length,
                      const struct wd_addr *peer, int64_t now_ns) {
    const struct permission *p = wd_relay_permission(a, peer);
    if (!p || p->until_ns <= now_ns) {
        relay->counters.drop_relay_peer_unknown++;
        return false;
    }
    if (!handed && !passes_socket(relay, p, peer)) {
        relay->counters.drop_relay_port++;
        return false;
    }
    if (length > WD_MAX_RELAYED) {
        relay->counters.drop_relay_too_large++;
        return false;
    }
    if (!spend(relay, a, length, now_ns)) return false;
    const struct channel *c = channel_of(a, peer, now_ns);
    uint8_t buffer[WD_MAX_RELAYED + 64],
        *out = a->client.via ? buffer : wd_egress_room(relay->config.clients, sizeof buffer);
    size_t padding = 0, head = WD_CHANNEL_HEADER;
    if (c) {
        wd_put16(out, c->number);
        wd_put16(out + 2, (uint16_t)length);
    } else
        head = data_indication(relay, peer, length, out, &padding);
    memcpy(out + head, data, length);
    memset(out + head + length, 0, padding);
    size_t whole = head + length + padding;
    if (a->client.via)
        relay->config.send_stream(relay->config.owner, a->client.via, out, whole, now_ns);
    else
        wd_egress_commit(relay->config.clients, &a->client, &a->local, whole);
    relay->counters.relay_to_clients++;
    relay->counters.relay_to_clients_bytes += length;
    return true;
}

void wd_relay_peer(struct wd_relay *relay, struct wd_relayed *relayed, const uint8_t *datagram, size_t length,
                   const struct wd_addr *from, int64_t now_ns) {
    from_peer(relay, relayed->allocation, false, datagram, length, from, now_ns);
}

void wd_relay_back(struct wd_relay *relay, const struct wd_addr *to, const struct wd_addr *from,
                   const uint8_t *datagram, size_t length, int64_t now_ns) {
    struct wd_relayed *r = wd_relay_find(relay, to);
    if (!r)
        relay->counters.drop_relay_no_allocation++;
    else
        relay->counters.relay_handed_back += from_peer(relay, r->allocation, true, datagram, length, from, now_ns);
}

void wd_relay_flush(struct wd_relay *relay) {
    wd_relay_flush_peers(relay);
    if (relay->config.clients->count) relay->config.clients->flush(relay->config.clients);
}
