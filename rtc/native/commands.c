#define _GNU_SOURCE
#include "commands.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FIRST_CAPACITY 16384u
#define RECORD_ALIGN 8u
#define MOST_HANDED (4u << 20) /* bytes that wait, beyond which datagrams of other workers are not taken */

struct buffer {
    uint8_t *bytes;
    size_t used, capacity;
};

struct wd_commands {
    _Atomic unsigned holders;
    int bell; /* under the lock; -1 once shut */
    bool rung; /* under the lock: since the consumer last looked */
    _Atomic bool waiting; /* written under the lock */
    pthread_mutex_t lock;
    struct buffer posted; /* under the lock */
    struct buffer taken; /* the consumer's */
};

struct wd_commands *wd_commands_new(int bell) {
    struct wd_commands *queue = calloc(1, sizeof *queue);
    if (!queue) return NULL;
    queue->bell = bell;
    atomic_init(&queue->holders, 1);
    atomic_init(&queue->waiting, false);
    pthread_mutex_init(&queue->lock, NULL);
    return queue;
}

/* Buffers have held SRTP keys. */
static void wipe(struct buffer *buffer) {
    if (buffer->bytes) explicit_bzero(buffer->bytes, buffer->used);
    buffer->used = 0;
}

static void discard(struct buffer *buffer) {
    wipe(buffer);
    free(buffer->bytes);
}

struct wd_commands *wd_commands_hold(struct wd_commands *queue) {
    atomic_fetch_add_explicit(&queue->holders, 1, memory_order_relaxed);
    return queue;
}

void wd_commands_release(struct wd_commands *queue) {
    if (!queue || atomic_fetch_sub_explicit(&queue->holders, 1, memory_order_acq_rel) != 1) return;
    discard(&queue->posted);
    discard(&queue->taken);
    pthread_mutex_destroy(&queue->lock);
    free(queue);
}

void wd_commands_shut(struct wd_commands *queue) {
    pthread_mutex_lock(&queue->lock);
    queue->bell = -1;
    pthread_mutex_unlock(&queue->lock);
}

static bool reserve(struct buffer *buffer, size_t more) {
    if (buffer->capacity - buffer->used >= more) return true;
    size_t capacity = buffer->capacity ? buffer->capacity : FIRST_CAPACITY;
    while (capacity - buffer->used < more) capacity *= 2;
    uint8_t *bytes = malloc(capacity);
    if (!bytes) return false;
    if (buffer->used) memcpy(bytes, buffer->bytes, buffer->used);
    size_t used = buffer->used;
    discard(buffer);
    *buffer = (struct buffer){.bytes = bytes, .used = used, .capacity = capacity};
    return true;
}

static size_t record_size(const struct wd_command *command) {
    return (sizeof *command + command->length + RECORD_ALIGN - 1) & ~(size_t)(RECORD_ALIGN - 1);
}

/* Under the lock: the bell stays open as long. */
static void ring(struct wd_commands *queue) {
    uint64_t one = 1;
    if (queue->rung || queue->bell < 0) return;
    queue->rung = true;
    while (write(queue->bell, &one, sizeof one) < 0 && errno == EINTR) continue;
}

static bool post(struct wd_commands *queue, const struct wd_command *command, const void *data, size_t most,
                 bool quiet) {
    size_t size = record_size(command);
    pthread_mutex_lock(&queue->lock);
    bool room = queue->bell >= 0 && queue->posted.used < most && reserve(&queue->posted, size);
    if (room) {
        uint8_t *at = queue->posted.bytes + queue->posted.used;
        memcpy(at, command, sizeof *command);
        if (command->length) memcpy(at + sizeof *command, data, command->length);
        queue->posted.used += size;
        atomic_store_explicit(&queue->waiting, true, memory_order_release);
        if (!quiet) ring(queue);
    }
    pthread_mutex_unlock(&queue->lock);
    return room;
}

bool wd_commands_post(struct wd_commands *queue, const struct wd_command *command, const void *data) {
    return post(queue, command, data, SIZE_MAX, false);
}

bool wd_commands_leave(struct wd_commands *queue, const struct wd_command *command, const void *data) {
    return post(queue, command, data, SIZE_MAX, true);
}

bool wd_commands_hand(struct wd_commands *queue, const struct wd_command *command, const void *data) {
    return post(queue, command, data, MOST_HANDED, false);
}

void wd_commands_ring(struct wd_commands *queue) {
    pthread_mutex_lock(&queue->lock);
    if (queue->posted.used) ring(queue);
    pthread_mutex_unlock(&queue->lock);
}

bool wd_commands_waiting(const struct wd_commands *queue) {
    return atomic_load_explicit(&queue->waiting, memory_order_acquire);
}

uint64_t wd_commands_apply(struct wd_commands *queue, wd_command_apply apply, void *owner, int64_t now_ns) {
    pthread_mutex_lock(&queue->lock);
    struct buffer full = queue->posted;
    queue->posted = queue->taken;
    queue->taken = full;
    queue->rung = false;
    atomic_store_explicit(&queue->waiting, false, memory_order_relaxed);
    pthread_mutex_unlock(&queue->lock);

    uint64_t refused = 0;
    for (size_t at = 0; at < queue->taken.used;) {
        struct wd_command *command = (struct wd_command *)(queue->taken.bytes + at);
        refused += !apply(owner, command, command + 1, now_ns);
        at += record_size(command);
    }
    wipe(&queue->taken);
    return refused;
}

bool wd_command_router(const struct wd_command *command, const void *data, struct wd_router *router, int64_t now_ns) {
    const struct wd_command_keys *keys = &command->keys;
    switch ((enum wd_command_type)command->type) {
    case WD_COMMAND_ADD_TRANSPORT:
    case WD_COMMAND_RESTART_ICE:
    case WD_COMMAND_SET_REMOTE: {
        const char *ufrag = data, *password = ufrag + strlen(ufrag) + 1;
        if (command->type == WD_COMMAND_RESTART_ICE) return wd_router_restart_ice(router, command->id, ufrag, password);
        if (command->type == WD_COMMAND_SET_REMOTE) return wd_router_set_remote(router, command->id, ufrag, password);
        return wd_router_add_transport(router, command->id, ufrag, password, now_ns);
    }
    case WD_COMMAND_SET_KEYS:
        return wd_router_set_keys(router, command->id, keys->profile, keys->send_key, keys->send_salt,
                                  keys->receive_key, keys->receive_salt);
    case WD_COMMAND_SEND_DTLS: return wd_router_send_dtls(router, command->id, data, command->length);
    case WD_COMMAND_REMOVE_TRANSPORT: return wd_router_remove_transport(router, command->id);
    case WD_COMMAND_ADD_TRACK: return wd_router_add_track(router, &command->new_track);
    case WD_COMMAND_REMOVE_TRACK: return wd_router_remove_track(router, command->id);
    case WD_COMMAND_ADD_LEG: return wd_router_add_leg(router, &command->new_leg);
    case WD_COMMAND_REMOVE_LEG: return wd_router_remove_leg(router, command->id);
    case WD_COMMAND_SET_SOURCE: return wd_router_set_source(router, command->id, command->track);
    default: return false;
    }
}

bool wd_command_relay(const struct wd_command *command, const void *data, struct wd_relay *relay, int64_t now_ns) {
    const struct wd_command_way *way = &command->way;
    const struct wd_command_grant *grant = &command->grant;
    switch ((enum wd_command_type)command->type) {
    case WD_COMMAND_RELAY_CONFIGURE: wd_relay_configure(relay, data); return true;
    case WD_COMMAND_RELAY_REPLY:
        wd_relay_reply(relay, &way->remote, &way->local, data, command->length, now_ns);
        return true;
    case WD_COMMAND_RELAY_ADD: return wd_relay_add(relay, command->id, &way->remote, &way->local, way->bandwidth_bps);
    case WD_COMMAND_RELAY_ADD_RELAYED: return wd_relay_add_relayed(relay, command->id, &way->remote);
    case WD_COMMAND_RELAY_OPEN: return wd_relay_open(relay, command->id, &way->remote, way->fd);
    case WD_COMMAND_RELAY_PERMIT:
        return wd_relay_permit(relay, command->id, &grant->peer, grant->until_ns, grant->media_only);
    case WD_COMMAND_RELAY_BIND: return wd_relay_bind(relay, command->id, grant->channel, &grant->peer, grant->until_ns);
    case WD_COMMAND_RELAY_MOVE: return wd_relay_move(relay, command->id, &way->remote, &way->local);
    case WD_COMMAND_RELAY_REMOVE: return wd_relay_remove(relay, command->id);
    case WD_COMMAND_HAND_BACK:
        wd_relay_back(relay, &way->remote, &way->local, data, command->length, now_ns);
        return true;
    default: return false;
    }
}
