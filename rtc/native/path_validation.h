/* Does an address that a participant names receive what is sent there? The theory is in path_validation.c. */
#ifndef WD_PATH_VALIDATION_H
#define WD_PATH_VALIDATION_H

#include "core.h"
#include "stun.h"

/* Now, or on trial. If not, it is selected once it is validated; the check that it is sent is at most `most` bytes
 * long. */
bool wd_path_may_select(struct wd_router *router, struct transport *t, struct tuple *tuple, size_t most);
void wd_path_validation_tick(struct wd_router *router, struct transport *t);

/* What came. */
void wd_path_checked(struct wd_router *router, struct tuple *tuple, const uint8_t *remote_ufrag,
                     size_t length); /* a verified check */
void wd_path_check_answered(struct wd_router *router, const uint8_t *data, size_t length, const struct wd_stun *m,
                            const struct wd_addr *from);
void wd_path_media_arrived(
    struct wd_router *router,
    struct tuple *tuple); /* or reports, authentic, from a tuple that is not selected, or not even bound */
void wd_path_credentials_arrived(struct wd_router *router, struct transport *t); /* theirs, new ones */

/* The handshake as proof. */
void wd_path_handshake_sent(struct transport *t, struct tuple *tuple); /* a datagram of it */
void wd_path_handshake_completed(struct wd_router *router, struct transport *t);

/* Reports as proof. */
int64_t wd_path_report_shift_ns(
    const struct transport *t); /* by so much the next sender report's time is moved, so that nobody can guess it */
void wd_path_report_sent(struct transport *t, uint32_t lsr); /* to the selected address */
void wd_path_report_confirmed(struct wd_router *router, struct tuple *tuple,
                              uint32_t lsr); /* a report from there says that this one arrived; 0 = none did */

#endif
