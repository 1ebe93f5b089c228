/* What every target shares. An input is a tape: choices are taken off its front, and what is left is the datagram under
 * test. */
#ifndef WD_FUZZ_H
#define WD_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static inline void require(bool holds) {
    if (!holds) abort();
}

struct tape {
    const uint8_t *data;
    size_t size;
};

/* The next `bytes` (at most 8) of the tape in network order; past its end zeros. */
static inline uint64_t take(struct tape *t, unsigned bytes) {
    uint64_t value = 0;
    for (unsigned i = 0; i < bytes; i++) {
        value = value << 8 | (t->size ? *t->data : 0);
        if (!t->size) continue;
        t->data++;
        t->size--;
    }
    return value;
}

/* The next `length` bytes, or as many as are left, in memory of exactly that size: reading past it is an error that
 * AddressSanitizer sees. */
static inline uint8_t *take_copy(struct tape *t, size_t length, size_t *taken) {
    *taken = length < t->size ? length : t->size;
    uint8_t *copy = malloc(*taken ? *taken : 1);
    require(copy != NULL);
    if (*taken) memcpy(copy, t->data, *taken);
    t->data += *taken;
    t->size -= *taken;
    return copy;
}

static inline bool is_inside(const void *part, size_t length, const void *whole, size_t size) {
    uintptr_t start = (uintptr_t)part, base = (uintptr_t)whole;
    return start >= base && length <= size && start - base <= size - length;
}

#endif
