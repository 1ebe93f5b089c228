/* The methods of the Python module rtc._wire, by the files that have them. */
#ifndef WD_WIRE_METHODS_H
#define WD_WIRE_METHODS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

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

#endif
