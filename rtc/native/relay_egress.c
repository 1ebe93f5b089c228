#include "relay_egress.h"

void wd_relay_flush_peers(struct wd_relay *relay) {
    struct wd_egress *e = relay->config.peers;
    if (e->count) e->flush(e);
    relay->outlet = NULL;
    relay->dont_fragment = false;
}

void wd_relay_to_client(struct wd_relay *relay, const struct wd_addr *client, const struct wd_addr *local,
                        const uint8_t *message, size_t length, int64_t now_ns) {
    if (client->via) {
        relay->config.send_stream(relay->config.owner, client->via, message, length, now_ns);
        return;
    }
    memcpy(wd_egress_room(relay->config.clients, length), message, length);
    wd_egress_commit(relay->config.clients, client, local, length);
}
