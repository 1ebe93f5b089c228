/* SRTP and SRTCP (RFC 3711; AEAD profile RFC 7714) over OpenSSL's libcrypto, or intel-ipsec-mb where it is at hand
 * (srtp_ipsec.h).
 *
 * One wd_srtp holds the session keys of one direction of one DTLS association: ciphers fetched once, key schedules
 * kept, per packet only the IV changes. Stream state (rollover counter, replay window) lives with the caller, who owns
 * one wd_srtp_stream per SSRC: the packet path looks the SSRC up once for everything. Nothing here allocates after
 * wd_srtp_new. State changes only after authentication. Outbound packets name their 48-bit index explicitly, so the
 * caller decides the rollover counter. */
#ifndef WD_SRTP_H
#define WD_SRTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum wd_srtp_profile {
    WD_SRTP_AES128_CM_SHA1_80 = 0x0001,
    WD_SRTP_AEAD_AES_128_GCM = 0x0007
}; /* DTLS-SRTP profile numbers */

#define WD_SRTP_KEY 16
#define WD_SRTP_MAX_SALT 14 /* 14 for CM, 12 for GCM */
#define WD_SRTP_MAX_OVERHEAD 20 /* most a protected packet grows: 16-byte tag + 4-byte SRTCP index */
#define WD_SRTP_WINDOW 1024 /* packets */

enum wd_srtp_result { WD_SRTP_OK, WD_SRTP_SHORT, WD_SRTP_AUTH, WD_SRTP_REPLAY, WD_SRTP_TOO_OLD };

struct wd_srtp; /* opaque */

struct wd_srtp_stream {
    uint64_t highest; /* 48-bit index of the newest authenticated packet */
    uint64_t window[WD_SRTP_WINDOW / 64];
    bool started;
};

/* Session keys of RFC 3711 section 4.3.1. GCM uses the first 12 bytes of a salt and no authentication keys. */
struct wd_srtp_session_keys {
    uint8_t rtp_key[WD_SRTP_KEY], rtp_auth[20], rtp_salt[WD_SRTP_MAX_SALT];
    uint8_t rtcp_key[WD_SRTP_KEY], rtcp_auth[20], rtcp_salt[WD_SRTP_MAX_SALT];
};
bool wd_srtp_derive(uint16_t profile, const uint8_t *master_key, const uint8_t *master_salt,
                    struct wd_srtp_session_keys *out);

/* NULL when the profile is unknown or out of memory. */
struct wd_srtp *wd_srtp_new(uint16_t profile, const uint8_t *master_key, const uint8_t *master_salt);
/* The same from session keys: vectors of RFC 7714 begin there. */
struct wd_srtp *wd_srtp_new_session(uint16_t profile, const struct wd_srtp_session_keys *keys);
void wd_srtp_free(struct wd_srtp *srtp);
/* "ipsec-mb" or "openssl": who encrypts; decided by wd_srtp_new. */
const char *wd_srtp_backend(const struct wd_srtp *srtp);
/* Authentication tag bytes added to an RTP packet: 10 or 16. */
size_t wd_srtp_tag(const struct wd_srtp *srtp);

/* Prefetches what a packet will need into the nearest cache; the keys, for `length` bytes of payload, once the rest has
 * come. */
void wd_srtp_prefetch(const struct wd_srtp *srtp);
void wd_srtp_prefetch_keys(const struct wd_srtp *srtp, size_t length);

/* Decrypts in place. `header_length` from wd_rtp_parse. On WD_SRTP_OK *length becomes the clear length and *index the
 * 48-bit packet index. A failure leaves the stream untouched; the packet bytes may be destroyed. */
enum wd_srtp_result wd_srtp_unprotect(struct wd_srtp *srtp, struct wd_srtp_stream *stream, uint8_t *packet,
                                      size_t *length, size_t header_length, uint64_t *index);

/* out[0..header_length) already holds the RTP header. Encrypts payload into out + header_length (payload may be that
 * same place, for in-place use; otherwise no overlap) and appends the tag. Returns the packet's full length. Cannot
 * fail but for a programming error. */
size_t wd_srtp_protect(struct wd_srtp *srtp, uint64_t index, uint8_t *out, size_t header_length, const uint8_t *payload,
                       size_t payload_length);

/* SRTCP: whole compound packet in place. Protect keeps its own 31-bit index; returns the new length (room for
 * WD_SRTP_MAX_OVERHEAD is the caller's duty). Unprotect keeps replay windows for 32 sender SSRCs. An authentic packet
 * of a further one takes the place of the sender not heard for longest, of which nothing up to its newest packet is
 * taken any more: WD_SRTP_TOO_OLD, when it comes back. */
size_t wd_srtcp_protect(struct wd_srtp *srtp, uint8_t *packet, size_t length);
enum wd_srtp_result wd_srtcp_unprotect(struct wd_srtp *srtp, uint8_t *packet, size_t *length);

#endif
