/* Media on trial: to an address that is not validated yet, within a credit of time (the theory is in
 * path_validation.c). Decides, and sends nothing. */
#ifndef WD_TRIAL_H
#define WD_TRIAL_H

#include "core.h"

/* When the newest media or report came from there. Checks do not count: they can be copied, and sent again with another
 * source. */
int64_t wd_tuple_media_ns(const struct tuple *tuple);
bool wd_tuple_sends_media(const struct wd_router *router, const struct tuple *tuple); /* of late */

/* Begins a trial of that tuple if it may have one; whether it is on trial now. */
bool wd_trial_begin(struct wd_router *router, struct transport *t, struct tuple *tuple);
bool wd_trial_has_ended(const struct wd_router *router, const struct transport *t); /* without a validation */
void wd_trial_fail(struct wd_router *router, struct transport *t); /* charges its time to the credit */
int64_t wd_trial_next_check_ns(const struct transport *t);
void wd_trial_schedule(struct wd_router *router, struct transport *t); /* the transport's timer, for its next step */

#endif
