/* What the files of the Python module rtc._wire share. */
#ifndef WD_WIRE_MODULE_H
#define WD_WIRE_MODULE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

extern PyType_Spec wire_srtp_spec;
PyObject *wire_derive_keys(PyObject *module, PyObject *args);

/* Raises ValueError; always NULL. */
PyObject *wire_malformed(const char *what);

#endif
