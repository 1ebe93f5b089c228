/* What the worker's epoll watches besides its own socket: the first member of each says what it is. */
#ifndef WD_WATCHED_H
#define WD_WATCHED_H

#include <stdint.h>

enum { WD_WATCHED_STREAM = 1, WD_WATCHED_RELAYED };

struct wd_watched { uint8_t what; };

#endif
