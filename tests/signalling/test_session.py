"""Sessions: numbered pushes, replay within bounds, generations. In fake time, without a socket."""

import json

from backplane.tokens import Claims
from sfu.events import (
    Bye,
    ParticipantInfo,
    ParticipantLeft,
    ParticipantUpdated,
    QualityReport,
    RoomEvent,
    SlotsChanged,
    Speaker,
    SpeakersChanged,
)
from sfu.protocol import ConnectionState
from signalling.codes import CloseCode
from signalling.messages import encode
from signalling.session import MAX_REPLAY_BYTES, MAX_REPLAY_MESSAGES, RESUME_WINDOW_S, Session
from tests.signalling.fakes import SLOT, FakeLink

CLAIMS = Claims("room", "me", "Me", "guest", (), 0, 1, "jti", 0, "wadud.room")


def session() -> tuple[Session, FakeLink]:
    link = FakeLink()
    return Session("s", "secret", "p1", CLAIMS, link), link


def push(session: Session, event: RoomEvent, now: float = 0.0) -> None:
    session.push(event, encode(event), now)


def left(participant: str) -> ParticipantLeft:
    return ParticipantLeft(participant, "left")


def updated(participant: str, name: str = "n") -> ParticipantUpdated:
    return ParticipantUpdated(ParticipantInfo(participant, name, "guest", ConnectionState.CONNECTED, []))


def speakers(level: float) -> SpeakersChanged:
    return SpeakersChanged([Speaker("p2", level)])


def numbers(frames: list[bytes]) -> list[int]:
    return [json.loads(frame)["seq"] for frame in frames]


def test_pushes_are_numbered_from_one() -> None:
    mine, link = session()
    for name in "abc":
        push(mine, left(name))
    assert [frame["seq"] for frame in link.frames] == [1, 2, 3]


def test_what_was_pushed_while_nobody_listened_is_replayed_after_the_last_seen() -> None:
    mine, _ = session()
    push(mine, left("a"))
    assert mine.suspend(1, 0)
    push(mine, left("b"), 1)
    push(mine, left("c"), 2)
    mine.resume(FakeLink())
    assert numbers(mine.replay(1)) == [2, 3]


def test_replay_may_begin_before_anything_was_seen() -> None:
    mine, _ = session()
    push(mine, left("a"))
    assert numbers(mine.replay(0)) == [1]


def test_a_seen_number_from_the_future_replays_nothing() -> None:
    mine, _ = session()
    push(mine, left("a"))
    assert mine.replay(99) == []


def test_superseded_states_are_left_out_of_the_replay() -> None:
    mine, _ = session()
    for level in (0.1, 0.2, 0.3):
        push(mine, speakers(level))
        push(mine, updated("p2"))
        push(mine, SlotsChanged([SLOT]))
        push(mine, QualityReport([]))
    assert numbers(mine.replay(0)) == [9, 10, 11, 12]


def test_updates_of_different_people_do_not_replace_each_other() -> None:
    mine, _ = session()
    push(mine, updated("p2"))
    push(mine, updated("p3"))
    assert numbers(mine.replay(0)) == [1, 2]


def test_updates_of_somebody_who_left_are_left_out() -> None:
    mine, _ = session()
    push(mine, updated("p2"))
    push(mine, left("p2"))
    assert numbers(mine.replay(0)) == [2]


def test_the_replay_buffer_is_bounded_in_messages() -> None:
    mine, _ = session()
    for number in range(MAX_REPLAY_MESSAGES + 50):
        push(mine, left(f"p{number}"))
    assert numbers(mine.replay(0)) == list(range(51, MAX_REPLAY_MESSAGES + 51))


def test_the_replay_buffer_is_bounded_in_bytes() -> None:
    mine, _ = session()
    for number in range(100):
        push(mine, updated(f"p{number}", "n" * 10_000))
    kept = mine.replay(0)
    assert sum(map(len, kept)) <= MAX_REPLAY_BYTES
    assert numbers(kept)[-1] == 100


def test_the_newest_socket_wins_and_the_old_one_is_told() -> None:
    mine, old = session()
    push(mine, left("a"))
    new = FakeLink()
    assert mine.resume(new) == 2
    assert old.last == {"type": "bye", "seq": 2, "reason": "replaced"}
    assert old.code is CloseCode.REPLACED
    push(mine, left("b"))
    assert [frame["seq"] for frame in new.frames] == [2], "the bye of the old socket used no number up"
    assert len(old.frames) == 2


def test_the_late_close_of_an_old_socket_changes_nothing() -> None:
    mine, _ = session()
    mine.resume(FakeLink())
    assert not mine.suspend(1, 5)
    assert mine.attached
    assert not mine.over(5 + RESUME_WINDOW_S)


def test_a_session_is_over_when_nobody_resumes_within_the_window() -> None:
    mine, _ = session()
    mine.suspend(1, 10)
    assert not mine.over(10 + RESUME_WINDOW_S - 0.1)
    assert mine.over(10 + RESUME_WINDOW_S)


def test_resuming_stops_the_clock() -> None:
    mine, _ = session()
    mine.suspend(1, 10)
    mine.resume(FakeLink())
    assert not mine.over(10_000)


def test_a_bye_ends_the_session_and_is_all_that_a_later_socket_hears() -> None:
    mine, link = session()
    mine.suspend(1, 0)
    push(mine, Bye("room_closed"), 1)
    push(mine, left("a"), 2)
    mine.resume(FakeLink())
    assert numbers(mine.replay(0)) == [1]
    assert mine.ended
    assert mine.over(1 + RESUME_WINDOW_S)
    assert link.frames == []


def test_sessions_share_the_bytes_that_are_kept_for_replay() -> None:
    (mine, link), (other, _) = session(), session()
    event = updated("p2")
    encoded = encode(event)
    push(other, left("a"))
    for each in (mine, other):
        each.push(event, encoded, 0)
    assert [numbers(each.replay(0)) for each in (mine, other)] == [[1], [1, 2]]
    assert link.last["participant"]["id"] == "p2"
    assert next(iter(mine._replay.values()))[1] is encoded


def test_only_the_secret_proves_the_session() -> None:
    mine, _ = session()
    assert mine.proves("secret")
    assert not mine.proves("secreT")
    assert not mine.proves("")
    assert not mine.proves("señor")
