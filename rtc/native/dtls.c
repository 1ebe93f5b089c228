/* DTLS-SRTP (RFC 5764) without I/O, over OpenSSL: the Python module rtc._dtls, documented in rtc/_dtls.pyi.
 *
 * OpenSSL reads and writes through a BIO of ours that keeps datagrams apart both ways, which its memory BIO does not, so a flight leaves in datagrams of at most
 * the MTU. OpenSSL's own retransmission timer reads the wall clock. So each flight is made to time out at once a few times: OpenSSL writes it again under fresh
 * record numbers, as RFC 6347 section 4.2.4 wants (a peer takes a record that came too early for it, such as ChangeCipherSpec, for a replay when it comes again).
 * These repetitions are kept and sent on the caller's clock; then the timer is set so far ahead that it never fires. A server that has finished answers any
 * further handshake record with its last flight: the peer shows that it has not got it.
 *
 * The peer's certificate counts only by its fingerprint (RFC 8122), checked while the handshake runs: keys do not exist for anybody else. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/srtp.h>
#include <stdbool.h>
#include <structmember.h>

#define MAX_DATAGRAM 4096
#define MIN_MTU 280 /* OpenSSL takes no less than 256, and see AEAD_RECORD */
#define MAX_QUEUE 64 /* datagrams waiting to be taken */
#define MAX_FINGERPRINTS 8
#define MAX_DIGEST 64
#define TIMEOUT_CAP 3.0
#define GIVE_UP_SECONDS 30.0
#define ANSWER_INTERVAL 0.05 /* between two repetitions of the last flight */
#define NEVER_US 3600000000u
#define AT_ONCE_US 1u
#define REPETITIONS 6 /* under fresh record numbers; OpenSSL gives up after twelve. Later ones repeat these in turn */
#define AEAD_RECORD 24 /* explicit nonce and tag, which OpenSSL 3.0 forgets when it fills a datagram with an encrypted record */
#define EXPORT_LABEL "EXTRACTOR-dtls_srtp"
#define KEY 16

typedef struct {
    PyTypeObject *identity, *dtls, *keys;
    PyObject *error;
    BIO_METHOD *bio;
} State;

typedef struct {
    PyObject_HEAD
    SSL_CTX *context;
    unsigned char fingerprint[32];
} Identity;

typedef struct {
    size_t count;
    struct { uint16_t length; unsigned char *data; } items[MAX_QUEUE];
} Queue;

typedef enum { NEW, HANDSHAKING, CONNECTED, FAILED, CLOSED } Phase;
static const char *const PHASES[] = {"new", "handshaking", "connected", "failed", "closed"};

typedef struct {
    PyObject_HEAD
    PyObject *identity;
    SSL *ssl;
    bool server, verified;
    Phase phase;
    char failure[160];
    const unsigned char *incoming; /* the datagram being read, during receive */
    size_t incoming_length;
    Queue out, flight, repetitions;
    size_t mtu, repetition_ends[REPETITIONS], repetition_count, repetition_next;
    bool repeating; /* what OpenSSL writes now is a repetition */
    double timeout, timer, started_at, answered_at;
    bool timer_set;
    size_t fingerprint_count;
    struct { const EVP_MD *hash; size_t length; unsigned char digest[MAX_DIGEST]; } fingerprints[MAX_FINGERPRINTS];
    PyObject *keys;
} Dtls;

static State *state_of(PyTypeObject *type);

/* --- queues --------------------------------------------------------------------------------------------------------- */

static void clear(Queue *q) {
    for (size_t i = 0; i < q->count; i++) free(q->items[i].data);
    q->count = 0;
}

static void put(Queue *q, const unsigned char *data, size_t length) {
    if (q->count == MAX_QUEUE || length > MAX_DATAGRAM) return; /* as lost as on any network */
    unsigned char *copy = malloc(length ? length : 1);
    if (!copy) return;
    memcpy(copy, data, length);
    q->items[q->count].data = copy;
    q->items[q->count++].length = (uint16_t)length;
}

static void put_range(Queue *to, const Queue *from, size_t begin, size_t end) {
    for (size_t i = begin; i < end; i++) put(to, from->items[i].data, from->items[i].length);
}

/* --- the datagram BIO ----------------------------------------------------------------------------------------------- */

static int bio_read(BIO *bio, char *data, int size) {
    Dtls *self = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (!self->incoming || size <= 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    size_t length = self->incoming_length < (size_t)size ? self->incoming_length : (size_t)size;
    memcpy(data, self->incoming, length);
    self->incoming = NULL; /* one read takes one whole datagram */
    return (int)length;
}

/* OpenSSL repeats each message in a datagram of its own; records that fit travel together, or a flight would be lost more often than at first. */
static void put_repetition(Dtls *self, const unsigned char *data, size_t length) {
    Queue *q = &self->repetitions;
    size_t begin = self->repetition_count ? self->repetition_ends[self->repetition_count - 1] : 0, last = q->count - 1;
    unsigned char *longer = q->count > begin && q->items[last].length + length <= self->mtu ? realloc(q->items[last].data, q->items[last].length + length) : NULL;
    if (!longer) {
        put(q, data, length);
        return;
    }
    memcpy(longer + q->items[last].length, data, length);
    q->items[last].data = longer;
    q->items[last].length = (uint16_t)(q->items[last].length + length);
}

static int bio_write(BIO *bio, const char *data, int size) {
    Dtls *self = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (size > 0 && self->repeating)
        put_repetition(self, (const unsigned char *)data, (size_t)size);
    else if (size > 0)
        put(&self->out, (const unsigned char *)data, (size_t)size);
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

static void end_repetition(Dtls *self) {
    if (self->repeating) self->repetition_ends[self->repetition_count++] = self->repetitions.count;
    self->repeating = false;
}

/* OpenSSL asks for the time that a flight may take: 0 at its beginning, the last one before each repetition. */
static unsigned choose_timeout(SSL *ssl, unsigned timer_us) {
    Dtls *self = SSL_get_app_data(ssl);
    end_repetition(self);
    if (!timer_us) {
        clear(&self->repetitions);
        self->repetition_count = self->repetition_next = 0;
        return AT_ONCE_US;
    }
    if (self->repetition_count == REPETITIONS) return NEVER_US;
    self->repeating = true;
    return self->repetition_count + 1 < REPETITIONS ? AT_ONCE_US : NEVER_US;
}

/* --- identity ------------------------------------------------------------------------------------------------------- */

static PyObject *raise_openssl(PyObject *error, const char *what) {
    char reason[160] = "unknown reason";
    unsigned long code = ERR_get_error();
    if (code) ERR_error_string_n(code, reason, sizeof reason);
    ERR_clear_error();
    return PyErr_Format(error, "%s: %s", what, reason);
}

static bool matches(const Dtls *self, X509 *certificate) {
    for (size_t i = 0; i < self->fingerprint_count; i++) {
        unsigned char digest[EVP_MAX_MD_SIZE];
        unsigned length = 0;
        if (X509_digest(certificate, self->fingerprints[i].hash, digest, &length) && length == self->fingerprints[i].length &&
            !CRYPTO_memcmp(digest, self->fingerprints[i].digest, length))
            return true;
    }
    return false;
}

static int verify_certificate(X509_STORE_CTX *store, void *unused) {
    (void)unused;
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    Dtls *self = SSL_get_app_data(ssl);
    X509 *certificate = X509_STORE_CTX_get0_cert(store);
    self->verified = certificate && matches(self, certificate);
    if (!self->verified) X509_STORE_CTX_set_error(store, X509_V_ERR_CERT_REJECTED);
    return self->verified;
}

static bool load(SSL_CTX *context, const char *pem, Py_ssize_t pem_length, const char *key_pem, Py_ssize_t key_length, unsigned char fingerprint[32]) {
    BIO *certificate_bio = BIO_new_mem_buf(pem, (int)pem_length), *key_bio = BIO_new_mem_buf(key_pem, (int)key_length);
    X509 *certificate = certificate_bio ? PEM_read_bio_X509(certificate_bio, NULL, NULL, NULL) : NULL;
    EVP_PKEY *key = key_bio ? PEM_read_bio_PrivateKey(key_bio, NULL, NULL, NULL) : NULL;
    unsigned length = 32;
    bool ok = certificate && key && SSL_CTX_use_certificate(context, certificate) == 1 && SSL_CTX_use_PrivateKey(context, key) == 1 && SSL_CTX_check_private_key(context) == 1 &&
              X509_digest(certificate, EVP_sha256(), fingerprint, &length) == 1;
    X509_free(certificate);
    EVP_PKEY_free(key);
    BIO_free(certificate_bio);
    BIO_free(key_bio);
    return ok;
}

static bool configure(SSL_CTX *context, const char *profiles) {
    SSL_CTX_set_min_proto_version(context, DTLS1_2_VERSION);
    /* A session is never resumed and never renegotiated: its keys are exported once. Partly received flights are read ahead by nature. */
    SSL_CTX_set_options(context, SSL_OP_NO_TICKET | SSL_OP_NO_QUERY_MTU | SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_read_ahead(context, 1);
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    SSL_CTX_set_cert_verify_callback(context, verify_certificate, NULL);
    return SSL_CTX_set_cipher_list(context, "ECDHE+AESGCM:ECDHE+CHACHA20") == 1 && SSL_CTX_set1_groups_list(context, "X25519:P-256") == 1 &&
           SSL_CTX_set_tlsext_use_srtp(context, profiles) == 0;
}

static int profile_names(PyObject *profiles, char *out, size_t size) {
    PyObject *sequence = PySequence_Fast(profiles, "profiles must be a sequence of profile numbers");
    if (!sequence) return -1;
    out[0] = 0;
    Py_ssize_t count = PySequence_Fast_GET_SIZE(sequence);
    for (Py_ssize_t i = 0; i < count; i++) {
        long number = PyLong_AsLong(PySequence_Fast_GET_ITEM(sequence, i));
        const char *name = number == 7 ? "SRTP_AEAD_AES_128_GCM" : number == 1 ? "SRTP_AES128_CM_SHA1_80" : NULL;
        if (!name || strlen(out) + strlen(name) + 2 > size) {
            if (!PyErr_Occurred()) PyErr_SetString(PyExc_ValueError, "profiles: 7 (AEAD_AES_128_GCM) and 1 (AES128_CM_HMAC_SHA1_80) are known");
            Py_DECREF(sequence);
            return -1;
        }
        if (i) strcat(out, ":");
        strcat(out, name);
    }
    Py_DECREF(sequence);
    if (count) return 0;
    PyErr_SetString(PyExc_ValueError, "profiles must not be empty");
    return -1;
}

static PyObject *identity_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"certificate_pem", "private_key_pem", "profiles", NULL};
    const char *pem, *key_pem;
    Py_ssize_t pem_length, key_length;
    PyObject *profiles = NULL;
    char wanted[128] = "SRTP_AEAD_AES_128_GCM:SRTP_AES128_CM_SHA1_80";
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "y#y#|$O:Identity", names, &pem, &pem_length, &key_pem, &key_length, &profiles)) return NULL;
    if (profiles && profile_names(profiles, wanted, sizeof wanted) < 0) return NULL;
    if (pem_length > 1 << 16 || key_length > 1 << 16) return PyErr_Format(PyExc_ValueError, "a certificate or key of more than 64 KiB");
    State *state = state_of(type);
    Identity *self = (Identity *)type->tp_alloc(type, 0);
    if (!self) return NULL;
    self->context = SSL_CTX_new(DTLS_method());
    if (!self->context || !configure(self->context, wanted) || !load(self->context, pem, pem_length, key_pem, key_length, self->fingerprint)) {
        Py_DECREF(self);
        return raise_openssl(state->error, "certificate and private key");
    }
    ERR_clear_error();
    return (PyObject *)self;
}

static void identity_dealloc(Identity *self) {
    PyTypeObject *type = Py_TYPE(self);
    SSL_CTX_free(self->context);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *identity_fingerprint(Identity *self, void *unused) {
    (void)unused;
    return PyBytes_FromStringAndSize((const char *)self->fingerprint, sizeof self->fingerprint);
}

/* --- the handshake -------------------------------------------------------------------------------------------------- */

static void fail(Dtls *self, const char *why) {
    if (self->phase == FAILED) return;
    self->phase = FAILED;
    self->timer_set = false;
    snprintf(self->failure, sizeof self->failure, "%s", why);
    clear(&self->flight);
    clear(&self->repetitions);
}

static void fail_openssl(Dtls *self) {
    char reason[160] = "handshake failed";
    unsigned long code = ERR_peek_last_error();
    if (code) snprintf(reason, sizeof reason, "%s", ERR_reason_error_string(code) ? ERR_reason_error_string(code) : "unknown OpenSSL error");
    fail(self, SSL_get_verify_result(self->ssl) == X509_V_ERR_CERT_REJECTED ? "the certificate does not match the signalled fingerprint" : reason);
}

static PyObject *slice(const unsigned char *data, size_t length) { return PyBytes_FromStringAndSize((const char *)data, (Py_ssize_t)length); }

/* RFC 5764 section 4.2: client key, server key, client salt, server salt. */
static int export_keys(Dtls *self) {
    const SRTP_PROTECTION_PROFILE *profile = SSL_get_selected_srtp_profile(self->ssl);
    if (!profile) {
        fail(self, "no SRTP profile in common");
        return 0;
    }
    size_t salt = profile->id == SRTP_AEAD_AES_128_GCM ? 12 : 14;
    unsigned char block[2 * (KEY + 14)];
    if (SSL_export_keying_material(self->ssl, block, 2 * (KEY + salt), EXPORT_LABEL, strlen(EXPORT_LABEL), NULL, 0, 0) != 1) {
        fail_openssl(self);
        return 0;
    }
    const unsigned char *keys[2] = {block, block + KEY}, *salts[2] = {block + 2 * KEY, block + 2 * KEY + salt};
    int ours = self->server ? 1 : 0;
    PyObject *values[5] = {PyLong_FromUnsignedLong(profile->id), slice(keys[ours], KEY), slice(salts[ours], salt), slice(keys[1 - ours], KEY), slice(salts[1 - ours], salt)};
    OPENSSL_cleanse(block, sizeof block);
    PyObject *result = PyStructSequence_New(state_of(Py_TYPE(self))->keys);
    for (int i = 0; i < 5; i++) {
        if (result && values[i])
            PyStructSequence_SetItem(result, i, values[i]);
        else {
            Py_XDECREF(values[i]);
            Py_CLEAR(result);
        }
    }
    self->keys = result;
    return result ? 0 : -1;
}

static void arm(Dtls *self, double now) {
    self->timer = now + self->timeout;
    self->timer_set = true;
}

static void repeat_flight(Dtls *self) {
    if (!self->repetition_count) {
        put_range(&self->out, &self->flight, 0, self->flight.count);
        return;
    }
    size_t k = self->repetition_next++ % self->repetition_count;
    put_range(&self->out, &self->repetitions, k ? self->repetition_ends[k - 1] : 0, self->repetition_ends[k]);
}

/* Drives OpenSSL as far as it goes; what it writes becomes our flight. */
static int advance(Dtls *self, double now) {
    size_t before = self->out.count;
    int result = SSL_do_handshake(self->ssl);
    end_repetition(self);
    if (self->out.count > before) {
        clear(&self->flight);
        for (size_t i = before; i < self->out.count; i++) put(&self->flight, self->out.items[i].data, self->out.items[i].length);
        arm(self, now);
    }
    if (result == 1) {
        clear(&self->repetitions);
        self->phase = CONNECTED;
        self->timer_set = false;
        if (!self->verified) fail(self, "the peer showed no certificate");
        if (self->phase == CONNECTED && export_keys(self) < 0) return -1;
    } else {
        int error = SSL_get_error(self->ssl, result);
        if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE) fail_openssl(self);
    }
    ERR_clear_error();
    return 0;
}

/* True when a record of the datagram belongs to a handshake (change_cipher_spec 20, handshake 22). */
static bool has_handshake(const unsigned char *data, size_t length) {
    while (length >= 13) {
        size_t record = 13 + ((size_t)data[11] << 8 | data[12]);
        if (data[0] == 20 || data[0] == 22) return true;
        if (record > length) return false;
        data += record;
        length -= record;
    }
    return false;
}

static void receive_connected(Dtls *self, const unsigned char *data, size_t length, double now) {
    unsigned char sink[256];
    if (self->server && has_handshake(data, length)) {
        if (now - self->answered_at >= ANSWER_INTERVAL) {
            put_range(&self->out, &self->flight, 0, self->flight.count);
            self->answered_at = now;
        }
        return;
    }
    self->incoming = data;
    self->incoming_length = length;
    int result = SSL_read(self->ssl, sink, sizeof sink); /* application data is nobody's here; alerts are */
    if (result <= 0 && (SSL_get_shutdown(self->ssl) & SSL_RECEIVED_SHUTDOWN)) self->phase = CLOSED;
    self->incoming = NULL;
    ERR_clear_error();
}

/* --- the type ------------------------------------------------------------------------------------------------------- */

static int read_fingerprint(Dtls *self, PyObject *item) {
    const char *name, *digest;
    Py_ssize_t length;
    if (!PyArg_ParseTuple(item, "sy#", &name, &digest, &length)) return -1;
    static const char *const known[] = {"sha-256", "sha-384", "sha-512"};
    const EVP_MD *hashes[] = {EVP_sha256(), EVP_sha384(), EVP_sha512()};
    for (int i = 0; i < 3; i++)
        if (!PyOS_stricmp(name, known[i]) && length == EVP_MD_get_size(hashes[i]) && self->fingerprint_count < MAX_FINGERPRINTS) {
            self->fingerprints[self->fingerprint_count].hash = hashes[i];
            self->fingerprints[self->fingerprint_count].length = (size_t)length;
            memcpy(self->fingerprints[self->fingerprint_count++].digest, digest, (size_t)length);
        }
    return 0; /* weak or unknown hashes are ignored: they prove nothing */
}

static int read_fingerprints(Dtls *self, PyObject *fingerprints) {
    PyObject *sequence = PySequence_Fast(fingerprints, "fingerprints must be a sequence of (hash name, digest)");
    if (!sequence) return -1;
    int result = 0;
    for (Py_ssize_t i = 0; !result && i < PySequence_Fast_GET_SIZE(sequence); i++) result = read_fingerprint(self, PySequence_Fast_GET_ITEM(sequence, i));
    Py_DECREF(sequence);
    if (!result && !self->fingerprint_count) {
        PyErr_SetString(PyExc_ValueError, "no fingerprint with a hash that we trust (sha-256, sha-384, sha-512)");
        result = -1;
    }
    return result;
}

static int open_ssl(Dtls *self, State *state, int mtu) {
    self->ssl = SSL_new(((Identity *)self->identity)->context);
    BIO *bio = BIO_new(state->bio);
    if (!self->ssl || !bio) {
        BIO_free(bio);
        raise_openssl(state->error, "OpenSSL");
        return -1;
    }
    BIO_set_data(bio, self);
    SSL_set_bio(self->ssl, bio, bio);
    SSL_set_app_data(self->ssl, self);
    self->mtu = (size_t)mtu;
    SSL_set_mtu(self->ssl, mtu - AEAD_RECORD);
    DTLS_set_timer_cb(self->ssl, choose_timeout);
    if (self->server)
        SSL_set_accept_state(self->ssl);
    else
        SSL_set_connect_state(self->ssl);
    return 0;
}

static PyObject *dtls_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"identity", "server", "fingerprints", "mtu", "initial_timeout", NULL};
    PyObject *identity, *fingerprints = NULL;
    int server = -1, mtu = 1200;
    double initial_timeout = 0.2;
    State *state = state_of(type);
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!|$pOid:Dtls", names, state->identity, &identity, &server, &fingerprints, &mtu, &initial_timeout)) return NULL;
    if (server < 0 || !fingerprints) return PyErr_Format(PyExc_TypeError, "server and fingerprints are required");
    if (mtu < MIN_MTU || mtu > MAX_DATAGRAM || !(initial_timeout > 0))
        return PyErr_Format(PyExc_ValueError, "mtu must be %d..%d, initial_timeout positive", MIN_MTU, MAX_DATAGRAM);
    Dtls *self = (Dtls *)type->tp_alloc(type, 0);
    if (!self) return NULL;
    self->identity = Py_NewRef(identity);
    self->server = server;
    self->timeout = initial_timeout;
    self->answered_at = -1e9;
    if (read_fingerprints(self, fingerprints) < 0 || open_ssl(self, state, mtu) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

static void release(Dtls *self) {
    SSL_free(self->ssl);
    self->ssl = NULL;
    clear(&self->flight);
    clear(&self->repetitions);
    self->timer_set = false;
    ERR_clear_error();
}

static void dtls_dealloc(Dtls *self) {
    PyTypeObject *type = Py_TYPE(self);
    release(self);
    clear(&self->out);
    Py_XDECREF(self->identity);
    Py_XDECREF(self->keys);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *dtls_start(Dtls *self, PyObject *now) {
    double at = PyFloat_AsDouble(now);
    if (at == -1.0 && PyErr_Occurred()) return NULL;
    if (self->server || self->phase != NEW) return PyErr_Format(PyExc_RuntimeError, "only a new client starts");
    self->phase = HANDSHAKING;
    self->started_at = at;
    if (advance(self, at) < 0) return NULL;
    Py_RETURN_NONE;
}

static PyObject *dtls_receive(Dtls *self, PyObject *args) {
    Py_buffer datagram;
    double now;
    if (!PyArg_ParseTuple(args, "y*d:receive", &datagram, &now)) return NULL;
    int result = 0;
    if (self->phase == NEW && self->server) {
        self->phase = HANDSHAKING;
        self->started_at = now;
    }
    if (self->ssl && datagram.len > 0 && datagram.len <= MAX_DATAGRAM) {
        if (self->phase == HANDSHAKING) {
            self->incoming = datagram.buf;
            self->incoming_length = (size_t)datagram.len;
            result = advance(self, now);
            self->incoming = NULL;
        } else if (self->phase == CONNECTED) {
            receive_connected(self, datagram.buf, (size_t)datagram.len, now);
        }
    }
    PyBuffer_Release(&datagram);
    if (result < 0) return NULL;
    Py_RETURN_NONE;
}

static PyObject *dtls_datagrams_to_send(Dtls *self, PyObject *unused) {
    (void)unused;
    PyObject *list = PyList_New((Py_ssize_t)self->out.count);
    if (!list) return NULL;
    for (size_t i = 0; i < self->out.count; i++) {
        PyObject *item = slice(self->out.items[i].data, self->out.items[i].length);
        if (!item) {
            Py_DECREF(list);
            return NULL;
        }
        PyList_SET_ITEM(list, (Py_ssize_t)i, item);
    }
    clear(&self->out);
    return list;
}

static PyObject *dtls_timer(Dtls *self, PyObject *unused) {
    (void)unused;
    if (!self->timer_set) Py_RETURN_NONE;
    return PyFloat_FromDouble(self->timer);
}

static PyObject *dtls_handle_timer(Dtls *self, PyObject *number) {
    double now = PyFloat_AsDouble(number);
    if (now == -1.0 && PyErr_Occurred()) return NULL;
    if (!self->timer_set || now < self->timer) Py_RETURN_NONE;
    if (now - self->started_at >= GIVE_UP_SECONDS) {
        fail(self, "no answer within 30 s");
        Py_RETURN_NONE;
    }
    repeat_flight(self);
    self->timeout = self->timeout * 2 < TIMEOUT_CAP ? self->timeout * 2 : TIMEOUT_CAP;
    arm(self, now);
    Py_RETURN_NONE;
}

static PyObject *dtls_close(Dtls *self, PyObject *unused) {
    (void)unused;
    if (self->ssl && self->phase == CONNECTED) SSL_shutdown(self->ssl);
    release(self);
    self->phase = self->phase == FAILED ? FAILED : CLOSED;
    Py_RETURN_NONE;
}

static PyObject *dtls_state(Dtls *self, void *unused) {
    (void)unused;
    return PyUnicode_FromString(PHASES[self->phase]);
}

static PyObject *dtls_failure(Dtls *self, void *unused) {
    (void)unused;
    if (self->phase != FAILED) Py_RETURN_NONE;
    return PyUnicode_DecodeUTF8(self->failure, (Py_ssize_t)strlen(self->failure), "replace");
}

static PyObject *dtls_keys(Dtls *self, void *unused) {
    (void)unused;
    return Py_NewRef(self->keys ? self->keys : Py_None);
}

/* --- the module ----------------------------------------------------------------------------------------------------- */

static PyGetSetDef identity_attributes[] = {{"fingerprint", (getter)identity_fingerprint, NULL, "SHA-256 of the certificate's DER, 32 bytes.", NULL}, {0}};
static PyType_Slot identity_slots[] = {
    {Py_tp_doc, "A certificate and its private key, shared by all associations of a server."},
    {Py_tp_new, identity_new},
    {Py_tp_dealloc, identity_dealloc},
    {Py_tp_getset, identity_attributes},
    {0, NULL},
};
static PyType_Spec identity_spec = {"rtc._dtls.Identity", sizeof(Identity), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE, identity_slots};

static PyMethodDef dtls_methods[] = {
    {"start", (PyCFunction)dtls_start, METH_O, "Client only: send the ClientHello."},
    {"receive", (PyCFunction)dtls_receive, METH_VARARGS, "Take one datagram; hostile input never raises."},
    {"datagrams_to_send", (PyCFunction)dtls_datagrams_to_send, METH_NOARGS, "Take the datagrams that wait."},
    {"timer", (PyCFunction)dtls_timer, METH_NOARGS, "When handle_timer wants to be called, or None."},
    {"handle_timer", (PyCFunction)dtls_handle_timer, METH_O, "Repeat the last flight when it is time."},
    {"close", (PyCFunction)dtls_close, METH_NOARGS, "Queue close_notify and free OpenSSL's state."},
    {0},
};
static PyGetSetDef dtls_attributes[] = {
    {"state", (getter)dtls_state, NULL, "\"new\", \"handshaking\", \"connected\", \"failed\" or \"closed\".", NULL},
    {"failure", (getter)dtls_failure, NULL, "Why the handshake failed, or None.", NULL},
    {"keys", (getter)dtls_keys, NULL, "SrtpKeys once connected with the right peer, else None.", NULL},
    {0},
};
static PyType_Slot dtls_slots[] = {
    {Py_tp_doc, "One DTLS-SRTP association without I/O."}, {Py_tp_new, dtls_new}, {Py_tp_dealloc, dtls_dealloc}, {Py_tp_methods, dtls_methods}, {Py_tp_getset, dtls_attributes}, {0, NULL},
};
static PyType_Spec dtls_spec = {"rtc._dtls.Dtls", sizeof(Dtls), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE, dtls_slots};

static PyStructSequence_Field keys_fields[] = {{"profile", NULL}, {"local_key", NULL}, {"local_salt", NULL}, {"remote_key", NULL}, {"remote_salt", NULL}, {0}};
static PyStructSequence_Desc keys_description = {"rtc._dtls.SrtpKeys", "Master keys of one association.", keys_fields, 5};

static BIO_METHOD *make_bio(void) {
    BIO_METHOD *method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "datagrams");
    if (!method) return NULL;
    BIO_meth_set_read(method, bio_read);
    BIO_meth_set_write(method, bio_write);
    BIO_meth_set_ctrl(method, bio_ctrl);
    BIO_meth_set_create(method, bio_create);
    return method;
}

static int module_exec(PyObject *module) {
    State *state = PyModule_GetState(module);
    if (!(state->bio = make_bio())) {
        PyErr_NoMemory();
        return -1;
    }
    state->identity = (PyTypeObject *)PyType_FromModuleAndSpec(module, &identity_spec, NULL);
    state->dtls = (PyTypeObject *)PyType_FromModuleAndSpec(module, &dtls_spec, NULL);
    state->keys = PyStructSequence_NewType(&keys_description);
    state->error = PyErr_NewException("rtc._dtls.DtlsError", NULL, NULL);
    if (!state->identity || !state->dtls || !state->keys || !state->error) return -1;
    if (PyModule_AddType(module, state->identity) < 0 || PyModule_AddType(module, state->dtls) < 0) return -1;
    if (PyModule_AddObjectRef(module, "SrtpKeys", (PyObject *)state->keys) < 0) return -1;
    return PyModule_AddObjectRef(module, "DtlsError", state->error);
}

static int module_traverse(PyObject *module, visitproc visit, void *arg) {
    State *state = PyModule_GetState(module);
    Py_VISIT(state->identity);
    Py_VISIT(state->dtls);
    Py_VISIT(state->keys);
    Py_VISIT(state->error);
    return 0;
}

static void module_free(void *module) {
    State *state = PyModule_GetState(module);
    BIO_meth_free(state->bio);
    Py_CLEAR(state->identity);
    Py_CLEAR(state->dtls);
    Py_CLEAR(state->keys);
    Py_CLEAR(state->error);
}

static PyModuleDef_Slot module_slots[] = {{Py_mod_exec, module_exec}, {0, NULL}};
static PyModuleDef module_definition = {
    PyModuleDef_HEAD_INIT, .m_name = "rtc._dtls", .m_doc = "DTLS-SRTP handshakes without I/O.", .m_size = sizeof(State), .m_slots = module_slots, .m_traverse = module_traverse, .m_free = module_free};

static State *state_of(PyTypeObject *type) { return PyType_GetModuleState(type); }

PyMODINIT_FUNC PyInit__dtls(void) { return PyModuleDef_Init(&module_definition); }
