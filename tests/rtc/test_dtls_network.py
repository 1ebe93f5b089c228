"""DTLS on bad networks: losses, duplicates, reordering, fragments, silence; every case in fake time."""

import itertools
import random

import pytest

from tests.rtc.dtls_world import (
    GIVE_UP_S,
    ONE_WAY_S,
    SMALL,
    assert_connected,
    losing,
    records,
    world,
)

# --- a bad network ---


def count_of_datagrams(mtu: int) -> int:
    w = world(mtu=mtu)
    w.run()
    w.collect()
    return len(w.sent)


@pytest.mark.parametrize("mtu", [SMALL, 1200])
def test_any_one_datagram_may_be_lost(mtu: int) -> None:
    for number in range(count_of_datagrams(mtu)):
        w = world(losing([number]), mtu=mtu)
        assert w.run() < 1.0, number
        assert_connected(w)


def test_any_two_datagrams_may_be_lost() -> None:
    for numbers in itertools.combinations(range(count_of_datagrams(SMALL) + 4), 2):
        w = world(losing(numbers), mtu=SMALL)
        assert w.run() < 3.0, numbers
        assert_connected(w)


@pytest.mark.parametrize("count", range(1, 12))
def test_first_datagrams_may_all_be_lost(count: int) -> None:
    w = world(losing(range(count)))
    w.run()
    assert_connected(w)


def test_everything_may_arrive_twice() -> None:
    w = world(lambda number, datagram: [ONE_WAY_S, 3 * ONE_WAY_S], mtu=SMALL)
    w.run()
    assert_connected(w)


def test_flights_may_arrive_in_reverse_order() -> None:
    w = world(lambda number, datagram: [ONE_WAY_S * (1 + 1 / (number + 1))], mtu=SMALL)
    w.run()
    assert_connected(w)


def test_round_trip_longer_than_the_timeout_still_connects() -> None:
    w = world(lambda number, datagram: [0.7])
    w.run()
    assert_connected(w)


def test_lossy_jittering_duplicating_networks(rng: random.Random) -> None:
    def fate(number: int, datagram: bytes) -> list[float]:
        return [rng.uniform(0.005, 0.1) for _ in range(2 if rng.random() < 0.1 else 1) if rng.random() >= 0.2]

    for _ in range(150):
        w = world(fate, mtu=rng.choice((SMALL, 1200)))
        assert w.run() < GIVE_UP_S
        assert_connected(w)


def test_thirty_percent_loss_and_200_ms_round_trip_connect_within_seconds(rng: random.Random) -> None:
    times = []
    for _ in range(300):
        w = world(lambda number, datagram: [0.1] if rng.random() >= 0.3 else [])
        times.append(w.run())
        assert_connected(w)
    times.sort()
    assert times[150] < 1
    assert times[270] < 4
    assert times[297] < 9
    assert times[299] < 14


def test_lost_last_flight_is_repeated_when_the_client_asks_again() -> None:
    """RFC 6347 section 4.2.4: the server is done, the client is not."""
    w = world(mtu=SMALL)
    w.fate = lambda number, datagram: [] if w.server.state == "connected" and w.now < 100.5 else [ONE_WAY_S]
    w.run()
    assert_connected(w)


def test_silence_fails_after_half_a_minute_and_few_repetitions() -> None:
    w = world(losing(range(10_000)))
    w.run(60)
    assert (w.client.state, w.client.failure) == ("failed", "no answer within 30 s")
    assert GIVE_UP_S <= w.now - 100.0 <= GIVE_UP_S + 1
    assert len(w.sent) <= 32
    assert w.client.timer() is None


def test_half_open_association_of_a_server_ends_by_itself_and_has_said_little() -> None:
    """Whoever has shown no more than a ClientHello gets no more than one flight a second, and not for ever."""
    w = world(lambda number, datagram: [ONE_WAY_S] if number == 0 else [])
    w.run(60)
    assert w.server.state == "failed"
    assert w.server.timer() is None
    flights = [datagram for by_client, datagram in w.sent if not by_client]
    assert len(flights) <= 32
    assert max(len(flight) for flight in flights) < 1000


# --- fragments ---


def fragments(hello: bytes, size: int) -> list[bytes]:
    """A ClientHello in one record, cut into records of one fragment each (RFC 6347 section 4.2.3)."""
    record, handshake, body = hello[:13], hello[13:25], hello[25:]
    assert (record[0], handshake[0]) == (22, 1)
    assert len(body) == int.from_bytes(handshake[1:4], "big")
    cut = []
    for number, at in enumerate(range(0, len(body), size)):
        part = body[at : at + size]
        header = handshake[:6] + at.to_bytes(3, "big") + len(part).to_bytes(3, "big")
        cut.append(record[:5] + number.to_bytes(6, "big") + (12 + len(part)).to_bytes(2, "big") + header + part)
    return cut


def renumbered(datagram: bytes, offset: int) -> bytes:
    """Clear records take the numbers after the fragments', or they would be replays."""
    result = b""
    for record in records(datagram):
        if record[3:5] == b"\0\0":
            record = record[:5] + (int.from_bytes(record[5:11], "big") + offset).to_bytes(6, "big") + record[11:]
        result += record
    return result


@pytest.mark.parametrize("size", [5, 20, 50, 120])
@pytest.mark.parametrize("order", ["in order", "reversed", "shuffled", "each twice"])
def test_fragmented_client_hello_is_put_together(size: int, order: str, rng: random.Random) -> None:
    w = world()
    w.client.start(w.now)
    (hello,) = w.client.datagrams_to_send()
    parts = fragments(hello, size)
    count = len(parts)
    if order == "reversed":
        parts.reverse()
    elif order == "shuffled":
        rng.shuffle(parts)
    elif order == "each twice":
        parts = [part for part in parts for _ in range(2)]
    for part in parts:
        w.server.receive(part, w.now)
    while (w.client.state, w.server.state) != ("connected", "connected"):
        answers = w.server.datagrams_to_send()
        assert answers, "the server must have heard the whole hello"
        for datagram in answers:
            w.client.receive(datagram, w.now)
        for datagram in w.client.datagrams_to_send():
            w.server.receive(renumbered(datagram, count), w.now)
    assert_connected(w)


def test_missing_fragment_is_waited_for() -> None:
    w = world()
    w.client.start(w.now)
    (hello,) = w.client.datagrams_to_send()
    parts = fragments(hello, 40)
    for part in parts[:2] + parts[3:]:
        w.server.receive(part, w.now)
    assert (w.server.datagrams_to_send(), w.server.state) == ([], "handshaking")
    w.server.receive(parts[2], w.now)
    assert w.server.datagrams_to_send()
