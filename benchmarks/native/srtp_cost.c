/* What SRTP costs per packet: CPU nanoseconds of rtc/native/srtp.c by profile, size and number of keys in turn (with
 * hundreds of subscribers no key schedule stays in the first-level cache). The best of several rounds counts:
 * everything else is what the machine did besides.
 *
 * Opening works in place, so each opened packet is a fresh copy; the copy is in the figure. WADUD_CRYPTO=openssl
 * measures without intel-ipsec-mb. Prints one JSON object. */
#include "rtc/native/bytes.h"
#include "rtc/native/srtp.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define HEADER 20
#define MAX_PACKET 1400
#define MAX_KEYS 256
#define CALLS 40000
#define ROUNDS 9
#define PACKETS 64 /* different ones to open, per key */

static double cpu_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void must(bool holds) {
    if (!holds) abort();
}

struct direction {
    struct wd_srtp *seal, *open;
    struct wd_srtp_stream stream;
    uint64_t index;
};

static struct direction directions[MAX_KEYS];
static uint8_t sealed[MAX_KEYS][PACKETS][MAX_PACKET];

static void start(uint16_t profile, unsigned keys) {
    uint8_t key[WD_SRTP_KEY] = {1, 2, 3}, salt[WD_SRTP_MAX_SALT] = {4, 5, 6};
    for (unsigned k = 0; k < keys; k++) {
        key[0] = (uint8_t)k;
        directions[k] =
            (struct direction){.seal = wd_srtp_new(profile, key, salt), .open = wd_srtp_new(profile, key, salt)};
        must(directions[k].seal && directions[k].open);
    }
}

static void stop(unsigned keys) {
    for (unsigned k = 0; k < keys; k++) {
        wd_srtp_free(directions[k].seal);
        wd_srtp_free(directions[k].open);
    }
}

static size_t seal_one(struct direction *d, uint8_t *out, const uint8_t *payload, size_t payload_length) {
    memset(out, 0, HEADER);
    out[0] = 0x90;
    wd_put16(out + 2, (uint16_t)d->index);
    return wd_srtp_protect(d->seal, d->index++, out, HEADER, payload, payload_length);
}

static double seal_ns(unsigned keys, size_t payload_length) {
    static uint8_t payload[MAX_PACKET], out[MAX_PACKET];
    double best = 1e12;
    for (unsigned round = 0; round < ROUNDS; round++) {
        double before = cpu_ns();
        for (unsigned i = 0; i < CALLS; i++) seal_one(&directions[i % keys], out, payload, payload_length);
        double each = (cpu_ns() - before) / CALLS;
        if (each < best) best = each;
    }
    return best;
}

static double open_ns(unsigned keys, size_t payload_length) {
    static uint8_t payload[MAX_PACKET], packet[MAX_PACKET];
    size_t size = 0, length;
    uint64_t index;
    for (unsigned k = 0; k < keys; k++) {
        directions[k].index = 0;
        for (unsigned i = 0; i < PACKETS; i++) size = seal_one(&directions[k], sealed[k][i], payload, payload_length);
    }
    double best = 1e12;
    for (unsigned round = 0; round < ROUNDS; round++) {
        double spent = 0;
        for (unsigned pass = 0; pass < CALLS / (PACKETS * keys) + 1; pass++) {
            for (unsigned k = 0; k < keys; k++) directions[k].stream = (struct wd_srtp_stream){0};
            double before = cpu_ns();
            for (unsigned i = 0; i < PACKETS; i++)
                for (unsigned k = 0; k < keys; k++) {
                    memcpy(packet, sealed[k][i], length = size);
                    must(wd_srtp_unprotect(directions[k].open, &directions[k].stream, packet, &length, HEADER,
                                           &index) == WD_SRTP_OK);
                }
            spent += cpu_ns() - before;
        }
        double each = spent / ((CALLS / (PACKETS * keys) + 1) * PACKETS * keys);
        if (each < best) best = each;
    }
    return best;
}

int main(void) {
    static const struct {
        uint16_t number;
        const char *name;
    } PROFILES[] = {{WD_SRTP_AEAD_AES_128_GCM, "gcm"}, {WD_SRTP_AES128_CM_SHA1_80, "cm"}};
    static const unsigned SIZES[] = {1200, 160}, KEYS[] = {1, 200};
    const char *comma = "";
    printf("[");
    for (unsigned p = 0; p < 2; p++)
        for (unsigned k = 0; k < 2; k++)
            for (unsigned s = 0; s < 2; s++) {
                start(PROFILES[p].number, KEYS[k]);
                size_t payload = SIZES[s] - HEADER - wd_srtp_tag(directions[0].seal);
                const char *backend = wd_srtp_backend(directions[0].seal);
                double seal = seal_ns(KEYS[k], payload), open = open_ns(KEYS[k], payload);
                printf("%s{\"profile\": \"%s\", \"backend\": \"%s\", \"bytes\": %u, \"keys\": %u, ", comma,
                       PROFILES[p].name, backend, SIZES[s], KEYS[k]);
                printf("\"protect_ns\": %.0f, \"unprotect_ns\": %.0f}", seal, open);
                comma = ",\n ";
                stop(KEYS[k]);
            }
    printf("]\n");
    return 0;
}
