#include "association.h"

#include <openssl/err.h>
#include <openssl/srtp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* RFC 6347 section 4.2.4.1 calls timers the choice of the implementation, though it would have them double up to 60 s,
 * for the network's sake. A person waits for this handshake, and on a lossy path the last repetitions decide how long:
 * at 30 % loss and 200 ms of round trip the slowest of a hundred takes 16 s with a cap of 3 s, 7 s with this one. The
 * network gets a flight of some 1 KB a second for it, 31 times at most before GIVE_UP_SECONDS, where ICE verified the
 * path. */
#define TIMEOUT_CAP 1.0
#define GIVE_UP_SECONDS 30.0
#define ANSWER_INTERVAL 0.05 /* between two repetitions of the last flight */
#define NEVER_US 3600000000u
#define AT_ONCE_US 1u
/* explicit nonce and tag, which OpenSSL 3.0 forgets when it fills a datagram with an encrypted record */
#define AEAD_RECORD 24
#define EXPORT_LABEL "EXTRACTOR-dtls_srtp"
#define RECORD_HEADER 13
#define GOODBYE 64 /* bytes; an alert takes 13 for the header and at most 26 more */

struct wd_association {
    SSL *ssl; /* NULL once it has done its work */
    bool server, timer_set, has_keys;
    enum wd_phase phase;
    char failure[WD_DTLS_REASON];
    const uint8_t *incoming; /* the datagram being read, during receive */
    size_t incoming_length;
    double timeout, timer, started_at, answered_at;
    struct wd_flight flight;
    struct wd_peer peer;
    struct wd_association_keys keys;
    uint8_t goodbye[GOODBYE]; /* a finished server's close_notify, written in advance */
    size_t goodbye_length;
};

/* --- the datagram BIO -----------------------------------------------------------------------------------------------
 */

static int bio_read(BIO *bio, char *data, int size) {
    struct wd_association *a = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (!a->incoming || size <= 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    size_t length = a->incoming_length < (size_t)size ? a->incoming_length : (size_t)size;
    memcpy(data, a->incoming, length);
    a->incoming = NULL; /* one read takes one whole datagram */
    return (int)length;
}

static int bio_write(BIO *bio, const char *data, int size) {
    struct wd_association *a = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (size > 0) wd_flight_write(&a->flight, (const uint8_t *)data, (size_t)size);
    return size;
}

static long bio_ctrl(BIO *bio, int command, long number, void *pointer) {
    (void)bio;
    (void)number;
    (void)pointer;
    return command == BIO_CTRL_FLUSH; /* no MTU to ask for (SSL_OP_NO_QUERY_MTU), no timers, nothing pending */
}

static int bio_create(BIO *bio) {
    BIO_set_init(bio, 1);
    return 1;
}

/* One for the process: type numbers are few, and it never changes. */
static BIO_METHOD *datagram_method;
static CRYPTO_ONCE datagram_method_once = CRYPTO_ONCE_STATIC_INIT;

static void make_datagram_method(void) {
    datagram_method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "datagrams");
    if (!datagram_method) return;
    BIO_meth_set_read(datagram_method, bio_read);
    BIO_meth_set_write(datagram_method, bio_write);
    BIO_meth_set_ctrl(datagram_method, bio_ctrl);
    BIO_meth_set_create(datagram_method, bio_create);
}

/* --- the handshake --------------------------------------------------------------------------------------------------
 */

static void fail(struct wd_association *a, const char *why) {
    if (a->phase == WD_FAILED) return;
    a->phase = WD_FAILED;
    a->timer_set = false;
    snprintf(a->failure, sizeof a->failure, "%s", why);
    wd_flight_forget(&a->flight);
}

static void fail_openssl(struct wd_association *a) {
    unsigned long code = ERR_peek_last_error();
    const char *reason = code ? ERR_reason_error_string(code) : "handshake failed";
    if (SSL_get_verify_result(a->ssl) == X509_V_ERR_CERT_REJECTED)
        reason = "the certificate does not match the signalled fingerprint";
    fail(a, reason ? reason : "unknown OpenSSL error");
}

/* RFC 5764 section 4.2: client key, server key, client salt, server salt. */
static void export_keys(struct wd_association *a) {
    const SRTP_PROTECTION_PROFILE *profile = SSL_get_selected_srtp_profile(a->ssl);
    if (!profile) {
        fail(a, "no SRTP profile in common");
        return;
    }
    size_t salt = profile->id == WD_SRTP_AEAD_AES_128_GCM ? 12 : 14;
    uint8_t block[2 * (WD_SRTP_KEY + WD_SRTP_MAX_SALT)];
    if (SSL_export_keying_material(a->ssl, block, 2 * (WD_SRTP_KEY + salt), EXPORT_LABEL, strlen(EXPORT_LABEL), NULL, 0,
                                   0) != 1) {
        fail_openssl(a);
        return;
    }
    const uint8_t *keys[2] = {block, block + WD_SRTP_KEY},
                  *salts[2] = {block + 2 * WD_SRTP_KEY, block + 2 * WD_SRTP_KEY + salt};
    int ours = a->server;
    a->keys = (struct wd_association_keys){.profile = (uint16_t)profile->id, .salt_length = salt};
    memcpy(a->keys.local_key, keys[ours], WD_SRTP_KEY);
    memcpy(a->keys.local_salt, salts[ours], salt);
    memcpy(a->keys.remote_key, keys[!ours], WD_SRTP_KEY);
    memcpy(a->keys.remote_salt, salts[!ours], salt);
    a->has_keys = true;
    OPENSSL_cleanse(block, sizeof block);
}

/* OpenSSL asks for the time that a flight may take: 0 at its beginning, the last one before each repetition. */
static unsigned choose_timeout(SSL *ssl, unsigned timer_us) {
    struct wd_association *a = BIO_get_data(SSL_get_rbio(ssl));
    wd_flight_end_repetition(&a->flight);
    if (!timer_us) {
        wd_flight_drop_repetitions(&a->flight);
        return AT_ONCE_US;
    }
    wd_flight_begin_repetition(&a->flight);
    return a->flight.count + 1 < WD_REPETITIONS ? AT_ONCE_US : NEVER_US;
}

/* A finished server needs OpenSSL for one more record at most, its close_notify. Written now, it lets the 75 KiB that
 * OpenSSL holds go at once. */
static void retire(struct wd_association *a) {
    size_t before = a->flight.out.count;
    SSL_shutdown(a->ssl);
    if (a->flight.out.count > before)
        a->goodbye_length = wd_datagrams_take_back(&a->flight.out, a->goodbye, sizeof a->goodbye);
    SSL_free(a->ssl);
    a->ssl = NULL;
}

static void arm(struct wd_association *a, double now) {
    a->timer = now + a->timeout;
    a->timer_set = true;
}

/* Drives OpenSSL as far as it goes; what it writes becomes our flight. */
static void advance(struct wd_association *a, double now) {
    size_t before = a->flight.out.count;
    ERR_clear_error(); /* SSL_get_error takes whatever another library left there for ours */
    int result = SSL_do_handshake(a->ssl);
    wd_flight_end_repetition(&a->flight);
    if (a->flight.out.count > before) {
        wd_flight_keep(&a->flight, before);
        arm(a, now);
    }
    if (result == 1) {
        wd_flight_drop_repetitions(&a->flight);
        a->phase = WD_CONNECTED;
        a->timer_set = false;
        if (a->peer.verified)
            export_keys(a);
        else
            fail(a, "the peer showed no certificate");
        if (a->server && a->phase == WD_CONNECTED) retire(a);
    } else {
        int error = SSL_get_error(a->ssl, result);
        if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE) fail_openssl(a);
    }
    ERR_clear_error();
}

static void begin(struct wd_association *a, double now) {
    a->phase = WD_HANDSHAKING;
    a->started_at = now;
}

bool wd_association_start(struct wd_association *a, double now) {
    if (a->server || a->phase != WD_NEW) return false;
    begin(a, now);
    advance(a, now);
    return true;
}

/* True when a record of the datagram belongs to a handshake (change_cipher_spec 20, handshake 22). */
static bool has_handshake(const uint8_t *data, size_t length) {
    while (length >= RECORD_HEADER) {
        size_t record = RECORD_HEADER + ((size_t)data[11] << 8 | data[12]);
        if (data[0] == 20 || data[0] == 22) return true;
        if (record > length) return false;
        data += record;
        length -= record;
    }
    return false;
}

static void answer_again(struct wd_association *a, double now) {
    if (now - a->answered_at < ANSWER_INTERVAL) return;
    wd_flight_resend(&a->flight);
    a->answered_at = now;
}

static void read_alerts(struct wd_association *a, const uint8_t *data, size_t length) {
    uint8_t sink[256];
    a->incoming = data;
    a->incoming_length = length;
    int result = SSL_read(a->ssl, sink, sizeof sink); /* application data is nobody's here; alerts are */
    if (result <= 0 && (SSL_get_shutdown(a->ssl) & SSL_RECEIVED_SHUTDOWN)) a->phase = WD_CLOSED;
    a->incoming = NULL;
    ERR_clear_error();
}

void wd_association_receive(struct wd_association *a, const uint8_t *datagram, size_t length, double now) {
    if (a->phase == WD_NEW && a->server) begin(a, now);
    if (!length || length > WD_MAX_DATAGRAM) return;
    if (a->phase == WD_HANDSHAKING) {
        a->incoming = datagram;
        a->incoming_length = length;
        advance(a, now);
        a->incoming = NULL;
    } else if (a->phase == WD_CONNECTED && !a->server) {
        read_alerts(a, datagram, length);
    } else if (a->phase == WD_CONNECTED && has_handshake(datagram, length)) {
        answer_again(a, now);
    }
}

bool wd_association_timer(const struct wd_association *a, double *at) {
    *at = a->timer;
    return a->timer_set;
}

void wd_association_handle_timer(struct wd_association *a, double now) {
    if (!a->timer_set || now < a->timer) return;
    if (now - a->started_at >= GIVE_UP_SECONDS) {
        fail(a, "no answer within 30 s");
        return;
    }
    wd_flight_repeat(&a->flight);
    a->timeout = a->timeout * 2 < TIMEOUT_CAP ? a->timeout * 2 : TIMEOUT_CAP;
    arm(a, now);
}

/* --- birth, end and results -----------------------------------------------------------------------------------------
 */

static bool open_ssl(struct wd_association *a, const struct wd_identity *identity) {
    CRYPTO_THREAD_run_once(&datagram_method_once, make_datagram_method);
    BIO *bio = datagram_method ? BIO_new(datagram_method) : NULL;
    a->ssl = SSL_new(identity->context);
    if (!a->ssl || !bio) {
        BIO_free(bio);
        return false;
    }
    BIO_set_data(bio, a);
    SSL_set_bio(a->ssl, bio, bio);
    SSL_set_app_data(a->ssl, &a->peer);
    SSL_set_mtu(a->ssl, (long)a->flight.mtu - AEAD_RECORD);
    DTLS_set_timer_cb(a->ssl, choose_timeout);
    if (a->server)
        SSL_set_accept_state(a->ssl);
    else
        SSL_set_connect_state(a->ssl);
    return true;
}

struct wd_association *wd_association_new(const struct wd_identity *identity, bool server, size_t mtu,
                                          double initial_timeout, char reason[WD_DTLS_REASON]) {
    struct wd_association *a = calloc(1, sizeof *a);
    if (a)
        *a = (struct wd_association){
            .server = server, .flight.mtu = mtu, .timeout = initial_timeout, .answered_at = -1e9};
    if (a && open_ssl(a, identity)) return a;
    wd_dtls_explain(reason, "OpenSSL");
    wd_association_free(a);
    return NULL;
}

static void release(struct wd_association *a) {
    SSL_free(a->ssl);
    a->ssl = NULL;
    wd_flight_forget(&a->flight);
    a->timer_set = false;
    ERR_clear_error();
}

void wd_association_close(struct wd_association *a) {
    if (a->ssl && a->phase == WD_CONNECTED) SSL_shutdown(a->ssl);
    if (a->goodbye_length) wd_datagrams_put(&a->flight.out, a->goodbye, a->goodbye_length);
    a->goodbye_length = 0;
    release(a);
    if (a->phase != WD_FAILED) a->phase = WD_CLOSED;
}

void wd_association_free(struct wd_association *a) {
    if (!a) return;
    release(a);
    wd_datagrams_clear(&a->flight.out);
    OPENSSL_cleanse(&a->keys, sizeof a->keys);
    free(a);
}

struct wd_peer *wd_association_peer(struct wd_association *a) { return &a->peer; }

struct wd_datagrams *wd_association_outgoing(struct wd_association *a) { return &a->flight.out; }

enum wd_phase wd_association_phase(const struct wd_association *a) { return a->phase; }

const char *wd_association_failure(const struct wd_association *a) { return a->phase == WD_FAILED ? a->failure : NULL; }

const struct wd_association_keys *wd_association_keys(const struct wd_association *a) {
    return a->has_keys ? &a->keys : NULL;
}
