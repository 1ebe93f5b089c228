/* rtc/native/stream.h over real socket pairs and a real epoll set, in time of our own. */
#include "stream_world.h"

static void expect_two(uint32_t stream) {
    check(w.heard_count == 2 && w.heard[0].stream == stream && w.heard[1].stream == stream);
    check(w.heard[0].length == 28 && w.heard[0].data[0] == 0 && w.heard[0].data[10] == 3);
    check(w.heard[1].length == 9 && !memcmp(w.heard[1].data + 4, "hello", 5));
    w.heard_count = 0;
}

static void messages_split_at_every_byte_arrive_whole(void) {
    start(4);
    for (uint8_t kind = WD_STREAM_TURN; kind <= WD_STREAM_ICE; kind++) {
        uint8_t data[80];
        size_t length = two_messages(kind, data);
        int peer = adopt(kind, kind);
        for (size_t cut = 1; cut < length; cut++) {
            say(peer, data, cut);
            round_of_work();
            say(peer, data + cut, length - cut);
            round_of_work();
            expect_two(kind);
        }
        for (size_t i = 0; i < length; i++) {
            say(peer, data + i, 1);
            round_of_work();
        }
        expect_two(kind);
        close(peer);
    }
    finish();
}

static void messages_that_come_together_arrive_apart(void) {
    start(4);
    uint8_t data[800];
    int peer = adopt(1, WD_STREAM_ICE);
    size_t at = 0;
    for (uint32_t i = 0; i < 20; i++) {
        if (i % 3 == 0) wd_put16(data + at, 0), at += 2; /* empty packets say nothing */
        wd_put16(data + at, 20);
        memcpy(data + at + 2, message_of(20, i), 20);
        at += 22;
    }
    say(peer, data, at);
    round_of_work();
    check(w.heard_count == 20 && counters()->stream_frames_in == 20 && counters()->stream_bytes_in == at);
    for (uint32_t i = 0; i < 20; i++) check(w.heard[i].length == 20 && wd_get32(w.heard[i].data + 16) == i);
    close(peer);
    finish();
}

static void what_is_sent_is_framed_padded_and_leaves_at_the_end_of_the_round(void) {
    start(4);
    uint8_t expected[80], out[200], *stun = expected, *channel = expected + 28;
    two_messages(WD_STREAM_TURN, expected);
    int turn = adopt(1, WD_STREAM_TURN), ice = adopt(2, WD_STREAM_ICE);
    for (uint32_t id = 1; id <= 2; id++) {
        check(wd_streams_send(w.streams, id, stun, 28, w.now_ns));
        check(wd_streams_send(w.streams, id, channel, 9, w.now_ns));
    }
    check(hear(turn, out, sizeof out) == 0 && hear(ice, out, sizeof out) == 0);
    wd_streams_flush(w.streams, w.now_ns);
    check(hear(turn, out, sizeof out) == 40 && !memcmp(out, expected, 40));
    check(hear(ice, out, sizeof out) == 41 && wd_get16(out) == 28 && !memcmp(out + 2, stun, 28) &&
          wd_get16(out + 30) == 9 && !memcmp(out + 32, channel, 9));
    close(turn);
    close(ice);
    finish();
}

static void what_would_break_the_framing_is_not_sent(void) {
    start(4);
    int turn = adopt(1, WD_STREAM_TURN), ice = adopt(2, WD_STREAM_ICE);
    uint8_t rtp[20] = {0x80};
    check(!wd_streams_send(w.streams, 1, rtp, sizeof rtp, w.now_ns));
    check(!wd_streams_send(w.streams, 1, message_of(40, 1), 36, w.now_ns)); /* not the length it says */
    check(!wd_streams_send(w.streams, 2, message_of(40, 1), WD_FRAME_MESSAGE + 1, w.now_ns));
    check(!wd_streams_send(w.streams, 2, rtp, 0, w.now_ns));
    check(counters()->drop_stream_too_large == 4);
    check(!wd_streams_send(w.streams, 3, rtp, sizeof rtp, w.now_ns) && counters()->drop_stream_unknown == 1);
    check(wd_streams_send(w.streams, 2, rtp, sizeof rtp, w.now_ns));
    close(turn);
    close(ice);
    finish();
}

static void what_cannot_be_framed_closes_the_stream(void) {
    static const struct {
        uint8_t kind, data[8];
        size_t length;
    } wrong[] = {
        {WD_STREAM_TURN, "GET ", 4},
        {WD_STREAM_TURN, {0x16, 3, 1}, 1},
        {WD_STREAM_TURN, {0x80}, 1},
        {WD_STREAM_TURN, {0x04, 0, 0, 4}, 1},
        {WD_STREAM_TURN, {0x00, 0x01, 0x00, 0x02}, 4},
        {WD_STREAM_TURN, {0x00, 0x01, 0x08, 0x30}, 4},
        {WD_STREAM_TURN, {0x40, 0x00, 0x08, 0x3d}, 4},
        {WD_STREAM_TURN, {0x00, 0x01, 0x00, 0x00, 1, 2, 3, 4}, 8},
        {WD_STREAM_ICE, {0x08, 0x41}, 2},
    };
    start(1);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        int peer = adopt(7, wrong[i].kind);
        say(peer, wrong[i].data, wrong[i].length);
        round_of_work();
        check(w.closed_count == i + 1 && w.closed == 7 && !is_open(peer) && counters()->drop_stream_framing == i + 1);
        close(peer);
    }
    check(w.heard_count == 0);
    finish();
}

static void one_stream_is_read_64_kib_at_a_time(void) {
    start(2);
    int peer = adopt(1, WD_STREAM_ICE);
    static uint8_t data[150][2 + 1022];
    for (int i = 0; i < 150; i++) wd_put16(data[i], 1022);
    say(peer, data, sizeof data);
    for (size_t rounds = 1; rounds <= 2; rounds++) { /* epoll says so again */
        round_of_work();
        check(w.heard_count == 64 * rounds);
    }
    round_of_work();
    check(w.heard_count == 150);
    close(peer);
    finish();
}

static void a_queue_has_an_end_and_loses_whole_messages(void) {
    start(2);
    int64_t last = -1;
    int peer = adopt(1, WD_STREAM_ICE);
    wd_streams_vouch(w.streams, 1);
    uint32_t taken = fill(1, 1000);
    check(counters()->drop_stream_full == 1 && taken > WD_STREAM_MAX / 1002 && !w.closed_count);
    check(taken * 1002u - counters()->stream_bytes_out <= WD_STREAM_MAX);
    check(drain(peer, 1000, &last) == taken && last == taken - 1);
    check(send_message(1, 1000, taken));
    round_of_work();
    check(drain(peer, 1000, &last) == 1);
    close(peer);
    finish();
}

static void many_jammed_streams_leave_room_for_others(void) {
    start(200);
    int peers[150];
    uint64_t out = 0;
    uint32_t taken = 0;
    for (uint32_t i = 0; i < 150; i++) {
        out = counters()->stream_bytes_out;
        peers[i] = adopt(i + 1, WD_STREAM_ICE);
        taken = fill(i + 1, 1000);
        check(wd_streams_congested(w.streams, i + 1));
    }
    uint64_t waiting = taken * 1002u - (counters()->stream_bytes_out - out);
    check(waiting <= WD_STREAM_SCARCE && waiting > WD_STREAM_HIGH && counters()->drop_stream_no_memory == 0);
    for (uint32_t i = 0; i < 150; i++) close(peers[i]);
    for (int i = 0; i < 10; i++) round_of_work();
    check(w.closed_count == 150);
    peers[0] = adopt(1, WD_STREAM_ICE);
    out = counters()->stream_bytes_out;
    taken = fill(1, 1000);
    check(taken * 1002u - (counters()->stream_bytes_out - out) > WD_STREAM_MAX - 1002);
    close(peers[0]);
    finish();
}

static void a_stream_is_congested_until_its_queue_has_drained(void) {
    start(2);
    int64_t last = -1;
    int peer = adopt(1, WD_STREAM_ICE);
    uint32_t number = 0;
    while (!wd_streams_congested(w.streams, 1)) check(send_message(1, 1000, number++));
    uint64_t waiting = number * 1002u - counters()->stream_bytes_out;
    check(waiting > WD_STREAM_HIGH && waiting < WD_STREAM_HIGH + 2000 && counters()->stream_congestions == 1);
    round_of_work();
    check(w.relieved_count == 0 && wd_streams_congested(w.streams, 1));
    check(drain(peer, 1000, &last) == number);
    check(w.relieved_count == 1 && w.relieved == 1 && !wd_streams_congested(w.streams, 1));
    close(peer);
    finish();
}

/* As Python hands connections over: no delay, and the kernel keeps little that is not under way. */
static int adopt_tcp(uint32_t id, uint8_t kind) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0),
        peer = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), unsent = 16384, on = 1, small = 8192;
    check(setsockopt(peer, SOL_SOCKET, SO_RCVBUF, &small, sizeof small) == 0);
    check(!bind(listener, (struct sockaddr *)&address, length) && !listen(listener, 1) &&
          !getsockname(listener, (struct sockaddr *)&address, &length));
    check(connect(peer, (struct sockaddr *)&address, length) == 0);
    int ours = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    check(ours >= 0 && !setsockopt(ours, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on));
    check(!setsockopt(ours, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof unsent));
    check(fcntl(peer, F_SETFL, O_NONBLOCK) == 0 && adopt_fd(id, ours, kind));
    close(listener);
    return peer;
}

static void a_tcp_connection_is_relieved_when_its_peer_reads(void) {
    start(2);
    static uint8_t data[1 << 20];
    int peer = adopt_tcp(1, WD_STREAM_ICE);
    wd_streams_vouch(w.streams, 1);
    uint32_t number = 0;
    size_t have = 0;
    while (!wd_streams_congested(w.streams, 1) && number < 1000) check(send_message(1, 1000, number++));
    check(number < 200 &&
          counters()->stream_bytes_out < 100000); /* the kernel's share is small: what it has cannot be thrown away */
    for (int i = 0; i < 5000 && have < number * 1002u; i++) {
        struct pollfd wanted = {.fd = peer, .events = POLLIN};
        poll(&wanted, 1, 1);
        have += hear(peer, data + have, sizeof data - have);
        round_of_work();
    }
    check(have == number * 1002u && w.relieved_count == 1 && counters()->drop_stream_late == 0);
    for (uint32_t i = 0; i < number; i++)
        check(wd_get16(data + i * 1002) == 1000 && wd_get32(data + i * 1002 + 998) == i);
    close(peer);
    finish();
}

static void a_large_burst_to_a_fast_reader_is_no_congestion(void) {
    start(2);
    int peer = adopt(1, WD_STREAM_ICE);
    for (uint32_t i = 0; i < 60; i++)
        check(send_message(1, 1000, i)); /* more than WD_STREAM_HIGH, and the kernel takes it */
    check(!wd_streams_congested(w.streams, 1));
    close(peer);
    finish();
}

static void what_is_too_old_gives_way_to_what_is_new(void) {
    start(2);
    int64_t last = -1;
    int peer = adopt(1, WD_STREAM_ICE);
    wd_streams_vouch(w.streams, 1);
    uint32_t taken = fill(1, 1000);
    w.now_ns += WD_STREAM_STALE_NS + 1;
    check(send_message(1, 1000, taken));
    check(counters()->drop_stream_late > 100 && !w.closed_count);
    uint32_t got = drain(peer, 1000, &last);
    check(got == taken + 1 - counters()->drop_stream_late && last == taken);
    check(w.relieved_count == 1); /* not by throwing away: when the peer has read */
    close(peer);
    finish();
}

static void a_peer_that_never_reads_is_closed(void) {
    start(2);
    int peer = adopt(1, WD_STREAM_ICE);
    wd_streams_vouch(w.streams, 1);
    fill(1, 1000);
    w.now_ns += WD_STREAM_STUCK_NS - 1;
    round_of_work();
    check(!w.closed_count);
    w.now_ns += SECOND;
    send_message(1, 1000, 0);
    round_of_work();
    check(w.closed_count == 1 && counters()->streams_timed_out == 1);
    close(peer);
    finish();
}

static void a_peer_that_goes_in_mid_message_closes_the_stream(void) {
    start(2);
    uint8_t data[80];
    two_messages(WD_STREAM_TURN, data);
    for (int half = 0; half <= 1; half++) {
        int peer = adopt(1, WD_STREAM_TURN);
        say(peer, data, 33);
        if (half)
            shutdown(peer, SHUT_WR);
        else
            close(peer);
        round_of_work();
        round_of_work();
        check(w.closed_count == (size_t)half + 1 && w.heard_count == (size_t)half + 1 && w.heard[half].length == 28);
        if (half) close(peer);
    }
    check(wd_streams_tick(w.streams, w.now_ns + 3600 * SECOND) == INT64_MAX);
    finish();
}

static void a_write_to_a_peer_that_has_gone_is_told_after_the_round(void) {
    start(2);
    int peer = adopt(1, WD_STREAM_ICE);
    close(peer);
    for (uint32_t i = 0; i < 40; i++) send_message(1, 1000, i); /* enough that a write is tried at once */
    check(w.closed_count == 0 && counters()->drop_stream_unknown > 0);
    wd_streams_flush(w.streams, w.now_ns);
    check(w.closed_count == 1 && w.closed == 1);
    check(!wd_streams_close(w.streams, 1) && !wd_streams_congested(w.streams, 1) && !send_message(1, 20, 0));
    finish();
}

static void deadlines_close_whom_nobody_vouches_for(void) {
    start(4);
    int ice = adopt(1, WD_STREAM_ICE), known = adopt(2, WD_STREAM_ICE), turn = adopt(3, WD_STREAM_TURN);
    wd_streams_vouch(w.streams, 2);
    int64_t due = wd_streams_tick(w.streams, w.now_ns);
    check(due == w.now_ns + WD_STREAM_VOUCH_ICE_NS && wd_streams_tick(w.streams, due - 1) == due);
    w.now_ns = due;
    round_of_work();
    check(w.closed_count == 1 && w.closed == 1);
    w.now_ns += WD_STREAM_VOUCH_TURN_NS - WD_STREAM_VOUCH_ICE_NS;
    round_of_work();
    check(w.closed_count == 2 && w.closed == 3);
    w.now_ns += WD_STREAM_SILENT_NS;
    round_of_work();
    check(w.closed_count == 3 && w.closed == 2 && counters()->streams_timed_out == 3);
    close(ice);
    close(known);
    close(turn);
    finish();
}

static void an_incomplete_message_has_ten_seconds(void) {
    start(4);
    uint8_t data[80];
    size_t length = two_messages(WD_STREAM_TURN, data);
    int peer = adopt(1, WD_STREAM_TURN);
    wd_streams_vouch(w.streams, 1);
    for (size_t i = 0; i < length; i++) { /* each message in less, both together in more */
        say(peer, data + i, 1);
        round_of_work();
        w.now_ns += SECOND / 3;
    }
    check(w.heard_count == 2 && !w.closed_count);
    say(peer, data, 1);
    for (int i = 0; i < 21 && !w.closed_count; i++) {
        round_of_work();
        w.now_ns += SECOND / 2;
        if (i < 19) say(peer, data + 1 + i, 1); /* a byte now and then does not help */
    }
    check(w.closed_count == 1 && counters()->streams_timed_out == 1);
    close(peer);
    finish();
}

static void ids_can_be_used_again(void) {
    start(1);
    uint8_t data[80], out[80];
    size_t length = two_messages(WD_STREAM_TURN, data);
    for (int i = 0; i < 3; i++) {
        int peer = adopt(5, WD_STREAM_TURN);
        check(wd_streams_send(w.streams, 5, data, 28, w.now_ns));
        check(wd_streams_remote(w.streams, 5)->via == 5);
        check(wd_streams_close(w.streams, 5) && !wd_streams_close(w.streams, 5)); /* what waited leaves first */
        check(!wd_streams_remote(w.streams, 5));
        check(hear(peer, out, sizeof out) == 28 && !is_open(peer));
        close(peer);
        peer = adopt(5, WD_STREAM_TURN); /* before the flush that frees the old one */
        say(peer, data, length);
        round_of_work();
        expect_two(5);
        check(wd_streams_close(w.streams, 5));
        close(peer);
    }
    check(w.closed_count == 0 && counters()->streams_adopted == 6 && counters()->streams_closed == 6);
    finish();
}

static void a_stream_that_is_refused_is_closed(void) {
    start(1);
    int first = adopt(5, WD_STREAM_TURN), ends[2];
    uint32_t ids[] = {0, WD_VIA_RELAY, 5, 6};
    for (size_t i = 0; i < 4; i++) {
        check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0);
        check(!adopt_fd(ids[i], ends[0], WD_STREAM_TURN) && !is_open(ends[1]));
        close(ends[1]);
    }
    check(counters()->streams_refused == 4 && is_open(first) && send_message(5, 20, 0));
    int file = open("/dev/null", O_RDWR); /* epoll refuses it */
    check(wd_streams_close(w.streams, 5) && !adopt_fd(6, file, WD_STREAM_TURN) && fcntl(file, F_GETFD) == -1);
    close(first);
    finish();
}

static void a_stream_closed_within_an_epoll_batch_is_left_alone(void) {
    start(4);
    uint8_t data[80];
    size_t length = two_messages(WD_STREAM_TURN, data);
    int peers[2] = {adopt(1, WD_STREAM_TURN), adopt(2, WD_STREAM_TURN)};
    for (int i = 0; i < 2; i++) say(peers[i], data, length);
    struct epoll_event events[4];
    check(epoll_wait(w.epoll, events, 4, 0) == 2);
    w.close_when_heard = 2; /* whichever comes first */
    for (int i = 0; i < 2; i++) wd_streams_ready(w.streams, events[i].data.ptr, events[i].events, w.now_ns);
    size_t heard = w.heard_count;
    check((heard == 2 && w.heard[0].stream == 1) ||
          (heard == 3 && w.heard[0].stream == 2)); /* closed by itself, it hears no more either */
    wd_streams_flush(w.streams, w.now_ns);
    check(w.closed_count == 0 && !is_open(peers[1]) && is_open(peers[0]));
    w.close_when_heard = 1;
    say(peers[0], data, length);
    round_of_work();
    check(w.heard_count == heard + 1 && !is_open(peers[0]));
    close(peers[0]);
    close(peers[1]);
    finish();
}

static void of_those_that_nobody_vouches_for_the_oldest_goes_when_they_are_too_many(void) {
    start(16); /* three of them */
    int peers[7];
    for (uint32_t i = 0; i < 3; i++) peers[i] = adopt(i + 1, WD_STREAM_TURN);
    wd_streams_vouch(w.streams, 2);
    wd_streams_vouch(w.streams, 2);
    peers[3] = adopt(4, WD_STREAM_ICE);
    round_of_work();
    check(w.closed_count == 0);
    peers[4] = adopt(5, WD_STREAM_TURN);
    check(wd_streams_remote(w.streams, 1)); /* until the round is over: no callback is made from adoption */
    round_of_work();
    check(w.closed_count == 1 && w.closed == 1 && !is_open(peers[0]) && is_open(peers[1]) &&
          counters()->streams_displaced == 1);
    check(wd_streams_close(w.streams, 4)); /* makes room */
    peers[5] = adopt(6, WD_STREAM_TURN);
    round_of_work();
    check(w.closed_count == 1);
    peers[6] = adopt(7, WD_STREAM_TURN);
    wd_streams_vouch(w.streams, 3); /* too late */
    round_of_work();
    check(w.closed_count == 2 && w.closed == 3 && is_open(peers[1]) && is_open(peers[6]));
    for (int i = 0; i < 7; i++) close(peers[i]);
    finish();
}

static void by_hand_the_streams_are_asked_without_epoll(void) {
    struct wd_streams_config config = {4, 4, -1, &w, received, closed, relieved};
    check((w.streams = wd_streams_new(&config)));
    uint8_t data[80];
    size_t length = two_messages(WD_STREAM_TURN, data);
    int peer = adopt(1, WD_STREAM_TURN), other = adopt(2, WD_STREAM_ICE);
    say(peer, data, length);
    wd_streams_poll(w.streams, w.now_ns);
    expect_two(1);
    fill(2, 1000);
    check(wd_streams_congested(w.streams, 2));
    uint8_t out[4096];
    while (hear(other, out, sizeof out)) wd_streams_poll(w.streams, w.now_ns);
    check(w.relieved_count == 1);
    close(other);
    close(peer);
    wd_streams_poll(w.streams, w.now_ns);
    wd_streams_flush(w.streams, w.now_ns);
    check(w.closed_count == 2);
    wd_streams_free(w.streams);
}

int main(int argc, char **argv) {
    static const struct test_case cases[] = {
        CASE(messages_split_at_every_byte_arrive_whole),
        CASE(messages_that_come_together_arrive_apart),
        CASE(what_is_sent_is_framed_padded_and_leaves_at_the_end_of_the_round),
        CASE(what_would_break_the_framing_is_not_sent),
        CASE(what_cannot_be_framed_closes_the_stream),
        CASE(one_stream_is_read_64_kib_at_a_time),
        CASE(a_queue_has_an_end_and_loses_whole_messages),
        CASE(many_jammed_streams_leave_room_for_others),
        CASE(a_stream_is_congested_until_its_queue_has_drained),
        CASE(a_tcp_connection_is_relieved_when_its_peer_reads),
        CASE(a_large_burst_to_a_fast_reader_is_no_congestion),
        CASE(what_is_too_old_gives_way_to_what_is_new),
        CASE(a_peer_that_never_reads_is_closed),
        CASE(a_peer_that_goes_in_mid_message_closes_the_stream),
        CASE(a_write_to_a_peer_that_has_gone_is_told_after_the_round),
        CASE(deadlines_close_whom_nobody_vouches_for),
        CASE(an_incomplete_message_has_ten_seconds),
        CASE(ids_can_be_used_again),
        CASE(a_stream_that_is_refused_is_closed),
        CASE(a_stream_closed_within_an_epoll_batch_is_left_alone),
        CASE(of_those_that_nobody_vouches_for_the_oldest_goes_when_they_are_too_many),
        CASE(by_hand_the_streams_are_asked_without_epoll),
    };
    return run_cases(cases, sizeof cases / sizeof *cases, argc, argv);
}
