/* Methods of rtc._worker.Worker for the relay and for adopted streams (see _worker.pyi): arguments checked, then a
 * command. */
#include "worker_relay_methods.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define MAX_REPLY 1500

/* ---- addresses ---- */

/* "" stands for none where `optional`. */
static bool address_of(const char *host, int port, bool optional, struct wd_addr *out) {
    *out = (struct wd_addr){0};
    if (optional && !*host) return true;
    if (port >= 0 && port <= 65535 && wd_addr_parse(host, (uint16_t)port, out)) return true;
    PyErr_Format(PyExc_ValueError, "no address: (%s, %d)", host, port);
    return false;
}

/* "O&" converters. */
static int convert_address(PyObject *tuple, void *out) {
    const char *host;
    int port;
    if (!PyTuple_Check(tuple)) {
        PyErr_SetString(PyExc_TypeError, "an address is a tuple of host and port");
        return 0;
    }
    return PyArg_ParseTuple(tuple, "si:address", &host, &port) && address_of(host, port, false, out);
}

static int convert_host(PyObject *object, void *out) {
    const char *host = PyUnicode_AsUTF8(object);
    return host && address_of(host, 0, false, out);
}

static int convert_client(PyObject *tuple, void *out) {
    struct wd_command_way *way = out;
    const char *host, *local_host;
    int port, local_port;
    uint32_t stream;
    if (!PyTuple_Check(tuple)) {
        PyErr_SetString(PyExc_TypeError, "a client is a tuple (stream, host, port, local_host, local_port)");
        return 0;
    }
    if (!PyArg_ParseTuple(tuple, "O&sisi:client", wd_convert_optional_id, &stream, &host, &port, &local_host,
                          &local_port) ||
        !address_of(host, port, false, &way->remote) || !address_of(local_host, local_port, true, &way->local))
        return 0;
    if (stream & WD_VIA_RELAY) {
        PyErr_SetString(PyExc_ValueError, "stream ids are below 2^31");
        return 0;
    }
    way->remote.via = stream;
    return 1;
}

static bool is_descriptor(int fd) {
    if (fd >= 0 && fcntl(fd, F_GETFD) >= 0) return true;
    PyErr_Format(PyExc_ValueError, "%d is no descriptor", fd);
    return false;
}

#define METHOD(name) PyObject *wd_method_##name(PyObject *object, PyObject *args, PyObject *kwargs)
#define SELF Worker *self = (Worker *)object

/* ---- the relay ---- */

METHOD(configure_relay) {
    SELF;
    static char *names[] = {"realm",      "nonce_key", "nonce_lifetime_s", "answer_binding", "requests_per_s",
                            "open_ports", NULL};
    const char *realm = NULL, *key = NULL, *ports = NULL;
    Py_ssize_t realm_length = 0, key_length = 0, ports_length = 0;
    unsigned lifetime_s = 3600, requests_per_s = 1000;
    int answer_binding = 1;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|$s#y#IpIy#:configure_relay", names, &realm, &realm_length, &key,
                                     &key_length, &lifetime_s, &answer_binding, &requests_per_s, &ports, &ports_length))
        return NULL;
    if (realm_length < 1 || realm_length > WD_MAX_REALM)
        return PyErr_Format(PyExc_ValueError, "realm has %zd bytes, not 1 to %d", realm_length, WD_MAX_REALM);
    if (key_length != WD_NONCE_KEY)
        return PyErr_Format(PyExc_ValueError, "nonce_key has %zd bytes, not %d", key_length, WD_NONCE_KEY);
    if (ports && ports_length != WD_PORT_SET)
        return PyErr_Format(PyExc_ValueError, "open_ports has %zd bytes, not %d", ports_length, WD_PORT_SET);
    struct wd_relay_rules rules = {.realm_length = (uint8_t)realm_length,
                                   .nonce_lifetime_s = lifetime_s,
                                   .requests_per_s = requests_per_s,
                                   .answer_binding = answer_binding};
    memcpy(rules.realm, realm, (size_t)realm_length);
    memcpy(rules.nonce_key, key, WD_NONCE_KEY);
    if (ports) memcpy(rules.open_ports, ports, WD_PORT_SET);
    PyObject *result =
        wd_post(self, &(struct wd_command){.type = WD_COMMAND_RELAY_CONFIGURE, .length = sizeof rules}, &rules);
    explicit_bzero(&rules, sizeof rules);
    return result;
}

METHOD(know_media) {
    SELF;
    static char *names[] = {"host", "port", "worker", NULL};
    const char *host;
    int port;
    PyObject *other;
    struct wd_command command = {.type = WD_COMMAND_KNOW_MEDIA};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "siO:know_media", names, &host, &port, &other)) return NULL;
    if (other == Py_None) {
        command.type = WD_COMMAND_KNOW_MEDIA_ELSEWHERE;
        return address_of(host, port, false, &command.neighbour.media) && wd_open_worker(self)
                   ? wd_post(self, &command, NULL)
                   : NULL;
    }
    if (!PyObject_TypeCheck(other, Py_TYPE(object)))
        return PyErr_Format(PyExc_TypeError, "worker is neither a Worker nor None");
    struct wd_worker *worker = wd_open_worker((Worker *)other);
    if (!worker || !address_of(host, port, false, &command.neighbour.media) || !wd_open_worker(self)) return NULL;
    command.neighbour.index = wd_worker_index(worker);
    if (other != object) {
        if (command.neighbour.index == wd_worker_index(self->worker))
            return PyErr_Format(PyExc_ValueError, "both workers have index %u", command.neighbour.index);
        if (!(command.neighbour.queue = wd_worker_hold_queue(worker)) || !self->threaded) {
            wd_commands_release(command.neighbour.queue);
            PyErr_SetString(PyExc_ValueError, "by hand a worker knows itself only");
            return NULL;
        }
    }
    PyObject *result = wd_post(self, &command, NULL);
    if (!result) wd_commands_release(command.neighbour.queue);
    return result;
}

METHOD(forget_media) {
    SELF;
    static char *names[] = {"host", "port", NULL};
    const char *host;
    int port;
    struct wd_command command = {.type = WD_COMMAND_FORGET_MEDIA};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "si:forget_media", names, &host, &port)) return NULL;
    return address_of(host, port, false, &command.neighbour.media) && wd_open_worker(self)
               ? wd_post(self, &command, NULL)
               : NULL;
}

METHOD(reply) {
    SELF;
    static char *names[] = {"client", "message", NULL};
    struct wd_command command = {.type = WD_COMMAND_RELAY_REPLY};
    const char *message;
    Py_ssize_t length;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O&y#:reply", names, convert_client, &command.way, &message,
                                     &length))
        return NULL;
    if (length < 1 || length > MAX_REPLY)
        return PyErr_Format(PyExc_ValueError, "message of %zd bytes, not 1 to %d", length, MAX_REPLY);
    command.length = (uint32_t)length;
    return wd_post(self, &command, message);
}

METHOD(add_allocation) {
    SELF;
    static char *names[] = {"allocation", "client", "bandwidth_bps", NULL};
    struct wd_command command = {.type = WD_COMMAND_RELAY_ADD};
    unsigned long long bandwidth_bps = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O&O&|$K:add_allocation", names, wd_convert_id, &command.id,
                                     convert_client, &command.way, &bandwidth_bps))
        return NULL;
    command.way.bandwidth_bps = bandwidth_bps;
    return wd_post(self, &command, NULL);
}

METHOD(add_relayed) {
    SELF;
    static char *names[] = {"allocation", "relayed", NULL};
    struct wd_command command = {.type = WD_COMMAND_RELAY_ADD_RELAYED};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O&O&:add_relayed", names, wd_convert_id, &command.id,
                                     convert_address, &command.way.remote))
        return NULL;
    return wd_post(self, &command, NULL);
}

METHOD(open_relayed) {
    SELF;
    static char *names[] = {"allocation", "relayed", "fd", NULL};
    struct wd_command command = {.type = WD_COMMAND_RELAY_OPEN};
    int fd;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O&O&i:open_relayed", names, wd_convert_id, &command.id,
                                     convert_address, &command.way.remote, &fd))
        return NULL;
    if (!is_descriptor(fd)) return NULL;
    command.way.fd = fd;
    return wd_post(self, &command, NULL);
}

METHOD(permit) {
    SELF;
    static char *names[] = {"allocation", "host", "until_ns", "media_only", NULL};
    struct wd_command command = {.type = WD_COMMAND_RELAY_PERMIT};
    int media_only = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O&O&O&|$p:permit", names, wd_convert_id, &command.id, convert_host,
                                     &command.grant.peer, wd_convert_time, &command.grant.until_ns, &media_only))
        return NULL;
    command.grant.media_only = media_only;
    return wd_post(self, &command, NULL);
}

METHOD(bind_channel) {
    SELF;
    static char *names[] = {"allocation", "number", "peer", "until_ns", NULL};
    struct wd_command command = {.type = WD_COMMAND_RELAY_BIND};
    int number;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O&iO&O&:bind_channel", names, wd_convert_id, &command.id, &number,
                                     convert_address, &command.grant.peer, wd_convert_time, &command.grant.until_ns))
        return NULL;
    if (number < 0x4000 || number > 0x7ffe)
        return PyErr_Format(PyExc_ValueError, "%d is no channel number (RFC 8656 section 12)", number);
    command.grant.channel = (uint16_t)number;
    return wd_post(self, &command, NULL);
}

METHOD(move_allocation) {
    SELF;
    static char *names[] = {"allocation", "client", NULL};
    struct wd_command command = {.type = WD_COMMAND_RELAY_MOVE};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O&O&:move_allocation", names, wd_convert_id, &command.id,
                                     convert_client, &command.way))
        return NULL;
    return wd_post(self, &command, NULL);
}

static PyObject *post_id(Worker *self, PyObject *args, PyObject *kwargs, enum wd_command_type type, char *name,
                         const char *format) {
    char *names[] = {name, NULL};
    struct wd_command command = {.type = type};
    return PyArg_ParseTupleAndKeywords(args, kwargs, format, names, wd_convert_id, &command.id)
               ? wd_post(self, &command, NULL)
               : NULL;
}

METHOD(remove_allocation) {
    return post_id((Worker *)object, args, kwargs, WD_COMMAND_RELAY_REMOVE, "allocation", "O&:remove_allocation");
}

/* ---- streams ---- */

METHOD(adopt_stream) {
    SELF;
    static char *names[] = {"stream", "fd", "kind", "remote", "local", NULL};
    struct wd_command command = {.type = WD_COMMAND_ADOPT_STREAM};
    int fd, kind;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O&iiO&O&:adopt_stream", names, wd_convert_id, &command.id, &fd,
                                     &kind, convert_address, &command.way.remote, convert_address, &command.way.local))
        return NULL;
    if (kind != WD_STREAM_TURN && kind != WD_STREAM_ICE)
        return PyErr_Format(PyExc_ValueError, "kind is %d, not STREAM_TURN or STREAM_ICE", kind);
    if (command.id & WD_VIA_RELAY) return PyErr_Format(PyExc_ValueError, "stream ids are below 2^31");
    if (!is_descriptor(fd)) return NULL;
    command.way.remote.via = command.id;
    command.way.fd = fd;
    command.way.kind = (uint8_t)kind;
    return wd_post(self, &command, NULL);
}

METHOD(close_stream) {
    return post_id((Worker *)object, args, kwargs, WD_COMMAND_CLOSE_STREAM, "stream", "O&:close_stream");
}

/* ---- manual ---- */

METHOD(receive_relayed) {
    SELF;
    static char *names[] = {"datagram", "peer", "relayed", "now_ns", NULL};
    PyObject *datagram;
    struct wd_addr peer, relayed;
    int64_t now_ns;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "SO&O&O&:receive_relayed", names, &datagram, convert_address, &peer,
                                     convert_address, &relayed, wd_convert_time, &now_ns))
        return NULL;
    if (!wd_worker_manual(self) || !wd_time_goes_on(self, now_ns)) return NULL;
    size_t length = (size_t)PyBytes_GET_SIZE(datagram);
    uint8_t *copy = PyMem_Malloc(length ? length : 1);
    if (!copy) return PyErr_NoMemory();
    memcpy(copy, PyBytes_AS_STRING(datagram), length);
    wd_worker_receive_relayed(self->worker, copy, length, &peer, &relayed, now_ns);
    PyMem_Free(copy);
    Py_RETURN_NONE;
}
