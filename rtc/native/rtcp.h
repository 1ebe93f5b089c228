/* RTCP: compound packets (RFC 3550 section 6), reduced size (RFC 5506), feedback (RFC 4585, RFC 5104), REMB
 * (draft-alvestrand-rmcat-remb-03), transport-wide feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01).
 *
 * wd_rtcp_next walks a compound packet; readers take one block; writers append one block and return its length (0 = no
 * room). */
#ifndef WD_RTCP_H
#define WD_RTCP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum wd_rtcp_type {
    WD_RTCP_SR = 200,
    WD_RTCP_RR = 201,
    WD_RTCP_SDES = 202,
    WD_RTCP_BYE = 203,
    WD_RTCP_APP = 204,
    WD_RTCP_RTPFB = 205,
    WD_RTCP_PSFB = 206
};
enum wd_rtcp_format { WD_RTPFB_NACK = 1, WD_RTPFB_TWCC = 15, WD_PSFB_PLI = 1, WD_PSFB_FIR = 4, WD_PSFB_AFB = 15 };

struct wd_rtcp_block {
    uint8_t type;
    uint8_t count; /* report count or feedback format */
    const uint8_t *data; /* the whole block, header included, padding removed */
    size_t length;
};

/* Takes the next block off (*data, *length). True with a block; false at the end or at the first malformed block (then
 * *length > 0). */
bool wd_rtcp_next(const uint8_t **data, size_t *length, struct wd_rtcp_block *out);

struct wd_sender_info {
    uint32_t ssrc;
    uint64_t ntp;
    uint32_t rtp;
    uint32_t packets;
    uint32_t octets;
};
struct wd_report {
    uint32_t ssrc;
    uint8_t fraction_lost; /* of 256 */
    int32_t lost; /* cumulative, 24-bit signed */
    uint32_t highest; /* extended sequence */
    uint32_t jitter;
    uint32_t lsr, dlsr;
};
/* Readers of one block: false when it is of another kind, or malformed. */
bool wd_rtcp_read_sender(const struct wd_rtcp_block *block, struct wd_sender_info *out);
/* Reports of an SR or RR; returns how many were written (at most 31). *reporter = sender SSRC. */
size_t wd_rtcp_read_reports(const struct wd_rtcp_block *block, uint32_t *reporter, struct wd_report out[31]);
/* Lost sequence numbers of a generic NACK, expanded; at most `capacity`. *media = SSRC meant. */
size_t wd_rtcp_read_nack(const struct wd_rtcp_block *block, uint32_t *media, uint16_t *out, size_t capacity);
bool wd_rtcp_read_pli(const struct wd_rtcp_block *block, uint32_t *media);
/* SSRCs of a FIR (at most capacity), with their command sequence numbers. */
size_t wd_rtcp_read_fir(const struct wd_rtcp_block *block, uint32_t *ssrcs, uint8_t *sequences, size_t capacity);
bool wd_rtcp_read_remb(const struct wd_rtcp_block *block, uint64_t *bitrate_bps);
struct wd_twcc_summary {
    uint16_t base;
    uint16_t count;
    uint16_t received;
    uint8_t feedback;
};
/* Summary of a transport-wide feedback block, bounds checked to the last chunk and delta. */
bool wd_rtcp_read_twcc(const struct wd_rtcp_block *block, struct wd_twcc_summary *out);

size_t wd_rtcp_write_sr(uint8_t *out, size_t capacity, const struct wd_sender_info *info,
                        const struct wd_report *reports, size_t count);
size_t wd_rtcp_write_rr(uint8_t *out, size_t capacity, uint32_t reporter, const struct wd_report *reports,
                        size_t count);
size_t wd_rtcp_write_cname(uint8_t *out, size_t capacity, uint32_t ssrc, const char *cname);
/* `lost` ascending modulo 2^16 */
size_t wd_rtcp_write_nack(uint8_t *out, size_t capacity, uint32_t sender, uint32_t media, const uint16_t *lost,
                          size_t count);
size_t wd_rtcp_write_pli(uint8_t *out, size_t capacity, uint32_t sender, uint32_t media);
size_t wd_rtcp_write_remb(uint8_t *out, size_t capacity, uint32_t sender, uint64_t bitrate_bps, const uint32_t *ssrcs,
                          size_t count);

/* Receiver side of transport-wide congestion control: arrivals in, feedback blocks out. */
#define WD_TWCC_SPAN 512 /* sequence numbers remembered between two feedbacks; older ones are forgotten */
struct wd_twcc {
    uint16_t first; /* first sequence of the next feedback */
    uint16_t next; /* one past the newest received */
    uint8_t feedback;
    bool started;
    int64_t arrival_us[WD_TWCC_SPAN]; /* 0 = not received; by sequence modulo span */
};
void wd_twcc_arrived(struct wd_twcc *twcc, uint16_t sequence, int64_t now_us);
/* Writes one feedback about [first, next) and advances; 0 when there is nothing to say. Reference time and deltas never
 * overflow: a block ends early where a delta would not fit, the rest follows in the next call. Call until it returns 0.
 */
size_t wd_twcc_write(struct wd_twcc *twcc, uint8_t *out, size_t capacity, uint32_t sender, uint32_t media);

#endif
