/* What the forwarding core does when a receiver's stream is jammed or closed: one publisher, one viewer with a UDP and
 * a TCP address, in fake time. */
#include "../../../rtc/native/bytes.h"
#include "../../../rtc/native/router.h"
#include "../../../rtc/native/rtcp.h"
#include "../../../rtc/native/rtp.h"
#include "../../../rtc/native/srtp.h"
#include "../../../rtc/native/stun.h"

#include "check.h"

#define MS INT64_C(1000000)
#define PUBLISHER 1u
#define VIEWER 2u
#define AUDIO_LEG 20u
#define VIDEO_LEG 21u
#define AUDIO_SSRC 0x900000u
#define VIDEO_SSRC 0x900001u
#define STREAM 7u

static const uint8_t KEY[16] = {1, 2, 3}, SALT[14] = {9, 8, 7};
static const char *PASSWORD = "0123456789abcdef0123456789abcdef";
static const struct wd_addr FROM_PUBLISHER = {.ip = {127, 0, 0, 1}, .port = 1000, .family = 4};
static const struct wd_addr UDP = {.ip = {127, 0, 0, 2}, .port = 1000, .family = 4};
static const struct wd_addr TCP = {.ip = {127, 0, 0, 2}, .port = 2000, .family = 4, .via = STREAM};

static struct {
    struct wd_router *router;
    struct wd_egress egress;
    struct wd_srtp *to_server[2], *at_publisher;
    int64_t now_ns;
    uint64_t audio_index, video_index;
    uint32_t frame;
    size_t audio, video, repeated, rtcp,
        keyframe_requests; /* come out so far; media at the viewer, requests at the publisher */
    uint32_t via; /* of the newest packet to the viewer */
    uint16_t sequence; /* of the newest video packet */
    bool hole; /* in the numbers of video */
    uint32_t quiet, selected; /* events of the viewer */
} w;

static void at_viewer(uint8_t *data, size_t length, uint32_t via) {
    struct wd_rtp rtp;
    w.via = via;
    if (data[1] >= 192 && data[1] <= 223) {
        w.rtcp++;
        return;
    }
    check(wd_rtp_parse(data, length, &rtp));
    if (rtp.ssrc == AUDIO_SSRC) {
        w.audio++;
    } else if (rtp.ssrc == VIDEO_SSRC) {
        w.hole |= w.video && rtp.sequence != (uint16_t)(w.sequence + 1);
        w.sequence = rtp.sequence;
        w.video++;
    } else {
        w.repeated++;
    }
}

static void to_publisher(uint8_t *data, size_t length) {
    if (data[0] < 128) return;
    const uint8_t *at = data;
    struct wd_rtcp_block block;
    check(wd_srtcp_unprotect(w.at_publisher, data, &length) == WD_SRTP_OK);
    while (wd_rtcp_next(&at, &length, &block))
        w.keyframe_requests += block.type == WD_RTCP_PSFB && block.count == WD_PSFB_PLI;
}

static void flush(struct wd_egress *egress) {
    for (size_t i = 0; i < egress->count; i++) {
        const struct wd_message *m = &egress->messages[i];
        size_t step = m->segment ? m->segment : m->length;
        for (size_t at = 0; at < m->length; at += step) {
            size_t length = m->length - at < step ? m->length - at : step;
            uint8_t *data = egress->data + m->offset + at;
            if (wd_same_address(&m->to, &FROM_PUBLISHER))
                to_publisher(data, length);
            else if (data[0] >= 128)
                at_viewer(data, length, m->to.via);
        }
    }
    egress->used = egress->count = 0;
}

static void emit(void *owner, const struct wd_event *event) {
    (void)owner;
    if (event->id != VIEWER) return;
    w.quiet += event->type == WD_EVENT_QUIET;
    w.selected += event->type == WD_EVENT_SELECTED;
}

/* Lets `span_ns` pass in steps of 10 ms. */
static void pass(int64_t span_ns) {
    for (int64_t end_ns = w.now_ns + span_ns; w.now_ns < end_ns;) {
        w.now_ns += 10 * MS;
        wd_router_flush(w.router, w.now_ns, true);
        wd_router_tick(w.router, w.now_ns);
        flush(&w.egress);
    }
}

static void receive(const struct wd_addr *from, uint8_t *data, size_t length) {
    wd_router_receive(w.router, data, length, from, NULL, w.now_ns);
}

static void check_in(uint32_t transport, const struct wd_addr *from, bool nominate) {
    uint8_t data[256], transaction[12] = {(uint8_t)transport};
    char username[] = "peer0:them";
    username[4] = (char)('0' + transport);
    struct wd_stun_check stun = {(const uint8_t *)username, strlen(username), 1, true, 1, nominate};
    receive(from, data,
            wd_stun_write_check(data, sizeof data, transaction, &stun, (const uint8_t *)PASSWORD, strlen(PASSWORD)));
    pass(10 * MS);
}

static void rtp_in(uint8_t kind, uint64_t index, uint32_t timestamp, bool marker, const uint8_t *payload,
                   size_t length) {
    uint8_t packet[1500];
    packet[0] = 0x80;
    packet[1] = (uint8_t)((kind == WD_AUDIO ? 111 : 96) | (marker ? 0x80 : 0));
    wd_put16(packet + 2, (uint16_t)index);
    wd_put32(packet + 4, timestamp);
    wd_put32(packet + 8, kind == WD_AUDIO ? 1 : 2);
    receive(&FROM_PUBLISHER, packet, wd_srtp_protect(w.to_server[0], index, packet, 12, payload, length));
}

static void voice(void) {
    uint8_t payload[80] = {0x78};
    rtp_in(WD_AUDIO, ++w.audio_index, (uint32_t)w.audio_index * 960, false, payload, sizeof payload);
    pass(10 * MS);
}

/* `count` packets of the newest frame; `first` and `last` of it. */
static void part_of_frame(bool keyframe, unsigned count, bool first, bool last) {
    uint8_t payload[1000] = {0};
    w.frame += first;
    for (unsigned i = 0; i < count; i++) {
        payload[0] = first && i == 0 ? 0x10 : 0;
        payload[1] = keyframe ? 0 : 1;
        rtp_in(WD_VIDEO, ++w.video_index, w.frame * 3000, last && i + 1 == count, payload, sizeof payload);
    }
    pass(10 * MS);
}

static void frame(bool keyframe, unsigned count) { part_of_frame(keyframe, count, true, true); }

static void nack(uint16_t sequence) {
    uint8_t packet[200];
    size_t length = wd_rtcp_write_rr(packet, sizeof packet, 77, NULL, 0);
    length += wd_rtcp_write_nack(packet + length, sizeof packet - length, 77, VIDEO_SSRC, &sequence, 1);
    receive(&UDP, packet, wd_srtcp_protect(w.to_server[1], packet, length));
    pass(10 * MS);
}

static void report_of_publisher(void) { /* without it there is nothing to tell the viewer of its clock */
    uint8_t packet[200];
    struct wd_sender_info info = {.ssrc = WD_AUDIO, .ntp = UINT64_C(1) << 40, .rtp = 960};
    receive(&FROM_PUBLISHER, packet,
            wd_srtcp_protect(w.to_server[0], packet, wd_rtcp_write_sr(packet, sizeof packet, &info, NULL, 0)));
}

static void complain(void) { /* a PLI of the viewer */
    uint8_t packet[200];
    size_t length = wd_rtcp_write_rr(packet, sizeof packet, 77, NULL, 0);
    length += wd_rtcp_write_pli(packet + length, sizeof packet - length, 77, VIDEO_SSRC);
    receive(&UDP, packet, wd_srtcp_protect(w.to_server[1], packet, length));
    pass(10 * MS);
}

static void add_media(uint8_t kind) {
    struct wd_codec_entry codec = {WD_CODEC_OPUS, 0, 111, 0, 0, 0, 48000};
    if (kind == WD_VIDEO) codec = (struct wd_codec_entry){WD_CODEC_VP8, 0, 96, 97, 1, 1, 90000};
    struct wd_track_config track = {.id = 10u + kind,
                                    .transport = PUBLISHER,
                                    .kind = kind,
                                    .mid = "m",
                                    .ssrc = kind,
                                    .codec_count = 1,
                                    .codecs = {codec}};
    struct wd_leg_config leg = {.transport = VIEWER, .kind = kind, .mid = "s", .codec_count = 1, .codecs = {codec}};
    leg.id = kind == WD_AUDIO ? AUDIO_LEG : VIDEO_LEG;
    leg.ssrc = kind == WD_AUDIO ? AUDIO_SSRC : VIDEO_SSRC;
    leg.rtx_ssrc = kind == WD_AUDIO ? 0 : VIDEO_SSRC + 8;
    check(wd_router_add_track(w.router, &track) && wd_router_add_leg(w.router, &leg) &&
          wd_router_set_source(w.router, leg.id, track.id));
}

/* A call that runs: the viewer, nominated there, has seen a keyframe and another frame. */
static void start(const struct wd_addr *viewer) {
    w.egress.flush = flush;
    w.now_ns = 1000 * MS;
    struct wd_router_config config = {.max_transports = 8, .seed = 1, .emit = emit, .egress = &w.egress};
    check((w.router = wd_router_new(&config)));
    for (uint32_t id = PUBLISHER; id <= VIEWER; id++) {
        uint8_t up[16] = {0}, down[16] = {0};
        up[0] = (uint8_t)(2 * id);
        down[0] = (uint8_t)(2 * id + 1);
        char ufrag[] = "peer0";
        ufrag[4] = (char)('0' + id);
        check(wd_router_add_transport(w.router, id, ufrag, PASSWORD, w.now_ns));
        check(wd_router_set_keys(w.router, id, WD_SRTP_AEAD_AES_128_GCM, down, SALT, up, SALT));
        w.to_server[id - 1] = wd_srtp_new(WD_SRTP_AEAD_AES_128_GCM, up, SALT);
        if (id == PUBLISHER) w.at_publisher = wd_srtp_new(WD_SRTP_AEAD_AES_128_GCM, down, SALT);
    }
    add_media(WD_AUDIO);
    add_media(WD_VIDEO);
    check_in(PUBLISHER, &FROM_PUBLISHER, true);
    check_in(VIEWER, viewer, true);
    report_of_publisher();
    frame(true, 3);
    frame(false, 2);
    voice();
    check(w.video == 5 && w.audio == 1 && w.via == viewer->via);
    pass(1000 * MS); /* requests of the beginning are answered */
    w.keyframe_requests = 0;
}

static void finish(void) {
    check(!w.hole);
    wd_router_free(w.router);
    for (int i = 0; i < 2; i++) wd_srtp_free(w.to_server[i]);
    wd_srtp_free(w.at_publisher);
}

static uint64_t left_out(void) { return wd_router_counters(w.router)->drop_congested; }

static void only_new_video_stops_while_a_stream_is_jammed(void) {
    start(&TCP);
    wd_router_congested(w.router, &TCP, true);
    size_t reports = w.rtcp;
    for (int i = 0; i < 60; i++) {
        frame(i == 30, 2); /* a keyframe does not start it either */
        voice();
    }
    check(w.video == 5 && w.audio == 61 && left_out() == 120 && w.rtcp > reports);
    check(w.keyframe_requests == 0);
    finish();
}

static void relief_asks_for_one_keyframe_and_numbers_go_on_without_a_hole(void) {
    start(&TCP);
    wd_router_congested(w.router, &TCP, true);
    for (int i = 0; i < 10; i++) frame(false, 2);
    complain(); /* what it misses is on its way */
    check(w.keyframe_requests == 0);
    wd_router_congested(w.router, &TCP, false);
    pass(10 * MS);
    check(w.keyframe_requests == 1);
    frame(false, 2); /* still of before */
    check(w.video == 5);
    frame(true, 4);
    frame(false, 1);
    check(w.video == 10 && !w.hole);
    pass(2000 * MS);
    check(w.keyframe_requests == 1);
    finish();
}

static void a_jam_between_two_frames_costs_nothing(void) {
    start(&TCP);
    wd_router_congested(w.router, &TCP, true);
    voice();
    wd_router_congested(w.router, &TCP, false);
    frame(false, 2);
    check(w.video == 7 && w.keyframe_requests == 0 && left_out() == 0);
    finish();
}

static void a_frame_that_was_begun_is_sent_to_its_end(void) {
    start(&TCP);
    part_of_frame(true, 20, true, false);
    wd_router_congested(w.router, &TCP, true);
    part_of_frame(true, 20, false, false);
    part_of_frame(true, 20, false, true);
    check(w.video == 65);
    frame(false, 2);
    check(w.video == 65);
    wd_router_congested(w.router, &TCP, false);
    frame(true, 2);
    check(w.video == 67);
    finish();
}

static void repetitions_are_refused_while_jammed(void) {
    start(&TCP);
    uint16_t sequence = w.sequence;
    check_in(VIEWER, &UDP,
             false); /* where its feedback comes from does not matter, as long as the other path is alive */
    check_in(VIEWER, &TCP, false);
    nack(sequence);
    check(w.repeated == 1);
    wd_router_congested(w.router, &TCP, true);
    pass(200 * MS);
    nack(sequence);
    check(w.repeated == 1 && left_out() == 1);
    wd_router_congested(w.router, &TCP, false);
    nack(sequence);
    check(w.repeated == 2);
    finish();
}

static void the_newest_nomination_is_followed_from_udp_to_tcp_and_back(void) {
    start(&UDP);
    for (int i = 0; i < 3; i++) {
        check_in(VIEWER, &TCP, true);
        voice();
        check(w.via == STREAM);
        check_in(VIEWER, &UDP, true);
        frame(false, 1);
        check(w.via == WD_VIA_UDP);
    }
    check(w.video == 8 && w.selected == 7 && w.keyframe_requests == 0);
    finish();
}

static void a_jammed_path_that_is_not_selected_stops_nothing(void) {
    start(&UDP);
    check_in(VIEWER, &TCP, false);
    wd_router_congested(w.router, &TCP, true);
    frame(false, 1);
    check(w.video == 6);
    check_in(VIEWER, &TCP, true);
    frame(false, 1);
    check(w.video == 6 && w.keyframe_requests == 0);
    check_in(VIEWER, &UDP, true); /* out of the jam */
    check(w.keyframe_requests == 1);
    frame(true, 1);
    check(w.video == 7 && w.via == WD_VIA_UDP);
    finish();
}

static void a_closed_stream_falls_back_to_the_path_heard_last(void) {
    static const struct wd_addr OLDER = {.ip = {127, 0, 0, 2}, .port = 1001, .family = 4};
    start(&TCP);
    check_in(VIEWER, &OLDER, false);
    check_in(VIEWER, &UDP, false);
    check(wd_router_knows(w.router, &TCP));
    wd_router_forget_address(w.router, &TCP);
    check(!wd_router_knows(w.router, &TCP) && wd_router_knows(w.router, &UDP) && w.selected == 2);
    voice();
    frame(false, 2);
    check(w.audio == 2 && w.video == 7 && w.via == WD_VIA_UDP && w.quiet == 0 && w.keyframe_requests == 0);
    wd_router_forget_address(w.router, &TCP); /* again */
    wd_router_forget_address(w.router, &OLDER); /* not selected */
    voice();
    check(w.audio == 3);
    finish();
}

static void a_path_that_nobody_has_been_heard_on_for_long_is_not_fallen_back_to(void) {
    start(&UDP);
    check_in(VIEWER, &TCP, true);
    for (int i = 0; i < 16; i++) {
        pass(2000 * MS);
        check_in(PUBLISHER, &FROM_PUBLISHER, true);
        check_in(VIEWER, &TCP, true);
    }
    wd_router_forget_address(w.router, &TCP);
    voice();
    check(w.audio == 1);
    finish();
}

static void without_another_path_the_next_check_opens_one(void) {
    start(&TCP);
    wd_router_forget_address(w.router, &TCP);
    voice();
    frame(false, 2);
    check(w.audio == 1 && w.video == 5 && w.quiet == 0);
    pass(7000 * MS);
    check(w.quiet == 1); /* others are told, though nothing is selected */
    check_in(PUBLISHER, &FROM_PUBLISHER, true);
    check_in(VIEWER, &UDP, false); /* a consent check, which nominates nothing */
    voice();
    frame(false, 2);
    check(w.audio == 2 && w.video == 7 && w.via == WD_VIA_UDP);
    check(w.hole); /* what went out in vain can be asked for */
    nack((uint16_t)(w.sequence - 2));
    check(w.repeated == 1);
    w.hole = false;
    finish();
}

int main(int argc, char **argv) {
    static const struct test_case cases[] = {
        CASE(only_new_video_stops_while_a_stream_is_jammed),
        CASE(relief_asks_for_one_keyframe_and_numbers_go_on_without_a_hole),
        CASE(a_jam_between_two_frames_costs_nothing),
        CASE(a_frame_that_was_begun_is_sent_to_its_end),
        CASE(repetitions_are_refused_while_jammed),
        CASE(the_newest_nomination_is_followed_from_udp_to_tcp_and_back),
        CASE(a_jammed_path_that_is_not_selected_stops_nothing),
        CASE(a_closed_stream_falls_back_to_the_path_heard_last),
        CASE(a_path_that_nobody_has_been_heard_on_for_long_is_not_fallen_back_to),
        CASE(without_another_path_the_next_check_opens_one),
    };
    return run_cases(cases, sizeof cases / sizeof *cases, argc, argv);
}
