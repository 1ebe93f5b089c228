/* Memory asked for before it is needed, so that nobody waits for it. */
#ifndef WD_FETCH_H
#define WD_FETCH_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define WD_LINE 64 /* bytes of memory that come together */

static inline void wd_fetch(const void *object, size_t bytes) {
    uintptr_t at = (uintptr_t)object / WD_LINE * WD_LINE, end = (uintptr_t)object + bytes;
    for (; at < end; at += WD_LINE) __builtin_prefetch((const void *)at);
}

/* Zeros that begin with a line of memory, for `free`; NULL when there is none. */
static inline void *wd_new_zeros(size_t size) {
    size_t whole = (size + WD_LINE - 1) / WD_LINE * WD_LINE;
    void *object = aligned_alloc(WD_LINE, whole);
    return object ? memset(object, 0, whole) : NULL;
}

#endif
