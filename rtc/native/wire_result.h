/* What the methods of the Python module rtc._wire answer with. */
#ifndef WD_WIRE_RESULT_H
#define WD_WIRE_RESULT_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#define WIRE_MAX_PACKET 2048 /* bytes that any of the writers may use */

/* Raises ValueError; always NULL. */
static inline PyObject *wire_malformed(const char *what) { return PyErr_Format(PyExc_ValueError, "%s", what); }

/* The bytes that a writer of `length` has left; ValueError when it is 0, for they did not fit. */
static inline PyObject *wire_written(const uint8_t *data, size_t length) {
    return length ? PyBytes_FromStringAndSize((const char *)data, (Py_ssize_t)length) : wire_malformed("does not fit");
}

#endif
