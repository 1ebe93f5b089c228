#include "keys.h"

#include "keyframes.h"
#include "path_validation.h"

bool wd_router_set_keys(struct wd_router *router, uint32_t id, uint16_t profile, const uint8_t *send_key,
                        const uint8_t *send_salt, const uint8_t *receive_key, const uint8_t *receive_salt) {
    struct transport *t = wd_table_get(&router->transports_by_id, id);
    if (!t || t->keys.send)
        return false; /* one DTLS association per transport: new keys under old indices would be fatal */
    struct wd_srtp *send = wd_srtp_new(profile, send_key, send_salt),
                   *receive = wd_srtp_new(profile, receive_key, receive_salt);
    if (!send || !receive) {
        wd_srtp_free(send);
        wd_srtp_free(receive);
        return false;
    }
    t->keys = (struct keys){.send = send, .receive = receive};
    wd_path_handshake_completed(router, t);
    if (wd_ready(t))
        wd_ask_keyframes(router, t); /* else when an address is selected: a picture that nobody can be sent yet would
                                        only start the throttle */
    return true;
}

void wd_keys_free(struct transport *t) {
    wd_srtp_free(t->keys.send);
    wd_srtp_free(t->keys.receive);
}

struct wd_srtp_stream wd_stream_of(const struct transport *t, uint32_t ssrc) {
    for (int i = 0; ssrc && i < WD_DEPARTED; i++)
        if (t->departed[i].ssrc == ssrc) return t->departed[i].stream;
    return (struct wd_srtp_stream){0};
}

void wd_depart(struct transport *t, uint32_t ssrc, const struct wd_srtp_stream *stream) {
    if (!ssrc || !stream->started) return;
    int place = 0;
    while (place < WD_DEPARTED && t->departed[place].ssrc != ssrc) place++;
    if (place == WD_DEPARTED) place = t->departed_next++ % WD_DEPARTED;
    t->departed[place] = (struct departed){ssrc, *stream};
}
