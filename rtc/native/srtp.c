#include "srtp.h"

#include "bytes.h"
#include "cache_line.h"
#include "srtp_ipsec.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <stdlib.h>

#define GCM_TAG 16
#define GCM_SALT 12
#define CM_TAG 10
#define CM_SALT 14
#define HMAC_KEY 20
#define SHA1_BLOCK 64
#define INDEX_WORD 4 /* the E flag and the 31-bit index of SRTCP */
#define RTCP_ASSOCIATED (8 + INDEX_WORD)
#define RTCP_SENDERS 32
#define RTCP_WINDOW 128
#define MARK_ROWS 3
#define MARKS 128

enum label { RTP_KEY, RTP_AUTH, RTP_SALT, RTCP_KEY, RTCP_AUTH, RTCP_SALT }; /* RFC 3711 section 4.3.2 */

/* HMAC-SHA1 with the key already absorbed: per packet both states are copied, not derived again (RFC 2104 section 4).
 */
struct authentication {
    EVP_MD_CTX *inner, *outer;
};

/* One of the two, both for a key that never changes. */
struct cipher {
    struct wd_ipsec_key *ipsec;
    EVP_CIPHER_CTX *evp;
};

struct rtcp_sender {
    uint32_t ssrc, highest;
    uint64_t heard, window[RTCP_WINDOW /
                           64]; /* which of the direction's packets it sent last, counted from 1; 0 = an empty place */
};

struct wd_srtp {
    _Alignas(WD_LINE) bool gcm; /* what RTP needs comes first, in one line */
    struct cipher rtp;
    struct authentication rtp_auth;
    uint8_t rtp_salt[WD_SRTP_MAX_SALT];
    EVP_MD_CTX *scratch;
    struct cipher rtcp;
    struct authentication rtcp_auth;
    uint8_t rtcp_salt[WD_SRTP_MAX_SALT];
    uint32_t rtcp_index;
    uint64_t rtcp_heard;
    struct rtcp_sender senders[RTCP_SENDERS];
    uint32_t marks[MARK_ROWS][MARKS]; /* the lowest index that may be new for senders whose windows were given away, see
                                         `forget` */
};

/* --- keys -----------------------------------------------------------------------------------------------------------
 */

/* One session key: AES-CM key stream of the master key, started at the label (RFC 3711 section 4.3.3, key derivation
 * rate 0). */
static bool derive(const uint8_t *master_key, const uint8_t *master_salt, size_t salt_length, enum label label,
                   uint8_t *out, size_t length) {
    static const uint8_t zeros[SHA1_BLOCK];
    uint8_t x[16] = {0};
    int written;
    memcpy(x, master_salt, salt_length);
    x[7] ^= (uint8_t)label;
    EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
    bool ok = c && EVP_EncryptInit_ex2(c, EVP_aes_128_ctr(), master_key, x, NULL) &&
              EVP_EncryptUpdate(c, out, &written, zeros, (int)length);
    EVP_CIPHER_CTX_free(c);
    return ok;
}

bool wd_srtp_derive(uint16_t profile, const uint8_t *key, const uint8_t *salt, struct wd_srtp_session_keys *out) {
    size_t n = profile == WD_SRTP_AEAD_AES_128_GCM ? GCM_SALT : CM_SALT;
    return derive(key, salt, n, RTP_KEY, out->rtp_key, WD_SRTP_KEY) &&
           derive(key, salt, n, RTP_AUTH, out->rtp_auth, HMAC_KEY) &&
           derive(key, salt, n, RTP_SALT, out->rtp_salt, n) &&
           derive(key, salt, n, RTCP_KEY, out->rtcp_key, WD_SRTP_KEY) &&
           derive(key, salt, n, RTCP_AUTH, out->rtcp_auth, HMAC_KEY) &&
           derive(key, salt, n, RTCP_SALT, out->rtcp_salt, n);
}

static EVP_MD_CTX *absorb(const uint8_t key[HMAC_KEY], uint8_t pad) {
    uint8_t block[SHA1_BLOCK];
    for (size_t i = 0; i < SHA1_BLOCK; i++) block[i] = (i < HMAC_KEY ? key[i] : 0) ^ pad;
    EVP_MD_CTX *state = EVP_MD_CTX_new();
    if (state && EVP_DigestInit_ex2(state, EVP_sha1(), NULL) && EVP_DigestUpdate(state, block, sizeof block))
        return state;
    EVP_MD_CTX_free(state);
    return NULL;
}

static bool prepare_authentication(struct authentication *out, const uint8_t key[HMAC_KEY]) {
    return (out->inner = absorb(key, 0x36)) && (out->outer = absorb(key, 0x5c));
}

static bool prepare_cipher(struct cipher *out, bool gcm, const uint8_t key[WD_SRTP_KEY]) {
    if (gcm && (out->ipsec = wd_ipsec_key_new(key))) return true;
    EVP_CIPHER *cipher = EVP_CIPHER_fetch(NULL, gcm ? "AES-128-GCM" : "AES-128-CTR",
                                          NULL); /* fetched once: a fetch per packet would double its price */
    out->evp = EVP_CIPHER_CTX_new();
    bool ok = out->evp && cipher && EVP_CipherInit_ex2(out->evp, cipher, key, NULL, 1, NULL);
    EVP_CIPHER_free(cipher);
    return ok;
}

static void free_cipher(struct cipher *cipher) {
    wd_ipsec_key_free(cipher->ipsec);
    EVP_CIPHER_CTX_free(cipher->evp);
}

struct wd_srtp *wd_srtp_new_session(uint16_t profile, const struct wd_srtp_session_keys *keys) {
    if (profile != WD_SRTP_AES128_CM_SHA1_80 && profile != WD_SRTP_AEAD_AES_128_GCM) return NULL;
    struct wd_srtp *s = wd_new_zeros(sizeof *s);
    if (!s) return NULL;
    s->gcm = profile == WD_SRTP_AEAD_AES_128_GCM;
    memcpy(s->rtp_salt, keys->rtp_salt, s->gcm ? GCM_SALT : CM_SALT);
    memcpy(s->rtcp_salt, keys->rtcp_salt, s->gcm ? GCM_SALT : CM_SALT);
    bool ok = prepare_cipher(&s->rtp, s->gcm, keys->rtp_key) && prepare_cipher(&s->rtcp, s->gcm, keys->rtcp_key);
    if (ok && !s->gcm)
        ok = prepare_authentication(&s->rtp_auth, keys->rtp_auth) &&
             prepare_authentication(&s->rtcp_auth, keys->rtcp_auth) && (s->scratch = EVP_MD_CTX_new());
    if (ok) return s;
    wd_srtp_free(s);
    return NULL;
}

struct wd_srtp *wd_srtp_new(uint16_t profile, const uint8_t *master_key, const uint8_t *master_salt) {
    if (profile != WD_SRTP_AES128_CM_SHA1_80 && profile != WD_SRTP_AEAD_AES_128_GCM) return NULL;
    struct wd_srtp_session_keys keys;
    struct wd_srtp *s =
        wd_srtp_derive(profile, master_key, master_salt, &keys) ? wd_srtp_new_session(profile, &keys) : NULL;
    OPENSSL_cleanse(&keys, sizeof keys);
    return s;
}

void wd_srtp_free(struct wd_srtp *s) {
    if (!s) return;
    free_cipher(&s->rtp);
    free_cipher(&s->rtcp);
    EVP_MD_CTX_free(s->rtp_auth.inner);
    EVP_MD_CTX_free(s->rtp_auth.outer);
    EVP_MD_CTX_free(s->rtcp_auth.inner);
    EVP_MD_CTX_free(s->rtcp_auth.outer);
    EVP_MD_CTX_free(s->scratch);
    OPENSSL_cleanse(s, sizeof *s);
    free(s);
}

size_t wd_srtp_tag(const struct wd_srtp *s) { return s->gcm ? GCM_TAG : CM_TAG; }

const char *wd_srtp_backend(const struct wd_srtp *s) { return s->rtp.ipsec ? "ipsec-mb" : "openssl"; }

void wd_srtp_prefetch(const struct wd_srtp *s) { __builtin_prefetch(s); }

void wd_srtp_prefetch_keys(const struct wd_srtp *s, size_t length) {
    if (s->rtp.ipsec)
        wd_ipsec_prefetch(s->rtp.ipsec, length);
    else
        __builtin_prefetch(s->rtp.evp);
}

/* --- primitives -----------------------------------------------------------------------------------------------------
 */

/* RFC 7714 section 8.1: 00 00 | SSRC | ROC | SEQ, exclusive-or salt; section 9.1 for SRTCP with its 31-bit index. */
static void gcm_iv(uint8_t iv[12], const uint8_t *salt, uint32_t ssrc, uint64_t index) {
    uint64_t head = wd_get64(salt) ^ (uint64_t)ssrc << 16 ^
                    (uint16_t)(index >> 32); /* in registers: bytes put one by one and read as a word are a wait */
    wd_put64(iv, head);
    wd_put32(iv + 8, wd_get32(salt + 8) ^ (uint32_t)index);
}

/* RFC 3711 section 4.1.1: (salt * 2^16) xor (SSRC * 2^64) xor (index * 2^16). */
static void cm_iv(uint8_t iv[16], const uint8_t *salt, uint32_t ssrc, uint64_t index) {
    memset(iv, 0, 4);
    wd_put32(iv + 4, ssrc);
    wd_put64(iv + 8, index << 16);
    for (size_t i = 0; i < CM_SALT; i++) iv[i] ^= salt[i];
}

static void cm_crypt(EVP_CIPHER_CTX *cipher, const uint8_t *salt, uint32_t ssrc, uint64_t index, uint8_t *out,
                     const uint8_t *in, size_t length) {
    uint8_t iv[16];
    int written;
    cm_iv(iv, salt, ssrc, index);
    EVP_EncryptInit_ex2(cipher, NULL, NULL, iv, NULL);
    EVP_EncryptUpdate(cipher, out, &written, in, (int)length);
}

static void authenticate(struct wd_srtp *s, const struct authentication *a, const uint8_t *data, size_t length,
                         const uint8_t *more, size_t more_length, uint8_t tag[CM_TAG]) {
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned written;
    EVP_MD_CTX_copy_ex(s->scratch, a->inner);
    EVP_DigestUpdate(s->scratch, data, length);
    if (more_length) EVP_DigestUpdate(s->scratch, more, more_length);
    EVP_DigestFinal_ex(s->scratch, digest, &written);
    EVP_MD_CTX_copy_ex(s->scratch, a->outer);
    EVP_DigestUpdate(s->scratch, digest, written);
    EVP_DigestFinal_ex(s->scratch, digest, &written);
    memcpy(tag, digest, CM_TAG);
}

static void gcm_seal(const struct cipher *c, const uint8_t iv[12], const uint8_t *associated, size_t associated_length,
                     uint8_t *out, const uint8_t *in, size_t length, uint8_t *tag) {
    int written;
    if (c->ipsec) {
        wd_ipsec_seal(c->ipsec, iv, associated, associated_length, out, in, length, tag);
        return;
    }
    OSSL_PARAM get_tag[] = {OSSL_PARAM_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, tag, GCM_TAG),
                            OSSL_PARAM_END}; /* 20 ns less than EVP_CIPHER_CTX_ctrl */
    EVP_EncryptInit_ex2(c->evp, NULL, NULL, iv, NULL);
    EVP_EncryptUpdate(c->evp, NULL, &written, associated, (int)associated_length);
    EVP_EncryptUpdate(c->evp, out, &written, in, (int)length);
    EVP_EncryptFinal_ex(c->evp, tag, &written);
    EVP_CIPHER_CTX_get_params(c->evp, get_tag);
}

static bool gcm_open(const struct cipher *c, const uint8_t iv[12], const uint8_t *associated, size_t associated_length,
                     uint8_t *data, size_t length, uint8_t *tag) {
    int written;
    uint8_t none[GCM_TAG];
    if (c->ipsec) return wd_ipsec_open(c->ipsec, iv, associated, associated_length, data, length, tag);
    OSSL_PARAM set_tag[] = {OSSL_PARAM_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, tag, GCM_TAG), OSSL_PARAM_END};
    return EVP_DecryptInit_ex2(c->evp, NULL, NULL, iv, set_tag) &&
           EVP_DecryptUpdate(c->evp, NULL, &written, associated, (int)associated_length) &&
           EVP_DecryptUpdate(c->evp, data, &written, data, (int)length) &&
           EVP_DecryptFinal_ex(c->evp, none, &written) > 0;
}

/* --- RTP ------------------------------------------------------------------------------------------------------------
 */

size_t wd_srtp_protect(struct wd_srtp *s, uint64_t index, uint8_t *out, size_t header_length, const uint8_t *payload,
                       size_t payload_length) {
    uint32_t ssrc = wd_get32(out + 8);
    uint8_t *body = out + header_length, *tag = body + payload_length;
    if (s->gcm) {
        uint8_t iv[12];
        gcm_iv(iv, s->rtp_salt, ssrc, index);
        gcm_seal(&s->rtp, iv, out, header_length, body, payload, payload_length, tag);
        return header_length + payload_length + GCM_TAG;
    }
    uint8_t rollover[4];
    cm_crypt(s->rtp.evp, s->rtp_salt, ssrc, index, body, payload, payload_length);
    wd_put32(rollover, (uint32_t)(index >> 16));
    authenticate(s, &s->rtp_auth, out, header_length + payload_length, rollover, sizeof rollover, tag);
    return header_length + payload_length + CM_TAG;
}

/* The 48-bit index nearest to the newest one (RFC 3711 section 3.3.1 and appendix A, restated on 64 bits). */
static uint64_t guess_index(const struct wd_srtp_stream *stream, uint16_t sequence) {
    if (!stream->started) return sequence;
    int16_t distance = (int16_t)(uint16_t)(sequence - (uint16_t)stream->highest);
    if (distance < 0 && stream->highest < (uint64_t)-(int64_t)distance) return sequence;
    return stream->highest + (uint64_t)(int64_t)distance;
}

static enum wd_srtp_result check_replay(const struct wd_srtp_stream *stream, uint64_t index) {
    if (!stream->started || index > stream->highest) return WD_SRTP_OK;
    if (stream->highest - index >= WD_SRTP_WINDOW) return WD_SRTP_TOO_OLD;
    return stream->window[index % WD_SRTP_WINDOW / 64] >> (index % 64) & 1 ? WD_SRTP_REPLAY : WD_SRTP_OK;
}

static void remember(struct wd_srtp_stream *stream, uint64_t index) {
    if (!stream->started || index >= stream->highest + WD_SRTP_WINDOW) {
        memset(stream->window, 0, sizeof stream->window);
        stream->highest = index;
        stream->started = true;
    }
    for (; stream->highest < index; stream->highest++) {
        uint64_t next = stream->highest + 1;
        stream->window[next % WD_SRTP_WINDOW / 64] &= ~(UINT64_C(1) << (next % 64));
    }
    stream->window[index % WD_SRTP_WINDOW / 64] |= UINT64_C(1) << (index % 64);
}

enum wd_srtp_result wd_srtp_unprotect(struct wd_srtp *s, struct wd_srtp_stream *stream, uint8_t *packet, size_t *length,
                                      size_t header_length, uint64_t *index_out) {
    size_t tag_length = wd_srtp_tag(s);
    if (*length < header_length + tag_length) return WD_SRTP_SHORT;
    uint64_t index = guess_index(stream, wd_get16(packet + 2));
    enum wd_srtp_result replay = check_replay(stream, index);
    if (replay != WD_SRTP_OK) return replay;
    uint32_t ssrc = wd_get32(packet + 8);
    size_t payload_length = *length - header_length - tag_length;
    uint8_t *body = packet + header_length, *tag = body + payload_length;
    if (s->gcm) {
        uint8_t iv[12];
        gcm_iv(iv, s->rtp_salt, ssrc, index);
        if (!gcm_open(&s->rtp, iv, packet, header_length, body, payload_length, tag)) return WD_SRTP_AUTH;
    } else {
        uint8_t rollover[4], expected[CM_TAG];
        wd_put32(rollover, (uint32_t)(index >> 16));
        authenticate(s, &s->rtp_auth, packet, header_length + payload_length, rollover, sizeof rollover, expected);
        if (CRYPTO_memcmp(expected, tag, CM_TAG)) return WD_SRTP_AUTH;
        cm_crypt(s->rtp.evp, s->rtp_salt, ssrc, index, body, body, payload_length);
    }
    remember(stream, index);
    *length = header_length + payload_length;
    *index_out = index;
    return WD_SRTP_OK;
}

/* --- RTCP -----------------------------------------------------------------------------------------------------------
 */

/* RFC 7714 section 9.2: the clear header, then the E flag and index, although these travel last. */
static void associate(uint8_t out[RTCP_ASSOCIATED], const uint8_t *packet, const uint8_t word[INDEX_WORD]) {
    memcpy(out, packet, 8);
    memcpy(out + 8, word, INDEX_WORD);
}

size_t wd_srtcp_protect(struct wd_srtp *s, uint8_t *packet, size_t length) {
    uint32_t ssrc = wd_get32(packet + 4), index = s->rtcp_index++ & 0x7fffffff;
    uint8_t word[INDEX_WORD];
    wd_put32(word, index | 0x80000000u);
    if (s->gcm) { /* the tag precedes the index word, RFC 7714 section 9.2 */
        uint8_t iv[12], associated[RTCP_ASSOCIATED];
        gcm_iv(iv, s->rtcp_salt, ssrc, index);
        associate(associated, packet, word);
        gcm_seal(&s->rtcp, iv, associated, sizeof associated, packet + 8, packet + 8, length - 8, packet + length);
        memcpy(packet + length + GCM_TAG, word, sizeof word);
        return length + GCM_TAG + INDEX_WORD;
    }
    cm_crypt(s->rtcp.evp, s->rtcp_salt, ssrc, index, packet + 8, packet + 8, length - 8);
    memcpy(packet + length, word, sizeof word);
    authenticate(s, &s->rtcp_auth, packet, length + INDEX_WORD, NULL, 0, packet + length + INDEX_WORD);
    return length + INDEX_WORD + CM_TAG;
}

/* The sender's own place, else the place that it would take: an empty one, or that of the sender not heard for longest.
 */
static struct rtcp_sender *find_sender(struct wd_srtp *s, uint32_t ssrc) {
    struct rtcp_sender *idlest = s->senders;
    for (size_t i = 0; i < RTCP_SENDERS; i++) {
        struct rtcp_sender *sender = &s->senders[i];
        if (sender->heard && sender->ssrc == ssrc) return sender;
        if (sender->heard < idlest->heard) idlest = sender;
    }
    return idlest;
}

static uint32_t *mark(struct wd_srtp *s, size_t row, uint32_t ssrc) {
    return &s->marks[row][(ssrc >> (8 * row)) % MARKS];
}

/* Gives a window away without letting its packets in once more: all up to the newest count as received. One mark for
 * the whole direction would refuse honest newcomers, for libsrtp counts per SSRC from 1; a list of SSRCs would be full
 * one day. So the marks are a sketch: each row keeps the highest of the senders that fall together there, and the
 * lowest row counts. What is forgotten is never taken again. A newcomer that meets marks of others in every row, with n
 * forgotten at a chance of (n / MARKS)^MARK_ROWS, is refused until its own index has passed the lowest: 1 in 2000 after
 * ten. */
static void forget(struct wd_srtp *s, const struct rtcp_sender *sender) {
    for (size_t row = 0; row < MARK_ROWS; row++) {
        uint32_t *at = mark(s, row, sender->ssrc);
        if (*at <= sender->highest) *at = sender->highest + 1;
    }
}

static uint32_t lowest_new(struct wd_srtp *s, uint32_t ssrc) {
    uint32_t lowest = *mark(s, 0, ssrc);
    for (size_t row = 1; row < MARK_ROWS; row++)
        if (*mark(s, row, ssrc) < lowest) lowest = *mark(s, row, ssrc);
    return lowest;
}

static void replace_sender(struct wd_srtp *s, struct rtcp_sender *place, uint32_t ssrc, uint32_t index) {
    uint32_t floor = lowest_new(s, ssrc);
    if (place->heard) forget(s, place);
    *place = (struct rtcp_sender){.ssrc = ssrc, .highest = floor ? floor - 1 : index};
    if (floor) memset(place->window, 0xff, sizeof place->window);
}

static void remember_rtcp(struct wd_srtp *s, struct rtcp_sender *sender, uint32_t index) {
    sender->heard = ++s->rtcp_heard;
    if (index >= sender->highest + RTCP_WINDOW) {
        memset(sender->window, 0, sizeof sender->window);
        sender->highest = index;
    }
    while (sender->highest < index) {
        sender->highest++;
        sender->window[sender->highest % RTCP_WINDOW / 64] &= ~(UINT64_C(1) << (sender->highest % 64));
    }
    sender->window[index % RTCP_WINDOW / 64] |= UINT64_C(1) << (index % 64);
}

enum wd_srtp_result wd_srtcp_unprotect(struct wd_srtp *s, uint8_t *packet, size_t *length) {
    size_t overhead = INDEX_WORD + wd_srtp_tag(s);
    if (*length < 8 + overhead) return WD_SRTP_SHORT;
    size_t clear = *length - overhead;
    uint32_t ssrc = wd_get32(packet + 4);
    uint8_t word[INDEX_WORD];
    memcpy(word, packet + clear + (s->gcm ? GCM_TAG : 0), sizeof word);
    uint32_t index = wd_get32(word) & 0x7fffffff;
    struct rtcp_sender *sender = find_sender(s, ssrc);
    bool known = sender->heard && sender->ssrc == ssrc;
    if (!known && index < lowest_new(s, ssrc)) return WD_SRTP_TOO_OLD;
    if (known && index <= sender->highest) {
        if (sender->highest - index >= RTCP_WINDOW) return WD_SRTP_TOO_OLD;
        if (sender->window[index % RTCP_WINDOW / 64] >> (index % 64) & 1) return WD_SRTP_REPLAY;
    }
    bool encrypted = word[0] & 0x80;
    if (s->gcm) {
        uint8_t iv[12], associated[RTCP_ASSOCIATED];
        if (!encrypted) return WD_SRTP_AUTH; /* nobody we talk to sends clear RTCP */
        gcm_iv(iv, s->rtcp_salt, ssrc, index);
        associate(associated, packet, word);
        if (!gcm_open(&s->rtcp, iv, associated, sizeof associated, packet + 8, clear - 8, packet + clear))
            return WD_SRTP_AUTH;
    } else {
        uint8_t expected[CM_TAG];
        authenticate(s, &s->rtcp_auth, packet, clear + INDEX_WORD, NULL, 0, expected);
        if (CRYPTO_memcmp(expected, packet + clear + INDEX_WORD, CM_TAG)) return WD_SRTP_AUTH;
        if (encrypted) cm_crypt(s->rtcp.evp, s->rtcp_salt, ssrc, index, packet + 8, packet + 8, clear - 8);
    }
    if (!known) replace_sender(s, sender, ssrc, index);
    remember_rtcp(s, sender, index);
    *length = clear;
    return WD_SRTP_OK;
}
