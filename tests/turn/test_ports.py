"""The table of relay ports: none twice, even ones and pairs where asked for, chance, and reservations that end."""

import random
from collections import Counter

import pytest

from turn.ports import MAX_RESERVATIONS_OF_ONE, RESERVATION_S, PortPool, Reservation, Reservations


def pool(first: int = 50000, last: int = 50009, seed: int = 1) -> PortPool:
    return PortPool("203.0.113.9", first, last, random.Random(seed))


def test_every_port_is_given_once_until_none_is_left() -> None:
    ports = pool()
    assert sorted(port for _ in range(10) if (port := ports.take())) == list(range(50000, 50010))
    assert ports.take() is None
    ports.release(50004)
    assert ports.take(pair=True) is None
    assert ports.take() == 50004
    assert ports.in_use == 10


def test_even_ports_and_pairs() -> None:
    ports = pool()
    pairs = [ports.take(pair=True) for _ in range(3)]
    evens = [ports.take(even=True) for _ in range(2)]
    assert None not in pairs
    assert all(port is not None and port % 2 == 0 for port in pairs + evens)
    assert ports.take(even=True) is None
    assert ports.take(pair=True) is None
    assert sum(ports.take() is not None for _ in range(5)) == 2


def test_a_pair_never_leaves_the_range() -> None:
    ports = pool(50001, 50002)
    assert ports.take(pair=True) is None
    assert ports.take(even=True) == 50002


@pytest.mark.parametrize("port", [49999, 50010, 50003])
def test_a_port_that_was_not_taken_cannot_be_released(port: int) -> None:
    with pytest.raises(ValueError, match="not taken"):
        pool().release(port)


@pytest.mark.parametrize("first, last", [(0, 5), (10, 9), (65000, 65536)])
def test_a_range_that_is_none_is_told(first: int, last: int) -> None:
    with pytest.raises(ValueError, match="range"):
        PortPool("203.0.113.9", first, last)


def test_ports_are_drawn_by_chance() -> None:
    counts = Counter(pool(seed=seed).take() for seed in range(2000))
    assert set(counts) == set(range(50000, 50010))
    assert max(counts.values()) < 2 * min(counts.values())


def reservation(owner: str = "me", expires_at: float = RESERVATION_S, port: int = 50001) -> Reservation:
    return Reservation(pool(), port, 7, owner, expires_at)


def test_a_reservation_is_its_owners_once_and_for_its_time() -> None:
    reservations = Reservations()
    mine = reservation()
    reservations.put(b"12345678", mine)
    assert reservations.claim(b"87654321", "me", 1.0) is None
    assert reservations.claim(b"12345678", "you", 1.0) is None
    assert reservations.claim(b"12345678", "me", RESERVATION_S) is None
    assert reservations.claim(b"12345678", "me", 29.9) is mine
    assert reservations.claim(b"12345678", "me", 29.9) is None


def test_reservations_that_nobody_claimed_come_back() -> None:
    reservations = Reservations()
    first, second = reservation(expires_at=30.0), reservation(expires_at=31.0)
    reservations.put(b"1", first)
    reservations.put(b"2", second)
    assert reservations.take_expired(29.0) == []
    assert reservations.take_expired(30.0) == [first]
    assert reservations.take_expired(40.0) == [second]
    assert len(reservations) == 0


def test_one_owner_holds_few_reservations() -> None:
    reservations = Reservations()
    for number in range(MAX_RESERVATIONS_OF_ONE):
        assert reservations.has_room("me")
        reservations.put(bytes([number]), reservation())
    assert not reservations.has_room("me")
    assert reservations.has_room("you")
