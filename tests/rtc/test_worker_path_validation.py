"""Media go where a participant shows to receive them; a worker driven by hand. aioice reads what they are asked."""

import socket

import pytest
from aioice import stun

from rtc._worker import STREAM_ICE, Worker
from tests.rtc.by_hand import SECOND
from tests.rtc.call_by_hand import AWAY, HOME, MS, SECRET, STEP, STRANGER, THEIRS, Call
from tests.rtc.checks import PASSWORD, answer, check

WITHIN_A_SECOND = [0, 100, 300, 700]  # ms, when a path on trial is asked for


def test_where_the_handshake_was_nobody_is_asked(worker: Worker) -> None:
    call = Call(worker)
    call.until(5000, HOME)
    assert call.goes_to(HOME)
    assert call.asked == {}
    assert worker.counters()["checks_out"] == 0


def test_who_answers_at_a_new_address_stays_there_from_the_first_check_on(worker: Worker) -> None:
    call = Call(worker)
    call.until(1000, HOME)
    call.answering[AWAY] = SECRET
    call.check_from(AWAY)
    assert call.goes_to(AWAY)
    call.until(5000, AWAY)
    assert call.goes_to(AWAY)
    assert len(call.asked[AWAY]) == worker.counters()["checks_out"] == 1
    call.check_from(HOME)  # the way back is known
    assert call.goes_to(HOME)
    assert worker.counters()["checks_out"] == 1


def test_what_is_asked_is_a_check_of_the_controlled_side_with_their_credentials(worker: Worker) -> None:
    call = Call(worker)
    call.check_from(AWAY)
    ((_, asked),) = call.asked[AWAY]
    message = answer(asked, password=SECRET)
    assert (message.message_method, message.message_class) == (stun.Method.BINDING, stun.Class.REQUEST)
    assert message.attributes["USERNAME"] == f"{THEIRS}:{call.ufrag}"
    assert "ICE-CONTROLLED" in message.attributes
    assert "USE-CANDIDATE" not in message.attributes
    assert len(asked) <= len(check(ufrag=call.ufrag))


def test_media_to_who_does_not_answer_end_within_a_second(worker: Worker) -> None:
    call = Call(worker)
    call.until(1000, HOME)
    call.check_from(STRANGER)
    call.until(8000)
    assert [ms - 1000 for ms, _ in call.asked[STRANGER]] == WITHIN_A_SECOND
    assert len({asked[8:20] for _, asked in call.asked[STRANGER]}) == 1
    assert 900 <= max(call.arrived[STRANGER]) - 1000 <= 1010
    assert call.goes_to(HOME), "where they were before"
    assert worker.counters()["trials_failed"] == 1


def test_who_failed_once_is_sent_to_a_new_address_behind_the_answer(worker: Worker) -> None:
    call = Call(worker)
    call.check_from(STRANGER)
    call.until(5000, HOME)
    call.check_from(AWAY)
    assert call.goes_to(HOME)
    call.check_from(AWAY)
    assert len(call.asked[AWAY]) == 2, "one for each of theirs"
    call.answer(call.asked[AWAY][0][1], AWAY, AWAY, SECRET)
    assert call.goes_to(AWAY)
    call.until(35_000, AWAY)
    call.check_from(STRANGER)
    assert call.goes_to(STRANGER), "much later there is another trial"


def test_a_short_check_is_not_answered_with_a_long_one(worker: Worker) -> None:
    call = Call(worker)
    call.check_from(STRANGER)
    call.until(5000, HOME)
    bare = stun.Message(stun.Method.BINDING, stun.Class.REQUEST, bytes(12))
    bare.attributes["USERNAME"] = f"{call.ufrag}:{THEIRS}"
    bare.add_message_integrity(PASSWORD.encode())
    worker.receive(bytes(bare), AWAY, call.now_ns)
    call.collect()
    assert call.bytes_to[AWAY] <= len(bytes(bare)), "the answer alone"
    assert AWAY not in call.asked


def test_an_answer_that_comes_too_late_counts_still(worker: Worker) -> None:
    call = Call(worker)
    call.until(1000, HOME)
    call.check_from(AWAY)
    call.until(2500)
    assert call.goes_to(HOME)
    call.answer(call.asked[AWAY][0][1], AWAY, AWAY, SECRET)
    assert call.goes_to(AWAY)


@pytest.mark.parametrize("wrong", ["password", "ours", "source", "transaction", "none"])
def test_only_the_right_answer_from_there_counts(worker: Worker, wrong: str) -> None:
    call = Call(worker)
    call.check_from(STRANGER)
    (_, asked) = call.asked[STRANGER][0]
    password = {"password": SECRET[:-1] + "?", "ours": PASSWORD}.get(wrong, SECRET)
    source = HOME if wrong == "source" else STRANGER
    if wrong == "transaction":
        asked = asked[:8] + bytes(12)
    if wrong == "none":  # of a server that answers everybody
        message = stun.Message(stun.Method.BINDING, stun.Class.RESPONSE, asked[8:20])
        worker.receive(bytes(message), source, call.now_ns)
    else:
        call.answer(asked, STRANGER, source, password)
    call.until(1500, HOME)
    assert call.goes_to(HOME)
    assert worker.counters()["trials_failed"] == 1


@pytest.mark.parametrize("how", ["again", "home between", "crowded out", "many"])
def test_a_stranger_gets_a_second_of_media_in_thirty_whatever_somebody_tries(worker: Worker, how: str) -> None:
    call = Call(worker)
    call.until(1000, HOME)
    others = [("192.0.2.8", 50_000 + number) for number in range(4)]
    call.answering = dict.fromkeys([HOME, *others], SECRET)
    for turn in range(100):
        call.check_from((STRANGER[0], turn) if how == "many" else STRANGER)
        call.until(call.ms + 200)
        if how != "again":
            call.check_from(HOME)
        if how == "crowded out":
            for other in others:
                call.check_from(other)
        call.until(call.ms + 50)
    stranger = [ms for to, times in call.arrived.items() if to[0] == STRANGER[0] for ms in times]
    assert stranger, "else nothing was tried"
    assert len(stranger) <= 2 * (SECOND // MS // STEP + 5)
    asked = sum(len(data) for to, told in call.asked.items() if to[0] == STRANGER[0] for _, data in told)
    assert asked <= 110 * len(check(ufrag=call.ufrag))


def test_a_handshake_over_two_addresses_shows_neither(worker: Worker) -> None:
    call = Call(worker, shaken=(HOME, AWAY))
    assert call.goes_to(AWAY)
    call.until(1500)
    assert [ms for ms, _ in call.asked[AWAY]] == WITHIN_A_SECOND
    assert max(call.arrived[AWAY]) <= 1010


def test_with_new_credentials_the_new_ones_are_asked_for_and_before_them_the_old(worker: Worker) -> None:
    call = Call(worker)
    call.until(1000, HOME)
    worker.restart_ice(2, "again222", PASSWORD)
    worker.set_remote(2, "anew", SECRET + "2")
    call.answering[AWAY] = SECRET
    call.check_from(AWAY)  # with the old ones
    assert call.goes_to(AWAY)
    call.ufrag, call.theirs = "again222", "anew"
    call.check_from(STRANGER)
    assert answer(call.asked[STRANGER][0][1], password=SECRET + "2")
    call.answer(call.asked[STRANGER][0][1], STRANGER, STRANGER, SECRET + "2")
    call.until(3000)
    assert call.goes_to(STRANGER)


def test_the_old_credentials_end_with_a_nomination_by_new_ones_though_the_answer_comes_first(worker: Worker) -> None:
    call = Call(worker)
    call.check_from(STRANGER)
    call.until(2000, HOME)  # no trials for now
    former = call.ufrag
    worker.restart_ice(2, "again222", PASSWORD)
    worker.set_remote(2, "anew", SECRET)
    call.ufrag, call.answering[AWAY] = "again222", SECRET
    call.check_from(AWAY)
    assert call.goes_to(AWAY)
    worker.receive(check(ufrag=former), HOME, call.now_ns)
    assert worker.counters()["drop_stun_unknown_user"] == 1


def test_behind_the_end_of_a_stream_media_go_where_it_was_shown_though_another_address_is_newer(worker: Worker) -> None:
    call = Call(worker)
    call.check_from(STRANGER)
    call.until(2000, HOME)  # no trials for now
    theirs, ours = socket.socketpair()
    with ours:
        worker.adopt_stream(5, theirs.detach(), STREAM_ICE, ("192.0.2.8", 40_009), ("203.0.113.1", 443))
        message = check(ufrag=call.ufrag)
        ours.sendall(len(message).to_bytes(2, "big") + message)
        call.until(2500, HOME)
        assert not call.goes_to(HOME)
        call.check_from(AWAY, nominate=False)
    call.until(call.ms + 2 * STEP)
    assert call.goes_to(HOME)


@pytest.mark.parametrize(
    ("ufrag", "password"),
    [("abc", "p" * 22), ("u" * 257, "p" * 22), ("user", "p" * 21), ("user", "p" * 257), ("us r", "p" * 22)],
)
def test_what_are_no_credentials_is_refused(worker: Worker, ufrag: str, password: str) -> None:
    with pytest.raises(ValueError, match="must be"):
        worker.set_remote(1, ufrag, password)


def test_the_longest_credentials_are_taken_and_of_nobody_are_counted(worker: Worker) -> None:
    call = Call(worker)
    call.theirs = "u" * 256
    worker.set_remote(2, call.theirs, "p" * 256)
    call.check_from(AWAY)
    call.until(150)
    message = answer(call.asked[AWAY][0][1], password="p" * 256)
    assert message.attributes["USERNAME"] == f"{'u' * 256}:{call.ufrag}"
    worker.set_remote(77, "user", "p" * 22)
    assert worker.counters()["commands_refused"] == 1
