/* Python arguments of a worker's commands, checked and turned into the core's structures. Every function sets an
 * exception and returns false on bad input. */
#ifndef WD_WORKER_ARGUMENTS_H
#define WD_WORKER_ARGUMENTS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "commands.h"

#define WD_MAX_DTLS_DATAGRAM 1500

/* "O&" converters of PyArg_Parse*. */
int wd_convert_id(PyObject *object, void *out); /* uint32_t, 1 and up */
int wd_convert_optional_id(PyObject *object, void *out); /* uint32_t, 0 = none */
int wd_convert_seed(PyObject *object, void *out); /* uint64_t */
int wd_convert_time(PyObject *object, void *out); /* int64_t nanoseconds, 0 and up */

/* Ufrag and password in the characters of RFC 8839 section 5.4: "ufrag NUL password NUL" into `out`; returns its
 * length, 0 with an exception. Ours need not be as long as the standard allows. */
#define WD_MAX_UFRAG 32
#define WD_MAX_PASSWORD 64
#define WD_MAX_CREDENTIALS (WD_MAX_REMOTE_UFRAG + 1 + WD_MAX_REMOTE_PASSWORD + 1)
size_t wd_credentials(PyObject *ufrag, PyObject *password, bool remote, char out[WD_MAX_CREDENTIALS]);

bool wd_keys(uint16_t profile, PyObject *send_key, PyObject *send_salt, PyObject *receive_key, PyObject *receive_salt,
             struct wd_command_keys *out);

/* What tracks and legs have in common. */
struct wd_media {
    uint8_t kind, codec_count;
    char mid[WD_MAX_MID + 1];
    struct wd_codec_entry codecs[WD_MAX_CODECS];
    struct wd_extension_ids extensions;
};
bool wd_media(int kind, PyObject *mid, PyObject *codecs, PyObject *extensions, struct wd_media *out);

#endif
