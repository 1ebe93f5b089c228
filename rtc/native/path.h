/* The remote addresses of a transport (tuples): bound, selected, forgotten. Whether one may be selected is decided in
 * path_validation.c. */
#ifndef WD_PATH_H
#define WD_PATH_H

#include "core.h"

uint64_t wd_ufrag_key(const char *ufrag, size_t length);

struct tuple *wd_find_tuple(const struct wd_router *router,
                            const struct wd_addr *from); /* of any transport; NULL = none */
struct tuple *wd_bind_tuple(struct wd_router *router, struct transport *t, const struct wd_addr *from,
                            const struct wd_addr *local); /* NULL when it is another transport's */
void wd_forget_tuple(struct wd_router *router, struct tuple *tuple);
void wd_forget_tuples(struct wd_router *router, struct transport *t);
/* The one most recently heard, within the time of consent. NULL when there is none. */
struct tuple *wd_newest_other(const struct wd_router *router, struct transport *t, const struct tuple *than,
                              bool validated);

bool wd_is_validated(const struct transport *t,
                     const struct tuple *tuple); /* what is sent there is received, or it need not be shown */
void wd_select(struct wd_router *router, struct transport *t, struct tuple *tuple); /* one that may be selected */
void wd_heard(struct wd_router *router, struct transport *t); /* something authentic came */
void wd_path_tick(struct wd_router *router, struct transport *t); /* reports a selection that had to wait */

#endif
