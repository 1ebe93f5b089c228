/* rtc._wire.Srtp: one direction of an SRTP session with the stream states that the packet path keeps elsewhere, and the
 * key derivation. */
#include "wire_methods.h"
#include "wire_result.h"

#include <stdbool.h>

#include "rtp.h"
#include "srtp.h"

#define MAX_PACKET 2048
#define MAX_STREAMS 64

struct named_stream {
    uint32_t ssrc;
    bool used;
    struct wd_srtp_stream received;
    uint64_t sent; /* newest index protected */
    bool sending;
};

typedef struct {
    PyObject_HEAD struct wd_srtp *srtp;
    struct named_stream streams[MAX_STREAMS];
} Srtp;

static bool check_keys(unsigned profile, Py_ssize_t key, Py_ssize_t salt) {
    if ((profile == WD_SRTP_AEAD_AES_128_GCM && key == 16 && salt == 12) ||
        (profile == WD_SRTP_AES128_CM_SHA1_80 && key == 16 && salt == 14))
        return true;
    wire_malformed("profile 7 needs a key of 16 and a salt of 12 bytes, profile 1 16 and 14");
    return false;
}

static PyObject *srtp_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"profile", "key", "salt", NULL};
    unsigned profile;
    const uint8_t *key, *salt;
    Py_ssize_t key_length, salt_length;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "Iy#y#:Srtp", names, &profile, &key, &key_length, &salt,
                                     &salt_length))
        return NULL;
    if (!check_keys(profile, key_length, salt_length)) return NULL;
    Srtp *self = (Srtp *)type->tp_alloc(type, 0);
    if (!self) return NULL;
    if (!(self->srtp = wd_srtp_new((uint16_t)profile, key, salt))) {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    return (PyObject *)self;
}

/* One value of the dict; false with ValueError when absent or of another length. */
static bool session_value(PyObject *keys, const char *name, uint8_t *out, Py_ssize_t length) {
    PyObject *value = PyDict_GetItemString(keys, name);
    if (!value || !PyBytes_Check(value) || PyBytes_GET_SIZE(value) != length)
        return PyErr_Format(PyExc_ValueError, "%s must be %zd bytes", name, length), false;
    memcpy(out, PyBytes_AS_STRING(value), (size_t)length);
    return true;
}

static PyObject *srtp_from_session_keys(PyTypeObject *type, PyObject *args) {
    unsigned profile;
    PyObject *dict;
    struct wd_srtp_session_keys k;
    if (!PyArg_ParseTuple(args, "IO!:from_session_keys", &profile, &PyDict_Type, &dict)) return NULL;
    Py_ssize_t salt = profile == WD_SRTP_AEAD_AES_128_GCM ? 12 : 14;
    if (!session_value(dict, "rtp_key", k.rtp_key, 16) || !session_value(dict, "rtp_auth", k.rtp_auth, 20) ||
        !session_value(dict, "rtp_salt", k.rtp_salt, salt) || !session_value(dict, "rtcp_key", k.rtcp_key, 16) ||
        !session_value(dict, "rtcp_auth", k.rtcp_auth, 20) || !session_value(dict, "rtcp_salt", k.rtcp_salt, salt))
        return NULL;
    Srtp *self = (Srtp *)type->tp_alloc(type, 0);
    if (!self) return NULL;
    if ((self->srtp = wd_srtp_new_session((uint16_t)profile, &k))) return (PyObject *)self;
    Py_DECREF(self);
    return wire_malformed("an unknown profile");
}

static void srtp_dealloc(Srtp *self) {
    PyTypeObject *type = Py_TYPE(self);
    wd_srtp_free(self->srtp);
    type->tp_free(self);
    Py_DECREF(type);
}

static struct named_stream *stream_of(Srtp *self, uint32_t ssrc) {
    for (size_t i = 0; i < MAX_STREAMS; i++) {
        struct named_stream *s = &self->streams[i];
        if (s->used && s->ssrc == ssrc) return s;
        if (!s->used) {
            s->used = true;
            s->ssrc = ssrc;
            return s;
        }
    }
    PyErr_Format(PyExc_ValueError, "more than %d SSRCs", MAX_STREAMS);
    return NULL;
}

/* Copies a packet into a scratch with room to grow; NULL with ValueError when too long. */
static uint8_t *copy_packet(const char *data, Py_ssize_t length, uint8_t scratch[MAX_PACKET]) {
    if (length > MAX_PACKET - WD_SRTP_MAX_OVERHEAD) return wire_malformed("packet too long"), NULL;
    return memcpy(scratch, data, (size_t)length);
}

static PyObject *srtp_protect(Srtp *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"packet", "rollover", NULL};
    const char *data;
    Py_ssize_t length;
    long long rollover = -1;
    uint8_t packet[MAX_PACKET], payload[MAX_PACKET];
    struct wd_rtp rtp;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "y#|L:protect", names, &data, &length, &rollover) ||
        !copy_packet(data, length, packet))
        return NULL;
    if (!wd_rtp_parse(packet, (size_t)length, &rtp)) return wire_malformed("not an RTP packet");
    struct named_stream *stream = stream_of(self, rtp.ssrc);
    if (!stream) return NULL;
    uint64_t index;
    if (rollover >= 0) {
        index = (uint64_t)(rollover & 0xffffffff) << 16 | rtp.sequence;
    } else {
        int16_t distance = (int16_t)(uint16_t)(rtp.sequence - (uint16_t)stream->sent);
        index = stream->sending && !(distance < 0 && stream->sent < (uint64_t)-(int64_t)distance)
                    ? stream->sent + (uint64_t)(int64_t)distance
                    : rtp.sequence;
    }
    if (!stream->sending || index > stream->sent) stream->sent = index;
    stream->sending = true;
    size_t body = (size_t)length - rtp.header_length;
    memcpy(payload, packet + rtp.header_length, body);
    size_t written = wd_srtp_protect(self->srtp, index, packet, rtp.header_length, payload, body);
    return PyBytes_FromStringAndSize((const char *)packet, (Py_ssize_t)written);
}

static PyObject *refuse(enum wd_srtp_result result) {
    switch (result) {
    case WD_SRTP_SHORT: return wire_malformed("short");
    case WD_SRTP_AUTH: return wire_malformed("auth");
    case WD_SRTP_REPLAY: return wire_malformed("replay");
    default: return wire_malformed("too old");
    }
}

static PyObject *srtp_unprotect(Srtp *self, PyObject *args) {
    const char *data;
    Py_ssize_t given;
    uint8_t packet[MAX_PACKET];
    struct wd_rtp rtp;
    uint64_t index;
    if (!PyArg_ParseTuple(args, "y#:unprotect", &data, &given) || !copy_packet(data, given, packet)) return NULL;
    size_t length = (size_t)given;
    if (!wd_rtp_parse(packet, length, &rtp)) return wire_malformed("not an RTP packet");
    struct named_stream *stream = stream_of(self, rtp.ssrc);
    if (!stream) return NULL;
    enum wd_srtp_result result =
        wd_srtp_unprotect(self->srtp, &stream->received, packet, &length, rtp.header_length, &index);
    return result == WD_SRTP_OK ? PyBytes_FromStringAndSize((const char *)packet, (Py_ssize_t)length) : refuse(result);
}

static PyObject *srtp_protect_rtcp(Srtp *self, PyObject *args) {
    const char *data;
    Py_ssize_t length;
    uint8_t packet[MAX_PACKET];
    if (!PyArg_ParseTuple(args, "y#:protect_rtcp", &data, &length) || !copy_packet(data, length, packet)) return NULL;
    if (length < 8) return wire_malformed("not an RTCP packet");
    size_t written = wd_srtcp_protect(self->srtp, packet, (size_t)length);
    return PyBytes_FromStringAndSize((const char *)packet, (Py_ssize_t)written);
}

static PyObject *srtp_backend(Srtp *self, void *closure) {
    (void)closure;
    return PyUnicode_FromString(wd_srtp_backend(self->srtp));
}

static PyObject *srtp_unprotect_rtcp(Srtp *self, PyObject *args) {
    const char *data;
    Py_ssize_t given;
    uint8_t packet[MAX_PACKET];
    if (!PyArg_ParseTuple(args, "y#:unprotect_rtcp", &data, &given) || !copy_packet(data, given, packet)) return NULL;
    size_t length = (size_t)given;
    enum wd_srtp_result result = wd_srtcp_unprotect(self->srtp, packet, &length);
    return result == WD_SRTP_OK ? PyBytes_FromStringAndSize((const char *)packet, (Py_ssize_t)length) : refuse(result);
}

PyObject *wire_derive_keys(PyObject *module, PyObject *args) {
    (void)module;
    unsigned profile;
    const uint8_t *key, *salt;
    Py_ssize_t key_length, salt_length;
    if (!PyArg_ParseTuple(args, "Iy#y#:derive_keys", &profile, &key, &key_length, &salt, &salt_length)) return NULL;
    if (!check_keys(profile, key_length, salt_length)) return NULL;
    struct wd_srtp_session_keys k;
    if (!wd_srtp_derive((uint16_t)profile, key, salt, &k)) return PyErr_NoMemory();
    Py_ssize_t key_size = sizeof k.rtp_key, auth_size = sizeof k.rtp_auth;
    return Py_BuildValue("{s:y#,s:y#,s:y#,s:y#,s:y#,s:y#}", "rtp_key", k.rtp_key, key_size, "rtp_auth", k.rtp_auth,
                         auth_size, "rtp_salt", k.rtp_salt, salt_length, "rtcp_key", k.rtcp_key, key_size, "rtcp_auth",
                         k.rtcp_auth, auth_size, "rtcp_salt", k.rtcp_salt, salt_length);
}

static PyMethodDef srtp_methods[] = {
    {"protect", (PyCFunction)(void (*)(void))srtp_protect, METH_VARARGS | METH_KEYWORDS, "Encrypt one RTP packet."},
    {"unprotect", (PyCFunction)srtp_unprotect, METH_VARARGS, "Decrypt one SRTP packet."},
    {"protect_rtcp", (PyCFunction)srtp_protect_rtcp, METH_VARARGS, "Encrypt one RTCP packet."},
    {"unprotect_rtcp", (PyCFunction)srtp_unprotect_rtcp, METH_VARARGS, "Decrypt one SRTCP packet."},
    {"from_session_keys", (PyCFunction)(void (*)(void))srtp_from_session_keys, METH_VARARGS | METH_CLASS,
     "A session from what derive_keys returns."},
    {0},
};
static PyGetSetDef srtp_properties[] = {
    {"backend", (getter)srtp_backend, NULL, "Who encrypts: ipsec-mb or openssl.", NULL}, {0}};
static PyType_Slot srtp_slots[] = {
    {Py_tp_doc, "One direction of an SRTP session."},
    {Py_tp_new, srtp_new},
    {Py_tp_dealloc, srtp_dealloc},
    {Py_tp_methods, srtp_methods},
    {Py_tp_getset, srtp_properties},
    {0, NULL},
};
PyType_Spec wire_srtp_spec = {"rtc._wire.Srtp", sizeof(Srtp), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
                              srtp_slots};
