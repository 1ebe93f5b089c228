/* STUN messages for Python, as dicts and bytes. */
#include "wire_methods.h"
#include "wire_result.h"

#include <arpa/inet.h>

#include "stun.h"

static PyObject *address_tuple(const struct wd_addr *address) {
    char host[INET6_ADDRSTRLEN];
    if (!address->family) Py_RETURN_NONE;
    inet_ntop(address->family == 4 ? AF_INET : AF_INET6, address->ip, host, sizeof host);
    return Py_BuildValue("(si)", host, address->port);
}

static bool read_address(PyObject *tuple, struct wd_addr *out) {
    const char *host;
    int port;
    *out = (struct wd_addr){0};
    if (!PyArg_ParseTuple(tuple, "si", &host, &port)) return false;
    out->family = inet_pton(AF_INET, host, out->ip) == 1 ? 4 : inet_pton(AF_INET6, host, out->ip) == 1 ? 6 : 0;
    out->port = (uint16_t)port;
    if (out->family && port >= 0 && port <= 65535) return true;
    wire_malformed("not a transport address");
    return false;
}

static PyObject *optional_bytes(const uint8_t *data, size_t length) {
    return data ? PyBytes_FromStringAndSize((const char *)data, (Py_ssize_t)length) : Py_NewRef(Py_None);
}

PyObject *wire_stun_parse(PyObject *module, PyObject *args) {
    (void)module;
    const uint8_t *data;
    Py_ssize_t length;
    struct wd_stun m;
    static const char *const classes[] = {"request", "indication", "success", "error"};
    if (!PyArg_ParseTuple(args, "y#:stun_parse", &data, &length)) return NULL;
    if (!wd_stun_parse(data, (size_t)length, &m)) return wire_malformed("not a well-formed STUN message");
    PyObject *unknown = PyList_New((Py_ssize_t)m.unknown_count);
    for (size_t i = 0; unknown && i < m.unknown_count; i++)
        PyList_SET_ITEM(unknown, (Py_ssize_t)i, PyLong_FromLong(m.unknown[i]));
    return Py_BuildValue("{s:i,s:s,s:N,s:N,s:N,s:N,s:N,s:N,s:N,s:K,s:k,s:i,s:N,s:N}", "method", m.method, "class",
                         classes[m.klass], "transaction", PyBytes_FromStringAndSize((const char *)m.transaction, 12),
                         "username", optional_bytes(m.username, m.username_len), "integrity",
                         PyBool_FromLong(m.integrity_at != 0), "fingerprint", PyBool_FromLong(m.has_fingerprint),
                         "use_candidate", PyBool_FromLong(m.use_candidate), "controlling",
                         PyBool_FromLong(m.controlling), "controlled", PyBool_FromLong(m.controlled), "tiebreaker",
                         (unsigned long long)m.tiebreaker, "priority", (unsigned long)m.priority, "error_code",
                         m.error_code, "mapped", address_tuple(&m.mapped), "unknown", unknown);
}

PyObject *wire_stun_verify(PyObject *module, PyObject *args) {
    (void)module;
    const uint8_t *data, *key;
    Py_ssize_t length, key_length;
    struct wd_stun m;
    if (!PyArg_ParseTuple(args, "y#y#:stun_verify", &data, &length, &key, &key_length)) return NULL;
    if (!wd_stun_parse(data, (size_t)length, &m)) return wire_malformed("not a well-formed STUN message");
    return PyBool_FromLong(wd_stun_verify(data, (size_t)length, &m, key, (size_t)key_length));
}

PyObject *wire_stun_success(PyObject *module, PyObject *args) {
    (void)module;
    const uint8_t *transaction, *key;
    Py_ssize_t transaction_length, key_length;
    PyObject *mapped;
    struct wd_addr address;
    uint8_t out[WIRE_MAX_PACKET];
    if (!PyArg_ParseTuple(args, "y#O!y#:stun_success", &transaction, &transaction_length, &PyTuple_Type, &mapped, &key,
                          &key_length))
        return NULL;
    if (!read_address(mapped, &address)) return NULL;
    if (transaction_length != 12) return wire_malformed("a transaction id has 12 bytes");
    return wire_written(out, wd_stun_write_success(out, sizeof out, transaction, &address, key, (size_t)key_length));
}

PyObject *wire_stun_error(PyObject *module, PyObject *args) {
    (void)module;
    const uint8_t *transaction, *key;
    Py_ssize_t transaction_length, key_length;
    int code;
    const char *reason;
    PyObject *list;
    uint16_t unknown[WD_STUN_MAX_UNKNOWN];
    uint8_t out[WIRE_MAX_PACKET];
    if (!PyArg_ParseTuple(args, "y#isO!y#:stun_error", &transaction, &transaction_length, &code, &reason, &PyList_Type,
                          &list, &key, &key_length))
        return NULL;
    if (transaction_length != 12 || code < 300 || code > 699 || PyList_GET_SIZE(list) > WD_STUN_MAX_UNKNOWN ||
        strlen(reason) > 128)
        return wire_malformed("transaction, code, reason or list");
    size_t count = (size_t)PyList_GET_SIZE(list);
    for (size_t i = 0; i < count; i++) unknown[i] = (uint16_t)PyLong_AsLong(PyList_GET_ITEM(list, (Py_ssize_t)i));
    if (PyErr_Occurred()) return NULL;
    return wire_written(out, wd_stun_write_error(out, sizeof out, transaction, (uint16_t)code, reason, unknown, count,
                                                 key, (size_t)key_length));
}

PyObject *wire_stun_check(PyObject *module, PyObject *args, PyObject *kwargs) {
    (void)module;
    static char *names[] = {"transaction", "username",   "password",      "priority",
                            "controlling", "tiebreaker", "use_candidate", NULL};
    const uint8_t *transaction, *username, *key;
    Py_ssize_t transaction_length, username_length, key_length;
    unsigned priority = 0;
    int controlling = 1, use_candidate = 0;
    unsigned long long tiebreaker = 0;
    uint8_t out[WIRE_MAX_PACKET];
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "y#y#y#|$IpKp:stun_check", names, &transaction, &transaction_length,
                                     &username, &username_length, &key, &key_length, &priority, &controlling,
                                     &tiebreaker, &use_candidate))
        return NULL;
    if (transaction_length != 12 || username_length > 512)
        return wire_malformed("a transaction id has 12 bytes, a username at most 512");
    struct wd_stun_check check = {username, (size_t)username_length, priority, controlling, tiebreaker, use_candidate};
    return wire_written(out, wd_stun_write_check(out, sizeof out, transaction, &check, key, (size_t)key_length));
}
