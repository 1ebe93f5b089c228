#include "identity.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/srtp.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* bytes of a handshake message: OpenSSL makes room for ten that come before their turn, at once and in full */
#define LONGEST_MESSAGE 16384

void wd_dtls_explain(char reason[WD_DTLS_REASON], const char *what) {
    char detail[128] = "unknown reason";
    unsigned long code = ERR_get_error();
    if (code) ERR_error_string_n(code, detail, sizeof detail);
    ERR_clear_error();
    snprintf(reason, WD_DTLS_REASON, "%.30s: %.127s", what, detail);
}

/* --- the peer -------------------------------------------------------------------------------------------------------
 */

bool wd_peer_trust(struct wd_peer *peer, const char *hash, const uint8_t *digest, size_t length) {
    static const char *const known[] = {"sha-256", "sha-384", "sha-512"};
    const EVP_MD *hashes[] = {EVP_sha256(), EVP_sha384(), EVP_sha512()};
    for (int i = 0; i < 3; i++) {
        if (strcasecmp(hash, known[i]) || length != (size_t)EVP_MD_get_size(hashes[i]) ||
            peer->count == WD_MAX_FINGERPRINTS)
            continue;
        peer->fingerprints[peer->count].hash = hashes[i];
        peer->fingerprints[peer->count].length = length;
        memcpy(peer->fingerprints[peer->count++].digest, digest, length);
        return true;
    }
    return false;
}

static bool matches(const struct wd_peer *peer, X509 *certificate) {
    for (size_t i = 0; i < peer->count; i++) {
        uint8_t digest[EVP_MAX_MD_SIZE];
        unsigned length = 0;
        if (X509_digest(certificate, peer->fingerprints[i].hash, digest, &length) &&
            length == peer->fingerprints[i].length && !CRYPTO_memcmp(digest, peer->fingerprints[i].digest, length))
            return true;
    }
    return false;
}

static int verify_certificate(X509_STORE_CTX *store, void *unused) {
    (void)unused;
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct wd_peer *peer = SSL_get_app_data(ssl);
    X509 *certificate = X509_STORE_CTX_get0_cert(store);
    peer->verified = certificate && matches(peer, certificate);
    if (!peer->verified) X509_STORE_CTX_set_error(store, X509_V_ERR_CERT_REJECTED);
    return peer->verified;
}

/* --- ourselves ------------------------------------------------------------------------------------------------------
 */

static bool load(struct wd_identity *identity, const struct wd_identity_source *source) {
    SSL_CTX *context = identity->context;
    BIO *certificate_bio = BIO_new_mem_buf(source->certificate_pem, (int)source->certificate_length);
    BIO *key_bio = BIO_new_mem_buf(source->key_pem, (int)source->key_length);
    X509 *certificate = certificate_bio ? PEM_read_bio_X509(certificate_bio, NULL, NULL, NULL) : NULL;
    EVP_PKEY *key = key_bio ? PEM_read_bio_PrivateKey(key_bio, NULL, NULL, NULL) : NULL;
    unsigned length = WD_FINGERPRINT;
    bool ok = certificate && key && SSL_CTX_use_certificate(context, certificate) == 1 &&
              SSL_CTX_use_PrivateKey(context, key) == 1 && SSL_CTX_check_private_key(context) == 1 &&
              X509_digest(certificate, EVP_sha256(), identity->fingerprint, &length) == 1;
    X509_free(certificate);
    EVP_PKEY_free(key);
    BIO_free(certificate_bio);
    BIO_free(key_bio);
    return ok;
}

static bool name_profiles(const struct wd_identity_source *source, char *names, size_t size) {
    size_t used = 0;
    for (size_t i = 0; i < source->profile_count; i++) {
        uint16_t number = source->profiles[i];
        const char *name = number == WD_SRTP_AEAD_AES_128_GCM    ? "SRTP_AEAD_AES_128_GCM"
                           : number == WD_SRTP_AES128_CM_SHA1_80 ? "SRTP_AES128_CM_SHA1_80"
                                                                 : NULL;
        if (!name) return false;
        used += (size_t)snprintf(names + used, size - used, "%s%s", i ? ":" : "", name);
        if (used >= size) return false;
    }
    return source->profile_count > 0;
}

static bool configure(SSL_CTX *context, const struct wd_identity_source *source) {
    char profiles[WD_MAX_PROFILES * 24];
    SSL_CTX_set_min_proto_version(context, DTLS1_2_VERSION);
    /* A session is never resumed and never renegotiated: its keys are exported once. Partly received flights are read
     * ahead by nature. */
    SSL_CTX_set_options(context, SSL_OP_NO_TICKET | SSL_OP_NO_QUERY_MTU | SSL_OP_NO_RENEGOTIATION |
                                     SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_read_ahead(context, 1);
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_max_cert_list(context, LONGEST_MESSAGE);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    SSL_CTX_set_cert_verify_callback(context, verify_certificate, NULL);
    return SSL_CTX_set_cipher_list(context, "ECDHE+AESGCM:ECDHE+CHACHA20") == 1 &&
           SSL_CTX_set1_groups_list(context, "X25519:P-256") == 1 && name_profiles(source, profiles, sizeof profiles) &&
           SSL_CTX_set_tlsext_use_srtp(context, profiles) == 0;
}

bool wd_identity_open(struct wd_identity *identity, const struct wd_identity_source *source,
                      char reason[WD_DTLS_REASON]) {
    identity->context = SSL_CTX_new(DTLS_method());
    if (!identity->context || !configure(identity->context, source) || !load(identity, source)) {
        wd_dtls_explain(reason, "certificate and private key");
        wd_identity_close(identity);
        return false;
    }
    ERR_clear_error();
    return true;
}

void wd_identity_close(struct wd_identity *identity) {
    SSL_CTX_free(identity->context);
    identity->context = NULL;
}
