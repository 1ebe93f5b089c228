"""Media follow who moves: from Wi-Fi to mobile and back, with restarts of ICE half done; a worker driven by hand."""

import socket

import pytest

from rtc._wire import Srtp, rtcp_rr
from rtc._worker import STREAM_ICE, Worker
from rtc.peer_streams import rtp_packet
from tests.rtc.by_hand import PEER
from tests.rtc.call_by_hand import AWAY, HOME, SECRET, STEP, STRANGER, Address, Call
from tests.rtc.checks import answer, check

V6: Address = ("2001:db8::9", 40_003)
A_SECOND = 1000 // STEP  # pictures


def moved(worker: Worker, to: Address = AWAY) -> Call:
    """The participant has left HOME without a word, restarts ICE, and checks at another address before the server has
    its offer."""
    call = Call(worker)
    call.speaking(1000, HOME)
    call.theirs = "anew"
    call.check_from(to)
    return call


# --- which credentials ------------------------------------------------------------------------------------------------


def test_who_checks_before_its_offer_arrives_is_asked_as_soon_as_it_does(worker: Worker) -> None:
    call = moved(worker)
    call.until(1800)
    assert AWAY not in call.asked, "nobody could answer"
    call.answering[AWAY] = SECRET + "2"
    call.restart("again222")
    worker.set_remote(2, "anew", SECRET + "2")
    call.collect()
    ((at_ms, asked),) = call.asked[AWAY]
    assert at_ms == 1800
    assert answer(asked, password=SECRET + "2").attributes["USERNAME"] == f"anew:{call.ufrag}", "as it checks itself"
    call.until(5000, AWAY)
    assert call.goes_to(AWAY)
    assert worker.counters()["trials_failed"] == 0


@pytest.mark.parametrize("restarts", [2, 3, 7])
def test_while_answers_are_lost_the_credentials_in_use_stay_in_use(worker: Worker, restarts: int) -> None:
    call = Call(worker)
    call.until(1000, HOME)
    for number in range(restarts):
        call.restart(f"again{number}")
        worker.set_remote(2, f"anew{number}", SECRET + str(number))
        call.until(call.ms + 500, HOME)  # with the first ones still
    newest = str(restarts - 1)
    call.theirs, call.answering[AWAY] = "anew" + newest, SECRET + newest
    call.check_from(AWAY)
    call.until(call.ms + 2000, AWAY)
    assert call.goes_to(AWAY)
    assert worker.counters()["drop_stun_unknown_user"] == worker.counters()["trials_failed"] == 0
    former, call.ufrag = call.ufrag, "again" + newest
    call.check_from(AWAY)
    worker.receive(check(ufrag=former), AWAY, call.now_ns)
    assert worker.counters()["drop_stun_unknown_user"] == 1, "they end when the newest are in use"


def test_old_ports_with_new_remote_credentials_are_asked_with_the_old_ones_of_theirs(worker: Worker) -> None:
    """Chromium's, behind the answer to a restart."""
    call = Call(worker)
    call.until(1000, HOME)
    call.restart("again222")
    worker.set_remote(2, "anew", SECRET + "2")
    call.ufrag, call.answering[AWAY] = "again222", SECRET
    call.check_from(AWAY)
    call.until(3000, AWAY)
    assert call.goes_to(AWAY)
    assert worker.counters()["trials_failed"] == 0


def test_an_answer_by_credentials_that_have_changed_since_counts(worker: Worker) -> None:
    call = Call(worker)
    call.until(1000, HOME)
    call.check_from(AWAY)
    ((_, asked),) = call.asked[AWAY]
    worker.set_remote(2, "anew", SECRET + "2")
    call.theirs = "anew"
    call.check_from(AWAY)
    call.answer(asked, AWAY, AWAY, SECRET)
    call.until(3000, AWAY)
    assert call.goes_to(AWAY)


# --- who speaks is kept -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("to", [AWAY, V6])
def test_who_speaks_at_the_new_address_alone_is_kept_there_though_nothing_is_answered(
    worker: Worker, to: Address
) -> None:
    call = moved(worker, to)
    for until_ms in (3000, 8000, 20_000):
        call.speaking(until_ms, to)
        assert call.goes_to(to, 40)


def test_who_is_muted_is_kept_by_reports(worker: Worker) -> None:
    call = moved(worker)
    for _ in range(8):
        call.until(call.ms + 900)
        call.report_from(AWAY)
        assert call.goes_to(AWAY, 100)


def test_who_speaks_at_home_has_media_back_after_a_second(worker: Worker) -> None:
    call = moved(worker, STRANGER)
    call.speaking(4000, HOME)
    assert len(call.arrived[STRANGER]) <= A_SECOND + 2
    assert call.goes_to(HOME)


def test_copied_packets_keep_nothing(worker: Worker) -> None:
    call = Call(worker)
    call.speaking(1000, HOME)
    taken = [
        call.receiver.protect(rtp_packet(111, 51, 50_000, 20, bytes(80))),
        call.receiver.protect_rtcp(rtcp_rr(3, [])),
    ]
    for packet in taken:
        worker.receive(packet, HOME, call.now_ns)
    call.check_from(STRANGER)
    for _ in range(150):
        for packet in taken:
            worker.receive(packet, STRANGER, call.now_ns)
        call.until(call.ms + 2 * STEP)
    assert len(call.arrived[STRANGER]) <= A_SECOND + 2
    assert call.goes_to(HOME)
    counters = worker.counters()
    assert counters["drop_srtp_replay"] == counters["drop_srtcp"] == 150


def test_who_stops_speaking_at_an_address_that_was_never_shown_is_sent_nothing_there(worker: Worker) -> None:
    call = moved(worker)
    call.speaking(5000, AWAY)
    call.until(8000)
    assert AWAY not in call.arrived or max(call.arrived[AWAY]) <= 7200


def test_after_a_failed_trial_who_speaks_is_tried_again_soon(worker: Worker) -> None:
    call = moved(worker, STRANGER)
    call.until(3000)
    assert worker.counters()["trials_failed"] == 1
    call.check_from(AWAY, nominate=True)
    call.speaking(4000, AWAY)
    assert call.goes_to(AWAY, 40)
    call.speaking(7000, AWAY)
    assert call.goes_to(AWAY, 40)


def test_the_address_that_failed_is_tried_again_later_with_each_time(worker: Worker) -> None:
    call = moved(worker)
    trials: list[int] = []
    for _ in range(4):
        failed = worker.counters()["trials_failed"]
        while worker.counters()["trials_failed"] == failed:
            call.until(call.ms + STEP, AWAY)
        began = call.ms
        call.arrived.clear()
        while AWAY not in call.arrived:
            call.speaking(call.ms + 20, AWAY)
        trials.append(round((call.ms - began) / 1000))
    assert trials == [1, 2, 4, 8]


# --- what a report proves ---------------------------------------------------------------------------------------------


def test_a_report_of_what_went_to_the_new_address_shows_it(worker: Worker) -> None:
    call = moved(worker)
    while AWAY not in call.reports:
        call.speaking(call.ms + 20, AWAY)
    call.report_from(AWAY, call.reports[AWAY][-1])
    call.until(20_000, AWAY)  # and says nothing more
    assert call.goes_to(AWAY)
    call.check_from(HOME)
    call.check_from(AWAY)
    assert call.goes_to(AWAY), "it is known from now on"
    assert worker.counters()["trials_failed"] == worker.counters()["checks_out"] == 0


def test_reports_that_are_guessed_show_nothing(worker: Worker) -> None:
    """By somebody who knows all that was sent to HOME, and when."""
    call = moved(worker, STRANGER)
    while STRANGER not in call.reports:
        call.speaking(call.ms + 20, STRANGER)
    right = call.reports[STRANGER][-1]
    guesses = [(right + away) & 0xFFFFFFFF for away in range(-4000, 4000) if away]
    for at in range(0, len(guesses), 25):
        call.report_from(STRANGER, *guesses[at : at + 25])
    call.report_from(STRANGER, right)
    began = call.ms
    call.until(began + 5000)
    assert max(call.arrived[STRANGER]) <= began + 2200


def test_a_report_from_before_is_no_guess(worker: Worker) -> None:
    call = Call(worker)
    call.speaking(3000, HOME)
    before = call.reports[HOME][-1]
    call.theirs = "anew"
    call.until(4000)
    call.check_from(AWAY)
    while AWAY not in call.reports:
        call.speaking(call.ms + 20, AWAY)
        call.report_from(AWAY, *[before] * 20)
    call.report_from(AWAY, call.reports[AWAY][-1])
    call.until(8000, AWAY)
    assert call.goes_to(AWAY)


# --- without a nomination ---------------------------------------------------------------------------------------------


def test_media_that_come_from_another_address_move_those_to_it(worker: Worker) -> None:
    call = Call(worker)
    call.check_from(AWAY, nominate=False)
    call.speaking(3000, HOME)
    assert call.goes_to(HOME, 40)
    call.speaking(3700, AWAY)  # HOME is dead in silence
    assert call.goes_to(AWAY, 40)


def test_what_was_under_way_moves_nothing_back(worker: Worker) -> None:
    call = Call(worker)
    call.answering[AWAY] = SECRET
    call.speaking(1000, HOME)
    call.check_from(AWAY)
    call.speaking(1300, HOME, AWAY)
    assert call.goes_to(AWAY, 40)
    call.speaking(3000, AWAY)
    assert call.goes_to(AWAY, 40)
    assert worker.counters()["ice_switches"] == 1


def test_who_is_back_within_seconds_is_followed_back(worker: Worker) -> None:
    call = moved(worker)
    call.speaking(2500, AWAY)
    call.theirs = "them"
    call.check_from(HOME)
    assert call.goes_to(HOME, 40)
    call.speaking(6000, HOME)
    assert call.goes_to(HOME, 40)


def test_who_is_alone_is_found_when_somebody_comes(worker: Worker) -> None:
    """Nothing but checks passes at all until then, and the offer took its time."""
    call = Call(worker)
    worker.set_source(1, 0)
    call.until(1000, HOME)
    call.theirs = "anew"
    call.check_from(AWAY)
    call.until(6000, AWAY)
    call.answering[AWAY] = SECRET + "2"
    call.restart("again222")
    worker.set_remote(2, "anew", SECRET + "2")
    call.collect()
    worker.set_source(1, 1)
    assert call.goes_to(AWAY)


@pytest.mark.parametrize("answers", [True, False])
def test_media_from_a_rebound_address_go_on_both_ways_without_a_check(worker: Worker, answers: bool) -> None:
    call = Call(worker)
    call.speaking(2000, HOME)
    if answers:
        call.answering[AWAY] = SECRET
    before = worker.counters()["rtp_in"]
    call.speaking(2400, AWAY)
    assert worker.counters()["drop_unknown_tuple"] == 0, "they are forwarded at once"
    assert worker.counters()["rtp_in"] - before == 60
    call.speaking(2700, AWAY)
    assert call.goes_to(AWAY, 40)
    call.speaking(6000, AWAY)
    assert call.goes_to(AWAY, 40)
    assert worker.counters()["trials_failed"] == 0
    assert (worker.counters()["checks_out"] == 1) is answers


@pytest.mark.parametrize("what", ["forged", "copied", "of nobody"])
def test_what_is_not_authentic_and_new_binds_no_address(worker: Worker, what: str) -> None:
    call = Call(worker)
    call.speaking(2000, HOME)
    ssrc = 21 if what == "of nobody" else 20
    packet = rtp_packet(111, 1, 960, ssrc, bytes(80))
    if what != "copied":
        packet = Srtp(7, b"another key 1234", bytes(12)).protect(packet)
    else:
        taken = packet = call.receiver.protect(rtp_packet(111, 101, 97_000, 20, bytes(80)))
        worker.receive(taken, HOME, call.now_ns)
    for _ in range(100):
        worker.receive(packet, STRANGER, call.now_ns)
        call.until(call.ms + 2 * STEP)
    assert STRANGER not in call.bytes_to


def test_a_stray_address_is_not_taken_from_whose_it_is(worker: Worker) -> None:
    call = Call(worker)
    call.speaking(2000, HOME)
    call.until(2400)
    call.speaking(4000, PEER)
    assert call.goes_to(HOME, 40)


# --- other ways -------------------------------------------------------------------------------------------------------


def test_from_a_stream_that_is_dead_in_silence_media_follow_to_udp(worker: Worker) -> None:
    call = Call(worker)
    theirs, ours = socket.socketpair()
    with ours:
        worker.adopt_stream(5, theirs.detach(), STREAM_ICE, ("192.0.2.8", 40_009), ("203.0.113.1", 443))
        message = check(ufrag=call.ufrag)
        ours.sendall(len(message).to_bytes(2, "big") + message)
        call.until(2000)
        assert not call.goes_to(HOME)
        call.theirs = "anew"
        call.check_from(AWAY, nominate=False)
        call.speaking(call.ms + 4000, AWAY)
        assert call.goes_to(AWAY, 40)


def test_from_udp_media_follow_to_a_stream_at_once(worker: Worker) -> None:
    call = Call(worker)
    call.speaking(1000, HOME)
    theirs, ours = socket.socketpair()
    with ours:
        worker.adopt_stream(5, theirs.detach(), STREAM_ICE, ("192.0.2.8", 40_009), ("203.0.113.1", 443))
        message = check(ufrag=call.ufrag, theirs="anew")
        ours.sendall(len(message).to_bytes(2, "big") + message)
        call.until(2000)
        call.arrived.clear()
        call.until(4000)
        assert not call.arrived
        assert worker.counters()["trials_failed"] == worker.counters()["checks_out"] == 0
