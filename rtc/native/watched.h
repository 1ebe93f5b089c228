/* What an epoll set's `data.ptr` points to: a record whose first member says what it is, and so who is to be told. */
#ifndef WD_WATCHED_H
#define WD_WATCHED_H

#include <stdint.h>

enum wd_watched_kind { WD_WATCHED_STREAM = 1, WD_WATCHED_RELAYED = 2 };

struct wd_watched { uint8_t what; /* enum wd_watched_kind */ };

#endif
