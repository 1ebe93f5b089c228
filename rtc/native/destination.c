#include "destination.h"

uint8_t *wd_datagram_room(struct wd_router *router, size_t length) { return wd_egress_room(router->egress, length); }

void wd_datagram_commit(struct wd_router *router, const struct wd_addr *to, const struct wd_addr *from, size_t length) {
    router->counters.packets_out++;
    router->counters.bytes_out += length;
    wd_egress_commit(router->egress, to, from, length);
}

void wd_send_to_address(struct wd_router *router, const struct wd_addr *to, const struct wd_addr *from,
                        const uint8_t *data, size_t length) {
    memcpy(wd_datagram_room(router, length), data, length);
    wd_datagram_commit(router, to, from, length);
}

struct tuple *wd_reachable_tuple(struct transport *t) {
    struct tuple *to = t->destination.selected ? t->destination.selected : t->handshake.from;
    for (int i = 0; !to && i < WD_TUPLES; i++)
        if (t->ice.tuples[i].used) to = &t->ice.tuples[i];
    return to;
}

void wd_send_datagram(struct wd_router *router, struct transport *t, const uint8_t *data, size_t length) {
    const struct tuple *to = wd_reachable_tuple(t);
    if (to && t->destination.consent)
        wd_send_to_address(router, &to->remote, &to->local, data, length);
    else
        router->counters.drop_no_consent++;
}

void wd_send_rtcp(struct wd_router *router, struct transport *t, uint8_t *packet, size_t length) {
    if (!wd_ready(t) || !length) return;
    length = wd_srtcp_protect(t->keys.send, packet, length);
    t->bytes_out += length;
    router->counters.rtcp_out++;
    wd_send_datagram(router, t, packet, length);
}
