/* The RTP header (RFC 3550 section 5.1) and its extension elements (RFC 8285), parsed once into a fixed record. */
#ifndef WD_RTP_H
#define WD_RTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WD_RTP_MAX_EXTENSIONS 16

struct wd_rtp_extension {
    uint8_t id; /* 1..14 one-byte form, 1..255 two-byte form */
    uint8_t length; /* bytes of data */
    uint16_t at; /* offset of the data in the packet */
};

struct wd_rtp {
    uint32_t ssrc;
    uint32_t timestamp;
    uint16_t sequence;
    uint16_t header_length; /* fixed header + CSRCs + extension block */
    uint8_t payload_type;
    bool marker;
    bool padding; /* P bit; the padding length is known only after decryption */
    uint8_t extension_count;
    struct wd_rtp_extension extensions[WD_RTP_MAX_EXTENSIONS];
};

/* Works on the clear header of an SRTP packet as well. False when malformed (version, CSRC or extension bounds). Id 15
 * in the one-byte form ends the list, and so does id 0 with a length; a zero byte is padding; elements past
 * WD_RTP_MAX_EXTENSIONS are ignored. */
bool wd_rtp_parse(const uint8_t *packet, size_t length, struct wd_rtp *out);

/* Payload length without RTP padding, for a decrypted packet: 0 for padding-only packets. False when the padding count
 * is impossible. */
bool wd_rtp_payload_length(const uint8_t *packet, size_t length, const struct wd_rtp *rtp, size_t *out);

/* The element with this id, or NULL. Id 0 never matches. */
static inline const struct wd_rtp_extension *wd_rtp_find(const struct wd_rtp *rtp, uint8_t id) {
    if (id)
        for (unsigned i = 0; i < rtp->extension_count; i++)
            if (rtp->extensions[i].id == id) return &rtp->extensions[i];
    return NULL;
}

#endif
