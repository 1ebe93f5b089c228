/* Between workers a datagram is copied into the other's command queue, which is a lock held for a copy; rooms and their
 * callers' allocations are mostly on the same worker, and then it is handed over as it is. */
#include "worker_handover.h"

void wd_hand_over(void *owner, void *target, uint8_t *datagram, size_t length, const struct wd_addr *relayed,
                  const struct wd_addr *media, int64_t now_ns) {
    struct wd_worker *worker = owner;
    if (target == worker->commands) {
        wd_router_receive(worker->router, datagram, length, relayed, media, now_ns);
        return;
    }
    struct wd_command command = {
        .type = WD_COMMAND_HAND_OVER, .length = (uint32_t)length, .way = {.remote = *relayed, .local = *media}};
    if (!wd_commands_hand(target, &command, datagram)) worker->counters->drop_send_error++;
}

void wd_hand_back(struct wd_worker *worker, const struct wd_addr *relayed, const struct wd_addr *media,
                  const uint8_t *datagram, size_t length) {
    uint32_t index = relayed->via & ~WD_VIA_RELAY;
    if (index == worker->index) {
        wd_relay_back(worker->relay, relayed, media, datagram, length, worker->now_ns);
        return;
    }
    struct wd_command command = {
        .type = WD_COMMAND_HAND_BACK, .length = (uint32_t)length, .way = {.remote = *relayed, .local = *media}};
    struct wd_commands *queue = index < WD_MAX_WORKERS ? worker->neighbours[index] : NULL;
    if (!queue || !wd_commands_hand(queue, &command, datagram)) worker->counters->drop_send_error++;
}

bool wd_handover_know(struct wd_worker *worker, const struct wd_command_neighbour *neighbour) {
    void *target = neighbour->queue ? (void *)neighbour->queue : (void *)worker->commands;
    if (neighbour->queue && neighbour->index < WD_MAX_WORKERS && !worker->neighbours[neighbour->index])
        worker->neighbours[neighbour->index] = neighbour->queue;
    else
        wd_commands_release(neighbour->queue); /* known already, and held once */
    return wd_relay_know_media(worker->relay, &neighbour->media, target);
}

void wd_handover_close(struct wd_worker *worker) {
    for (size_t i = 0; i < WD_MAX_WORKERS; i++) wd_commands_release(worker->neighbours[i]);
}
