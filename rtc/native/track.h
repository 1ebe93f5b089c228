/* A track: one media source that a transport sends, and the clear packets of it that are kept. */
#ifndef WD_TRACK_H
#define WD_TRACK_H

#include "clock.h"
#include "router.h"
#include "rtcp.h"
#include "srtp.h"

#define WD_MAX_PAYLOAD 1440 /* larger RTP payloads are dropped: they would not fit a datagram on the way out */
#define WD_MAX_PADDING 24 /* RTP padding we add to make packets of one burst equal (RFC 3550 section 5.1) */
#define WD_VIDEO_CACHE 512 /* packets */
#define WD_AUDIO_CACHE 32
#define WD_PENDING 48 /* packets of one track waiting for the next flush */
#define WD_LOST 128 /* missing packets remembered per track */

/* One packet of a publisher, clear, as every subscriber's packet is derived from it. */
struct slot {
    uint64_t index; /* extended sequence number + 1; 0 = empty */
    uint32_t timestamp;
    uint32_t abs_send_time; /* 24 bits, set when first forwarded: a repetition must be byte-identical */
    uint16_t length;
    uint8_t padding;
    uint8_t entry; /* which of the track's codecs */
    bool marker, keyframe, has_orientation, has_playout;
    uint8_t orientation, playout[3];
    struct wd_payload payload_info;
    uint32_t at, round; /* where in the track's store, and in which of its rounds, the payload is; WD_MAX_PADDING bytes
                           more than `length` are ours */
};

/* The payloads of a track's slots end to end, round and round: the oldest are overwritten, which their slots are not
 * told (see wd_is_stored). Most packets are shorter than the longest. */
struct store {
    uint8_t *bytes;
    uint32_t size;
    uint32_t head; /* the next payload goes here */
    uint32_t round;
};

struct lost {
    uint64_t index; /* extended sequence number */
    int64_t since_ns, due_ns;
    uint8_t tries;
    bool given_up; /* a keyframe was asked for in its place */
};

/* Of tracks, legs and transports, what every packet needs comes first: with hundreds of participants each line of
 * memory that a packet touches is a wait. */
struct track {
    struct track *next; /* of the same transport */
    struct transport *transport;
    struct leg *legs;
    struct slot *slots; /* NULL until the first authentic packet, as `lost`: most of what is announced is never sent */
    uint32_t slot_mask;
    bool started, announced, in_pending, frame_complete, flushing;
    uint8_t last_entry;
    uint8_t refused; /* packets that did not authenticate before the first one of a stream did */
    uint32_t ssrc, rtx_ssrc; /* now; the configuration's are what was signalled */
    uint64_t highest, lowest; /* extended sequence numbers; of the current SSRC */
    struct store store;
    uint64_t received, bytes, repaired, expected_before, received_before; /* for reports */
    int64_t pending_since;
    uint32_t jitter, transit; /* in 1/16 timestamp units, RFC 3550 appendix A.8 */
    uint16_t pending_count, lost_count;
    bool has_transit;
    uint8_t level, level_sent; /* loudest since the last event; 127 = silence */
    bool voice, voice_sent;
    struct wd_srtp_stream stream;
    struct wd_track_config config; /* its head, up to the first codecs; the rest is for joins */

    uint16_t pending[WD_PENDING];
    struct lost *lost;
    struct wd_srtp_stream rtx_stream;
    uint32_t former_ssrc; /* the one before the current one, and its replay window: who repeats its packets does not
                             bring it back */
    struct wd_srtp_stream former_stream;
    int64_t keyframe_asked_ns, keyframe_seen_ns;
    int64_t keyframe_due_ns; /* when the next is due, as it was last reckoned */
    int64_t keyframe_paid_ns; /* up to when the requests so far have used up what is asked in the long run */
    uint64_t keyframe_newest; /* the packet that the newest keyframe begins with */
    uint64_t keyframe_from; /* behind what was there when the newest wish came: what begins before is no answer to it */
    bool keyframe_wanted;
    uint8_t keyframe_unheard; /* requests since the last that anything arrived behind */
    uint64_t keyframe_received; /* packets until the newest request */
    uint8_t fraction_lost;
    struct wd_sender_info sender; /* newest SR */
    int64_t sender_ns;
    bool has_sender;

    bool began; /* with the level told last: the next one, by which it is judged, is not patient either */
    int64_t level_sent_ns;
    bool has_orientation;
    uint8_t orientation; /* newest: repeated on keyframes for those who join late */
    int64_t latched_ns;
};
/* what every packet touches */
#define WD_TRACK_HEAD \
    (offsetof(struct track, config) + offsetof(struct wd_track_config, codecs) + 2 * sizeof(struct wd_codec_entry))

/* Of this round, or of the last one and not yet overwritten. */
static inline bool wd_is_stored(const struct store *store, const struct slot *slot) {
    return slot->round == store->round || (slot->round + 1 == store->round && slot->at >= store->head);
}

static inline uint8_t *wd_stored(const struct track *track, const struct slot *slot) {
    return track->store.bytes + slot->at;
}

/* A decoder can start a picture with that packet. A slice of an IDR picture does not say whether it is the first packet
 * of its picture. The one before it does, unless that is missing: it may have held the parameter sets, which travel in
 * packets of their own and in no other way (RFC 7742 section 6.2), and may yet be repaired. */
static inline bool wd_begins_picture(const struct track *track, const struct slot *slot) {
    if (!slot->keyframe || !slot->payload_info.may_follow) return slot->keyframe;
    const struct slot *before = &track->slots[(slot->index - 2) & track->slot_mask];
    return before->index == slot->index - 1 && before->timestamp != slot->timestamp;
}

#endif
