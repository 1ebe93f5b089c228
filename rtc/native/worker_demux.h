/* Which core gets a datagram, and by which way it leaves. The theory is in worker_demux.c. */
#ifndef WD_WORKER_DEMUX_H
#define WD_WORKER_DEMUX_H

#include "worker_state.h"

bool wd_demux_open(struct wd_worker *worker,
                   const struct wd_worker_config *config); /* relay and streams; false with errno */
void wd_demux_close(struct wd_worker *worker);
void wd_demux_unwatched(
    struct wd_worker *worker); /* the sockets are somebody else's to watch: what is closed here goes on there */
/* Messages whose way is not UDP: taken to where they go. The others are left for the socket. */
void wd_demux_divert(struct wd_worker *worker, struct wd_egress *egress);
void wd_demux_send_to_peers(struct wd_egress *egress); /* by the relayed socket that they are for */
/* A datagram of the worker's own socket, or of one that stands for it. */
void wd_demux_receive(struct wd_worker *worker, uint8_t *datagram, size_t length, const struct wd_addr *from,
                      const struct wd_addr *local, int64_t now_ns);
size_t wd_demux_read(
    struct wd_worker *worker,
    bool *more); /* what epoll watches; the number of datagrams and events. `more` becomes true when some are left */
void wd_demux_flush(struct wd_worker *worker); /* the end of a round */
int64_t wd_demux_tick(struct wd_worker *worker); /* the next deadline */
bool wd_demux_command(void *worker, const struct wd_command *command, void *data,
                      int64_t now_ns); /* any command; false when it is refused */

#endif
