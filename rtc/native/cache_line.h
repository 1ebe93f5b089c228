/* Memory by cache lines: asked for before it is needed, and objects that begin with a line. */
#ifndef WD_CACHE_LINE_H
#define WD_CACHE_LINE_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define WD_LINE 64 /* bytes */

static inline void wd_prefetch(const void *object, size_t bytes) {
    uintptr_t at = (uintptr_t)object / WD_LINE * WD_LINE, end = (uintptr_t)object + bytes;
    for (; at < end; at += WD_LINE) __builtin_prefetch((const void *)at);
}

/* Zeros that begin with a cache line, for `free`; NULL when out of memory. */
static inline void *wd_new_zeros(size_t size) {
    size_t whole = (size + WD_LINE - 1) / WD_LINE * WD_LINE;
    void *object = aligned_alloc(WD_LINE, whole);
    return object ? memset(object, 0, whole) : NULL;
}

#endif
