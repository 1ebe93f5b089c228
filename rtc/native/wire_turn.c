/* STUN messages of any method for Python (turn/stun.py): the part that runs for each of thousands of requests a second.
 * What is strict here, and why, stands in turn/stun.py; its first version, in Python, is kept in the tests as the
 * oracle. */
#include "wire_methods.h"
#include "wire_result.h"

#include <openssl/crypto.h>

#include "bytes.h"
#include "stun.h"

#define HEADER 20
#define COOKIE 0x2112a442u
#define MAC WD_STUN_MAC
#define MAX_MESSAGE 4096
#define MAX_ATTRIBUTES 64
#define MESSAGE_INTEGRITY 0x0008
#define XOR_PEER_ADDRESS 0x0012
#define FINGERPRINT 0x8028
#define OPTIONAL 0x8000

struct parsed {
    PyObject *attributes, *peers, *unknown; /* dict, list or NULL, list or NULL */
    size_t integrity_at;
    bool fingerprinted;
};

static bool append(PyObject **list, PyObject *item) {
    bool done = item && (*list || (*list = PyList_New(0))) && PyList_Append(*list, item) == 0;
    Py_XDECREF(item);
    return done;
}

/* One attribute before MESSAGE-INTEGRITY, or that. False with an exception. */
static bool keep(struct parsed *p, uint16_t type, const uint8_t *value, size_t length, size_t at,
                 PyObject *understood) {
    PyObject *key = PyLong_FromLong(type), *bytes = PyBytes_FromStringAndSize((const char *)value, (Py_ssize_t)length);
    bool right = key && bytes;
    int known = right ? PyDict_Contains(p->attributes, key) : -1;
    if (known == 0) {
        right = PyDict_SetItem(p->attributes, key, bytes) == 0;
        if (right && type == MESSAGE_INTEGRITY) {
            p->integrity_at = at;
            if (length != MAC) right = wire_malformed("MESSAGE-INTEGRITY is not a SHA-1") != NULL;
        } else if (right && type < OPTIONAL) {
            int understands = PySet_Contains(understood, key);
            if (understands == 0)
                right = append(&p->unknown, Py_NewRef(key));
            else
                right = understands > 0;
        }
    } else if (known > 0 && type == XOR_PEER_ADDRESS)
        right = append(&p->peers, Py_NewRef(bytes));
    else
        right = known >= 0;
    Py_XDECREF(key);
    Py_XDECREF(bytes);
    return right;
}

static bool read_attributes(const uint8_t *data, size_t size, struct parsed *p, PyObject *understood) {
    unsigned seen = 0;
    for (size_t at = HEADER; at < size;) {
        uint16_t type = wd_get16(data + at); /* sizes are multiples of four, so four bytes are there */
        size_t length = wd_get16(data + at + 2), start = at + 4;
        if (start + length > size || ++seen > MAX_ATTRIBUTES)
            return wire_malformed("an attribute ends behind the message, or there are too many");
        if (p->fingerprinted) return wire_malformed("FINGERPRINT is not the last attribute");
        if (type == FINGERPRINT) {
            if (length != 4 || wd_get32(data + start) != wd_stun_fingerprint(data, at))
                return wire_malformed("FINGERPRINT is wrong");
            p->fingerprinted = true;
        } else if (!p->integrity_at && !keep(p, type, data + start, length, at, understood))
            return false;
        at = start + ((length + 3) & ~(size_t)3);
    }
    return true;
}

static PyObject *as_tuple(PyObject *list) {
    PyObject *tuple = list ? PyList_AsTuple(list) : PyTuple_New(0);
    Py_XDECREF(list);
    return tuple;
}

PyObject *wire_turn_parse(PyObject *module, PyObject *const *args, Py_ssize_t count) {
    (void)module;
    if (count != 3 || !PyBytes_Check(args[0]) || !PyAnySet_Check(args[1]) || !PyTuple_Check(args[2]) ||
        PyTuple_GET_SIZE(args[2]) != 4) {
        PyErr_SetString(PyExc_TypeError, "turn_parse(data: bytes, understood: frozenset, classes: tuple of four)");
        return NULL;
    }
    const uint8_t *data = (const uint8_t *)PyBytes_AS_STRING(args[0]);
    size_t size = (size_t)PyBytes_GET_SIZE(args[0]);
    if (size < HEADER || size > MAX_MESSAGE) return wire_malformed("not the length of a message");
    uint16_t type = wd_get16(data), length = wd_get16(data + 2);
    if (type > 0x3fff || wd_get32(data + 4) != COOKIE || (size_t)length + HEADER != size || length & 3)
        return wire_malformed("not the header of a message");
    struct parsed p = {.attributes = PyDict_New()};
    if (!p.attributes || !read_attributes(data, size, &p, args[1])) {
        Py_XDECREF(p.attributes);
        Py_XDECREF(p.peers);
        Py_XDECREF(p.unknown);
        return NULL;
    }
    int method = (type & 0x000f) | (type & 0x00e0) >> 1 | (type & 0x3e00) >> 2,
        klass = (type & 0x0010) >> 4 | (type & 0x0100) >> 7;
    return Py_BuildValue("(iOy#NNNnOO)", method, PyTuple_GET_ITEM(args[2], klass), data + 8, (Py_ssize_t)12,
                         p.attributes, as_tuple(p.peers), as_tuple(p.unknown), (Py_ssize_t)p.integrity_at,
                         p.fingerprinted ? Py_True : Py_False, args[0]);
}

static bool integrity(uint8_t *data, size_t at, PyObject *key, uint8_t out[MAC]) {
    return wd_stun_mac(data, at, (const uint8_t *)PyBytes_AS_STRING(key), (size_t)PyBytes_GET_SIZE(key), out);
}

PyObject *wire_turn_verify(PyObject *module, PyObject *const *args, Py_ssize_t count) {
    (void)module;
    if (count != 3 || !PyBytes_Check(args[0]) || !PyLong_Check(args[1]) || !PyBytes_Check(args[2]) ||
        PyBytes_GET_SIZE(args[2]) > 1024) {
        PyErr_SetString(PyExc_TypeError, "turn_verify(data: bytes, integrity_at: int, key: bytes)");
        return NULL;
    }
    const uint8_t *data = (const uint8_t *)PyBytes_AS_STRING(args[0]);
    size_t at = PyLong_AsSize_t(args[1]), size = (size_t)PyBytes_GET_SIZE(args[0]);
    uint8_t expected[MAC], copy[MAX_MESSAGE];
    if (PyErr_Occurred()) return NULL;
    if (size > MAX_MESSAGE || at < HEADER || size < 4 + MAC || at > size - 4 - MAC)
        return wire_malformed("MESSAGE-INTEGRITY is not there");
    memcpy(copy, data, at);
    return PyBool_FromLong(integrity(copy, at, args[2], expected) && CRYPTO_memcmp(expected, data + at + 4, MAC) == 0);
}

/* The attributes' bytes with headers and padding; SIZE_MAX with an exception. */
static size_t attributes_size(PyObject *list) {
    size_t size = 0;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(list); i++) {
        PyObject *pair = PyList_GET_ITEM(list, i);
        if (!PyTuple_Check(pair) || PyTuple_GET_SIZE(pair) != 2 || !PyLong_Check(PyTuple_GET_ITEM(pair, 0)) ||
            !PyBytes_Check(PyTuple_GET_ITEM(pair, 1))) {
            PyErr_SetString(PyExc_TypeError, "attributes are pairs of a number and bytes");
            return SIZE_MAX;
        }
        size += 4 + (((size_t)PyBytes_GET_SIZE(PyTuple_GET_ITEM(pair, 1)) + 3) & ~(size_t)3);
    }
    return size;
}

PyObject *wire_turn_build(PyObject *module, PyObject *const *args, Py_ssize_t count) {
    (void)module;
    if (count != 5 || !PyLong_Check(args[0]) || !PyBytes_Check(args[1]) || PyBytes_GET_SIZE(args[1]) != 12 ||
        !PyList_Check(args[2]) ||
        (args[3] != Py_None && (!PyBytes_Check(args[3]) || PyBytes_GET_SIZE(args[3]) > 1024)) ||
        !PyBool_Check(args[4])) {
        PyErr_SetString(
            PyExc_TypeError,
            "turn_build(type: int, transaction: 12 bytes, attributes: list, key: bytes | None, fingerprint: bool)");
        return NULL;
    }
    bool fingerprint = args[4] == Py_True;
    size_t body = attributes_size(args[2]);
    if (body == SIZE_MAX) return NULL;
    size_t whole = HEADER + body + (args[3] != Py_None ? 4 + MAC : 0) + (fingerprint ? 8 : 0), at = HEADER;
    if (whole - HEADER > UINT16_MAX) return wire_malformed("too long for a message");
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)whole);
    if (!bytes) return NULL;
    uint8_t *out = (uint8_t *)PyBytes_AS_STRING(bytes);
    wd_put16(out, (uint16_t)PyLong_AsLong(args[0]));
    wd_put32(out + 4, COOKIE);
    memcpy(out + 8, PyBytes_AS_STRING(args[1]), 12);
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(args[2]); i++) {
        PyObject *pair = PyList_GET_ITEM(args[2], i), *value = PyTuple_GET_ITEM(pair, 1);
        size_t length = (size_t)PyBytes_GET_SIZE(value), padded = (length + 3) & ~(size_t)3;
        wd_put16(out + at, (uint16_t)PyLong_AsLong(PyTuple_GET_ITEM(pair, 0)));
        wd_put16(out + at + 2, (uint16_t)length);
        memcpy(out + at + 4, PyBytes_AS_STRING(value), length);
        memset(out + at + 4 + length, 0, padded - length);
        at += 4 + padded;
    }
    bool right = !PyErr_Occurred();
    if (right && args[3] != Py_None) {
        wd_put16(out + at, MESSAGE_INTEGRITY);
        wd_put16(out + at + 2, MAC);
        right = integrity(out, at, args[3], out + at + 4);
        if (!right) PyErr_SetString(PyExc_RuntimeError, "no HMAC-SHA1");
        at += 4 + MAC;
    }
    wd_put16(out + 2, (uint16_t)(whole - HEADER));
    if (right && fingerprint) {
        wd_put16(out + at, FINGERPRINT);
        wd_put16(out + at + 2, 4);
        wd_put32(out + at + 4, wd_stun_fingerprint(out, at));
    }
    if (!right) Py_CLEAR(bytes);
    return bytes;
}
