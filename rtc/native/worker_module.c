/* rtc._worker: class Worker (see _worker.pyi). Arguments are checked here; what follows is queued to the worker's
 * thread, which never touches Python. */
#include "worker_object.h"
#include "worker_relay_methods.h"

/* ---- life ---- */

static PyObject *worker_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {
        "address", "port",        "threaded", "cpu", "max_transports", "max_allocations", "max_streams",
        "index",   "shared_port", "seed",     NULL};
    const char *address = "127.0.0.1";
    int port = 0, threaded = 1, cpu = -1, max_transports = 4096, max_allocations = 16384, max_streams = 16384,
        index = 0, shared_port = 0;
    uint64_t seed = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|$sipiiiiipO&:Worker", names, &address, &port, &threaded, &cpu,
                                     &max_transports, &max_allocations, &max_streams, &index, &shared_port,
                                     wd_convert_seed, &seed))
        return NULL;
    struct wd_addr parsed;
    const char *wrong = NULL;
    if (!wd_addr_parse(address, 0, &parsed))
        wrong = "address must be an IP address";
    else if (port < 0 || port > 65535)
        wrong = "port must be in 0..65535";
    else if (cpu < -1 || cpu >= 1024)
        wrong = "cpu must be in -1..1023";
    else if (max_transports < 1 || max_transports > 1 << 20)
        wrong = "max_transports must be in 1..1048576";
    else if (max_allocations < 1 || max_allocations > 1 << 20)
        wrong = "max_allocations must be in 1..1048576";
    else if (max_streams < 1 || max_streams > 1 << 20)
        wrong = "max_streams must be in 1..1048576";
    else if (index < 0 || index > 255)
        wrong = "index must be in 0..255";
    if (wrong) {
        PyErr_SetString(PyExc_ValueError, wrong);
        return NULL;
    }
    Worker *self = (Worker *)type->tp_alloc(type, 0);
    if (!self) return NULL;
    struct wd_worker_config config = {.address = address,
                                      .port = (uint16_t)port,
                                      .threaded = threaded,
                                      .shared_port = shared_port,
                                      .cpu = cpu,
                                      .max_transports = (uint32_t)max_transports,
                                      .max_allocations = (uint32_t)max_allocations,
                                      .max_streams = (uint32_t)max_streams,
                                      .index = (uint32_t)index,
                                      .seed = seed};
    self->threaded = threaded;
    Py_BEGIN_ALLOW_THREADS self->worker = wd_worker_new(&config);
    Py_END_ALLOW_THREADS if (self->worker) return (PyObject *)self;
    PyErr_SetFromErrno(PyExc_OSError);
    Py_DECREF(self);
    return NULL;
}

static void shut(Worker *self) {
    struct wd_worker *worker = self->worker;
    self->worker = NULL; /* first: other Python threads run while we join */
    if (!worker) return;
    Py_BEGIN_ALLOW_THREADS wd_worker_free(worker);
    Py_END_ALLOW_THREADS
}

static void worker_dealloc(Worker *self) {
    PyTypeObject *type = Py_TYPE(self);
    shut(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *worker_close(Worker *self, PyObject *Py_UNUSED(none)) {
    shut(self);
    Py_RETURN_NONE;
}

static PyObject *worker_port(Worker *self, void *Py_UNUSED(closure)) {
    return wd_open_worker(self) ? PyLong_FromLong(wd_worker_port(self->worker)) : NULL;
}

static PyObject *worker_thread_id(Worker *self, void *Py_UNUSED(closure)) {
    return wd_open_worker(self) ? PyLong_FromLong(wd_worker_thread_id(self->worker)) : NULL;
}

static PyObject *worker_fileno(Worker *self, PyObject *Py_UNUSED(none)) {
    return wd_open_worker(self) ? PyLong_FromLong(wd_ring_fd(wd_worker_events(self->worker))) : NULL;
}

static PyObject *worker_counters(Worker *self, PyObject *Py_UNUSED(none)) {
    if (!wd_open_worker(self)) return NULL;
    struct wd_worker_counters counters;
    wd_worker_read_counters(self->worker, &counters);
    const struct {
        const char *name;
        uint64_t value;
    } all[] = {
#define X(name) {#name, counters.router.name},
        WD_COUNTERS(X)
#undef X
#define X(name) {#name, counters.relay.name},
            WD_RELAY_COUNTERS(X)
#undef X
#define X(name) {#name, counters.streams.name},
                WD_STREAM_COUNTERS(X)
#undef X
                    {"commands_refused", counters.commands_refused},
        {"drop_socket_full", counters.drop_socket_full},
    };
    PyObject *result = PyDict_New();
    for (size_t i = 0; result && i < sizeof all / sizeof *all; i++) {
        PyObject *value = PyLong_FromUnsignedLongLong(all[i].value);
        if (!value || PyDict_SetItemString(result, all[i].name, value) < 0) Py_CLEAR(result);
        Py_XDECREF(value);
    }
    return result;
}

/* ---- events ---- */

static PyObject *event_tuple(const struct wd_event *event) {
    char host[INET6_ADDRSTRLEN], local[INET6_ADDRSTRLEN] = "";
    const struct wd_stats *s = &event->stats;
    switch ((enum wd_event_type)event->type) {
    case WD_EVENT_DTLS: return Py_BuildValue("(iIy#)", event->type, event->id, event->data, (Py_ssize_t)event->length);
    case WD_EVENT_SELECTED:
        wd_addr_host(&event->address, host);
        return Py_BuildValue("(iIsi)", event->type, event->id, host, event->address.port);
    case WD_EVENT_QUIET:
    case WD_EVENT_HEARD:
    case WD_EVENT_CONSENT_LOST:
    case WD_EVENT_TRACK_STARTED: return Py_BuildValue("(iI)", event->type, event->id);
    case WD_EVENT_LEVEL:
        return Py_BuildValue("(iIIOd)", event->type, event->id, event->value, event->flag ? Py_True : Py_False,
                             (double)event->at_ns / 1e9);
    case WD_EVENT_STATS:
        return Py_BuildValue("(iIIIIIIII)", event->type, event->id, s->rtt_us, s->in_bps, s->out_bps, s->loss_in,
                             s->loss_out, s->estimate_bps, s->jitter_us);
    case WD_EVENT_REQUEST:
        wd_addr_host(&event->address, host);
        if (event->local.family) wd_addr_host(&event->local, local);
        return Py_BuildValue("(iIsisiy#)", event->type, event->id, host, event->address.port, local, event->local.port,
                             event->data, (Py_ssize_t)event->length);
    case WD_EVENT_STREAM_CLOSED: return Py_BuildValue("(iI)", event->type, event->id);
    }
    return PyErr_Format(PyExc_SystemError, "event of unknown type %d", event->type);
}

static PyObject *worker_take_events(Worker *self, PyObject *Py_UNUSED(none)) {
    if (!wd_open_worker(self)) return NULL;
    struct wd_ring *ring = wd_worker_events(self->worker);
    PyObject *list = PyList_New(0);
    struct wd_event event;
    uint8_t data[WD_RING_MAX_DATA];
    wd_ring_begin(ring);
    while (list && wd_ring_take(ring, &event, data)) {
        PyObject *tuple = event_tuple(&event);
        if (!tuple || PyList_Append(list, tuple) < 0) Py_CLEAR(list);
        Py_XDECREF(tuple);
    }
    wd_ring_rest(ring);
    return list;
}

/* ---- commands ---- */

static PyObject *post_credentials(Worker *self, PyObject *args, PyObject *kwargs, enum wd_command_type type,
                                  const char *format) {
    static char *names[] = {"transport", "ufrag", "password", NULL};
    struct wd_command command = {.type = type};
    PyObject *ufrag, *password;
    char credentials[WD_MAX_CREDENTIALS];
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, format, names, wd_convert_id, &command.id, &ufrag, &password))
        return NULL;
    command.length = (uint32_t)wd_credentials(ufrag, password, type == WD_COMMAND_SET_REMOTE, credentials);
    return command.length ? wd_post(self, &command, credentials) : NULL;
}

static PyObject *worker_add_transport(Worker *self, PyObject *args, PyObject *kwargs) {
    return post_credentials(self, args, kwargs, WD_COMMAND_ADD_TRANSPORT, "O&UU:add_transport");
}

static PyObject *worker_restart_ice(Worker *self, PyObject *args, PyObject *kwargs) {
    return post_credentials(self, args, kwargs, WD_COMMAND_RESTART_ICE, "O&UU:restart_ice");
}

static PyObject *worker_set_remote(Worker *self, PyObject *args, PyObject *kwargs) {
    return post_credentials(self, args, kwargs, WD_COMMAND_SET_REMOTE, "O&UU:set_remote");
}

static PyObject *worker_set_keys(Worker *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"transport", "profile", "send_key", "send_salt", "receive_key", "receive_salt", NULL};
    struct wd_command command = {.type = WD_COMMAND_SET_KEYS};
    uint32_t profile;
    PyObject *send_key, *send_salt, *receive_key, *receive_salt;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O&O&SSSS:set_keys", names, wd_convert_id, &command.id,
                                     wd_convert_optional_id, &profile, &send_key, &send_salt, &receive_key,
                                     &receive_salt))
        return NULL;
    if (profile > UINT16_MAX) return PyErr_Format(PyExc_ValueError, "unknown SRTP profile %u", profile);
    PyObject *result = wd_keys((uint16_t)profile, send_key, send_salt, receive_key, receive_salt, &command.keys)
                           ? wd_post(self, &command, NULL)
                           : NULL;
    explicit_bzero(&command, sizeof command);
    return result;
}

static bool is_datagram(PyObject *object) {
    if (!PyBytes_Check(object))
        PyErr_Format(PyExc_TypeError, "datagrams must be bytes, not %.100s", Py_TYPE(object)->tp_name);
    else if (PyBytes_GET_SIZE(object) < 1 || PyBytes_GET_SIZE(object) > WD_MAX_DTLS_DATAGRAM)
        PyErr_Format(PyExc_ValueError, "datagram of %zd bytes, not 1 to %d", PyBytes_GET_SIZE(object),
                     WD_MAX_DTLS_DATAGRAM);
    else
        return true;
    return false;
}

static PyObject *worker_send_dtls(Worker *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"transport", "datagrams", NULL};
    struct wd_command command = {.type = WD_COMMAND_SEND_DTLS};
    PyObject *datagrams;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O&O:send_dtls", names, wd_convert_id, &command.id, &datagrams) ||
        !wd_open_worker(self))
        return NULL;
    PyObject *sequence = PySequence_Fast(datagrams, "datagrams must be a sequence of bytes");
    if (!sequence) return NULL;
    Py_ssize_t count = PySequence_Fast_GET_SIZE(sequence);
    bool right = true;
    for (Py_ssize_t i = 0; right && i < count; i++) right = is_datagram(PySequence_Fast_GET_ITEM(sequence, i));
    for (Py_ssize_t i = 0; right && i < count; i++) {
        PyObject *datagram = PySequence_Fast_GET_ITEM(sequence, i);
        command.length = (uint32_t)PyBytes_GET_SIZE(datagram);
        right = wd_worker_command(self->worker, &command, PyBytes_AS_STRING(datagram));
        if (!right) PyErr_NoMemory();
    }
    Py_DECREF(sequence);
    if (!right) return NULL;
    Py_RETURN_NONE;
}

static PyObject *post_id(Worker *self, PyObject *args, PyObject *kwargs, enum wd_command_type type, char *name,
                         const char *format) {
    char *names[] = {name, NULL};
    struct wd_command command = {.type = type};
    return PyArg_ParseTupleAndKeywords(args, kwargs, format, names, wd_convert_id, &command.id)
               ? wd_post(self, &command, NULL)
               : NULL;
}

#define ID_COMMAND(method, type, name) \
    static PyObject *worker_##method(Worker *self, PyObject *args, PyObject *kwargs) { \
        return post_id(self, args, kwargs, type, name, "O&:" #method); \
    }
ID_COMMAND(remove_transport, WD_COMMAND_REMOVE_TRANSPORT, "transport")
ID_COMMAND(remove_track, WD_COMMAND_REMOVE_TRACK, "track")
ID_COMMAND(remove_leg, WD_COMMAND_REMOVE_LEG, "leg")

static PyObject *worker_set_source(Worker *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"leg", "track", NULL};
    struct wd_command command = {.type = WD_COMMAND_SET_SOURCE};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O&O&:set_source", names, wd_convert_id, &command.id,
                                     wd_convert_optional_id, &command.track))
        return NULL;
    return wd_post(self, &command, NULL);
}

struct media_line {
    uint32_t id, transport, ssrc, rtx_ssrc;
    struct wd_media media;
};

static bool media_line(PyObject *args, PyObject *kwargs, char *name, const char *format, struct media_line *out) {
    char *names[] = {name, "transport", "kind", "mid", "codecs", "extensions", "ssrc", "rtx_ssrc", NULL};
    PyObject *mid = NULL, *codecs = NULL, *extensions = NULL;
    int kind = 0;
    *out = (struct media_line){0};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, format, names, wd_convert_id, &out->id, wd_convert_id,
                                     &out->transport, &kind, &mid, &codecs, &extensions, wd_convert_optional_id,
                                     &out->ssrc, wd_convert_optional_id, &out->rtx_ssrc))
        return false;
    if (mid && codecs && extensions) return wd_media(kind, mid, codecs, extensions, &out->media);
    PyErr_SetString(PyExc_TypeError, "kind, mid, codecs and extensions are required");
    return false;
}

/* The two configurations have the same fields. */
#define FILL(config, line) \
    do { \
        *(config) = (__typeof__(*(config))){.id = (line).id, \
                                            .transport = (line).transport, \
                                            .kind = (line).media.kind, \
                                            .ssrc = (line).ssrc, \
                                            .rtx_ssrc = (line).rtx_ssrc, \
                                            .codec_count = (line).media.codec_count, \
                                            .extensions = (line).media.extensions}; \
        memcpy((config)->mid, (line).media.mid, sizeof(config)->mid); \
        memcpy((config)->codecs, (line).media.codecs, sizeof(config)->codecs); \
    } while (0)

static PyObject *worker_add_track(Worker *self, PyObject *args, PyObject *kwargs) {
    struct wd_command command = {.type = WD_COMMAND_ADD_TRACK};
    struct media_line line;
    if (!media_line(args, kwargs, "track", "O&O&|$iUOOO&O&:add_track", &line)) return NULL;
    FILL(&command.new_track, line);
    return wd_post(self, &command, NULL);
}

static PyObject *worker_add_leg(Worker *self, PyObject *args, PyObject *kwargs) {
    struct wd_command command = {.type = WD_COMMAND_ADD_LEG};
    struct media_line line;
    if (!media_line(args, kwargs, "leg", "O&O&|$iUOOO&O&:add_leg", &line)) return NULL;
    if (!line.ssrc) {
        PyErr_SetString(PyExc_ValueError, "a leg needs an ssrc");
        return NULL;
    }
    FILL(&command.new_leg, line);
    return wd_post(self, &command, NULL);
}

static PyObject *worker_hold(Worker *self, PyObject *Py_UNUSED(none)) {
    if (!wd_open_worker(self)) return NULL;
    wd_worker_hold(self->worker, true);
    Py_RETURN_NONE;
}

static PyObject *worker_let_go(Worker *self, PyObject *Py_UNUSED(none)) {
    if (!wd_open_worker(self)) return NULL;
    wd_worker_hold(self->worker, false);
    Py_RETURN_NONE;
}

/* ---- manual ---- */

static PyObject *worker_receive(Worker *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"datagram", "address", "now_ns", NULL};
    PyObject *datagram;
    const char *host;
    int port;
    int64_t now_ns;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "S(si)O&:receive", names, &datagram, &host, &port, wd_convert_time,
                                     &now_ns))
        return NULL;
    if (!wd_worker_manual(self) || !wd_time_goes_on(self, now_ns)) return NULL;
    struct wd_addr from;
    if (port < 0 || port > 65535 || !wd_addr_parse(host, (uint16_t)port, &from))
        return PyErr_Format(PyExc_ValueError, "no address: (%s, %d)", host, port);
    size_t length = (size_t)PyBytes_GET_SIZE(datagram);
    if (length > 65535) return PyErr_Format(PyExc_ValueError, "datagram of %zu bytes", length);
    uint8_t *copy = PyMem_Malloc(
        length); /* the core works in place; a block of its own shows memory checkers every step beyond it */
    if (!copy) return PyErr_NoMemory();
    memcpy(copy, PyBytes_AS_STRING(datagram), length);
    wd_worker_receive(self->worker, copy, length, &from, now_ns);
    PyMem_Free(copy);
    Py_RETURN_NONE;
}

static PyObject *worker_advance(Worker *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"now_ns", NULL};
    int64_t now_ns;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O&:advance", names, wd_convert_time, &now_ns)) return NULL;
    if (!wd_worker_manual(self) || !wd_time_goes_on(self, now_ns)) return NULL;
    return PyLong_FromLongLong(wd_worker_advance(self->worker, now_ns));
}

static PyObject *worker_take_datagrams(Worker *self, PyObject *Py_UNUSED(none)) {
    if (!wd_worker_manual(self)) return NULL;
    Py_ssize_t count = (Py_ssize_t)wd_worker_sent_count(self->worker);
    PyObject *list = PyList_New(count);
    for (Py_ssize_t i = 0; list && i < count; i++) {
        struct wd_sent sent = wd_worker_sent(self->worker, (size_t)i);
        char host[INET6_ADDRSTRLEN];
        wd_addr_host(&sent.to, host);
        PyObject *pair = Py_BuildValue("(y#(si))", sent.data, (Py_ssize_t)sent.length, host, sent.to.port);
        if (pair)
            PyList_SET_ITEM(list, i, pair);
        else
            Py_CLEAR(list);
    }
    if (list) wd_worker_forget_sent(self->worker);
    return list;
}

/* ---- module ---- */

#define KEYWORDS(name) {#name, (PyCFunction)(void (*)(void))worker_##name, METH_VARARGS | METH_KEYWORDS, NULL}
#define NONE(name) {#name, (PyCFunction)worker_##name, METH_NOARGS, NULL}
static PyMethodDef methods[] = {
    NONE(fileno),
    NONE(take_events),
    NONE(counters),
    NONE(close),
    NONE(hold),
    NONE(let_go),
    KEYWORDS(add_transport),
    KEYWORDS(restart_ice),
    KEYWORDS(set_remote),
    KEYWORDS(set_keys),
    KEYWORDS(send_dtls),
    KEYWORDS(remove_transport),
    KEYWORDS(add_track),
    KEYWORDS(remove_track),
    KEYWORDS(add_leg),
    KEYWORDS(remove_leg),
    KEYWORDS(set_source),
    KEYWORDS(receive),
    KEYWORDS(advance),
    NONE(take_datagrams),
    WD_RELAY_METHODS,
    {0},
};

static PyGetSetDef properties[] = {
    {"port", (getter)worker_port, NULL, PyDoc_STR("Bound UDP port; 0 when not threaded."), NULL},
    {"thread_id", (getter)worker_thread_id, NULL, PyDoc_STR("Kernel thread id; 0 when not threaded."), NULL},
    {0},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "Media worker bound to one UDP socket; see _worker.pyi."},
    {Py_tp_new, worker_new},
    {Py_tp_dealloc, worker_dealloc},
    {Py_tp_methods, methods},
    {Py_tp_getset, properties},
    {0, NULL},
};

static PyType_Spec spec = {.name = "rtc._worker.Worker",
                           .basicsize = sizeof(Worker),
                           .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
                           .slots = slots};

static int add_constants(PyObject *module) {
    static const struct {
        const char *name;
        long value;
    } constants[] = {
        {"AUDIO", WD_AUDIO},
        {"VIDEO", WD_VIDEO},
        {"EVENT_DTLS", WD_EVENT_DTLS},
        {"EVENT_SELECTED", WD_EVENT_SELECTED},
        {"EVENT_QUIET", WD_EVENT_QUIET},
        {"EVENT_HEARD", WD_EVENT_HEARD},
        {"EVENT_CONSENT_LOST", WD_EVENT_CONSENT_LOST},
        {"EVENT_TRACK_STARTED", WD_EVENT_TRACK_STARTED},
        {"EVENT_LEVEL", WD_EVENT_LEVEL},
        {"EVENT_STATS", WD_EVENT_STATS},
        {"EVENT_REQUEST", WD_EVENT_REQUEST},
        {"EVENT_STREAM_CLOSED", WD_EVENT_STREAM_CLOSED},
        {"STREAM_TURN", WD_STREAM_TURN},
        {"STREAM_ICE", WD_STREAM_ICE},
    };
    for (size_t i = 0; i < sizeof constants / sizeof *constants; i++)
        if (PyModule_AddIntConstant(module, constants[i].name, constants[i].value) < 0) return -1;
    return 0;
}

static int fill_module(PyObject *module) {
    if (add_constants(module) < 0) return -1;
    PyObject *codecs = Py_BuildValue("{s:i,s:i,s:i,s:i,s:i}", "opus", WD_CODEC_OPUS, "vp8", WD_CODEC_VP8, "h264",
                                     WD_CODEC_H264, "vp9", WD_CODEC_VP9, "av1", WD_CODEC_AV1);
    int failed = !codecs || PyModule_AddObjectRef(module, "CODECS", codecs) < 0;
    Py_XDECREF(codecs);
    if (failed) return -1;
    PyObject *type = PyType_FromModuleAndSpec(module, &spec, NULL);
    failed = !type || PyModule_AddType(module, (PyTypeObject *)type) < 0;
    Py_XDECREF(type);
    return failed ? -1 : 0;
}

static PyModuleDef_Slot module_slots[] = {{Py_mod_exec, fill_module}, {0, NULL}};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, .m_name = "rtc._worker",
                                        .m_doc = "Media workers; see _worker.pyi.", .m_size = 0,
                                        .m_slots = module_slots};

PyMODINIT_FUNC PyInit__worker(void) { return PyModuleDef_Init(&definition); }
