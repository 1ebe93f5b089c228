"""A link of a given rate, delay and loss between two network namespaces, for real programs in real time.

The kernels that tests run on can delay or lose nothing by themselves (netem is not there), so such a link is two TUN
devices (tuntap.rst of the kernel's documentation), one in each namespace, and a process of its own that carries the
packets over. Each direction is a queue of bounded length with tail drop, then a bottleneck of a rate, then loss, then a
delay. Order is always kept. `Direction` holds that arithmetic and knows no clock and no device.

`shaped` starts the process and gives a `ShapedLink`, whose settings may change while packets are under way. The process
ends when its standard input does, thus with the program that started it. It carries about 20 Mbit/s.
"""

from __future__ import annotations

import fcntl
import json
import os
import random
import select
import struct
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from tests.network.emulator import GilbertElliott
from tests.support.namespaces import Namespace, NamespaceError

ROOT: Final = Path(__file__).resolve().parents[2]
_TUNSETIFF: Final = 0x400454CA  # linux/if_tun.h
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_LARGEST: Final = 65_536
_AT_ONCE: Final = 64  # packets read from one device before the clock is asked again
_PRIORITY: Final = 10
_LONGEST_WAIT_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Shape:
    """One direction of a link. None as a rate = without limit; ``loss`` is 0..1, and 1 is a link that is down.

    A packet is dropped when more than ``queue_bytes`` would wait for the bottleneck, or more than it carries in
    ``queue_ms`` where that is None; one packet may always wait. Sizes count the IP packet. ``jitter_ms`` is the most
    that is added to the delay, uniformly.
    """

    rate_bps: float | None = None
    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    loss: float = 0.0
    bursts: GilbertElliott | None = None
    queue_ms: float = 500.0
    queue_bytes: int | None = None

    def waits_longest(self, waiting_bytes: int) -> bool:
        """True when the queue may not hold so many bytes."""
        if self.rate_bps is None:
            return False
        most = self.rate_bps * self.queue_ms / 8000 if self.queue_bytes is None else self.queue_bytes
        return waiting_bytes > most


@dataclass(slots=True)
class Counters:
    """What became of the packets of one direction so far; those still under way are in none but the first pair."""

    packets: int = 0
    bytes: int = 0
    delivered_packets: int = 0
    delivered_bytes: int = 0
    queue_drops: int = 0
    lost: int = 0


@dataclass(slots=True)
class Direction:
    """The packets on their way in one direction. Times are seconds of any clock that does not go back."""

    shape: Shape
    rng: random.Random
    counters: Counters = field(default_factory=Counters)
    _waiting: deque[tuple[float, bytes]] = field(default_factory=deque)
    """(when it came, packet) for those that the bottleneck has not begun with."""
    _waiting_bytes: int = 0
    _flying: deque[tuple[float, bytes]] = field(default_factory=deque)
    _free_at: float = 0.0
    _arrived_at: float = 0.0
    _bad: bool = False

    def send(self, packet: bytes, now: float) -> None:
        """Take a packet at the near end."""
        self._transmit(now)
        self.counters.packets += 1
        self.counters.bytes += len(packet)
        if self._waiting and self.shape.waits_longest(self._waiting_bytes + len(packet)):
            self.counters.queue_drops += 1
            return
        self._waiting.append((now, packet))
        self._waiting_bytes += len(packet)
        self._transmit(now)

    def arrivals(self, now: float) -> list[bytes]:
        """The packets that have reached the far end by now and were not handed out before."""
        self._transmit(now)
        arrived: list[bytes] = []
        while self._flying and self._flying[0][0] <= now:
            arrived.append(self._flying.popleft()[1])
        self.counters.delivered_packets += len(arrived)
        self.counters.delivered_bytes += sum(map(len, arrived))
        return arrived

    def due(self) -> float | None:
        """When to ask for arrivals next; None while nothing is under way."""
        times = [self._flying[0][0]] if self._flying else []
        if self._waiting:
            times.append(self._free_at)
        return min(times, default=None)

    def _transmit(self, now: float) -> None:
        while self._waiting and self._free_at <= now:
            came, packet = self._waiting.popleft()
            self._waiting_bytes -= len(packet)
            seconds = 0.0 if self.shape.rate_bps is None else len(packet) * 8 / self.shape.rate_bps
            self._free_at = max(self._free_at, came) + seconds
            if self._is_lost():
                self.counters.lost += 1
                continue
            delay_ms = self.shape.delay_ms + self.rng.random() * self.shape.jitter_ms
            self._arrived_at = max(self._arrived_at, self._free_at + delay_ms / 1000)
            self._flying.append((self._arrived_at, packet))

    def _is_lost(self) -> bool:
        bursts = self.shape.bursts
        if bursts is not None:
            self._bad = self.rng.random() < (1 - bursts.to_good if self._bad else bursts.to_bad)
            if self.rng.random() < (bursts.loss_bad if self._bad else bursts.loss_good):
                return True
        return self.rng.random() < self.shape.loss


class ShapedLink:
    """A running link, for the program that started it. ``there`` is the direction from the first namespace."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def set(self, there: Shape | None = None, back: Shape | None = None) -> None:
        """Change what is given from now on. Packets that have passed the bottleneck already keep their times."""
        self._ask({"there": _plain(there), "back": _plain(back)})

    @property
    def there(self) -> Counters:
        return Counters(**self._ask({})["there"])

    @property
    def back(self) -> Counters:
        return Counters(**self._ask({})["back"])

    def _ask(self, question: dict[str, object]) -> dict[str, dict[str, int]]:
        """Raises NamespaceError when the process has ended."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(BrokenPipeError):
            process.stdin.write(json.dumps(question) + "\n")
            process.stdin.flush()
        answer = process.stdout.readline()
        if not answer:
            raise NamespaceError(f"the shaper has ended with status {process.wait()}")
        counters: dict[str, dict[str, int]] = json.loads(answer)
        return counters


@contextmanager
def shaped(
    a: Namespace,
    a_link: str,
    b: Namespace,
    b_link: str,
    there: Shape,
    back: Shape | None = None,
    *,
    mtu: int = 1500,
    seed: int = 1,
) -> Iterator[ShapedLink]:
    """A link between two namespaces; ``there`` is how it is from a to b, ``back`` from b to a (None: the same).

    The devices ``a_link`` and ``b_link`` are up and want addresses; they and their routes go away at the end.
    """
    arguments = [a.name, a_link, b.name, b_link, str(seed)]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.shaper", *arguments],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        link = ShapedLink(process)
        link.set(there, back or there)
        for namespace, name in ((a, a_link), (b, b_link)):
            namespace.ip(f"link set dev {name} mtu {mtu} up")
        yield link
    finally:
        process.communicate()  # closes its standard input, which ends it


def _plain(shape: Shape | None) -> dict[str, object] | None:
    return None if shape is None else asdict(shape)


def _shape(plain: dict[str, object]) -> Shape:
    bursts = plain.pop("bursts")
    return Shape(**plain, bursts=GilbertElliott(**bursts) if isinstance(bursts, dict) else None)  # type: ignore[arg-type]


def _open(namespace: str, link: str) -> int:
    """A new TUN device in a namespace; it lives as long as the descriptor."""
    with Namespace(namespace).entered():
        tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.ioctl(tun, _TUNSETIFF, struct.pack("16sH22x", link.encode(), _IFF_TUN | _IFF_NO_PI))
    return tun


def _read(tun: int, direction: Direction) -> None:
    for _ in range(_AT_ONCE):
        try:
            packet = os.read(tun, _LARGEST)
        except BlockingIOError:
            return
        direction.send(packet, time.monotonic())


def _write(tun: int, direction: Direction) -> None:
    for packet in direction.arrivals(time.monotonic()):
        with suppress(OSError):  # the device is down
            os.write(tun, packet)


def main() -> None:
    """Carry packets until standard input ends; answer every line of it, once obeyed, with the counters."""
    a_name, a_link, b_name, b_link, seed = sys.argv[1:]
    with suppress(PermissionError):  # a busy machine must not add delays of its own
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(_PRIORITY))
    a, b = _open(a_name, a_link), _open(b_name, b_link)
    there = Direction(Shape(), random.Random(f"{seed}:there"))
    back = Direction(Shape(), random.Random(f"{seed}:back"))
    unread = b""
    while True:
        times = [at for at in (there.due(), back.due()) if at is not None]
        wait_s = min([_LONGEST_WAIT_S, *(max(0.0, at - time.monotonic()) for at in times)])
        readable, _, _ = select.select([a, b, 0], [], [], wait_s)
        if a in readable:
            _read(a, there)
        if b in readable:
            _read(b, back)
        _write(b, there)
        _write(a, back)
        if 0 not in readable:
            continue
        heard = os.read(0, _LARGEST)
        if not heard:
            return
        *lines, unread = (unread + heard).split(b"\n")
        for line in lines:
            question = json.loads(line)
            for name, direction in (("there", there), ("back", back)):
                if question.get(name) is not None:
                    direction.shape = _shape(question[name])
            print(json.dumps({"there": asdict(there.counters), "back": asdict(back.counters)}), flush=True)


if __name__ == "__main__":
    main()
