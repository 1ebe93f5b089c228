/* STUN Binding as an ICE-lite agent needs it (RFC 8489, RFC 8445 section 7.3).
 *
 * A datagram is parsed once into a fixed record that points into it; nothing is copied or allocated.
 * Attributes after MESSAGE-INTEGRITY are ignored (except FINGERPRINT), the first of duplicated attributes wins,
 * unknown comprehension-required attributes are listed. Parsing never answers anything: the caller
 * answers only what wd_stun_verify accepted, so an unverified sender never gets a byte back. */
#ifndef WD_STUN_H
#define WD_STUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "address.h"

#define WD_STUN_MAX_UNKNOWN 8

enum wd_stun_class { WD_STUN_REQUEST = 0, WD_STUN_INDICATION = 1, WD_STUN_SUCCESS = 2, WD_STUN_ERROR = 3 };

struct wd_stun {
    uint16_t method; /* 0x001 = Binding */
    uint8_t klass; /* enum wd_stun_class */
    const uint8_t *transaction; /* 12 bytes */
    const uint8_t *username;
    size_t username_len; /* 0 = absent */
    size_t integrity_at; /* offset of the MESSAGE-INTEGRITY attribute header, 0 = absent */
    bool has_fingerprint; /* present, last, and right */
    bool use_candidate;
    bool controlling, controlled; /* role attribute present */
    uint64_t tiebreaker;
    uint32_t priority; /* 0 = absent */
    uint16_t error_code; /* error responses, else 0 */
    struct wd_addr mapped; /* XOR-MAPPED-ADDRESS of a success response; family 0 = absent */
    uint16_t unknown[WD_STUN_MAX_UNKNOWN]; /* comprehension-required attributes that we do not know */
    size_t unknown_count;
};

/* False when the datagram is no well-formed STUN message (wrong cookie, length, attribute bounds, wrong FINGERPRINT).
 */
bool wd_stun_parse(const uint8_t *data, size_t length, struct wd_stun *out);

/* True when MESSAGE-INTEGRITY (HMAC-SHA1, short-term key = password) is right. Constant-time comparison. */
bool wd_stun_verify(const uint8_t *data, size_t length, const struct wd_stun *message, const uint8_t *key,
                    size_t key_len);

/* The value of FINGERPRINT behind the first `length` bytes of a message whose header already counts it. */
uint32_t wd_stun_fingerprint(const uint8_t *data, size_t length);
/* The first attribute of that type within `length` bytes of a message that wd_stun_parse has accepted, or that only
 * looks like one; NULL when there is none. */
const uint8_t *wd_stun_find(const uint8_t *data, size_t length, uint16_t type, size_t *value_length);
/* The value of an XOR-...-ADDRESS; false when it is malformed. A v4-mapped address becomes family 4. */
bool wd_stun_read_address(const uint8_t *message, const uint8_t *value, size_t length, struct wd_addr *out);
/* The inverse, of `wd_stun_address_size` bytes; the message's header stands already. */
void wd_stun_write_address(const uint8_t *message, uint8_t *value, const struct wd_addr *address);
static inline size_t wd_stun_address_size(const struct wd_addr *address) { return address->family == 4 ? 8 : 20; }

/* An HMAC to be keyed by EVP_MAC_init, for OpenSSL takes longer to find its algorithm than to use it. `digest` by
 * OpenSSL's name; NULL when there is none. */
struct evp_mac_ctx_st *wd_stun_hmac_new(const char *digest);

#define WD_STUN_MAC 20
/* HMAC-SHA1 over the `at` bytes before MESSAGE-INTEGRITY, with the length in the header as if that were the last
 * attribute, which the header says afterwards (RFC 8489 section 14.5). False when the key is too long, or OpenSSL has
 * no memory for it. */
bool wd_stun_mac(uint8_t *message, size_t at, const uint8_t *key, size_t key_len, uint8_t out[WD_STUN_MAC]);

/* All writers return the length written, 0 when `capacity` is too small. They end with MESSAGE-INTEGRITY and
 * FINGERPRINT, with key NULL with neither. */
size_t wd_stun_write_success(uint8_t *out, size_t capacity, const uint8_t transaction[12], const struct wd_addr *mapped,
                             const uint8_t *key, size_t key_len);
size_t wd_stun_write_error(uint8_t *out, size_t capacity, const uint8_t transaction[12], uint16_t code,
                           const char *reason, const uint16_t *unknown, size_t unknown_count, const uint8_t *key,
                           size_t key_len);
/* What somebody without credentials is told (RFC 8489 section 9.2.4). */
struct wd_stun_challenge {
    uint16_t code;
    const char *realm, *nonce;
    size_t realm_length, nonce_length;
};
size_t wd_stun_write_challenge(uint8_t *out, size_t capacity, const struct wd_stun *request,
                               const struct wd_stun_challenge *challenge);
struct wd_stun_check {
    const uint8_t *username;
    size_t username_len;
    uint32_t priority;
    bool controlling;
    uint64_t tiebreaker;
    bool use_candidate;
};
/* An ICE connectivity check, for clients (tests, load generator, relay legs). */
size_t wd_stun_write_check(uint8_t *out, size_t capacity, const uint8_t transaction[12],
                           const struct wd_stun_check *check, const uint8_t *key, size_t key_len);

#endif
