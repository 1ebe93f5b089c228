/* The methods of the Python class Worker for relay and streams. */
#ifndef WD_WORKER_RELAY_METHODS_H
#define WD_WORKER_RELAY_METHODS_H

#include "worker_object.h"

#define WD_RELAY_METHOD(name) PyObject *wd_method_##name(PyObject *self, PyObject *args, PyObject *kwargs);
WD_RELAY_METHOD(configure_relay)
WD_RELAY_METHOD(know_media)
WD_RELAY_METHOD(forget_media)
WD_RELAY_METHOD(reply)
WD_RELAY_METHOD(add_allocation)
WD_RELAY_METHOD(add_relayed)
WD_RELAY_METHOD(open_relayed)
WD_RELAY_METHOD(permit)
WD_RELAY_METHOD(bind_channel)
WD_RELAY_METHOD(move_allocation)
WD_RELAY_METHOD(remove_allocation)
WD_RELAY_METHOD(adopt_stream)
WD_RELAY_METHOD(close_stream)
WD_RELAY_METHOD(receive_relayed)
#undef WD_RELAY_METHOD

#define WD_RELAY_ENTRY(name) {#name, (PyCFunction)(void (*)(void))wd_method_##name, METH_VARARGS | METH_KEYWORDS, NULL}
#define WD_RELAY_METHODS \
    WD_RELAY_ENTRY(configure_relay), WD_RELAY_ENTRY(know_media), WD_RELAY_ENTRY(forget_media), WD_RELAY_ENTRY(reply), \
        WD_RELAY_ENTRY(add_allocation), WD_RELAY_ENTRY(add_relayed), WD_RELAY_ENTRY(open_relayed), \
        WD_RELAY_ENTRY(permit), WD_RELAY_ENTRY(bind_channel), WD_RELAY_ENTRY(move_allocation), \
        WD_RELAY_ENTRY(remove_allocation), WD_RELAY_ENTRY(adopt_stream), WD_RELAY_ENTRY(close_stream), \
        WD_RELAY_ENTRY(receive_relayed)

#endif
