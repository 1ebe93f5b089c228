/* Fuzzes the whole forwarding core with authentic and forged packets, commands and time, all chosen by the input.
 *
 * Invariants: nothing leaves before a check was verified; every outgoing RTP packet authenticates under its receiver's
 * key; no (SSRC, index) is ever encrypted twice with different contents (fatal for AES-GCM, RFC 7714 section 8.1);
 * every run in the egress arena lies inside it. */
#include "../../rtc/native/bytes.h"
#include "../../rtc/native/router.h"
#include "../../rtc/native/rtp.h"
#include "../../rtc/native/srtp.h"
#include "../../rtc/native/stun.h"

#include <stdlib.h>

#define PEERS 3
#define SEEN 4096

struct seen {
    uint32_t ssrc;
    uint16_t sequence;
    uint8_t peer;
    bool used;
    uint64_t hash;
};

struct world {
    struct wd_router *router;
    struct wd_egress egress;
    struct wd_srtp *to_server[PEERS], *from_server[PEERS];
    struct wd_srtp_stream streams[PEERS][64];
    uint32_t stream_ssrcs[PEERS][64];
    uint64_t next_index[PEERS][4];
    bool verified[PEERS];
    struct {
        bool known;
        uint8_t transaction[12];
    } asked[PEERS][4]; /* by variant: what we asked whether the address is theirs */
    struct seen seen[SEEN];
    int64_t now_ns;
};

static const uint8_t KEY[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16},
                     SALT[14] = {9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 1, 2, 3, 4};
static const char *PASSWORD = "0123456789abcdef0123456789abcdef";

static void require(bool holds) {
    if (!holds) abort();
}

static struct wd_addr address(unsigned peer, unsigned variant) {
    return (struct wd_addr){.ip = {127, 0, 0, (uint8_t)(1 + peer)},
                            .port = (uint16_t)(1000 + variant),
                            .family = 4,
                            .via = variant & 2 ? 7 + peer : 0};
}

static void key_of(unsigned peer, bool up, uint8_t out[16]) {
    memcpy(out, KEY, 16);
    out[0] = (uint8_t)(peer * 2 + up);
}

static uint64_t hash_of(const uint8_t *data, size_t length) {
    uint64_t h = 1469598103934665603u;
    for (size_t i = 0; i < length; i++) h = (h ^ data[i]) * 1099511628211u;
    return h;
}

static void check_rtp(struct world *w, unsigned peer, const uint8_t *data, size_t length) {
    struct wd_rtp rtp;
    require(wd_rtp_parse(data, length, &rtp));
    struct seen *s = &w->seen[(rtp.ssrc * 31 + rtp.sequence + peer * 977) % SEEN];
    uint64_t hash = hash_of(data, length);
    bool repeated = s->used && s->ssrc == rtp.ssrc && s->sequence == rtp.sequence && s->peer == peer;
    if (repeated) require(s->hash == hash);
    *s = (struct seen){rtp.ssrc, rtp.sequence, (uint8_t)peer, true, hash};
    unsigned k = 0;
    while (k < 63 && w->stream_ssrcs[peer][k] && w->stream_ssrcs[peer][k] != rtp.ssrc) k++;
    w->stream_ssrcs[peer][k] = rtp.ssrc;
    uint8_t copy[2048];
    require(length <= sizeof copy);
    memcpy(copy, data, length);
    uint64_t index;
    enum wd_srtp_result result =
        wd_srtp_unprotect(w->from_server[peer], &w->streams[peer][k], copy, &length, rtp.header_length, &index);
    require(result == WD_SRTP_OK || result == WD_SRTP_REPLAY || result == WD_SRTP_TOO_OLD);
}

static void flush(struct wd_egress *e) {
    struct world *w = e->owner;
    for (size_t i = 0; i < e->count; i++) {
        const struct wd_message *m = &e->messages[i];
        require(m->length > 0 && m->offset + m->length <= e->used && e->used <= WD_EGRESS_BYTES);
        unsigned peer = m->to.ip[3] - 1u;
        require(peer < PEERS && w->verified[peer]);
        size_t step = m->segment ? m->segment : m->length;
        for (size_t at = 0; at < m->length; at += step) {
            size_t length = m->length - at < step ? m->length - at : step;
            const uint8_t *data = e->data + m->offset + at;
            if (data[0] == 0 && data[1] == 1) {
                require(length >= 20 && m->to.port >= 1000 && m->to.port < 1004 && !m->to.via);
                w->asked[peer][m->to.port - 1000].known = true;
                memcpy(w->asked[peer][m->to.port - 1000].transaction, data + 8, 12);
            }
            if (data[0] >= 128 && data[0] < 192 && !(data[1] >= 192 && data[1] <= 223))
                check_rtp(w, peer, data, length);
        }
    }
    e->used = e->count = 0;
}

static void emit(void *owner, const struct wd_event *event) {
    (void)owner;
    require(event->type >= WD_EVENT_DTLS && event->type <= WD_EVENT_STATS);
}

static void codecs(struct wd_codec_entry *entries, uint8_t *count, uint8_t kind) {
    if (kind == WD_AUDIO) {
        entries[0] = (struct wd_codec_entry){WD_CODEC_OPUS, 0, 111, 0, 0, 0, 48000};
        *count = 1;
        return;
    }
    entries[0] = (struct wd_codec_entry){WD_CODEC_VP8, 0, 96, 97, 1, 1, 90000};
    entries[1] = (struct wd_codec_entry){WD_CODEC_H264, 0, 98, 99, 1, 1, 90000};
    *count = 2;
}

static uint32_t track_ssrc(unsigned peer, uint8_t kind) { return 0x1000u * (peer + 1) + kind; }

static void add_track(struct world *w, unsigned peer, uint8_t kind) {
    struct wd_track_config c = {.id = 10 + peer * 2 + kind,
                                .transport = 1 + peer,
                                .kind = kind,
                                .mid = "m",
                                .ssrc = peer == 2 ? 0 : track_ssrc(peer, kind)};
    c.mid[1] = (char)('0' + kind);
    c.rtx_ssrc = peer == 2 || kind == WD_AUDIO ? 0 : c.ssrc + 0x100;
    codecs(c.codecs, &c.codec_count, kind);
    c.extensions = (struct wd_extension_ids){
        .mid = 1, .audio_level = 2, .transport_cc = 3, .abs_send_time = 4, .orientation = 5, .playout_delay = 6};
    wd_router_add_track(w->router, &c);
}

static void add_legs(struct world *w, unsigned peer) {
    for (uint8_t kind = WD_AUDIO; kind <= WD_VIDEO; kind++) {
        struct wd_leg_config c = {.id = 100 + peer * 2 + kind,
                                  .transport = 1 + peer,
                                  .kind = kind,
                                  .mid = "s",
                                  .ssrc = 0x900000u + peer * 16 + kind};
        c.rtx_ssrc =
            kind == WD_VIDEO && peer != 1 ? c.ssrc + 8 : 0; /* peer 1 has no RTX: repetitions must be identical */
        codecs(c.codecs, &c.codec_count, kind);
        c.extensions = (struct wd_extension_ids){.abs_send_time = 4, .orientation = 5, .playout_delay = 6};
        require(wd_router_add_leg(w->router, &c));
    }
}

static void arrive(struct world *w, uint8_t *datagram, size_t length, const struct wd_addr *from) {
    struct wd_addr other = address((unsigned)length % PEERS, 0);
    struct wd_arrival arrivals[] = {
        {datagram, length, from}, {datagram, length, &other}, {datagram, length / 2, from}, {datagram, length, from}};
    wd_router_prefetch(w->router, arrivals, length % 5);
    wd_router_receive(w->router, datagram, length, from, NULL, w->now_ns);
}

static void check_in(struct world *w, unsigned peer, unsigned variant, bool nominate) {
    uint8_t data[256];
    uint8_t transaction[12] = {(uint8_t)peer, (uint8_t)variant};
    char username[16] = "peer0:them";
    username[4] = (char)('0' + peer);
    if (w->now_ns & 0x10000) memcpy(username + 6, "anew", 4);
    struct wd_stun_check check = {(const uint8_t *)username, strlen(username), 1, true, 1, nominate};
    size_t n = wd_stun_write_check(data, sizeof data, transaction, &check, (const uint8_t *)PASSWORD, strlen(PASSWORD));
    require(n > 0);
    struct wd_addr from = address(peer, variant);
    w->verified[peer] = true;
    arrive(w, data, n, &from);
}

static void answer(struct world *w, unsigned peer, unsigned variant) {
    uint8_t data[256];
    struct wd_addr from = address(peer, variant);
    w->egress.flush(&w->egress);
    if (!w->asked[peer][variant].known) return;
    arrive(w, data,
           wd_stun_write_success(data, sizeof data, w->asked[peer][variant].transaction, &from,
                                 (const uint8_t *)PASSWORD, strlen(PASSWORD)),
           &from);
}

static void rtp_in(struct world *w, unsigned peer, uint8_t control, const uint8_t *data, size_t size) {
    uint8_t packet[1700], kind = control & 1 ? WD_VIDEO : WD_AUDIO;
    unsigned slot = (control & 3);
    bool rtx = (control & 3) == 3;
    if (size < 3) return;
    uint64_t *next = &w->next_index[peer][slot];
    *next += data[0] % 5 == 4 ? data[0] * 9u : 1; /* mostly in order, sometimes a leap */
    uint64_t index = *next - (data[0] & 0x40 ? (data[1] & 15 && *next > 16 ? data[1] & 15 : 0) : 0);
    packet[0] = 0x80 | (control & 0x20) | 0x10;
    packet[1] = (uint8_t)((kind == WD_AUDIO ? 111 : rtx ? 97 : control & 0x10 ? 98 : 96) | (control & 0x80));
    wd_put16(packet + 2, (uint16_t)index);
    wd_put32(packet + 4, (uint32_t)(index * 3000));
    wd_put32(packet + 8, track_ssrc(peer, kind) + (rtx ? 0x100u : 0) + (data[2] == 77 ? 1u : 0));
    wd_put16(packet + 12, 0xbede);
    wd_put16(packet + 14, 3);
    memcpy(packet + 16,
           (uint8_t[]){0x11, 'm', (uint8_t)('0' + kind), 0x31, data[1], data[0], 0x20, data[2], 0x50, data[1], 0, 0},
           12);
    size_t length = size - 3 < 1600 ? size - 3 : 1600;
    length = wd_srtp_protect(w->to_server[peer], index & 0xffffffffffff, packet, 28, data + 3, length);
    struct wd_addr from = address(peer, data[1] >> 6); /* which nobody may have checked from */
    arrive(w, packet, length, &from);
}

static void rtcp_in(struct world *w, unsigned peer, const uint8_t *data, size_t size) {
    uint8_t packet[1500];
    if (size < 8) return;
    if (size > 1400) size = 1400;
    memcpy(packet, data, size);
    packet[0] = (uint8_t)(0x80 | (packet[0] & 0x3f));
    packet[1] = (uint8_t)(200 + packet[1] % 8);
    struct wd_addr from = address(peer, data[2] >> 6);
    if (packet[0] & 1 && size >= 12)
        wd_put32(packet + 8, 0x900000u + peer * 16 + WD_VIDEO); /* often about a real leg */
    size_t length = wd_srtcp_protect(w->to_server[peer], packet, size);
    arrive(w, packet, length, &from);
}

static void start(struct world *w) {
    w->egress.flush = flush;
    w->egress.owner = w;
    w->now_ns = 1000000000;
    struct wd_router_config config = {.max_transports = 8, .seed = 1, .emit = emit, .egress = &w->egress};
    require((w->router = wd_router_new(&config)) != NULL);
    for (unsigned peer = 0; peer < PEERS; peer++) {
        char ufrag[8] = "peer0";
        ufrag[4] = (char)('0' + peer);
        uint8_t up[16], down[16];
        key_of(peer, true, up);
        key_of(peer, false, down);
        uint16_t profile = peer == 1 ? WD_SRTP_AES128_CM_SHA1_80 : WD_SRTP_AEAD_AES_128_GCM;
        require(wd_router_add_transport(w->router, 1 + peer, ufrag, PASSWORD, w->now_ns));
        require(wd_router_set_keys(w->router, 1 + peer, profile, down, SALT, up, SALT));
        if (!peer) require(wd_router_set_remote(w->router, 1 + peer, "them", PASSWORD));
        w->to_server[peer] = wd_srtp_new(profile, up, SALT);
        w->from_server[peer] = wd_srtp_new(profile, down, SALT);
        for (uint8_t kind = WD_AUDIO; kind <= WD_VIDEO; kind++) add_track(w, peer, kind);
        add_legs(w, peer);
    }
}

static void act(struct world *w, uint8_t operation, uint8_t control, const uint8_t *data, size_t size) {
    unsigned peer = control % PEERS;
    uint8_t kind = control & 0x40 ? WD_VIDEO : WD_AUDIO;
    uint8_t raw[1600];
    struct wd_addr from = address(peer, control >> 6);
    switch (operation % 14) {
    case 0:
        memcpy(raw, data, size);
        arrive(w, raw, size, &from);
        break;
    case 1: check_in(w, peer, control >> 6, control & 0x20); break;
    case 2: rtcp_in(w, peer, data, size); break;
    case 3: wd_router_set_source(w->router, 100 + peer * 2 + kind, 10 + (control >> 3) % PEERS * 2 + kind); break;
    case 4: wd_router_set_source(w->router, 100 + peer * 2 + kind, 0); break;
    case 5:
        wd_router_remove_track(w->router, 10 + peer * 2 + kind);
        add_track(w, peer, kind);
        break;
    case 6:
        wd_router_restart_ice(w->router, 1 + peer, control & 0x80 ? "restart1" : "restart2", PASSWORD);
        if (control & 0x20) wd_router_set_remote(w->router, 1 + peer, control & 0x10 ? "them" : "anew", PASSWORD);
        break;
    case 7:
        w->now_ns += (int64_t)control * control * 100000;
        wd_router_flush(w->router, w->now_ns, control & 1);
        wd_router_tick(w->router, w->now_ns);
        break;
    case 8: wd_router_congested(w->router, &from, control & 0x20); break;
    case 9:
        wd_router_forget_address(w->router, &from);
        require(!wd_router_knows(w->router, &from));
        break;
    case 10: answer(w, peer, control >> 6); break;
    default: rtp_in(w, peer, control >> 2, data, size); break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct world *w = calloc(1, sizeof *w);
    start(w);
    for (unsigned peer = 0; peer < PEERS; peer++) check_in(w, peer, 0, true);
    for (unsigned peer = 0; peer < PEERS; peer++)
        for (uint8_t kind = WD_AUDIO; kind <= WD_VIDEO; kind++)
            wd_router_set_source(w->router, 100 + peer * 2 + kind, 10 + (peer + 1) % PEERS * 2 + kind);
    while (size >= 4) {
        size_t length = wd_get16(data + 2) % 1500;
        if (length > size - 4) length = size - 4;
        act(w, data[0], data[1], data + 4, length);
        w->now_ns += 300000;
        if (data[0] & 0x80) wd_router_flush(w->router, w->now_ns, false);
        data += 4 + length;
        size -= 4 + length;
    }
    wd_router_flush(w->router, w->now_ns, true);
    wd_router_tick(w->router, w->now_ns + 2000000000);
    w->egress.flush(&w->egress);
    wd_router_free(w->router);
    for (unsigned peer = 0; peer < PEERS; peer++) {
        wd_srtp_free(w->to_server[peer]);
        wd_srtp_free(w->from_server[peer]);
    }
    free(w);
    return 0;
}
