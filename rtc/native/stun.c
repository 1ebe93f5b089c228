#include "stun.h"

#include "bytes.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <pthread.h>

#define HEADER 20
#define COOKIE 0x2112a442u
#define FINGERPRINT_XOR 0x5354554eu
#define MAC WD_STUN_MAC
#define MAX_MESSAGE 1500
#define MAX_USERNAME 513 /* RFC 8489 section 14.3 */

enum attribute {
    USERNAME = 0x0006,
    MESSAGE_INTEGRITY = 0x0008,
    ERROR_CODE = 0x0009,
    UNKNOWN_ATTRIBUTES = 0x000a,
    REALM = 0x0014,
    NONCE = 0x0015,
    MESSAGE_INTEGRITY_SHA256 = 0x001c,
    XOR_MAPPED_ADDRESS = 0x0020,
    PRIORITY = 0x0024,
    USE_CANDIDATE = 0x0025,
    FINGERPRINT = 0x8028,
    ICE_CONTROLLED = 0x8029,
    ICE_CONTROLLING = 0x802a,
};

/* CRC-32 of ISO 3309, as RFC 8489 section 14.7 asks, a byte at a time: it is reckoned for whoever cares to send
 * something long. */
static uint32_t crc32_table[256];

__attribute__((constructor)) static void fill_crc32_table(void) {
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (0xedb88320u & (0u - (crc & 1)));
        crc32_table[byte] = crc;
    }
}

static uint32_t crc32_of(const uint8_t *data, size_t length) {
    uint32_t crc = ~0u;
    for (size_t i = 0; i < length; i++) crc = crc >> 8 ^ crc32_table[(crc ^ data[i]) & 0xff];
    return ~crc;
}

uint32_t wd_stun_fingerprint(const uint8_t *data, size_t length) { return crc32_of(data, length) ^ FINGERPRINT_XOR; }

static const uint8_t V4_MAPPED[12] = {[10] = 0xff, [11] = 0xff}; /* RFC 4291 section 2.5.5.2 */

bool wd_stun_read_address(const uint8_t *message, const uint8_t *value, size_t length, struct wd_addr *out) {
    size_t size = length == 8 && value[1] == 1 ? 4 : length == 20 && value[1] == 2 ? 16 : 0;
    if (!size) return false;
    *out = (struct wd_addr){.family = size == 4 ? 4 : 6, .port = wd_get16(value + 2) ^ (COOKIE >> 16)};
    for (size_t i = 0; i < size; i++) out->ip[i] = value[4 + i] ^ message[4 + i]; /* cookie, then transaction id */
    if (size == 16 && !memcmp(out->ip, V4_MAPPED, sizeof V4_MAPPED)) {
        memcpy(out->ip, out->ip + 12, 4);
        memset(out->ip + 4, 0, 12);
        out->family = 4;
    }
    return true;
}

void wd_stun_write_address(const uint8_t *message, uint8_t *value, const struct wd_addr *address) {
    size_t size = wd_stun_address_size(address) - 4;
    value[0] = 0;
    value[1] = address->family == 4 ? 1 : 2;
    wd_put16(value + 2, address->port ^ (COOKIE >> 16));
    for (size_t i = 0; i < size; i++) value[4 + i] = address->ip[i] ^ message[4 + i];
}

const uint8_t *wd_stun_find(const uint8_t *data, size_t length, uint16_t type, size_t *value_length) {
    for (size_t at = HEADER; at + 4 <= length;) {
        size_t size = wd_get16(data + at + 2), next = at + 4 + ((size + 3) & ~(size_t)3);
        if (next > length) return NULL;
        if (wd_get16(data + at) == type) {
            *value_length = size;
            return data + at + 4;
        }
        at = next;
    }
    return NULL;
}

static bool read_attribute(struct wd_stun *out, const uint8_t *data, size_t at, uint16_t type, const uint8_t *value,
                           size_t length) {
    switch (type) {
    case USERNAME:
        if (length > MAX_USERNAME) return false;
        out->username = value;
        out->username_len = length;
        return true;
    case MESSAGE_INTEGRITY:
        if (length != MAC) return false;
        out->integrity_at = at;
        return true;
    case ERROR_CODE:
        if (length < 4) return false;
        out->error_code = (uint16_t)((value[2] & 7) * 100 + value[3]);
        return true;
    case XOR_MAPPED_ADDRESS: return wd_stun_read_address(data, value, length, &out->mapped);
    case PRIORITY:
        if (length != 4) return false;
        out->priority = wd_get32(value);
        return true;
    case USE_CANDIDATE: out->use_candidate = true; return true;
    case ICE_CONTROLLED:
    case ICE_CONTROLLING:
        if (length != 8) return false;
        *(type == ICE_CONTROLLED ? &out->controlled : &out->controlling) = true;
        out->tiebreaker = wd_get64(value);
        return true;
    case UNKNOWN_ATTRIBUTES:
    case REALM:
    case NONCE:
    case MESSAGE_INTEGRITY_SHA256: return true;
    default:
        if (type < 0x8000 && out->unknown_count < WD_STUN_MAX_UNKNOWN) out->unknown[out->unknown_count++] = type;
        return true;
    }
}

/* Marks the attribute as seen; true when it was before. Only types whose second value could mislead are tracked. */
static bool is_repeated(uint16_t type, uint64_t *seen) {
    unsigned bit = type < 0x30 ? type : type == ICE_CONTROLLED ? 0x30 : type == ICE_CONTROLLING ? 0x31 : 0x3f;
    if (bit == 0x3f) return false;
    bool repeated = *seen >> bit & 1;
    *seen |= UINT64_C(1) << bit;
    return repeated;
}

bool wd_stun_parse(const uint8_t *data, size_t length, struct wd_stun *out) {
    *out = (struct wd_stun){0};
    if (length < HEADER || length > MAX_MESSAGE || length & 3 || data[0] & 0xc0) return false;
    if (wd_get32(data + 4) != COOKIE || (size_t)wd_get16(data + 2) + HEADER != length) return false;
    uint16_t type = wd_get16(data);
    out->klass = (uint8_t)((type >> 4 & 1) | (type >> 7 & 2));
    out->method = (uint16_t)((type & 0x000f) | (type >> 1 & 0x0070) | (type >> 2 & 0x0f80));
    out->transaction = data + 8;
    uint64_t seen = 0;
    for (size_t at = HEADER; at < length;) {
        if (at + 4 > length) return false;
        uint16_t attribute = wd_get16(data + at);
        size_t size = wd_get16(data + at + 2), next = at + 4 + ((size + 3) & ~(size_t)3);
        const uint8_t *value = data + at + 4;
        if (next > length) return false;
        if (attribute == FINGERPRINT) {
            if (size != 4 || next != length || wd_stun_fingerprint(data, at) != wd_get32(value)) return false;
            out->has_fingerprint = true;
        } else if (!out->integrity_at &&
                   !is_repeated(attribute, &seen)) { /* what follows MESSAGE-INTEGRITY is nobody's word */
            if (!read_attribute(out, data, at, attribute, value, size)) return false;
        }
        at = next;
    }
    return true;
}

EVP_MAC_CTX *wd_stun_hmac_new(const char *digest) {
    OSSL_PARAM options[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)digest, 0),
                            OSSL_PARAM_construct_end()};
    EVP_MAC *hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    EVP_MAC_CTX *mac = hmac ? EVP_MAC_CTX_new(hmac) : NULL;
    EVP_MAC_free(hmac);
    if (mac && EVP_MAC_CTX_set_params(mac, options)) return mac;
    EVP_MAC_CTX_free(mac);
    return NULL;
}

static pthread_key_t mac_of_thread;
static bool has_macs;

static void free_mac(void *mac) { EVP_MAC_CTX_free(mac); }
static void prepare_macs(void) { has_macs = pthread_key_create(&mac_of_thread, free_mac) == 0; }

/* The thread's own, fetched once: OpenSSL's one-shot HMAC looks its algorithm up anew each time, and between two checks
 * of a call what it reads on the way has left the caches: 26 to 50 us. NULL when there is none. */
static EVP_MAC_CTX *hmac_sha1(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, prepare_macs);
    EVP_MAC_CTX *mac = has_macs ? pthread_getspecific(mac_of_thread) : NULL;
    if (mac || !has_macs) return mac;
    mac = wd_stun_hmac_new("SHA1");
    if (mac && pthread_setspecific(mac_of_thread, mac) == 0) return mac;
    EVP_MAC_CTX_free(mac);
    return NULL;
}

bool wd_stun_mac(uint8_t *message, size_t at, const uint8_t *key, size_t key_len, uint8_t out[MAC]) {
    static const uint8_t none;
    EVP_MAC_CTX *mac = hmac_sha1();
    size_t written;
    wd_put16(message + 2, (uint16_t)(at + 4 + MAC - HEADER));
    /* Without a key it would be the one of the message before. */
    return mac && key_len <= INT32_MAX && EVP_MAC_init(mac, key ? key : &none, key_len, NULL) &&
           EVP_MAC_update(mac, message, at) && EVP_MAC_final(mac, out, &written, MAC) && written == MAC;
}

bool wd_stun_verify(const uint8_t *data, size_t length, const struct wd_stun *message, const uint8_t *key,
                    size_t key_len) {
    uint8_t expected[MAC], copy[MAX_MESSAGE];
    size_t at = message->integrity_at;
    if (!at || at > sizeof copy || at + 4 + MAC > length) return false;
    memcpy(copy, data, at);
    return wd_stun_mac(copy, at, key, key_len, expected) && CRYPTO_memcmp(expected, data + at + 4, MAC) == 0;
}

/* --- writing --------------------------------------------------------------------------------------------------------
 */

struct writer {
    uint8_t *out;
    size_t at, capacity;
    bool full;
};

static struct writer start(uint8_t *out, size_t capacity, uint16_t type, const uint8_t transaction[12]) {
    struct writer w = {.out = out, .at = HEADER, .capacity = capacity, .full = capacity < HEADER};
    if (w.full) return w;
    wd_put16(out, type);
    wd_put16(out + 2, 0);
    wd_put32(out + 4, COOKIE);
    memcpy(out + 8, transaction, 12);
    return w;
}

/* Room for an attribute of `length` bytes with zeroed padding; NULL when it does not fit. */
static uint8_t *attribute(struct writer *w, uint16_t type, size_t length) {
    size_t padded = (length + 3) & ~(size_t)3;
    if (w->full || w->at + 4 + padded > w->capacity) {
        w->full = true;
        return NULL;
    }
    uint8_t *value = w->out + w->at + 4;
    wd_put16(w->out + w->at, type);
    wd_put16(w->out + w->at + 2, (uint16_t)length);
    memset(value, 0, padded);
    w->at += 4 + padded;
    return value;
}

static size_t finish(struct writer *w, const uint8_t *key, size_t key_len) {
    if (!key) {
        if (!w->full) wd_put16(w->out + 2, (uint16_t)(w->at - HEADER));
        return w->full ? 0 : w->at;
    }
    size_t before = w->at;
    uint8_t *value = attribute(w, MESSAGE_INTEGRITY, MAC);
    if (!value || !wd_stun_mac(w->out, before, key, key_len, value)) return 0;
    before = w->at;
    if (!(value = attribute(w, FINGERPRINT, 4))) return 0;
    wd_put16(w->out + 2, (uint16_t)(w->at - HEADER));
    wd_put32(value, wd_stun_fingerprint(w->out, before));
    return w->at;
}

size_t wd_stun_write_success(uint8_t *out, size_t capacity, const uint8_t transaction[12], const struct wd_addr *mapped,
                             const uint8_t *key, size_t key_len) {
    struct writer w = start(out, capacity, 0x0101, transaction);
    uint8_t *value = attribute(&w, XOR_MAPPED_ADDRESS, wd_stun_address_size(mapped));
    if (!value) return 0;
    wd_stun_write_address(out, value, mapped);
    return finish(&w, key, key_len);
}

size_t wd_stun_write_error(uint8_t *out, size_t capacity, const uint8_t transaction[12], uint16_t code,
                           const char *reason, const uint16_t *unknown, size_t unknown_count, const uint8_t *key,
                           size_t key_len) {
    struct writer w = start(out, capacity, 0x0111, transaction);
    uint8_t *value = attribute(&w, ERROR_CODE, 4 + strlen(reason));
    if (!value) return 0;
    value[2] = (uint8_t)(code / 100);
    value[3] = (uint8_t)(code % 100);
    memcpy(value + 4, reason, strlen(reason));
    if (unknown_count) {
        if (!(value = attribute(&w, UNKNOWN_ATTRIBUTES, unknown_count * 2))) return 0;
        for (size_t i = 0; i < unknown_count; i++) wd_put16(value + i * 2, unknown[i]);
    }
    return finish(&w, key, key_len);
}

static bool text(struct writer *w, uint16_t type, const char *value, size_t length) {
    uint8_t *at = attribute(w, type, length);
    if (at) memcpy(at, value, length);
    return at != NULL;
}

size_t wd_stun_write_challenge(uint8_t *out, size_t capacity, const struct wd_stun *request,
                               const struct wd_stun_challenge *challenge) {
    uint16_t m = request->method, type = (uint16_t)(0x0110 | (m & 0x000f) | (m & 0x0070) << 1 | (m & 0x0f80) << 2);
    struct writer w = start(out, capacity, type, request->transaction);
    uint8_t *value = attribute(&w, ERROR_CODE, 4);
    if (!value) return 0;
    value[2] = (uint8_t)(challenge->code / 100);
    value[3] = (uint8_t)(challenge->code % 100);
    if (!text(&w, REALM, challenge->realm, challenge->realm_length) ||
        !text(&w, NONCE, challenge->nonce, challenge->nonce_length))
        return 0;
    return finish(&w, NULL, 0);
}

size_t wd_stun_write_check(uint8_t *out, size_t capacity, const uint8_t transaction[12],
                           const struct wd_stun_check *check, const uint8_t *key, size_t key_len) {
    struct writer w = start(out, capacity, 0x0001, transaction);
    uint8_t *value = attribute(&w, USERNAME, check->username_len);
    if (!value) return 0;
    memcpy(value, check->username, check->username_len);
    if (!(value = attribute(&w, PRIORITY, 4))) return 0;
    wd_put32(value, check->priority);
    if (!(value = attribute(&w, check->controlling ? ICE_CONTROLLING : ICE_CONTROLLED, 8))) return 0;
    wd_put64(value, check->tiebreaker);
    if (check->use_candidate) attribute(&w, USE_CANDIDATE, 0);
    return finish(&w, key, key_len);
}
