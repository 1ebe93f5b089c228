#include "worker_object.h"

struct wd_worker *wd_open_worker(Worker *self) {
    if (!self->worker) PyErr_SetString(PyExc_RuntimeError, "the worker is closed");
    return self->worker;
}

struct wd_worker *wd_worker_manual(Worker *self) {
    if (wd_open_worker(self) && self->threaded) {
        PyErr_SetString(PyExc_RuntimeError, "only with threaded=False");
        return NULL;
    }
    return self->worker;
}

bool wd_time_goes_on(Worker *self, int64_t now_ns) {
    if (now_ns >= wd_worker_now(self->worker)) return true;
    PyErr_SetString(PyExc_ValueError, "now_ns goes back");
    return false;
}

PyObject *wd_post(Worker *self, const struct wd_command *command, const void *data) {
    if (!wd_open_worker(self)) return NULL;
    if (!wd_worker_command(self->worker, command, data)) return PyErr_NoMemory();
    Py_RETURN_NONE;
}
