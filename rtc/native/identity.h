/* Who stands at either end of a DTLS association: our certificate, and the peer's by its fingerprint (RFC 8122).
 *
 * Nobody signs these certificates. The peer's counts when one of the fingerprints from the signalling is its own, and
 * that is checked within the handshake, so no keys exist for anybody else. Our certificate, its key and OpenSSL's
 * settings stand in one SSL_CTX, shared by many associations. */
#ifndef WD_IDENTITY_H
#define WD_IDENTITY_H

#include <openssl/ssl.h>

#include "srtp.h"

#define WD_FINGERPRINT 32
#define WD_MAX_FINGERPRINTS 8
#define WD_MAX_PROFILES 4
#define WD_DTLS_REASON 160 /* bytes of a text that says what went wrong, with its terminating zero */

struct wd_identity {
    SSL_CTX *context; /* the application data of each SSL made from it must be its struct wd_peer */
    uint8_t fingerprint[WD_FINGERPRINT]; /* SHA-256 of our certificate's DER */
};

struct wd_identity_source {
    const char *certificate_pem, *key_pem;
    size_t certificate_length, key_length; /* bytes, at most 64 KiB each */
    const uint16_t *profiles; /* enum wd_srtp_profile, in order of preference */
    size_t profile_count; /* 1..WD_MAX_PROFILES */
};

/* False with a reason when the pair does not fit, a profile is unknown or comes twice, or out of memory. */
bool wd_identity_open(struct wd_identity *identity, const struct wd_identity_source *source,
                      char reason[WD_DTLS_REASON]);
void wd_identity_close(struct wd_identity *identity);

struct wd_peer {
    bool verified; /* its certificate has come and is the right one */
    size_t count;
    struct {
        const EVP_MD *hash;
        size_t length;
        uint8_t digest[EVP_MAX_MD_SIZE];
    } fingerprints[WD_MAX_FINGERPRINTS];
};

/* The peer may have this fingerprint. False: it does not count, for its hash is weak or unknown (SDP names: sha-256,
 * sha-384, sha-512), its length is wrong, or there are enough of them. */
bool wd_peer_trust(struct wd_peer *peer, const char *hash, const uint8_t *digest, size_t length);

/* Takes OpenSSL's oldest error, and forgets the others. */
void wd_dtls_explain(char reason[WD_DTLS_REASON], const char *what);

#endif
