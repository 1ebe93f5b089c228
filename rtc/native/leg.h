/* A leg: one slot of a receiving transport, with a fixed SSRC, fed by at most one track at a time. */
#ifndef WD_LEG_H
#define WD_LEG_H

#include "router.h"

#define WD_REPORTS 4 /* sender reports of a leg that are remembered: so many seconds may a round trip take */
#define WD_RESEND_LEAST (5000 * 256) /* that a leg may always have saved up, as resend_credit */
#define WD_RESEND_MOST (1u << 30) /* as resend_credit */

/* Of one outbound packet; it lies where the packet itself lies among the track's slots, so there is one for each that
 * can be sent again. */
struct resend {
    uint16_t sequence;
    uint8_t tries;
    uint32_t at_ms;
};

struct leg {
    struct transport *transport;
    struct track *track;
    struct leg *next_in_track;
    struct leg *next_in_batch; /* of the same transport, in this flush */
    uint64_t first_in; /* source packets before this one are not forwarded */
    uint64_t offset; /* outbound = inbound + offset, modulo 2^64 */
    uint64_t highest_out; /* newest outbound extended sequence number */
    int64_t last_sent_ns;
    uint64_t packets, bytes;
    uint8_t payload_types[WD_MAX_CODECS],
        rtx_payload_types[WD_MAX_CODECS]; /* by the track's codec entry; 0 = the receiver cannot decode it */
    uint32_t timestamp_offset, last_timestamp;
    uint16_t picture_offset, last_picture;
    uint8_t tl0_offset, last_tl0;
    bool has_picture;
    bool started; /* has sent anything, ever */
    bool waiting; /* for a place to start in the current source */
    struct wd_leg_config config; /* its head too; the rest is for joins */

    struct leg *next; /* of the same transport */
    uint64_t first_out; /* outbound sequence number where the current source began */
    uint64_t rtx_next;
    uint32_t report_lsr[WD_REPORTS]; /* newest first */
    int64_t report_sent_ns[WD_REPORTS];
    uint8_t loss; /* fraction lost of the newest RR */
    uint64_t bytes_again, bytes_told; /* sent again; all up to the newest statistics */
    uint32_t resend_earned; /* `bytes` up to which resend_credit counts, modulo 2^32 */
    uint32_t resend_credit; /* bytes that may be sent again, times 256 */
    struct resend *resends; /* video only: WD_VIDEO_CACHE */
};
/* what every packet touches */
#define WD_LEG_HEAD (offsetof(struct leg, config) + offsetof(struct wd_leg_config, codecs))

/* So many bytes may be sent again beyond the leg's share (repair.c). */
static inline void wd_resend_credit(struct leg *leg, uint64_t bytes) {
    uint64_t sum = leg->resend_credit + bytes * 256;
    if (leg->resend_credit < WD_RESEND_MOST)
        leg->resend_credit = (uint32_t)(sum < WD_RESEND_MOST ? sum : WD_RESEND_MOST);
}

#endif
