#include "worker_arguments.h"

/* ---- numbers ---- */

static bool number(PyObject *object, unsigned long long most, unsigned long long *out) {
    *out = PyLong_AsUnsignedLongLong(object);
    if (*out == (unsigned long long)-1 && PyErr_Occurred()) return false;
    if (*out <= most) return true;
    PyErr_Format(PyExc_OverflowError, "%R is more than %llu", object, most);
    return false;
}

int wd_convert_optional_id(PyObject *object, void *out) {
    unsigned long long value;
    if (!number(object, UINT32_MAX, &value)) return 0;
    *(uint32_t *)out = (uint32_t)value;
    return 1;
}

int wd_convert_id(PyObject *object, void *out) {
    if (!wd_convert_optional_id(object, out)) return 0;
    if (*(uint32_t *)out) return 1;
    PyErr_SetString(PyExc_ValueError, "ids are positive");
    return 0;
}

int wd_convert_seed(PyObject *object, void *out) {
    unsigned long long value;
    if (!number(object, UINT64_MAX, &value)) return 0;
    *(uint64_t *)out = value;
    return 1;
}

int wd_convert_time(PyObject *object, void *out) {
    unsigned long long value;
    if (!number(object, INT64_MAX, &value)) return 0;
    *(int64_t *)out = (int64_t)value;
    return 1;
}

/* A number of a codec or extension dictionary: outside of least..most it is a ValueError, however big. */
static bool field(PyObject *object, const char *name, unsigned long least, unsigned long most, unsigned long *out) {
    int overflow;
    long long value = PyLong_AsLongLongAndOverflow(object, &overflow);
    if (value == -1 && PyErr_Occurred()) return false;
    if (!overflow && value >= (long long)least && value <= (long long)most) {
        *out = (unsigned long)value;
        return true;
    }
    PyErr_Format(PyExc_ValueError, "%s is %R, not in %lu..%lu", name, object, least, most);
    return false;
}

/* ---- credentials and keys ---- */

/* Theirs may be base64url too, as rtc/sdp.py takes them. */
static bool is_ice_char(char c, bool remote) {
    return Py_ISALNUM(c) || c == '+' || c == '/' || (remote && (c == '-' || c == '_' || c == '='));
}

static size_t credential(PyObject *text, const char *name, bool remote, Py_ssize_t least, Py_ssize_t most, char *out) {
    Py_ssize_t length;
    const char *bytes = PyUnicode_AsUTF8AndSize(text, &length);
    if (!bytes) return 0;
    bool right = length >= least && length <= most;
    for (Py_ssize_t i = 0; right && i < length; i++) right = is_ice_char(bytes[i], remote);
    if (!right) {
        PyErr_Format(PyExc_ValueError, "%s must be %zd to %zd letters, digits, + or /%s", name, least, most,
                     remote ? ", or -, _ or =" : "");
        return 0;
    }
    memcpy(out, bytes, (size_t)length + 1);
    return (size_t)length + 1;
}

size_t wd_credentials(PyObject *ufrag, PyObject *password, bool remote, char out[WD_MAX_CREDENTIALS]) {
    size_t first = credential(ufrag, "ufrag", remote, 4, remote ? WD_MAX_REMOTE_UFRAG : WD_MAX_UFRAG, out);
    size_t second = first ? credential(password, "password", remote, 22,
                                       remote ? WD_MAX_REMOTE_PASSWORD : WD_MAX_PASSWORD, out + first)
                          : 0;
    return second ? first + second : 0;
}

static bool secret(PyObject *bytes, const char *name, size_t length, uint8_t *out) {
    if ((size_t)PyBytes_GET_SIZE(bytes) != length) {
        PyErr_Format(PyExc_ValueError, "%s has %zd bytes, not %zu", name, PyBytes_GET_SIZE(bytes), length);
        return false;
    }
    memcpy(out, PyBytes_AS_STRING(bytes), length);
    return true;
}

bool wd_keys(uint16_t profile, PyObject *send_key, PyObject *send_salt, PyObject *receive_key, PyObject *receive_salt,
             struct wd_command_keys *out) {
    size_t salt;
    if (profile == WD_SRTP_AEAD_AES_128_GCM)
        salt = 12;
    else if (profile == WD_SRTP_AES128_CM_SHA1_80)
        salt = 14;
    else {
        PyErr_Format(PyExc_ValueError, "unknown SRTP profile %d", profile);
        return false;
    }
    *out = (struct wd_command_keys){.profile = profile};
    return secret(send_key, "send_key", WD_SRTP_KEY, out->send_key) &&
           secret(send_salt, "send_salt", salt, out->send_salt) &&
           secret(receive_key, "receive_key", WD_SRTP_KEY, out->receive_key) &&
           secret(receive_salt, "receive_salt", salt, out->receive_salt);
}

/* ---- media lines ---- */

static bool dictionary(PyObject *object, const char *what) {
    if (PyDict_Check(object)) return true;
    PyErr_Format(PyExc_TypeError, "%s must be a dict, not %.100s", what, Py_TYPE(object)->tp_name);
    return false;
}

static bool codec_field(PyObject *codec, const char *name, unsigned long least, unsigned long most,
                        unsigned long *out) {
    PyObject *value = PyDict_GetItemString(codec, name);
    if (value) return field(value, name, least, most, out);
    PyErr_Format(PyExc_ValueError, "codec without %s", name);
    return false;
}

static bool codec_flag(PyObject *codec, const char *name, uint8_t *out) {
    PyObject *value = PyDict_GetItemString(codec, name);
    if (!value || !PyBool_Check(value)) {
        if (value)
            PyErr_Format(PyExc_TypeError, "%s must be a bool", name);
        else
            PyErr_Format(PyExc_ValueError, "codec without %s", name);
        return false;
    }
    *out = value == Py_True;
    return true;
}

static bool codec_entry(PyObject *codec, struct wd_codec_entry *out) {
    unsigned long name, variant, payload_type, rtx, clock_rate;
    if (!dictionary(codec, "a codec") || !codec_field(codec, "codec", WD_CODEC_OPUS, WD_CODEC_AV1, &name) ||
        !codec_field(codec, "variant", 0, 255, &variant) ||
        !codec_field(codec, "payload_type", 0, 127, &payload_type) ||
        !codec_field(codec, "rtx_payload_type", 0, 127, &rtx) ||
        !codec_field(codec, "clock_rate", 1, UINT32_MAX, &clock_rate) || !codec_flag(codec, "nack", &out->nack) ||
        !codec_flag(codec, "pli", &out->pli))
        return false;
    if (PyDict_GET_SIZE(codec) != 7) {
        PyErr_Format(PyExc_ValueError, "unknown keys in codec %R", codec);
        return false;
    }
    out->codec = (uint8_t)name;
    out->variant = (uint8_t)variant;
    out->payload_type = (uint8_t)payload_type;
    out->rtx_payload_type = (uint8_t)rtx;
    out->clock_rate = (uint32_t)clock_rate;
    return true;
}

static bool codec_entries(PyObject *codecs, struct wd_media *out) {
    PyObject *sequence = PySequence_Fast(codecs, "codecs must be a sequence of dicts");
    if (!sequence) return false;
    Py_ssize_t count = PySequence_Fast_GET_SIZE(sequence);
    bool right = count >= 1 && count <= WD_MAX_CODECS;
    if (!right) PyErr_Format(PyExc_ValueError, "%zd codecs, not 1 to %d", count, WD_MAX_CODECS);
    for (Py_ssize_t i = 0; right && i < count; i++)
        right = codec_entry(PySequence_Fast_GET_ITEM(sequence, i), &out->codecs[i]);
    out->codec_count = right ? (uint8_t)count : 0;
    Py_DECREF(sequence);
    return right;
}

static bool extension_ids(PyObject *extensions, struct wd_extension_ids *out) {
    static const struct {
        const char *name;
        size_t at;
    } known[] = {
#define ID(name) {#name, offsetof(struct wd_extension_ids, name)}
        ID(mid),          ID(rid),           ID(repaired_rid), ID(audio_level),
        ID(transport_cc), ID(abs_send_time), ID(orientation),  ID(playout_delay),
#undef ID
    };
    if (!dictionary(extensions, "extensions")) return false;
    Py_ssize_t found = 0;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        PyObject *value = PyDict_GetItemString(extensions, known[i].name);
        unsigned long id;
        if (!value) continue;
        if (!field(value, known[i].name, 0, 255, &id)) return false;
        ((uint8_t *)out)[known[i].at] = (uint8_t)id;
        found++;
    }
    if (found == PyDict_GET_SIZE(extensions)) return true;
    PyErr_Format(PyExc_ValueError, "unknown keys in extensions %R", extensions);
    return false;
}

bool wd_media(int kind, PyObject *mid, PyObject *codecs, PyObject *extensions, struct wd_media *out) {
    *out = (struct wd_media){.kind = (uint8_t)kind};
    if (kind != WD_AUDIO && kind != WD_VIDEO) {
        PyErr_Format(PyExc_ValueError, "kind is %d, not AUDIO or VIDEO", kind);
        return false;
    }
    Py_ssize_t length;
    const char *text = PyUnicode_AsUTF8AndSize(mid, &length);
    if (!text) return false;
    if (length > WD_MAX_MID || memchr(text, 0, (size_t)length)) {
        PyErr_Format(PyExc_ValueError, "mid %R is longer than %d bytes or holds a NUL", mid, WD_MAX_MID);
        return false;
    }
    memcpy(out->mid, text, (size_t)length);
    return codec_entries(codecs, out) && extension_ids(extensions, &out->extensions);
}
