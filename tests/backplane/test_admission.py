"""Who may hold a socket."""

from contextlib import ExitStack
from functools import partial

import pytest

from backplane.admission import Admission, Place
from backplane.web import Problem


def admission(**change: int) -> Admission:
    bounds = {"total": 100, "waiting": 50, "per_address": 20, "waiting_per_address": 10} | change
    return Admission(**bounds, opened_per_s=1, opened_burst=60)


def fill(doors: Admission, stack: ExitStack, address: str, count: int, *, known: bool = False) -> list[Place]:
    places = [stack.enter_context(doors.place(address, 0.0)) for _ in range(count)]
    for place in places if known else ():
        place.authenticated()
    return places


def refused(doors: Admission, address: str, now: float = 0.0) -> int:
    with pytest.raises(Problem) as problem, doors.place(address, now):
        pass
    return problem.value.status


def test_those_of_one_address_who_have_said_nothing_are_few() -> None:
    doors = admission()
    with ExitStack() as stack:
        places = fill(doors, stack, "192.0.2.1", 10)
        assert refused(doors, "192.0.2.1") == 429
        fill(doors, stack, "192.0.2.2", 1)
        places[0].authenticated()
        places[0].authenticated()
        fill(doors, stack, "192.0.2.1", 1)
        assert refused(doors, "192.0.2.1") == 429
    assert len(doors) == 0
    assert doors._by_address == doors._waiting_by_address == {}


def test_all_of_one_address_are_bounded_and_a_prefix_of_ipv6_is_one() -> None:
    doors = admission()
    with ExitStack() as stack:
        fill(doors, stack, "2001:db8::1", 10, known=True)
        fill(doors, stack, "2001:db8::ffff:2", 10, known=True)
        assert refused(doors, "2001:db8::3") == 429
        fill(doors, stack, "2001:db8:0:1::1", 1)


def test_one_address_cannot_open_and_close_without_end() -> None:
    doors = admission()
    for _ in range(60):
        with doors.place("192.0.2.1", 0.0):
            pass
    assert refused(doors, "192.0.2.1") == 429
    with doors.place("192.0.2.1", 1.0):
        pass


def test_when_too_many_wait_the_oldest_makes_room() -> None:
    doors = admission(waiting=3)
    gone: list[int] = []
    with ExitStack() as stack:
        for number in range(3):
            (place,) = fill(doors, stack, f"192.0.2.{number}", 1)
            place.on_evict(partial(gone.append, number))
        place.authenticated()
        for number in range(3):
            fill(doors, stack, f"198.51.100.{number}", 1)
        assert gone == [0, 1]
        assert len(doors) == 4
    assert len(doors) == 0


def test_who_opens_many_puts_out_their_own() -> None:
    """Whoever has a /48 has 65,536 addresses, and somebody on a thin link needs seconds to say who it is."""
    doors = admission(waiting=8)
    gone: list[str] = []
    theirs = [f"2001:db8:7:{number}::1" for number in range(30)]
    with ExitStack() as stack:
        for address in ("192.0.2.1", "2001:db8:1::1", *theirs):
            (place,) = fill(doors, stack, address, 1)
            place.on_evict(partial(gone.append, address))
        assert gone == theirs[:24]
    assert len(doors) == 0
    assert doors._waiting_by_site == {}


def test_a_full_house_refuses_when_everybody_in_it_is_known() -> None:
    doors = admission(total=3)
    with ExitStack() as stack:
        for number in range(3):
            fill(doors, stack, f"192.0.2.{number}", 1, known=True)
        assert refused(doors, "198.51.100.1") == 503
        assert refused(doors, "198.51.100.1") == 503
    assert doors._by_address == {}
