/* The Python class Worker, and what its methods begin and end with. */
#ifndef WD_WORKER_OBJECT_H
#define WD_WORKER_OBJECT_H

#include "worker_arguments.h"

#include "worker.h"

typedef struct {
    PyObject_HEAD struct wd_worker *worker; /* NULL once closed */
    bool threaded;
} Worker;

/* NULL with an exception when it is closed, or not manual. */
struct wd_worker *wd_open_worker(Worker *self);
struct wd_worker *wd_worker_manual(Worker *self);
bool wd_time_goes_on(Worker *self, int64_t now_ns);
PyObject *wd_post(Worker *self, const struct wd_command *command,
                  const void *data); /* None, or NULL with an exception */

#endif
