/* Times are nanoseconds of CLOCK_MONOTONIC, or of the test's own clock: they come in as arguments and are never read
 * here. */
#ifndef WD_CLOCK_H
#define WD_CLOCK_H

#include <stdint.h>

#define WD_MS INT64_C(1000000)
#define WD_SECOND (1000 * WD_MS)

#endif
