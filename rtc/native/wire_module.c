/* The C wire formats for Python: rtc._wire, documented in rtc/_wire.pyi. What tests, the bare client and tools need;
 * the packet path never comes here. */
#include "wire_methods.h"

#include <stdbool.h>

#include "bytes.h"
#include "payload.h"
#include "rtcp.h"
#include "rtp.h"
#include "wire_result.h"

typedef struct {
    PyTypeObject *srtp;
} State;

/* --- RTP and RTCP ---------------------------------------------------------------------------------------------------
 */

static PyObject *rtp_parse(PyObject *module, PyObject *args) {
    (void)module;
    const uint8_t *packet;
    Py_ssize_t length;
    struct wd_rtp rtp;
    if (!PyArg_ParseTuple(args, "y#:rtp_parse", &packet, &length)) return NULL;
    size_t payload;
    if (!wd_rtp_parse(packet, (size_t)length, &rtp) || !wd_rtp_payload_length(packet, (size_t)length, &rtp, &payload))
        return wire_malformed("not a well-formed RTP packet");
    PyObject *extensions = PyDict_New();
    for (unsigned i = 0; extensions && i < rtp.extension_count; i++) {
        const struct wd_rtp_extension *e = &rtp.extensions[i];
        PyObject *id = PyLong_FromLong(e->id),
                 *value = PyBytes_FromStringAndSize((const char *)packet + e->at, e->length);
        bool ok = id && value && PyDict_SetDefault(extensions, id, value);
        Py_XDECREF(id);
        Py_XDECREF(value);
        if (!ok) Py_CLEAR(extensions);
    }
    if (!extensions) return NULL;
    return Py_BuildValue("{s:k,s:k,s:i,s:i,s:N,s:N,s:i,s:N,s:N}", "ssrc", (unsigned long)rtp.ssrc, "timestamp",
                         (unsigned long)rtp.timestamp, "sequence", rtp.sequence, "payload_type", rtp.payload_type,
                         "marker", PyBool_FromLong(rtp.marker), "padding", PyBool_FromLong(rtp.padding),
                         "header_length", rtp.header_length, "extensions", extensions, "payload",
                         PyBytes_FromStringAndSize((const char *)packet + rtp.header_length, (Py_ssize_t)payload));
}

static PyObject *report_dict(const struct wd_report *r) {
    return Py_BuildValue("{s:k,s:i,s:i,s:k,s:k,s:k,s:k}", "ssrc", (unsigned long)r->ssrc, "fraction_lost",
                         r->fraction_lost, "lost", r->lost, "highest", (unsigned long)r->highest, "jitter",
                         (unsigned long)r->jitter, "lsr", (unsigned long)r->lsr, "dlsr", (unsigned long)r->dlsr);
}

static PyObject *sequence_list(const uint16_t *values, size_t count) {
    PyObject *list = PyList_New((Py_ssize_t)count);
    for (size_t i = 0; list && i < count; i++) PyList_SET_ITEM(list, (Py_ssize_t)i, PyLong_FromLong(values[i]));
    return list;
}

/* Steals the value. False with an exception set. */
static bool set(PyObject *dict, const char *key, PyObject *value) {
    if (!value) return false;
    bool done = PyDict_SetItemString(dict, key, value) == 0;
    Py_DECREF(value);
    return done;
}

static bool describe_reports(PyObject *dict, const struct wd_rtcp_block *block) {
    struct wd_report reports[31];
    uint32_t reporter = 0;
    size_t count = wd_rtcp_read_reports(block, &reporter, reports);
    PyObject *list = PyList_New((Py_ssize_t)count);
    for (size_t i = 0; list && i < count; i++) PyList_SET_ITEM(list, (Py_ssize_t)i, report_dict(&reports[i]));
    return set(dict, "sender", PyLong_FromUnsignedLong(reporter)) && set(dict, "reports", list);
}

static bool describe_feedback(PyObject *dict, const struct wd_rtcp_block *block) {
    uint32_t media, ssrcs[32];
    uint16_t lost[512];
    uint8_t sequences[32];
    uint64_t bitrate;
    struct wd_twcc_summary twcc;
    if (block->length < 12) return true;
    if (!set(dict, "sender", PyLong_FromUnsignedLong(wd_get32(block->data + 4)))) return false;
    if (!set(dict, "media", PyLong_FromUnsignedLong(wd_get32(block->data + 8)))) return false;
    if (block->type == WD_RTCP_RTPFB && block->count == WD_RTPFB_NACK)
        return set(dict, "lost", sequence_list(lost, wd_rtcp_read_nack(block, &media, lost, 512)));
    if (wd_rtcp_read_twcc(block, &twcc))
        return set(dict, "twcc",
                   Py_BuildValue("{s:i,s:i,s:i,s:i}", "base", twcc.base, "count", twcc.count, "received", twcc.received,
                                 "feedback", twcc.feedback));
    if (wd_rtcp_read_remb(block, &bitrate)) return set(dict, "bitrate", PyLong_FromUnsignedLongLong(bitrate));
    if (block->type == WD_RTCP_PSFB && block->count == WD_PSFB_FIR) {
        size_t count = wd_rtcp_read_fir(block, ssrcs, sequences, 32);
        PyObject *list = PyList_New((Py_ssize_t)count);
        for (size_t i = 0; list && i < count; i++)
            PyList_SET_ITEM(list, (Py_ssize_t)i, Py_BuildValue("(ki)", (unsigned long)ssrcs[i], sequences[i]));
        return set(dict, "fir", list);
    }
    return true;
}

static PyObject *describe(const struct wd_rtcp_block *block) {
    PyObject *dict = Py_BuildValue("{s:i,s:i,s:N}", "type", block->type, "count", block->count, "data",
                                   PyBytes_FromStringAndSize((const char *)block->data, (Py_ssize_t)block->length));
    struct wd_sender_info info;
    bool done = dict;
    if (done && wd_rtcp_read_sender(block, &info))
        done = set(dict, "ntp", PyLong_FromUnsignedLongLong(info.ntp)) &&
               set(dict, "rtp", PyLong_FromUnsignedLong(info.rtp)) &&
               set(dict, "packets", PyLong_FromUnsignedLong(info.packets)) &&
               set(dict, "octets", PyLong_FromUnsignedLong(info.octets));
    if (done && (block->type == WD_RTCP_SR || block->type == WD_RTCP_RR)) done = describe_reports(dict, block);
    if (done && (block->type == WD_RTCP_RTPFB || block->type == WD_RTCP_PSFB)) done = describe_feedback(dict, block);
    if (!done) Py_CLEAR(dict);
    return dict;
}

static PyObject *rtcp_parse(PyObject *module, PyObject *args) {
    (void)module;
    const uint8_t *data;
    Py_ssize_t given;
    struct wd_rtcp_block block;
    if (!PyArg_ParseTuple(args, "y#:rtcp_parse", &data, &given)) return NULL;
    size_t length = (size_t)given;
    PyObject *list = PyList_New(0);
    while (list && wd_rtcp_next(&data, &length, &block)) {
        PyObject *dict = describe(&block);
        if (!dict || PyList_Append(list, dict) < 0) Py_CLEAR(list);
        Py_XDECREF(dict);
    }
    if (list && length) {
        Py_DECREF(list);
        return wire_malformed("a malformed RTCP block");
    }
    return list;
}

static PyObject *rtcp_pli(PyObject *module, PyObject *args) {
    (void)module;
    unsigned sender, media;
    uint8_t out[WIRE_MAX_PACKET];
    if (!PyArg_ParseTuple(args, "II:rtcp_pli", &sender, &media)) return NULL;
    return wire_written(out, wd_rtcp_write_pli(out, sizeof out, sender, media));
}

/* Numbers of a list into `out`; -1 with an exception when there are too many or one is no number. */
static Py_ssize_t numbers(PyObject *list, uint32_t *out, Py_ssize_t capacity) {
    Py_ssize_t count = PyList_GET_SIZE(list);
    if (count > capacity) return wire_malformed("the list is too long"), -1;
    for (Py_ssize_t i = 0; i < count; i++) out[i] = (uint32_t)PyLong_AsUnsignedLongMask(PyList_GET_ITEM(list, i));
    return PyErr_Occurred() ? -1 : count;
}

static PyObject *rtcp_nack(PyObject *module, PyObject *args) {
    (void)module;
    unsigned sender, media;
    PyObject *list;
    uint32_t wide[256];
    uint16_t lost[256];
    uint8_t out[WIRE_MAX_PACKET];
    if (!PyArg_ParseTuple(args, "IIO!:rtcp_nack", &sender, &media, &PyList_Type, &list)) return NULL;
    Py_ssize_t count = numbers(list, wide, 256);
    if (count < 0) return NULL;
    for (Py_ssize_t i = 0; i < count; i++) lost[i] = (uint16_t)wide[i];
    return wire_written(out, wd_rtcp_write_nack(out, sizeof out, sender, media, lost, (size_t)count));
}

static PyObject *rtcp_remb(PyObject *module, PyObject *args) {
    (void)module;
    unsigned sender;
    unsigned long long bitrate;
    PyObject *list;
    uint32_t ssrcs[255];
    uint8_t out[WIRE_MAX_PACKET];
    if (!PyArg_ParseTuple(args, "IKO!:rtcp_remb", &sender, &bitrate, &PyList_Type, &list)) return NULL;
    Py_ssize_t count = numbers(list, ssrcs, 255);
    return count < 0 ? NULL
                     : wire_written(out, wd_rtcp_write_remb(out, sizeof out, sender, bitrate, ssrcs, (size_t)count));
}

static PyObject *rtcp_sr(PyObject *module, PyObject *args) {
    (void)module;
    unsigned ssrc, rtp, packets, octets;
    unsigned long long ntp;
    uint8_t out[WIRE_MAX_PACKET];
    if (!PyArg_ParseTuple(args, "IKIII:rtcp_sr", &ssrc, &ntp, &rtp, &packets, &octets)) return NULL;
    struct wd_sender_info info = {ssrc, ntp, rtp, packets, octets};
    return wire_written(out, wd_rtcp_write_sr(out, sizeof out, &info, NULL, 0));
}

static int read_report(PyObject *dict, struct wd_report *out) {
    static const char *const keys[] = {"ssrc", "fraction_lost", "lost", "highest", "jitter", "lsr", "dlsr"};
    long long values[7];
    for (int i = 0; i < 7; i++) {
        PyObject *value = PyDict_GetItemString(dict, keys[i]);
        values[i] = value ? PyLong_AsLongLong(value) : 0;
    }
    *out = (struct wd_report){(uint32_t)values[0], (uint8_t)values[1],  (int32_t)values[2], (uint32_t)values[3],
                              (uint32_t)values[4], (uint32_t)values[5], (uint32_t)values[6]};
    return PyErr_Occurred() ? -1 : 0;
}

static PyObject *rtcp_rr(PyObject *module, PyObject *args) {
    (void)module;
    unsigned reporter;
    PyObject *list;
    struct wd_report reports[31];
    uint8_t out[WIRE_MAX_PACKET];
    if (!PyArg_ParseTuple(args, "IO!:rtcp_rr", &reporter, &PyList_Type, &list)) return NULL;
    if (PyList_GET_SIZE(list) > 31) return wire_malformed("at most 31 reports");
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(list); i++) {
        if (!PyDict_Check(PyList_GET_ITEM(list, i))) return wire_malformed("a report is a dict");
        if (read_report(PyList_GET_ITEM(list, i), &reports[i]) < 0) return NULL;
    }
    return wire_written(out, wd_rtcp_write_rr(out, sizeof out, reporter, reports, (size_t)PyList_GET_SIZE(list)));
}

static PyObject *twcc_feedback(PyObject *module, PyObject *args) {
    (void)module;
    PyObject *arrivals;
    unsigned sender, media;
    struct wd_twcc twcc = {0};
    uint8_t out[WIRE_MAX_PACKET];
    if (!PyArg_ParseTuple(args, "O!II:twcc_feedback", &PyList_Type, &arrivals, &sender, &media)) return NULL;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(arrivals); i++) {
        int sequence;
        long long at_us;
        if (!PyArg_ParseTuple(PyList_GET_ITEM(arrivals, i), "iL", &sequence, &at_us)) return NULL;
        wd_twcc_arrived(&twcc, (uint16_t)sequence, at_us);
    }
    PyObject *list = PyList_New(0);
    for (size_t n; list && (n = wd_twcc_write(&twcc, out, 1200, sender, media));) {
        PyObject *block = wire_written(out, n);
        if (!block || PyList_Append(list, block) < 0) Py_CLEAR(list);
        Py_XDECREF(block);
    }
    return list;
}

/* --- payloads -------------------------------------------------------------------------------------------------------
 */

static PyObject *payload_parse(PyObject *module, PyObject *args) {
    (void)module;
    int codec;
    const uint8_t *payload;
    Py_ssize_t length;
    struct wd_payload p;
    if (!PyArg_ParseTuple(args, "iy#:payload_parse", &codec, &payload, &length)) return NULL;
    if (!wd_payload_parse((uint8_t)codec, payload, (size_t)length, &p)) return wire_malformed("a malformed payload");
    return Py_BuildValue("{s:N,s:i,s:i,s:i,s:i,s:i,s:i}", "keyframe", PyBool_FromLong(p.keyframe), "picture_id_bits",
                         p.picture_id_bits, "picture_id_at", p.picture_id_at, "picture_id", p.picture_id, "tl0_at",
                         p.tl0_at, "tl0", p.tl0, "tid", p.tid);
}

static PyObject *vp8_patch(PyObject *module, PyObject *args) {
    (void)module;
    const uint8_t *payload;
    Py_ssize_t length;
    int picture_id, tl0;
    struct wd_payload p;
    if (!PyArg_ParseTuple(args, "y#ii:vp8_patch", &payload, &length, &picture_id, &tl0)) return NULL;
    if (!wd_payload_parse(WD_CODEC_VP8, payload, (size_t)length, &p)) return wire_malformed("a malformed VP8 payload");
    PyObject *result = PyBytes_FromStringAndSize((const char *)payload, length);
    if (result) wd_vp8_patch((uint8_t *)PyBytes_AS_STRING(result), &p, (uint16_t)picture_id, (uint8_t)tl0);
    return result;
}

/* --- the module -----------------------------------------------------------------------------------------------------
 */

static PyMethodDef functions[] = {
    {"derive_keys", wire_derive_keys, METH_VARARGS, "Session keys by RFC 3711 section 4.3."},
    {"stun_parse", wire_stun_parse, METH_VARARGS, "One STUN message as a dict."},
    {"turn_parse", (PyCFunction)(void (*)(void))wire_turn_parse, METH_FASTCALL, "One STUN message of any method."},
    {"turn_verify", (PyCFunction)(void (*)(void))wire_turn_verify, METH_FASTCALL, "Is MESSAGE-INTEGRITY right?"},
    {"turn_build", (PyCFunction)(void (*)(void))wire_turn_build, METH_FASTCALL, "A STUN message of any method."},
    {"stun_verify", wire_stun_verify, METH_VARARGS, "Is MESSAGE-INTEGRITY right?"},
    {"stun_success", wire_stun_success, METH_VARARGS, "A Binding success response."},
    {"stun_error", wire_stun_error, METH_VARARGS, "A Binding error response."},
    {"stun_check", (PyCFunction)(void (*)(void))wire_stun_check, METH_VARARGS | METH_KEYWORDS,
     "An ICE connectivity check."},
    {"rtp_parse", rtp_parse, METH_VARARGS, "One clear RTP packet as a dict."},
    {"rtcp_parse", rtcp_parse, METH_VARARGS, "The blocks of one clear RTCP packet."},
    {"rtcp_pli", rtcp_pli, METH_VARARGS, "Picture loss indication."},
    {"rtcp_nack", rtcp_nack, METH_VARARGS, "Generic NACK; sequence numbers ascending."},
    {"rtcp_remb", rtcp_remb, METH_VARARGS, "Receiver estimated maximum bitrate."},
    {"rtcp_sr", rtcp_sr, METH_VARARGS, "Sender report without report blocks."},
    {"rtcp_rr", rtcp_rr, METH_VARARGS, "Receiver report."},
    {"twcc_feedback", twcc_feedback, METH_VARARGS, "Transport-wide feedback blocks for arrivals."},
    {"payload_parse", payload_parse, METH_VARARGS, "What forwarding reads of a payload."},
    {"vp8_patch", vp8_patch, METH_VARARGS, "A VP8 payload with other PictureID and TL0PICIDX."},
    {0},
};

static int module_exec(PyObject *module) {
    State *state = PyModule_GetState(module);
    state->srtp = (PyTypeObject *)PyType_FromModuleAndSpec(module, &wire_srtp_spec, NULL);
    return state->srtp ? PyModule_AddType(module, state->srtp) : -1;
}

static int module_traverse(PyObject *module, visitproc visit, void *arg) {
    Py_VISIT(((State *)PyModule_GetState(module))->srtp);
    return 0;
}

static void module_free(void *module) { Py_CLEAR(((State *)PyModule_GetState(module))->srtp); }

static PyModuleDef_Slot module_slots[] = {{Py_mod_exec, module_exec}, {0, NULL}};
static PyModuleDef module_definition = {
    PyModuleDef_HEAD_INIT,         .m_name = "rtc._wire",  .m_doc = "The C wire formats for Python.",
    .m_size = sizeof(State),       .m_methods = functions, .m_slots = module_slots,
    .m_traverse = module_traverse, .m_free = module_free,
};

PyMODINIT_FUNC PyInit__wire(void) { return PyModuleDef_Init(&module_definition); }
