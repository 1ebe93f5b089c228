#include "handshake.h"

#include "destination.h"
#include "path.h"
#include "path_validation.h"

#define EARLY_NS (2 * WD_SECOND)
#define DATAGRAMS_PER_SECOND 100 /* handed to the control plane per transport */
#define LONGEST_DATAGRAM 1500

static void deliver(struct wd_router *router, struct tuple *from, const uint8_t *data, size_t length) {
    struct transport *t = from->transport;
    struct handshake *handshake = &t->handshake;
    handshake->from = from;
    if (router->now_ns - handshake->window_ns > WD_SECOND) {
        handshake->window_ns = router->now_ns;
        handshake->count = 0;
    }
    if (++handshake->count > DATAGRAMS_PER_SECOND) {
        router->counters.drop_dtls_unverified++;
        return;
    }
    struct wd_event event = {.type = WD_EVENT_DTLS, .id = t->id, .data = data, .length = length};
    router->config.emit(router->config.owner, &event);
}

void wd_deliver_early(struct wd_router *router, struct tuple *tuple) {
    for (int i = 0; i < WD_EARLY; i++) {
        struct early *e = &router->early[i];
        if (!e->length || !wd_same_address(&e->from, &tuple->remote)) continue;
        if (router->now_ns - e->at_ns < EARLY_NS) deliver(router, tuple, e->data, e->length);
        e->length = 0;
    }
}

/* A ClientHello may overtake the check that verifies its address: it is kept for a while, and never answered (record
 * type 22, handshake type 1). */
static void keep_early(struct wd_router *router, const uint8_t *data, size_t length, const struct wd_addr *from) {
    if (length > sizeof router->early[0].data || length < 14 || data[0] != 22 || data[13] != 1) {
        router->counters.drop_dtls_unverified++;
        return;
    }
    struct early *place = &router->early[0];
    for (int i = 0; i < WD_EARLY; i++) {
        struct early *e = &router->early[i];
        if (!e->length || router->now_ns - e->at_ns > EARLY_NS) {
            place = e;
            place->length = 0;
            break;
        }
        if (e->at_ns < place->at_ns) place = e;
    }
    if (place->length) router->counters.drop_dtls_early_full++;
    place->from = *from;
    place->at_ns = router->now_ns;
    place->length = (uint16_t)length;
    memcpy(place->data, data, length);
}

void wd_dtls_received(struct wd_router *router, const uint8_t *data, size_t length, const struct wd_addr *from) {
    struct tuple *tuple = wd_find_tuple(router, from);
    if (!tuple) {
        keep_early(router, data, length, from);
        return;
    }
    tuple->transport->bytes_in += length;
    deliver(router, tuple, data, length);
}

bool wd_router_send_dtls(struct wd_router *router, uint32_t id, const uint8_t *datagram, size_t length) {
    struct transport *t = wd_table_get(&router->transports_by_id, id);
    if (!t || length > LONGEST_DATAGRAM) return false;
    router->counters.dtls_out++;
    if (t->destination.consent) wd_path_handshake_sent(t, wd_reachable_tuple(t));
    wd_send_datagram(router, t, datagram, length);
    return true;
}
