/* What an epoll set's `data.ptr` points to: a record whose first member says what kind it is, and so who handles its
 * events. */
#ifndef WD_EPOLL_SOURCE_H
#define WD_EPOLL_SOURCE_H

#include <stdint.h>

enum wd_epoll_kind { WD_EPOLL_STREAM = 1, WD_EPOLL_RELAYED = 2 };

struct wd_epoll_source {
    uint8_t kind; /* enum wd_epoll_kind */
};

#endif
