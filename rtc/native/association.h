/* DTLS-SRTP (RFC 5764) without I/O, over OpenSSL: datagrams and time in, datagrams and keys out.
 *
 * OpenSSL reads and writes through a BIO of ours that keeps datagrams apart both ways, which its memory BIO does not,
 * so a flight leaves in datagrams of at most the MTU. OpenSSL's own retransmission timer reads the wall clock. So each
 * flight is made to time out at once a few times: OpenSSL writes it again under fresh record numbers, as RFC 6347
 * section 4.2.4 wants (a peer takes a record that came too early for it, such as ChangeCipherSpec, for a replay when it
 * comes again). These repetitions are kept (dtls_flight.h) and sent on the caller's clock; then the timer is set so far
 * ahead that it never fires. A server that has finished answers any further handshake record with its last flight: the
 * peer shows that it has not got it. It reads nothing else any more, not even a close_notify (consent tells better who
 * is gone), so OpenSSL's state, which is the largest part of an association, ends with the handshake.
 *
 * The peer's certificate counts only by its fingerprint, checked while the handshake runs (identity.h): keys do not
 * exist for anybody else. */
#ifndef WD_ASSOCIATION_H
#define WD_ASSOCIATION_H

#include "dtls_flight.h"
#include "identity.h"

#define WD_MIN_MTU 280 /* bytes: OpenSSL takes no less than 256, and it forgets 24 bytes of each encrypted record */

enum wd_phase { WD_NEW, WD_HANDSHAKING, WD_CONNECTED, WD_FAILED, WD_CLOSED };

/* Master keys and salts; `local` is what we send with. */
struct wd_association_keys {
    uint16_t profile;
    size_t salt_length;
    uint8_t local_key[WD_SRTP_KEY], local_salt[WD_SRTP_MAX_SALT], remote_key[WD_SRTP_KEY],
        remote_salt[WD_SRTP_MAX_SALT];
};

/* One handshake with one peer. Times are seconds of the caller's clock, which never goes back. */
struct wd_association;

/* `mtu`: WD_MIN_MTU..WD_MAX_DATAGRAM bytes; `initial_timeout` seconds until a flight is repeated, doubled each time up
 * to 1 s. The identity must live longer. NULL with a reason when OpenSSL refuses or out of memory. */
struct wd_association *wd_association_new(const struct wd_identity *identity, bool server, size_t mtu,
                                          double initial_timeout, char reason[WD_DTLS_REASON]);
void wd_association_free(struct wd_association *association);

/* Whom the peer has to be, told by wd_peer_trust before the first datagram. */
struct wd_peer *wd_association_peer(struct wd_association *association);

bool wd_association_start(struct wd_association *association,
                          double now); /* a new client's ClientHello; false for anybody else */
void wd_association_receive(struct wd_association *association, const uint8_t *datagram, size_t length, double now);
bool wd_association_timer(const struct wd_association *association, double *at); /* false: no timer is set */
void wd_association_handle_timer(struct wd_association *association, double now);
void wd_association_close(struct wd_association *association); /* queues close_notify and frees what OpenSSL holds */

/* What waits to be sent; the sender clears it. */
struct wd_datagrams *wd_association_outgoing(struct wd_association *association);

enum wd_phase wd_association_phase(const struct wd_association *association);
const char *wd_association_failure(const struct wd_association *association); /* why it failed, else NULL */
const struct wd_association_keys *
wd_association_keys(const struct wd_association *association); /* NULL until connected with the right peer */

#endif
