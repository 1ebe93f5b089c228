/* Fuzzes SRTP and SRTCP between a sender and a receiver whose packets the input loses, repeats, reorders and forges;
 * either may encrypt by either library.
 *
 * Invariants: an authentic new packet inside the window opens to what was sealed; a repetition is a replay, one from
 * before the window too old; what is forged or cut never opens; no refusal changes the stream's state. When a crowd of
 * SRTCP senders takes all windows, still nothing opens twice, and what is newer than all of its sender opens. The model
 * of what was received is a plain list, asked by linear search. */
#include "fuzz.h"

#include "../../rtc/native/bytes.h"
#include "../../rtc/native/srtp.h"

#define STEPS 400
#define SENDERS 3
#define CROWD 32 /* as many as have windows */
#define RTCP_WINDOW 128

struct history {
    uint64_t seen[STEPS];
    size_t count;
    uint64_t highest;
};

struct world {
    struct wd_srtp *sender, *receiver;
    struct wd_srtp_stream stream;
    struct history rtp, rtcp[SENDERS];
    bool crowded; /* there were more senders than windows */
    uint64_t index;
    uint8_t kept[1600]; /* an SRTCP packet to be repeated later */
    size_t kept_length;
};

static bool has_seen(const struct history *h, uint64_t index) {
    for (size_t i = 0; i < h->count; i++)
        if (h->seen[i] == index) return true;
    return false;
}

static void note(struct history *h, uint64_t index) {
    require(h->count < STEPS);
    h->seen[h->count++] = index;
    if (h->count == 1 || index > h->highest) h->highest = index;
}

/* Changes the packet as the input says; false when it stayed as it was. */
static bool forge(struct tape *t, uint8_t *packet, size_t *length) {
    uint8_t how = (uint8_t)take(t, 1);
    if (how < 160) return false;
    size_t at = take(t, 2) % *length;
    if (how < 230)
        packet[at] ^= (uint8_t)(1u << (how & 7));
    else
        *length -= at < 30 ? at + 1 : 1;
    return true;
}

/* What a receiver must take the sequence number for: RFC 3711 section 3.3.1, by trying all three rollover counters. */
static uint64_t nearest(const struct history *h, uint16_t sequence) {
    if (!h->count) return sequence;
    uint64_t best = UINT64_MAX, best_distance = UINT64_MAX, roc = h->highest >> 16;
    for (uint64_t r = roc ? roc - 1 : 0; r <= roc + 1; r++) {
        uint64_t index = r << 16 | sequence, distance = index > h->highest ? index - h->highest : h->highest - index;
        if (distance < best_distance) {
            best = index;
            best_distance = distance;
        }
    }
    return best;
}

static void send_rtp(struct world *w, struct tape *t) {
    static const uint8_t HEADER[12] = {0x80, 96, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8};
    uint64_t move = take(t, 2), index = w->index, opened = 0;
    if (move < 0x4000)
        index = w->index += 1 + (move & 7);
    else if (move < 0x8000)
        index -= (move & 0x7ff) < index ? move & 0x7ff : 0;
    else if (move < 0x9000)
        index = w->index += (move & 0xfff) * 8;
    size_t payload_length, header = 12;
    uint8_t *payload = take_copy(t, take(t, 1) * 4, &payload_length),
            *packet = malloc(header + payload_length + WD_SRTP_MAX_OVERHEAD);
    memcpy(packet, HEADER, header);
    wd_put16(packet + 2, (uint16_t)index);
    size_t length = wd_srtp_protect(w->sender, index, packet, header, payload, payload_length);
    require(length == header + payload_length + wd_srtp_tag(w->sender));
    packet = realloc(packet, length);
    bool forged = forge(t, packet, &length);
    if (forged) packet = realloc(packet, length);
    size_t sealed = length;
    struct wd_srtp_stream before = w->stream;
    uint64_t guess = sealed < header ? 0 : nearest(&w->rtp, wd_get16(packet + 2));
    enum wd_srtp_result result = wd_srtp_unprotect(w->receiver, &w->stream, packet, &length, header, &opened);
    if (result != WD_SRTP_OK) require(memcmp(&before, &w->stream, sizeof before) == 0);
    if (sealed < header + wd_srtp_tag(w->sender)) {
        require(result == WD_SRTP_SHORT);
    } else if (w->rtp.count && guess <= w->rtp.highest && w->rtp.highest - guess >= WD_SRTP_WINDOW) {
        require(result == WD_SRTP_TOO_OLD);
    } else if (has_seen(&w->rtp, guess)) {
        require(result == WD_SRTP_REPLAY);
    } else if (forged || guess != index) {
        require(result == WD_SRTP_AUTH);
    } else {
        require(result == WD_SRTP_OK && opened == index && length == header + payload_length &&
                memcmp(packet + header, payload, payload_length) == 0);
        note(&w->rtp, index);
    }
    free(packet);
    free(payload);
}

static void open_rtcp(struct world *w, const uint8_t *sealed, size_t length, bool forged, const uint8_t *clear,
                      size_t clear_length) {
    uint8_t *packet = malloc(length ? length : 1);
    memcpy(packet, sealed, length);
    size_t opened = length, tail = wd_srtp_tag(w->sender) + 4;
    enum wd_srtp_result result = wd_srtcp_unprotect(w->receiver, packet, &opened);
    if (forged || length < 8 + tail) {
        require(result != WD_SRTP_OK); /* which way it is refused depends on what was changed */
    } else {
        uint64_t index = wd_get32(sealed + length - (tail == 20 ? 4 : tail)) & 0x7fffffff;
        struct history *h = &w->rtcp[wd_get32(sealed + 4) % SENDERS];
        bool newest = !h->count || index > h->highest, old = !newest && h->highest - index >= RTCP_WINDOW,
             seen = has_seen(h, index);
        if (!w->crowded)
            require(result == (old ? WD_SRTP_TOO_OLD : seen ? WD_SRTP_REPLAY : WD_SRTP_OK));
        else
            require(newest        ? result == WD_SRTP_OK
                    : old || seen ? result == WD_SRTP_TOO_OLD || result == WD_SRTP_REPLAY
                                  : true);
        if (result == WD_SRTP_OK) {
            note(h, index);
            require(!clear || (opened == clear_length && memcmp(packet, clear, clear_length) == 0));
        }
    }
    free(packet);
}

static void send_rtcp(struct world *w, struct tape *t) {
    uint8_t how = (uint8_t)take(t, 1);
    if (how >= 0xf0 && w->kept_length) {
        open_rtcp(w, w->kept, w->kept_length, false, NULL, 0);
        return;
    }
    size_t length;
    uint8_t *body = take_copy(t, 4 * (how & 63), &length);
    length = (length & ~(size_t)3) + 8;
    uint8_t *clear = malloc(length), *packet = malloc(length + WD_SRTP_MAX_OVERHEAD);
    memcpy(clear, (uint8_t[]){0x80, 200, 0, 0, 0, 0, 0, how % SENDERS}, 8);
    memcpy(clear + 8, body, length - 8);
    memcpy(packet, clear, length);
    size_t sealed = wd_srtcp_protect(w->sender, packet, length);
    require(sealed == length + wd_srtp_tag(w->sender) + 4);
    if (how & 0x40 && sealed <= sizeof w->kept) {
        memcpy(w->kept, packet, sealed);
        w->kept_length = sealed;
    }
    bool forged = forge(t, packet, &sealed);
    if (!(how & 0x80) || forged) open_rtcp(w, packet, sealed, forged, clear, length); /* else it is lost on the way */
    free(packet);
    free(clear);
    free(body);
}

/* Each takes a window from whoever has been silent for longest. Numbered next to the others, so that no two share every
 * mark. */
static void send_crowd(struct world *w, struct tape *t) {
    (void)t;
    for (uint8_t i = 0; i < CROWD; i++) {
        uint8_t packet[8 + WD_SRTP_MAX_OVERHEAD] = {0x80, 201, 0, 1, 0, 0, 0, (uint8_t)(SENDERS + i)};
        size_t length = wd_srtcp_protect(w->sender, packet, 8);
        require(wd_srtcp_unprotect(w->receiver, packet, &length) == WD_SRTP_OK && length == 8);
    }
    w->crowded = true;
}

static void hear_junk(struct world *w, struct tape *t) {
    size_t length, given;
    uint64_t index;
    bool rtcp = take(t, 1) & 1;
    uint8_t *packet = take_copy(t, take(t, 1), &length);
    given = length;
    struct wd_srtp_stream before = w->stream;
    if (rtcp)
        require(wd_srtcp_unprotect(w->receiver, packet, &length) != WD_SRTP_OK);
    else if (length >= 12)
        require(wd_srtp_unprotect(w->receiver, &w->stream, packet, &length, 12, &index) != WD_SRTP_OK);
    require(length == given && memcmp(&before, &w->stream, sizeof before) == 0);
    free(packet);
}

static struct wd_srtp *make(uint16_t profile, bool openssl) {
    static const uint8_t KEY[WD_SRTP_KEY] = {1, 2, 3}, SALT[WD_SRTP_MAX_SALT] = {4, 5, 6};
    setenv("WADUD_CRYPTO", openssl ? "openssl" : "fastest", 1);
    return wd_srtp_new(profile, KEY, SALT);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct tape t = {data, size};
    struct world *w = calloc(1, sizeof *w);
    uint8_t mode = (uint8_t)take(&t, 1);
    uint16_t profile = mode & 1 ? WD_SRTP_AES128_CM_SHA1_80 : WD_SRTP_AEAD_AES_128_GCM;
    w->sender = make(profile, mode & 2);
    w->receiver = make(profile, mode & 4);
    require(w->sender && w->receiver);
    w->index = take(&t, 2) & 0x7fff;
    for (unsigned step = 0; step < STEPS && t.size; step++) {
        uint8_t operation = (uint8_t)take(&t, 1);
        (operation < 150 ? send_rtp : operation < 220 ? send_rtcp : operation < 230 ? send_crowd : hear_junk)(w, &t);
    }
    wd_srtp_free(w->sender);
    wd_srtp_free(w->receiver);
    free(w);
    return 0;
}
