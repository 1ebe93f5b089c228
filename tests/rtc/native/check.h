/* A test program: `program NAME` runs one case, `program` alone lists them. A check that fails says where and ends the
 * program. */
#ifndef WD_CHECK_H
#define WD_CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define check(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            exit(1); \
        } \
    } while (0)

struct test_case {
    const char *name;
    void (*run)(void);
};

static inline int run_cases(const struct test_case *cases, size_t count, int argc, char **argv) {
    for (size_t i = 0; i < count; i++) {
        if (argc < 2)
            puts(cases[i].name);
        else if (!strcmp(argv[1], cases[i].name))
            return cases[i].run(), 0;
    }
    return argc < 2 ? 0 : 2;
}

#define CASE(name) {#name, name}

#endif
