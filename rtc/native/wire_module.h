/* What the files of the Python module rtc._wire share. */
#ifndef WD_WIRE_MODULE_H
#define WD_WIRE_MODULE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#define WIRE_MAX_PACKET 2048 /* bytes that any of the writers may use */

extern PyType_Spec wire_srtp_spec;
PyObject *wire_derive_keys(PyObject *module, PyObject *args);

PyObject *wire_stun_parse(PyObject *module, PyObject *args);
PyObject *wire_stun_verify(PyObject *module, PyObject *args);
PyObject *wire_stun_success(PyObject *module, PyObject *args);
PyObject *wire_stun_error(PyObject *module, PyObject *args);
PyObject *wire_stun_check(PyObject *module, PyObject *args, PyObject *kwargs);

PyObject *wire_turn_parse(PyObject *module, PyObject *const *args, Py_ssize_t count);
PyObject *wire_turn_verify(PyObject *module, PyObject *const *args, Py_ssize_t count);
PyObject *wire_turn_build(PyObject *module, PyObject *const *args, Py_ssize_t count);

/* Raises ValueError; always NULL. */
PyObject *wire_malformed(const char *what);
/* The bytes that a writer of `length` has left; ValueError when it is 0, for they did not fit. */
PyObject *wire_written(const uint8_t *data, size_t length);

#endif
