/* What Python tells a worker, in order: fixed records with optional bytes behind them, in a queue that the worker's thread empties between rounds.
 *
 * Two growing buffers change places under a mutex that is held for a copy at most, so neither side waits for the other's work and nothing is
 * allocated per command. */
#ifndef WD_COMMANDS_H
#define WD_COMMANDS_H

#include "router.h"
#include "srtp.h"

enum wd_command_type {
    WD_COMMAND_ADD_TRANSPORT = 1, /* data: ufrag, NUL, password, NUL */
    WD_COMMAND_RESTART_ICE, /* data: the same */
    WD_COMMAND_SET_KEYS,
    WD_COMMAND_SEND_DTLS, /* data: one datagram */
    WD_COMMAND_REMOVE_TRANSPORT,
    WD_COMMAND_ADD_TRACK,
    WD_COMMAND_REMOVE_TRACK,
    WD_COMMAND_ADD_LEG,
    WD_COMMAND_REMOVE_LEG,
    WD_COMMAND_SET_SOURCE, /* id: leg */
    WD_COMMAND_REQUEST_KEYFRAME,
};

struct wd_command_keys {
    uint16_t profile;
    uint8_t send_key[WD_SRTP_KEY], send_salt[WD_SRTP_MAX_SALT], receive_key[WD_SRTP_KEY], receive_salt[WD_SRTP_MAX_SALT];
};

struct wd_command {
    uint32_t type; /* enum wd_command_type */
    uint32_t id; /* of the transport, track or leg */
    uint32_t length; /* bytes of data behind the record */
    union {
        uint32_t track; /* SET_SOURCE */
        struct wd_command_keys keys;
        struct wd_track_config new_track;
        struct wd_leg_config new_leg;
    };
};

struct wd_commands; /* the queue */

/* `bell` is an eventfd of the caller's, written when the queue stops being empty. */
struct wd_commands *wd_commands_new(int bell); /* NULL when out of memory */
void wd_commands_free(struct wd_commands *queue);
int wd_commands_post(struct wd_commands *queue, const struct wd_command *command, const void *data); /* any thread; -1 when out of memory */
bool wd_commands_waiting(const struct wd_commands *queue); /* any thread */
/* The consumer's thread: applies everything that waits; returns how many the router refused. */
uint64_t wd_commands_apply(struct wd_commands *queue, struct wd_router *router, int64_t now_ns);

/* 0, or -1 when the router refuses. */
int wd_command_apply(const struct wd_command *command, const void *data, struct wd_router *router, int64_t now_ns);

#endif
