/* Datagrams that wait to be sent, and the last flight of a handshake for when it has to go again (RFC 6347
 * section 4.2.4).
 *
 * A flight is kept as it left first, and as repetitions of it under fresh record numbers, written ahead of need
 * (association.h says why). Repetitions are sent one after the other and then again from the first; without any, the
 * flight goes again as it was. */
#ifndef WD_DTLS_FLIGHT_H
#define WD_DTLS_FLIGHT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WD_MAX_DATAGRAM 4096 /* bytes */
#define WD_MAX_WAITING 64 /* datagrams */
#define WD_REPETITIONS 6 /* OpenSSL gives up after twelve */

struct wd_datagrams {
    size_t count;
    struct {
        uint16_t length;
        uint8_t *data;
    } items[WD_MAX_WAITING];
};

struct wd_flight {
    struct wd_datagrams out, last, repetitions;
    size_t mtu, ends[WD_REPETITIONS], count,
        next; /* where each repetition ends; how many there are; which one is sent next */
    bool repeating; /* what is written now is a repetition */
};

/* A datagram too many, or one for which there is no memory, is as lost as on any network. */
void wd_datagrams_put(struct wd_datagrams *datagrams, const uint8_t *data, size_t length);
void wd_datagrams_clear(struct wd_datagrams *datagrams);
/* Removes the newest one; returns its length, 0 when there was none or it is longer than `room`. */
size_t wd_datagrams_take_back(struct wd_datagrams *datagrams, uint8_t *data, size_t room);

void wd_flight_write(struct wd_flight *flight, const uint8_t *data,
                     size_t length); /* out, or into the repetition that was begun */
void wd_flight_begin_repetition(struct wd_flight *flight); /* never more than WD_REPETITIONS */
void wd_flight_end_repetition(struct wd_flight *flight); /* if one was begun */
void wd_flight_drop_repetitions(struct wd_flight *flight);
void wd_flight_keep(struct wd_flight *flight,
                    size_t begin); /* the datagrams of `out` from `begin` on are the last flight */
void wd_flight_resend(struct wd_flight *flight); /* as it left first */
void wd_flight_repeat(struct wd_flight *flight); /* by the next repetition */
void wd_flight_forget(struct wd_flight *flight); /* everything but what waits to be sent */

#endif
