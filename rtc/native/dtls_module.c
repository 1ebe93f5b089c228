/* DTLS-SRTP associations for Python: the module rtc._dtls, documented in rtc/_dtls.pyi. The theory stands in
 * association.h. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "association.h"

#define MAX_PEM (1 << 16) /* bytes */

typedef struct {
    PyTypeObject *identity, *dtls, *keys;
    PyObject *error;
} State;

typedef struct {
    PyObject_HEAD struct wd_identity identity;
} Identity;

typedef struct {
    PyObject_HEAD PyObject *identity;
    struct wd_association *association;
} Dtls;

static State *state_of(PyTypeObject *type);

static PyObject *slice(const uint8_t *data, size_t length) {
    return PyBytes_FromStringAndSize((const char *)data, (Py_ssize_t)length);
}

/* --- Identity -------------------------------------------------------------------------------------------------------
 */

/* Profile numbers into `out`; their count, or -1 with an exception. */
static int read_profiles(PyObject *profiles, uint16_t out[WD_MAX_PROFILES]) {
    PyObject *sequence = PySequence_Fast(profiles, "profiles must be a sequence of profile numbers");
    if (!sequence) return -1;
    int count = 0;
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(sequence); i++) {
        long number = PyLong_AsLong(PySequence_Fast_GET_ITEM(sequence, i));
        if ((number != WD_SRTP_AEAD_AES_128_GCM && number != WD_SRTP_AES128_CM_SHA1_80) || count == WD_MAX_PROFILES) {
            if (!PyErr_Occurred())
                PyErr_SetString(PyExc_ValueError,
                                "profiles: 7 (AEAD_AES_128_GCM) and 1 (AES128_CM_HMAC_SHA1_80) are known");
            Py_DECREF(sequence);
            return -1;
        }
        out[count++] = (uint16_t)number;
    }
    Py_DECREF(sequence);
    if (count) return count;
    PyErr_SetString(PyExc_ValueError, "profiles must not be empty");
    return -1;
}

static PyObject *identity_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"certificate_pem", "private_key_pem", "profiles", NULL};
    const char *pem, *key_pem;
    Py_ssize_t pem_length, key_length;
    PyObject *profiles = NULL;
    uint16_t wanted[WD_MAX_PROFILES] = {WD_SRTP_AEAD_AES_128_GCM, WD_SRTP_AES128_CM_SHA1_80};
    int count = 2;
    char reason[WD_DTLS_REASON];
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "y#y#|$O:Identity", names, &pem, &pem_length, &key_pem, &key_length,
                                     &profiles))
        return NULL;
    if (profiles && (count = read_profiles(profiles, wanted)) < 0) return NULL;
    if (pem_length > MAX_PEM || key_length > MAX_PEM)
        return PyErr_Format(PyExc_ValueError, "a certificate or key of more than 64 KiB");
    Identity *self = (Identity *)type->tp_alloc(type, 0);
    if (!self) return NULL;
    struct wd_identity_source source = {pem, key_pem, (size_t)pem_length, (size_t)key_length, wanted, (size_t)count};
    if (!wd_identity_open(&self->identity, &source, reason)) {
        Py_DECREF(self);
        return PyErr_Format(state_of(type)->error, "%s", reason);
    }
    return (PyObject *)self;
}

static void identity_dealloc(Identity *self) {
    PyTypeObject *type = Py_TYPE(self);
    wd_identity_close(&self->identity);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *identity_fingerprint(Identity *self, void *unused) {
    (void)unused;
    return slice(self->identity.fingerprint, WD_FINGERPRINT);
}

/* --- Dtls -----------------------------------------------------------------------------------------------------------
 */

static int read_fingerprints(struct wd_peer *peer, PyObject *fingerprints) {
    PyObject *sequence = PySequence_Fast(fingerprints, "fingerprints must be a sequence of (hash name, digest)");
    if (!sequence) return -1;
    int result = 0;
    for (Py_ssize_t i = 0; !result && i < PySequence_Fast_GET_SIZE(sequence); i++) {
        const char *name;
        const uint8_t *digest;
        Py_ssize_t length;
        if (PyArg_ParseTuple(PySequence_Fast_GET_ITEM(sequence, i), "sy#", &name, &digest, &length))
            wd_peer_trust(peer, name, digest,
                          (size_t)length); /* weak or unknown hashes are ignored: they prove nothing */
        else
            result = -1;
    }
    Py_DECREF(sequence);
    if (!result && !peer->count) {
        PyErr_SetString(PyExc_ValueError, "no fingerprint with a hash that we trust (sha-256, sha-384, sha-512)");
        result = -1;
    }
    return result;
}

static PyObject *dtls_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"identity", "server", "fingerprints", "mtu", "initial_timeout", NULL};
    PyObject *identity, *fingerprints = NULL;
    int server = -1, mtu = 1200;
    double initial_timeout = 0.2;
    char reason[WD_DTLS_REASON];
    State *state = state_of(type);
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!|$pOid:Dtls", names, state->identity, &identity, &server,
                                     &fingerprints, &mtu, &initial_timeout))
        return NULL;
    if (server < 0 || !fingerprints) return PyErr_Format(PyExc_TypeError, "server and fingerprints are required");
    if (mtu < WD_MIN_MTU || mtu > WD_MAX_DATAGRAM || !(initial_timeout > 0))
        return PyErr_Format(PyExc_ValueError, "mtu must be %d..%d, initial_timeout positive", WD_MIN_MTU,
                            WD_MAX_DATAGRAM);
    Dtls *self = (Dtls *)type->tp_alloc(type, 0);
    if (!self) return NULL;
    self->identity = Py_NewRef(identity);
    self->association =
        wd_association_new(&((Identity *)identity)->identity, server, (size_t)mtu, initial_timeout, reason);
    if (!self->association) PyErr_SetString(state->error, reason);
    if (!self->association || read_fingerprints(wd_association_peer(self->association), fingerprints) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

static void dtls_dealloc(Dtls *self) {
    PyTypeObject *type = Py_TYPE(self);
    wd_association_free(self->association);
    Py_XDECREF(self->identity);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *dtls_start(Dtls *self, PyObject *number) {
    double now = PyFloat_AsDouble(number);
    if (now == -1.0 && PyErr_Occurred()) return NULL;
    if (!wd_association_start(self->association, now))
        return PyErr_Format(PyExc_RuntimeError, "only a new client starts");
    Py_RETURN_NONE;
}

static PyObject *dtls_receive(Dtls *self, PyObject *args) {
    Py_buffer datagram;
    double now;
    if (!PyArg_ParseTuple(args, "y*d:receive", &datagram, &now)) return NULL;
    wd_association_receive(self->association, datagram.buf, (size_t)datagram.len, now);
    PyBuffer_Release(&datagram);
    Py_RETURN_NONE;
}

static PyObject *dtls_datagrams_to_send(Dtls *self, PyObject *unused) {
    (void)unused;
    struct wd_datagrams *out = wd_association_outgoing(self->association);
    PyObject *list = PyList_New((Py_ssize_t)out->count);
    if (!list) return NULL;
    for (size_t i = 0; i < out->count; i++) {
        PyObject *item = slice(out->items[i].data, out->items[i].length);
        if (!item) {
            Py_DECREF(list);
            return NULL;
        }
        PyList_SET_ITEM(list, (Py_ssize_t)i, item);
    }
    wd_datagrams_clear(out);
    return list;
}

static PyObject *dtls_timer(Dtls *self, PyObject *unused) {
    (void)unused;
    double at;
    if (!wd_association_timer(self->association, &at)) Py_RETURN_NONE;
    return PyFloat_FromDouble(at);
}

static PyObject *dtls_handle_timer(Dtls *self, PyObject *number) {
    double now = PyFloat_AsDouble(number);
    if (now == -1.0 && PyErr_Occurred()) return NULL;
    wd_association_handle_timer(self->association, now);
    Py_RETURN_NONE;
}

static PyObject *dtls_close(Dtls *self, PyObject *unused) {
    (void)unused;
    wd_association_close(self->association);
    Py_RETURN_NONE;
}

static PyObject *dtls_state(Dtls *self, void *unused) {
    (void)unused;
    static const char *const names[] = {
        [WD_NEW] = "new",       [WD_HANDSHAKING] = "handshaking", [WD_CONNECTED] = "connected",
        [WD_FAILED] = "failed", [WD_CLOSED] = "closed",
    };
    return PyUnicode_FromString(names[wd_association_phase(self->association)]);
}

static PyObject *dtls_failure(Dtls *self, void *unused) {
    (void)unused;
    const char *failure = wd_association_failure(self->association);
    if (!failure) Py_RETURN_NONE;
    return PyUnicode_DecodeUTF8(failure, (Py_ssize_t)strlen(failure), "replace");
}

static PyObject *dtls_keys(Dtls *self, void *unused) {
    (void)unused;
    const struct wd_association_keys *keys = wd_association_keys(self->association);
    if (!keys) Py_RETURN_NONE;
    PyObject *result = PyStructSequence_New(state_of(Py_TYPE(self))->keys);
    PyObject *values[] = {
        PyLong_FromLong(keys->profile),
        slice(keys->local_key, WD_SRTP_KEY),
        slice(keys->local_salt, keys->salt_length),
        slice(keys->remote_key, WD_SRTP_KEY),
        slice(keys->remote_salt, keys->salt_length),
    };
    for (int i = 0; i < 5; i++) {
        if (result && values[i]) {
            PyStructSequence_SetItem(result, i, values[i]);
        } else {
            Py_XDECREF(values[i]);
            Py_CLEAR(result);
        }
    }
    return result;
}

/* --- the module -----------------------------------------------------------------------------------------------------
 */

static PyGetSetDef identity_attributes[] = {
    {"fingerprint", (getter)identity_fingerprint, NULL, "SHA-256 of the certificate's DER, 32 bytes.", NULL}, {0}};
static PyType_Slot identity_slots[] = {
    {Py_tp_doc, "A certificate and its private key, shared by all associations of a server."},
    {Py_tp_new, identity_new},
    {Py_tp_dealloc, identity_dealloc},
    {Py_tp_getset, identity_attributes},
    {0, NULL},
};
static PyType_Spec identity_spec = {"rtc._dtls.Identity", sizeof(Identity), 0,
                                    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE, identity_slots};

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
    {Py_tp_doc, "One DTLS-SRTP association without I/O."},
    {Py_tp_new, dtls_new},
    {Py_tp_dealloc, dtls_dealloc},
    {Py_tp_methods, dtls_methods},
    {Py_tp_getset, dtls_attributes},
    {0, NULL},
};
static PyType_Spec dtls_spec = {"rtc._dtls.Dtls", sizeof(Dtls), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
                                dtls_slots};

static PyStructSequence_Field keys_fields[] = {{"profile", NULL},    {"local_key", NULL},   {"local_salt", NULL},
                                               {"remote_key", NULL}, {"remote_salt", NULL}, {0}};
static PyStructSequence_Desc keys_description = {"rtc._dtls.SrtpKeys", "Master keys of one association.", keys_fields,
                                                 5};

static int module_exec(PyObject *module) {
    State *state = PyModule_GetState(module);
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
    Py_CLEAR(state->identity);
    Py_CLEAR(state->dtls);
    Py_CLEAR(state->keys);
    Py_CLEAR(state->error);
}

static PyModuleDef_Slot module_slots[] = {{Py_mod_exec, module_exec}, {0, NULL}};
static PyModuleDef module_definition = {
    PyModuleDef_HEAD_INIT,   .m_name = "rtc._dtls",   .m_doc = "DTLS-SRTP handshakes without I/O.",
    .m_size = sizeof(State), .m_slots = module_slots, .m_traverse = module_traverse,
    .m_free = module_free,
};

static State *state_of(PyTypeObject *type) { return PyType_GetModuleState(type); }

PyMODINIT_FUNC PyInit__dtls(void) { return PyModuleDef_Init(&module_definition); }
