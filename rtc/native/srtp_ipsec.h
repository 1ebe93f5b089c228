/* AES-128-GCM by intel-ipsec-mb, where Debian's libipsec-mb1 (x86) is installed: about twice as fast as OpenSSL 3.0,
 * whose GCM knows no VAES.
 *
 * The library is opened at run time and never required: built without its header, run without the library, with another
 * version of it than the header's, or with WADUD_CRYPTO=openssl in the environment, wd_ipsec_key_new gives NULL and
 * srtp.c uses OpenSSL. Used by srtp.c alone. */
#ifndef WD_SRTP_IPSEC_H
#define WD_SRTP_IPSEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct wd_ipsec_key; /* opaque: key schedule and hash keys */

/* NULL when there is no library or no memory. */
struct wd_ipsec_key *wd_ipsec_key_new(const uint8_t key[16]);
void wd_ipsec_key_free(struct wd_ipsec_key *key);
/* Into the nearest cache what a payload of so many bytes needs of it. */
void wd_ipsec_prefetch(const struct wd_ipsec_key *key, size_t length);

/* `out` may be `in`; the tag has 16 bytes. */
void wd_ipsec_seal(const struct wd_ipsec_key *key, const uint8_t iv[12], const uint8_t *associated,
                   size_t associated_length, uint8_t *out, const uint8_t *in, size_t length, uint8_t *tag);
/* In place. False when the tag is wrong; the data is destroyed then. */
bool wd_ipsec_open(const struct wd_ipsec_key *key, const uint8_t iv[12], const uint8_t *associated,
                   size_t associated_length, uint8_t *data, size_t length, const uint8_t *tag);

#endif
