"""Rooms on workers, and events that go astray."""

import logging

import pytest

from rtc import ice
from rtc.sdp import parse
from rtc.worker_events import EventKind
from sfu.media import Kind, NoPipeError, TrackAddress, counter
from tests.sfu.fakes import ALL_RIGHTS, OFFER, House


def test_rooms_go_to_the_least_loaded_worker() -> None:
    house = House(workers=2)
    house.join("ann", room="first")
    house.join("bob", room="first")
    house.join("cid", room="second")
    house.join("dan", room="third")
    assert [len(worker.transports) for worker in house.workers] == [2, 2]


def test_empty_rooms_are_spread_too() -> None:
    house = House(workers=2)
    rooms = [house.room(f"room{index}") for index in range(4)]
    assert [room.home.index for room in rooms] == [0, 1, 0, 1]


def test_room_stays_on_its_worker() -> None:
    house = House(workers=2)
    for index in range(5):
        house.join(f"guest{index}")
    assert [len(worker.transports) for worker in house.workers] == [5, 0]


def test_no_track_is_taken_to_another_worker_without_a_pipe() -> None:
    house = House(workers=2)
    ann = house.join("ann")
    here, there = house.node.workers
    house.clear()
    with pytest.raises(NoPipeError):
        house.room().join("bob", "Bob", "guest", ALL_RIGHTS, OFFER, [], house.now, worker=there)
    assert (len(house.room()), house.workers[1].transports, house.inbox) == (1, {}, {}), "nothing was changed"
    (track,) = [number for number, config in house.worker.tracks.items() if config["kind"] is Kind.AUDIO]
    with pytest.raises(NoPipeError):
        there.forward(1, TrackAddress(here, track))
    house.room().leave(ann.participant_id, "left", house.now)
    house.room().join("bob", "Bob", "guest", ALL_RIGHTS, OFFER, [], house.now, worker=there)
    assert len(house.workers[1].transports) == 1, "whoever is alone may be anywhere"


def test_answer_names_the_workers_port_and_ufrag() -> None:
    house = House(workers=2)
    house.join("ann", room="first")
    reply = parse(house.join("bob", room="second").answer_sdp)
    assert reply.media[0].port == 5001
    assert ice.worker_of(reply.media[0].ufrag) == 1


def test_events_of_two_workers_with_equal_ids_do_not_mix() -> None:
    house = House(workers=2)
    house.join("ann", room="first")
    house.join("bob", room="second")
    house.event(EventKind.DTLS, 1, b"finished", worker=1)
    assert house.workers[0].keys == {}
    assert list(house.workers[1].keys) == [1]


def test_fault_in_one_event_does_not_cost_the_next(caplog: pytest.LogCaptureFixture) -> None:
    house = House()
    house.join("ann")

    def broken(datagram: bytes, now: float) -> None:
        raise RuntimeError("broken")

    house.join("bob")
    house.associations[0].receive = broken  # type: ignore[method-assign]
    events = [(EventKind.DTLS, house.transport(0), b"x"), (EventKind.DTLS, house.transport(1), b"finished")]
    with caplog.at_level(logging.ERROR):
        house.events.dispatch(0, events, house.now)
    assert list(house.worker.keys) == [house.transport(1)]
    assert len(caplog.records) == 1


def test_fault_in_one_rooms_tick_does_not_cost_the_other_rooms(caplog: pytest.LogCaptureFixture) -> None:
    house = House()
    house.join("ann", room="first")
    house.join("bob", room="second")
    ticked: list[float] = []

    def broken(now: float) -> None:
        raise RuntimeError("broken")

    house.room("first").tick = broken  # type: ignore[method-assign]
    house.room("second").tick = ticked.append  # type: ignore[method-assign, assignment]
    with caplog.at_level(logging.ERROR):
        house.node.tick(house.now)
    assert ticked == [house.now]
    assert len(caplog.records) == 1


def test_fault_in_one_handshakes_timer_ends_that_timer_and_no_other(caplog: pytest.LogCaptureFixture) -> None:
    house = House()
    house.join("ann")
    house.join("bob")
    for index in range(2):
        house.event(EventKind.DTLS, house.transport(index), b"hello")

    def broken(now: float) -> None:
        raise RuntimeError("broken")

    house.associations[0].handle_timer = broken  # type: ignore[method-assign]
    with caplog.at_level(logging.ERROR):
        house.node.handle_timers(house.now + 0.2)
    assert house.associations[1].timers == 1
    assert house.node.timer() == pytest.approx(house.now + 0.6)
    assert len(caplog.records) == 1


def test_malformed_events_are_ignored() -> None:
    house = House()
    house.join("ann")
    house.events.dispatch(
        0, [(99, 1), (EventKind.DTLS, None, b""), (EventKind.STATS, 1, "x"), (EventKind.LEVEL, 1)], house.now
    )
    assert house.node.participants == 1


def test_closing_puts_everybody_out() -> None:
    house = House(workers=2)
    house.join("ann", room="first")
    house.join("bob", room="second")
    house.node.close("draining", house.now)
    assert house.node.rooms == []
    assert all(not worker.transports for worker in house.workers)


def test_thousand_joins_leave_nothing_behind() -> None:
    house = House()
    for index in range(1000):
        joined = house.join("guest", room=f"room{index % 7}")
        house.connect(index)
        house.room(f"room{index % 7}").leave(joined.participant_id, "left", house.now)
    worker = house.node.workers[0]
    assert (worker.transports, worker.tracks, worker.handshakes, worker.rooms) == ({}, {}, {}, 0)
    plane = house.worker
    assert (plane.transports, plane.tracks, plane.legs, plane.sources) == ({}, {}, {}, {})
    assert house.node.rooms == []


def test_ids_are_positive_32_bit_and_start_over() -> None:
    following = counter()
    assert [following(), following()] == [1, 2]
