/* A worker without thread and socket. */
#ifndef WD_WORKER_MANUAL_H
#define WD_WORKER_MANUAL_H

#include "worker_state.h"

void wd_manual_send(struct wd_egress *egress); /* keeps what is sent for the caller */
void wd_manual_settle(struct wd_worker *worker); /* the end of each call */

#endif
