/* Network byte order, read and written without alignment assumptions: a load and a swap, where shifts of single bytes
 * would be taken one by one. */
#ifndef WD_BYTES_H
#define WD_BYTES_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

static inline uint16_t wd_get16(const uint8_t *p) {
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return be16toh(v);
}
static inline uint32_t wd_get24(const uint8_t *p) { return (uint32_t)p[0] << 16 | wd_get16(p + 1); }
static inline uint32_t wd_get32(const uint8_t *p) {
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return be32toh(v);
}
static inline uint64_t wd_get64(const uint8_t *p) {
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return be64toh(v);
}

static inline void wd_put16(uint8_t *p, uint16_t v) {
    v = htobe16(v);
    memcpy(p, &v, sizeof v);
}
static inline void wd_put24(uint8_t *p, uint32_t v) {
    p[0] = (uint8_t)(v >> 16);
    wd_put16(p + 1, (uint16_t)v);
}
static inline void wd_put32(uint8_t *p, uint32_t v) {
    v = htobe32(v);
    memcpy(p, &v, sizeof v);
}
static inline void wd_put64(uint8_t *p, uint64_t v) {
    v = htobe64(v);
    memcpy(p, &v, sizeof v);
}

#endif
