/* Fuzzes the STUN parser and writers.
 *
 * Invariants: what a parsed record points to lies in the message, and its fields are the first of their kind before
 * MESSAGE-INTEGRITY; what a writer writes parses back to what was asked for, verifies under its key and under no other,
 * and fits the capacity; one changed bit does not verify. */
#include "fuzz.h"

#include "../../rtc/native/bytes.h"
#include "../../rtc/native/stun.h"

#define HEADER 20

/* The first attribute of that type before MESSAGE-INTEGRITY, looked for from the start each time; NULL = absent. */
static const uint8_t *find(const uint8_t *data, size_t length, uint16_t type, size_t *size) {
    for (size_t at = HEADER; at + 4 <= length; at += 4 + ((*size + 3) & ~(size_t)3)) {
        *size = wd_get16(data + at + 2);
        if (wd_get16(data + at) == type) return data + at + 4;
        if (wd_get16(data + at) == 0x0008) return NULL;
    }
    return NULL;
}

static void check_fields(const uint8_t *data, size_t length, const struct wd_stun *m) {
    size_t size = 0;
    require(m->klass <= WD_STUN_ERROR && m->method < 0x1000 && m->transaction == data + 8 &&
            m->unknown_count <= WD_STUN_MAX_UNKNOWN);
    const uint8_t *value = find(data, length, 0x0006, &size);
    require(m->username == value && m->username_len == (value ? size : 0) &&
            (!value || is_inside(value, size, data, length)));
    value = find(data, length, 0x0024, &size);
    require(m->priority == (value ? wd_get32(value) : 0));
    require(m->use_candidate == (find(data, length, 0x0025, &size) != NULL));
    require(m->controlled == (find(data, length, 0x8029, &size) != NULL));
    require(m->controlling == (find(data, length, 0x802a, &size) != NULL));
    require((find(data, length, 0x0020, &size) != NULL) == (m->mapped.family != 0));
    value = find(data, length, 0x0008, &size);
    require(m->integrity_at == (value ? (size_t)(value - data) - 4 : 0));
    for (size_t i = 0; i < m->unknown_count; i++)
        require(m->unknown[i] < 0x8000 && find(data, length, m->unknown[i], &size));
}

static void parse(uint8_t *data, size_t length, const uint8_t *key, size_t key_length) {
    struct wd_stun m;
    if (!wd_stun_parse(data, length, &m)) return;
    check_fields(data, length, &m);
    if (!wd_stun_verify(data, length, &m, key, key_length)) return;
    require(m.integrity_at + 24 <= length);
    data[m.integrity_at - 1] ^= 1; /* the last byte that the MAC covers */
    require(!wd_stun_verify(data, length, &m, key, key_length));
}

/* Headers of chance are nearly all wrong; this one is right, so that chance goes to the attributes. */
static void parse_attributes(struct tape *t, const uint8_t *key, size_t key_length) {
    uint16_t type = (uint16_t)take(t, 2) & 0x3fff;
    size_t length;
    uint8_t *body = take_copy(t, 1400, &length), *data = malloc(HEADER + length);
    length &= ~(size_t)3;
    memset(data, 0x5a, HEADER);
    wd_put16(data, type);
    wd_put16(data + 2, (uint16_t)length);
    wd_put32(data + 4, 0x2112a442);
    memcpy(data + HEADER, body, length);
    free(body);
    uint8_t *exact = malloc(HEADER + length);
    memcpy(exact, data, HEADER + length);
    free(data);
    parse(exact, HEADER + length, key, key_length);
    free(exact);
}

static void read_back(uint8_t *out, size_t length, const uint8_t *transaction, struct wd_stun *m, const uint8_t *key,
                      size_t key_length) {
    uint8_t other[64] = {0};
    require(wd_stun_parse(out, length, m) && m->method == 1 && m->has_fingerprint &&
            memcmp(m->transaction, transaction, 12) == 0);
    check_fields(out, length, m);
    require(wd_stun_verify(out, length, m, key, key_length));
    memcpy(other, key, key_length);
    other[0] ^= 1;
    require(!wd_stun_verify(out, length, m, other, key_length ? key_length : 1));
}

static void write_check(struct tape *t, uint8_t *out, size_t capacity, const uint8_t *transaction, const uint8_t *key,
                        size_t key_length) {
    struct wd_stun_check check = {.priority = (uint32_t)take(t, 4),
                                  .tiebreaker = take(t, 8),
                                  .controlling = take(t, 1) & 1,
                                  .use_candidate = take(t, 1) & 1};
    uint8_t *username = take_copy(t, take(t, 2) % 514, &check.username_len);
    check.username = username;
    size_t length = wd_stun_write_check(out, capacity, transaction, &check, key, key_length);
    struct wd_stun m;
    if (length) {
        read_back(out, length, transaction, &m, key, key_length);
        require(m.klass == WD_STUN_REQUEST && m.username_len == check.username_len &&
                memcmp(m.username, username, m.username_len) == 0);
        require(m.priority == check.priority && m.tiebreaker == check.tiebreaker &&
                m.use_candidate == check.use_candidate);
        require(m.controlling == check.controlling && m.controlled == !check.controlling);
    } else {
        require(capacity < HEADER + 4 + 516 + 8 + 12 + 4 + 24 + 8);
    }
    free(username);
}

static void write_success(struct tape *t, uint8_t *out, size_t capacity, const uint8_t *transaction, const uint8_t *key,
                          size_t key_length) {
    struct wd_addr mapped = {.port = (uint16_t)take(t, 2), .family = take(t, 1) & 1 ? 4 : 6};
    for (unsigned i = 0; i < (mapped.family == 4 ? 4 : 16); i++) mapped.ip[i] = (uint8_t)take(t, 1);
    size_t length = wd_stun_write_success(out, capacity, transaction, &mapped, key, key_length);
    struct wd_stun m;
    if (!length) {
        require(capacity < HEADER + 24 + 24 + 8);
        return;
    }
    read_back(out, length, transaction, &m, key, key_length);
    require(m.klass == WD_STUN_SUCCESS && m.mapped.port == mapped.port);
    if (mapped.family == 6 && m.mapped.family == 4) /* the only other family that an address may come back in */
        require(wd_get64(mapped.ip) == 0 && wd_get32(mapped.ip + 8) == 0xffff &&
                memcmp(m.mapped.ip, mapped.ip + 12, 4) == 0);
    else
        require(m.mapped.family == mapped.family && memcmp(m.mapped.ip, mapped.ip, 16) == 0);
}

static void write_error(struct tape *t, uint8_t *out, size_t capacity, const uint8_t *transaction, const uint8_t *key,
                        size_t key_length) {
    uint16_t unknown[WD_STUN_MAX_UNKNOWN], code = (uint16_t)(300 + take(t, 2) % 400);
    size_t count = take(t, 1) % (WD_STUN_MAX_UNKNOWN + 1), taken;
    for (size_t i = 0; i < count; i++) unknown[i] = (uint16_t)take(t, 2);
    char reason[129] = {0};
    uint8_t *text = take_copy(t, take(t, 1) % 128, &taken);
    memcpy(reason, text, taken);
    free(text);
    size_t length = wd_stun_write_error(out, capacity, transaction, code, reason, unknown, count, key, key_length);
    struct wd_stun m;
    if (!length) {
        require(capacity < HEADER + 8 + 128 + 4 + 16 + 24 + 8);
        return;
    }
    read_back(out, length, transaction, &m, key, key_length);
    require(m.klass == WD_STUN_ERROR && m.error_code == code);
    size_t size = 0;
    const uint8_t *listed = find(out, length, 0x000a, &size);
    require((listed != NULL) == (count > 0) && (!count || size == 2 * count));
    for (size_t i = 0; i < count; i++) require(wd_get16(listed + 2 * i) == unknown[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct tape t = {data, size};
    uint8_t mode = (uint8_t)take(&t, 1), transaction[12];
    size_t key_length = 0, length;
    uint8_t *key = take_copy(&t, mode >> 3, &key_length);
    if ((mode & 7) < 2) {
        uint8_t *raw = take_copy(&t, 2000, &length);
        parse(raw, length, key, key_length);
        free(raw);
    } else if ((mode & 7) < 5) {
        parse_attributes(&t, key, key_length);
    } else {
        for (unsigned i = 0; i < sizeof transaction; i++) transaction[i] = (uint8_t)take(&t, 1);
        size_t capacity = take(&t, 2) % 700;
        uint8_t *out = malloc(capacity ? capacity : 1);
        ((mode & 7) == 5   ? write_check
         : (mode & 7) == 6 ? write_success
                           : write_error)(&t, out, capacity, transaction, key, key_length);
        free(out);
    }
    free(key);
    return 0;
}
