/* The gate before the control plane: a request is heard only when it carries a nonce that we gave to that very address.
 *
 * The nonce is the time it was made and an HMAC over that and the address (RFC 8489 section 9.2 leaves its form to us),
 * so nothing is stored per request. Over UDP the port counts too, or who listens behind the same NAT could replay
 * requests as its own. Who comes without is told one (401, 438). A sender whose address may be forged is never sent
 * more than it sent, but for a small allowance per address and second, which the first answer needs, since it is longer
 * than the shortest request; and all such allowances together are bounded. An address that returned a nonce is its
 * sender's for a while, and connections are by themselves. */
#include "relay_gate.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "relay_egress.h"
#include "stun.h"

#define NONCE_BYTES 12 /* seconds, and 8 bytes of the HMAC */
#define NONCE_TEXT 16
#define ALLOWANCE_PER_S 600 /* bytes to an unverified address, beyond what came from there */
#define ALLOWANCE_MOST 2400
/* the same, to all of them: a thousand new clients, each of whom is told more once than it has said */
#define EVERYBODY_PER_S 40000
#define VERIFIED_NS (60 * WD_SECOND)
#define NONCE 0x0015
#define BINDING 0x001
#define REPLY_ROOM 256

static uint64_t prefix_of(const struct wd_addr *a) {
    return a->family == 4 ? wd_get32(a->ip) : wd_get64(a->ip) | UINT64_C(1) << 63;
}

static void fill(struct bucket *b, int64_t per_s, int64_t most, int64_t requests_per_s, int64_t now_ns) {
    double elapsed_s = (double)(now_ns - b->filled_ns) / 1e9;
    if (elapsed_s < 0.001) return;
    double credit = (double)b->credit + elapsed_s * (double)per_s,
           requests = (double)b->requests + elapsed_s * (double)requests_per_s * 1000;
    b->credit = credit < (double)most ? (int64_t)credit : most;
    b->requests = requests < (double)requests_per_s * 1000 ? (int64_t)requests : requests_per_s * 1000;
    b->filled_ns = now_ns;
}

/* The address's account, with what has just come in. Who shares a place with another begins anew: all together are
 * bounded besides. */
static struct bucket *account(struct wd_relay *relay, const struct wd_addr *from, size_t received, int64_t now_ns) {
    uint64_t prefix = prefix_of(from);
    struct bucket *b = &relay->buckets[wd_mix(prefix ^ relay->by_id.seed) % WD_BUCKETS];
    if (b->prefix != prefix)
        *b = (struct bucket){.prefix = prefix, .filled_ns = now_ns - WD_SECOND, .verified_ns = INT64_MIN / 2};
    fill(b, ALLOWANCE_PER_S, ALLOWANCE_MOST, relay->rules.requests_per_s, now_ns);
    fill(&relay->everybody, EVERYBODY_PER_S, EVERYBODY_PER_S, 0, now_ns);
    b->credit += (int64_t)received;
    relay->everybody.credit += (int64_t)received;
    return b;
}

static bool may_answer(struct wd_relay *relay, struct bucket *b, const struct wd_addr *to, size_t length,
                       int64_t now_ns) {
    if (to->via || now_ns - b->verified_ns < VERIFIED_NS) return true;
    if (b->credit < (int64_t)length || relay->everybody.credit < (int64_t)length) {
        relay->counters.drop_turn_unanswered++;
        return false;
    }
    b->credit -= (int64_t)length;
    relay->everybody.credit -= (int64_t)length;
    return true;
}

bool wd_relay_key_gate(struct wd_relay *relay) {
    wd_relay_free_gate(relay);
    relay->nonce_mac = wd_stun_hmac_new("SHA256");
    return relay->nonce_mac && EVP_MAC_init(relay->nonce_mac, relay->rules.nonce_key, WD_NONCE_KEY, NULL);
}

void wd_relay_free_gate(struct wd_relay *relay) {
    EVP_MAC_CTX_free(relay->nonce_mac);
    relay->nonce_mac = NULL;
}

static bool nonce_mac(const struct wd_relay *relay, const uint8_t time[4], const struct wd_addr *address,
                      uint8_t out[8]) {
    uint8_t input[4 + 16 + 2] = {0}, mac[EVP_MAX_MD_SIZE];
    size_t length;
    memcpy(input, time, 4);
    memcpy(input + 4, address->ip, address->family == 4 ? 4 : 16);
    if (!address->via)
        wd_put16(
            input + 20,
            address->port); /* a new connection may go on with its client's nonce: ConnectionBind (RFC 6062) does */
    if (!EVP_MAC_init(relay->nonce_mac, NULL, 0, NULL) || !EVP_MAC_update(relay->nonce_mac, input, sizeof input) ||
        !EVP_MAC_final(relay->nonce_mac, mac, &length, sizeof mac))
        return false;
    memcpy(out, mac, 8);
    return true;
}

static bool make_nonce(const struct wd_relay *relay, const struct wd_addr *address, int64_t now_ns,
                       char out[NONCE_TEXT + 1]) {
    uint8_t bytes[NONCE_BYTES];
    wd_put32(bytes, (uint32_t)(now_ns / WD_SECOND));
    return nonce_mac(relay, bytes, address, bytes + 4) &&
           EVP_EncodeBlock((uint8_t *)out, bytes, NONCE_BYTES) == NONCE_TEXT;
}

static bool is_nonce(const struct wd_relay *relay, const struct wd_addr *address, const uint8_t *text, size_t length,
                     int64_t now_ns) {
    uint8_t bytes[NONCE_BYTES], mac[8];
    if (length != NONCE_TEXT || EVP_DecodeBlock(bytes, text, NONCE_TEXT) != NONCE_BYTES ||
        !nonce_mac(relay, bytes, address, mac))
        return false;
    uint32_t age_s = (uint32_t)(now_ns / WD_SECOND) - wd_get32(bytes);
    return CRYPTO_memcmp(mac, bytes + 4, sizeof mac) == 0 && age_s < relay->rules.nonce_lifetime_s;
}

static void refuse(struct wd_relay *relay, struct bucket *b, const struct wd_stun *m, uint16_t code,
                   const struct wd_addr *from, const struct wd_addr *local, int64_t now_ns) {
    char nonce[NONCE_TEXT + 1];
    uint8_t reply[REPLY_ROOM];
    if (!make_nonce(relay, from, now_ns, nonce)) return;
    struct wd_stun_challenge challenge = {.code = code,
                                          .realm = relay->rules.realm,
                                          .realm_length = relay->rules.realm_length,
                                          .nonce = nonce,
                                          .nonce_length = NONCE_TEXT};
    size_t length = wd_stun_write_challenge(reply, sizeof reply, m, &challenge);
    if (length && may_answer(relay, b, from, length, now_ns)) {
        *(code == 438 ? &relay->counters.turn_stale_nonces : &relay->counters.turn_challenges) += 1;
        wd_relay_to_client(relay, from, local, reply, length, now_ns);
    }
}

static void answer_binding(struct wd_relay *relay, struct bucket *b, const struct wd_stun *m,
                           const struct wd_addr *from, const struct wd_addr *local, int64_t now_ns) {
    uint8_t reply[REPLY_ROOM];
    size_t length = m->unknown_count ? wd_stun_write_error(reply, sizeof reply, m->transaction, 420, "", m->unknown,
                                                           m->unknown_count, NULL, 0)
                                     : wd_stun_write_success(reply, sizeof reply, m->transaction, from, NULL, 0);
    if (!length || !may_answer(relay, b, from, length, now_ns)) return;
    relay->counters.turn_bindings++;
    wd_relay_to_client(relay, from, local, reply, length, now_ns);
}

static bool is_known_method(uint16_t method) {
    return method == 0x003 || method == 0x004 || (method >= 0x008 && method <= 0x00b);
}

void wd_relay_request(struct wd_relay *relay, const uint8_t *data, size_t length, const struct wd_addr *from,
                      const struct wd_addr *local, int64_t now_ns) {
    static const struct wd_addr any;
    struct wd_stun m;
    if (!local) local = &any;
    if (!wd_stun_parse(data, length, &m)) {
        relay->counters.drop_turn_malformed++;
        return;
    }
    if (m.klass != WD_STUN_REQUEST || (m.method != BINDING && !is_known_method(m.method))) {
        relay->counters.drop_turn_unexpected++;
        return;
    }
    struct bucket *b = account(relay, from, length, now_ns);
    if (m.method == BINDING && relay->rules.answer_binding) {
        answer_binding(relay, b, &m, from, local, now_ns);
        return;
    }
    if (m.method != BINDING) {
        size_t nonce_length;
        const uint8_t *nonce = wd_stun_find(data, m.integrity_at ? m.integrity_at : length, NONCE, &nonce_length);
        bool complete = m.integrity_at && m.username_len && nonce;
        if (!complete) {
            refuse(relay, b, &m, m.integrity_at ? 400 : 401, from, local, now_ns); /* RFC 8489 section 9.2.4 */
            return;
        }
        if (!is_nonce(relay, from, nonce, nonce_length, now_ns)) {
            refuse(relay, b, &m, 438, from, local, now_ns);
            return;
        }
        b->verified_ns = now_ns;
    } else if (!may_answer(relay, b, from, length + (from->family == 4 ? 44 : 92), now_ns))
        return; /* what the control plane may answer: four addresses, and the padding */
    if (b->requests < 1000) {
        relay->counters.drop_turn_rate++;
        return;
    }
    if (relay->config.busy(relay->config.owner)) {
        relay->counters.drop_turn_busy++;
        return;
    }
    b->requests -= 1000;
    relay->counters.turn_requests++;
    relay->config.request(relay->config.owner, data, length, from, local);
}
