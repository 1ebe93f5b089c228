"""The shaped link does what its shape says: by its own arithmetic in fake time, and on a real path."""

from __future__ import annotations

import random
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.network.emulator import GilbertElliott
from tests.network.internet import IPV6_ONLY, OPEN, SERVER, SERVER_V6, Internet
from tests.support import clock
from tests.support.namespaces import Namespace, NamespaceError, namespaces, unavailable
from tests.support.shaper import ROOT, Counters, Direction, Shape, ShapedLink, shaped

A, B = "10.9.0.1", "10.9.0.2"
IP_UDP = 28
SO_RCVBUFFORCE = 33  # asm-generic/socket.h
on_a_real_path = [pytest.mark.alone, pytest.mark.network]


def carried(direction: Direction, times: list[float], size: int = 1000) -> list[tuple[float, int]]:
    """Send a packet at each time; (when it arrived, its number) of those that did."""
    arrived: list[tuple[float, int]] = []
    sends = [(at, number) for number, at in enumerate(times)]
    while sends or direction.due() is not None:
        due = direction.due()
        if sends and (due is None or sends[0][0] <= due):
            now, number = sends.pop(0)
            direction.send(number.to_bytes(4, "big") + bytes(size - 4), now)
        else:
            assert due is not None
            now = due
        arrived += [(now, int.from_bytes(packet[:4], "big")) for packet in direction.arrivals(now)]
    return arrived


def direction(shape: Shape) -> Direction:
    return Direction(shape, random.Random(1))


def test_a_packet_arrives_after_its_transmission_and_the_delay() -> None:
    sent = carried(direction(Shape(rate_bps=80_000, delay_ms=50, queue_ms=1000)), [0.0, 0.0, 1.0])
    assert sent == [(pytest.approx(0.15), 0), (pytest.approx(0.25), 1), (pytest.approx(1.15), 2)]


@pytest.mark.parametrize("shape", [Shape(rate_bps=80_000, queue_ms=500), Shape(rate_bps=80_000, queue_bytes=5000)])
def test_what_does_not_fit_into_the_queue_is_dropped_at_its_end(shape: Shape) -> None:
    one_way = direction(shape)
    arrived = carried(one_way, [0.0] * 20)
    assert [number for _, number in arrived] == list(range(6))  # one is being sent, five wait
    assert one_way.counters == Counters(20, 20_000, 6, 6000, queue_drops=14)


def test_one_packet_may_wait_however_short_the_queue() -> None:
    assert len(carried(direction(Shape(rate_bps=80_000, queue_ms=0)), [0.0] * 5)) == 2


def test_losses_are_as_frequent_as_said_and_come_in_bursts_where_said() -> None:
    times = [number / 100 for number in range(10_000)]
    alone = direction(Shape(loss=0.1))
    lost = 10_000 - len(carried(alone, times))
    assert lost == alone.counters.lost
    assert lost == pytest.approx(1000, rel=0.1)
    bursts = GilbertElliott(to_bad=0.02, to_good=0.25)
    heard = {number for _, number in carried(direction(Shape(bursts=bursts)), times)}
    missing = [number for number in range(10_000) if number not in heard]
    assert len(missing) == pytest.approx(10_000 * bursts.mean_loss, rel=0.2)
    assert len(missing) / sum(number - 1 in heard for number in missing) == pytest.approx(4, rel=0.2)


def test_jitter_moves_packets_and_keeps_their_order() -> None:
    times = [number / 1000 for number in range(1000)]
    arrived = carried(direction(Shape(delay_ms=20, jitter_ms=30)), times)
    assert [number for _, number in arrived] == list(range(1000))
    delays = [at - times[number] for at, number in arrived]
    assert min(delays) >= 0.02 - 1e-9
    assert max(delays) <= 0.05 + 1e-9
    assert statistics.pstdev(delays) > 0.001


def test_a_changed_rate_counts_for_what_waits() -> None:
    one_way = direction(Shape(rate_bps=8000, queue_ms=10_000))
    for _ in range(3):
        one_way.send(bytes(1000), 0.0)
    one_way.shape = Shape(rate_bps=80_000)
    assert one_way.due() == 1.0
    assert [len(one_way.arrivals(now)) for now in (1.0, 1.11, 1.21)] == [1, 1, 1]


@pytest.fixture(scope="module")
def wired() -> Iterator[tuple[socket.socket, socket.socket, ShapedLink]]:
    """Two UDP sockets that know each other's address, and the link between them."""
    if why_not := unavailable():
        pytest.skip(why_not)
    with namespaces("a", "b") as (a, b):
        for namespace in (a, b):
            namespace.set(ipv6__conf__default__disable_ipv6=1)  # it would send router solicitations
        with shaped(a, "up", b, "down", Shape()) as link, a.socket() as near, b.socket() as far:
            a.ip(f"addr add {A}/30 dev up")
            b.ip(f"addr add {B}/30 dev down")
            far.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 4_000_000)  # read only after all was sent
            near.bind((A, 0))
            far.bind((B, 0))
            near.connect(far.getsockname())
            far.connect(near.getsockname())
            yield near, far, link


def shortest_trip_ms(sender: socket.socket, receiver: socket.socket) -> float:
    """Of several: what this process waits for a processor is no part of the link."""
    receiver.settimeout(2)
    trips = []
    for _ in range(9):
        began = time.monotonic()
        sender.send(b"?")
        receiver.recv(100)
        trips.append(time.monotonic() - began)
    return min(trips) * 1000


class TestOnARealPath:
    pytestmark = on_a_real_path

    def test_delay_differs_by_direction_and_changes_while_the_link_is_in_use(
        self, wired: tuple[socket.socket, socket.socket, ShapedLink]
    ) -> None:
        near, far, link = wired
        link.set(there=Shape(delay_ms=40), back=Shape(delay_ms=10))
        assert 40 <= shortest_trip_ms(near, far) < 42
        assert 10 <= shortest_trip_ms(far, near) < 12
        link.set(there=Shape(delay_ms=5))
        assert 5 <= shortest_trip_ms(near, far) < 7
        before = link.back
        link.set(back=Shape(loss=1))
        far.send(b"lost")
        near.settimeout(0.05)
        with pytest.raises(TimeoutError):
            near.recv(100)
        after = link.back
        assert after.lost == before.lost + 1
        assert after.bytes == before.bytes + IP_UDP + len(b"lost")
        assert after.delivered_packets == before.delivered_packets == 9

    @pytest.mark.parametrize("rate_bps", [40_000, 20_000_000])
    def test_the_rate_holds_and_the_rest_is_dropped(
        self, wired: tuple[socket.socket, socket.socket, ShapedLink], rate_bps: int
    ) -> None:
        near, far, link = wired
        size = 1200
        packets = max(4, rate_bps * 3 // 10 // (8 * size))  # of 0.3 s
        drops = link.there.queue_drops
        link.set(there=Shape(rate_bps=rate_bps, queue_bytes=packets * size))
        far.settimeout(5)
        began, began_real = clock.now(), time.monotonic()
        for number in range(2 * packets + 20):
            near.send(number.to_bytes(4, "big") + bytes(size - IP_UDP - 4))
            if number % 50 == 49:
                time.sleep(0.0005)  # socket and device hold no more at once
        arrived: list[int] = []
        while len(arrived) <= packets:  # one was on its way while the others waited
            arrived.append(int.from_bytes(far.recv(2000)[:4], "big"))
        assert arrived == list(range(packets + 1))
        nominal_s = len(arrived) * size * 8 / rate_bps
        assert time.monotonic() - began_real >= nominal_s
        assert clock.now() - began <= nominal_s * 1.1 + 0.002
        assert link.there.queue_drops - drops >= 10

    def test_tcp_fills_the_link_in_spite_of_some_loss(self, world: Internet) -> None:
        shape = Shape(rate_bps=2_000_000, delay_ms=10, loss=0.005, queue_ms=200)
        with world.behind_shaped(OPEN, shape) as (inside, link):
            assert received_over_tcp(world.server, inside, SERVER, 200_000) > 0.8
            assert link.back.delivered_bytes > 200_000
            assert link.back.lost > 0

    def test_ipv6_passes_a_shaped_gate(self, world: Internet) -> None:
        with world.behind_shaped(IPV6_ONLY, Shape(delay_ms=20), Shape(delay_ms=5)) as (inside, _):
            assert received_over_tcp(world.server, inside, SERVER_V6, 1000) >= 0.05

    def test_it_ends_with_the_program_that_started_it_and_leaves_nothing(self) -> None:
        if why_not := unavailable():
            pytest.skip(why_not)
        program = (
            "import sys, time; from tests.support.namespaces import Namespace; from tests.support import shaper\n"
            "a, b = (Namespace(name) for name in sys.argv[1:])\n"
            "with shaper.shaped(a, 'up', b, 'down', shaper.Shape()):\n"
            "    print('ready', flush=True); time.sleep(60)\n"
        )
        with namespaces("a", "b") as (a, b):
            command = [sys.executable, "-c", program, a.name, b.name]
            with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
                assert parent.stdout is not None
                assert parent.stdout.readline() == "ready\n"
                a.ip("link show dev up")
                parent.kill()
            give_up = clock.now() + 5
            while has_device(a, "up") or has_device(b, "down"):
                assert clock.now() < give_up, "the devices are still there"
                time.sleep(0.01)

    def test_a_link_without_its_process_says_so(
        self, wired: tuple[socket.socket, socket.socket, ShapedLink]
    ) -> None:  # the last one that uses it
        _, _, link = wired
        link._process.kill()
        with pytest.raises(NamespaceError, match="the shaper has ended"):
            link.set(Shape(loss=1))


def received_over_tcp(server: Namespace, inside: Namespace, address: str, octets: int) -> float:
    """Real seconds from the start of a connection to the last octet that the server sent."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with server.socket(family, socket.SOCK_STREAM) as listener, inside.socket(family, socket.SOCK_STREAM) as client:
        listener.bind((address, 0))
        listener.listen()
        client.settimeout(10)
        began = time.monotonic()
        client.connect((address, listener.getsockname()[1]))
        connection, _ = listener.accept()
        with connection:
            connection.sendall(bytes(octets))
            connection.shutdown(socket.SHUT_WR)
            left = octets
            while data := client.recv(65536):
                left -= len(data)
        assert left == 0
        return time.monotonic() - began


def has_device(namespace: Namespace, name: str) -> bool:
    with suppress(NamespaceError):
        namespace.ip(f"link show dev {name}")
        return True
    return False
