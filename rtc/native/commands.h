/* What Python tells a worker, in order: fixed records with optional bytes behind them, in a queue that the worker's
 * thread empties between rounds.
 *
 * Two growing buffers change places under a mutex that is held for a copy at most, so neither side waits for the
 * other's work and nothing is allocated per command. */
#ifndef WD_COMMANDS_H
#define WD_COMMANDS_H

#include "relay.h"
#include "router.h"
#include "srtp.h"

enum wd_command_type {
    WD_COMMAND_ADD_TRANSPORT = 1, /* data: ufrag, NUL, password, NUL */
    WD_COMMAND_RESTART_ICE, /* data: the same */
    WD_COMMAND_SET_REMOTE, /* data: the same, theirs */
    WD_COMMAND_SET_KEYS,
    WD_COMMAND_SEND_DTLS, /* data: one datagram */
    WD_COMMAND_REMOVE_TRANSPORT,
    WD_COMMAND_ADD_TRACK,
    WD_COMMAND_REMOVE_TRACK,
    WD_COMMAND_ADD_LEG,
    WD_COMMAND_REMOVE_LEG,
    WD_COMMAND_SET_SOURCE, /* id: leg */
    /* the relay's; id: allocation */
    WD_COMMAND_RELAY_CONFIGURE, /* data: struct wd_relay_rules */
    WD_COMMAND_RELAY_REPLY, /* way; data: one message */
    WD_COMMAND_RELAY_ADD, /* way */
    WD_COMMAND_RELAY_ADD_RELAYED, /* way.remote */
    WD_COMMAND_RELAY_OPEN, /* way.remote, way.fd */
    WD_COMMAND_RELAY_PERMIT, /* grant */
    WD_COMMAND_RELAY_BIND, /* grant */
    WD_COMMAND_RELAY_MOVE, /* way */
    WD_COMMAND_RELAY_REMOVE,
    /* between workers; data: one datagram */
    WD_COMMAND_HAND_OVER, /* way.remote: relayed address, way.local: media address */
    WD_COMMAND_HAND_BACK, /* the same */
    /* the shell's own */
    WD_COMMAND_KNOW_MEDIA, /* neighbour */
    WD_COMMAND_KNOW_MEDIA_ELSEWHERE, /* neighbour.media: another node's */
    WD_COMMAND_FORGET_MEDIA, /* neighbour.media */
    WD_COMMAND_ADOPT_STREAM, /* id: stream; way */
    WD_COMMAND_CLOSE_STREAM, /* id: stream */
};

struct wd_commands; /* the queue */

struct wd_command_way {
    struct wd_addr remote, local;
    uint64_t bandwidth_bps;
    int32_t fd;
    uint8_t kind; /* of a stream */
};

struct wd_command_grant {
    struct wd_addr peer;
    int64_t until_ns;
    uint16_t channel;
    bool media_only;
};

struct wd_command_neighbour {
    struct wd_addr media;
    struct wd_commands *queue; /* held for the receiver of the command; NULL = the worker itself */
    uint32_t index;
};

struct wd_command_keys {
    uint16_t profile;
    uint8_t send_key[WD_SRTP_KEY], send_salt[WD_SRTP_MAX_SALT], receive_key[WD_SRTP_KEY],
        receive_salt[WD_SRTP_MAX_SALT];
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
        struct wd_command_way way;
        struct wd_command_grant grant;
        struct wd_command_neighbour neighbour;
    };
};

/* `bell` is an eventfd of the caller's, written when the queue stops being empty. */
struct wd_commands *wd_commands_new(int bell); /* NULL when out of memory */
/* Neighbours hold a queue, so that they may post to it while its worker ends; then nothing is kept. */
struct wd_commands *wd_commands_hold(struct wd_commands *queue);
void wd_commands_release(struct wd_commands *queue);
void wd_commands_shut(struct wd_commands *queue); /* before the bell is closed */
bool wd_commands_post(struct wd_commands *queue, const struct wd_command *command,
                      const void *data); /* any thread; false when out of memory */
/* The same without waking the consumer, who finds it in his next round; for the first of several, of which
 * wd_commands_ring follows the last. A wake-up costs more than most commands, and where both threads share a core each
 * one is two changes of the thread. */
bool wd_commands_leave(struct wd_commands *queue, const struct wd_command *command, const void *data);
void wd_commands_ring(struct wd_commands *queue);
/* The same for a datagram of another worker: refused (false) when too many wait already. */
bool wd_commands_hand(struct wd_commands *queue, const struct wd_command *command, const void *data);
bool wd_commands_waiting(const struct wd_commands *queue); /* any thread */
typedef bool (*wd_command_apply)(void *owner, const struct wd_command *command, void *data,
                                 int64_t now_ns); /* false when it is refused */
/* The consumer's thread: applies everything that waits; returns how many were refused. */
uint64_t wd_commands_apply(struct wd_commands *queue, wd_command_apply apply, void *owner, int64_t now_ns);

/* Those of the forwarding core and of the relay core; false when it refuses, or is not its. */
bool wd_command_router(const struct wd_command *command, const void *data, struct wd_router *router, int64_t now_ns);
bool wd_command_relay(const struct wd_command *command, const void *data, struct wd_relay *relay, int64_t now_ns);

#endif
