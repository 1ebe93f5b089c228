"""No request stops the server for longer than others can bear, and none makes it grow.

The whole assembled application is asked, over real HTTP and on the real database, with everything of `costly`: as a
visitor, a patient, a doctor and an admin of a clinic. The clients are threads, so that the time of the server's thread
is the server's. A stall counts by its processor time, so that a busy machine fails nobody.
"""

import asyncio
import gc
import http.client
import queue
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from backplane.garbage import collect_seldom
from backplane.loop_watch import LoopWatch, Stall
from backplane.postgres import Database
from backplane.ratelimit import KeyedBuckets
from booking.identity.service import Identity
from booking.rights import PLATFORM_ADMIN
from tests.booking.proofs.samples import Operation, Sampler, operations
from tests.booking.proofs.test_rights import INSIDE, PUBLIC, held
from tests.booking.proofs.world import STRANGER, Person, world
from tests.hostile.costly import Shot, shots

MOST_CPU_S: Final = 0.05
MOST_GROWTH_KIB: Final = 150_000
ROUNDS: Final = 3  # at most, until no place has had a stall in all of them
COLLECT_EACH: Final = 500  # requests
AROUND_ALL: Final = ("backplane/telemetry.py", "backplane/web.py", "backplane/problems.py", "backplane/binding.py")
CLIENTS: Final = 4
UNAVAILABLE: Final = 503  # documented: what is asked for is away, such as a virus scanner or somebody's identity server
# These end what the others stand on, or need no more than one try.
LAST: Final = {"GET": 0, "PUT": 1, "PATCH": 1, "POST": 2, "DELETE": 3}


@dataclass
class Battery:
    """Threads that send shots, each over a connection of its own, and keep what was bad about the answers."""

    port: int
    people: Mapping[str, Person]
    renew: Callable[[Person], str]
    tokens: dict[str, str] = field(default_factory=dict)
    waiting: "queue.SimpleQueue[tuple[Shot, str] | None]" = field(default_factory=queue.SimpleQueue)
    bad: list[str] = field(default_factory=list)
    sent: int = 0
    codes: dict[tuple[str, int], int] = field(default_factory=dict)
    slowest: list[tuple[float, str]] = field(default_factory=list)

    def fire(self, load: Iterable[tuple[Shot, str]]) -> None:
        """Send everything; blocks."""
        threads = [threading.Thread(target=self._client) for _ in range(CLIENTS)]
        for each in load:
            self.waiting.put(each)
        for thread in threads:
            self.waiting.put(None)
            thread.start()
        for thread in threads:
            thread.join()

    def _client(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        while (given := self.waiting.get()) is not None:
            shot, role = given
            began = time.monotonic()
            try:
                answer, content = self._ask(connection, shot, self.people.get(role))
            except (OSError, http.client.HTTPException) as error:  # a refused upload ends the connection
                connection.close()
                self._note(shot, role, type(error).__name__, began)
                continue
            self._note(shot, role, answer.status, began)
            if answer.status >= 500 and answer.status != UNAVAILABLE:
                self.bad.append(f"{answer.status} for {role}: {shot}")
            elif answer.status >= 400 and b'"code"' not in content and shot.operation.method != "HEAD":
                self.bad.append(f"{answer.status} without a code for {role}: {shot}: {content[:100]!r}")
        connection.close()

    def _ask(
        self, connection: http.client.HTTPConnection, shot: Shot, who: Person | None
    ) -> tuple[http.client.HTTPResponse, bytes]:
        headers = {"Host": who.host if who else "a.localhost", **shot.headers}
        for fresh in (False, True):
            if who is not None and "Authorization" not in shot.headers:
                if fresh or who.role not in self.tokens:
                    self.tokens[who.role] = self.renew(who)
                headers["Authorization"] = f"Bearer {self.tokens[who.role]}"
            connection.request(shot.operation.method, shot.path, shot.body, headers)
            answer = connection.getresponse()
            content = answer.read()
            if answer.status != 401 or b"session_ended" not in content:
                break
        return answer, content

    def _note(self, shot: Shot, role: str, status: int | str, began: float) -> None:
        self.sent += 1
        if self.sent % COLLECT_EACH == 0:
            gc.collect()  # time of this thread, which is no stall of the server's
        key = (role, status if isinstance(status, int) else 0)
        self.codes[key] = self.codes.get(key, 0) + 1
        self.slowest.append((time.monotonic() - began, f"{status} {role} {shot}"))


def roles_of(operation: Operation) -> tuple[str, ...]:
    """Who asks: everybody who may, but of people with the same rights one."""
    if operation.name in PUBLIC:
        return (STRANGER, "patient")
    if operation.right is None:
        return ("doctor", "patient") if operation.name in INSIDE else ("patient",)
    for role in ("patient", "doctor", "clinic_admin"):
        if operation.right in held(role):
            return (role,)
    return (PLATFORM_ADMIN,)


@pytest.fixture
def unbraked(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Rates are what else holds a stranger; here the work itself is looked at."""
    monkeypatch.setattr(KeyedBuckets, "allow", lambda *_: True)

    async def allow(*_: object) -> None:
        pass

    monkeypatch.setattr(Identity, "allow", allow)
    thresholds = gc.get_threshold()
    yield
    gc.enable()
    gc.set_threshold(*thresholds)
    gc.unfreeze()


def resident_kib() -> int:
    match = re.search(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())
    assert match is not None
    return int(match[1])


def load_for(document: Mapping[str, Any], sampler: Sampler) -> Iterator[tuple[Shot, str]]:
    for number, operation in enumerate(sorted(operations(document), key=lambda each: LAST[each.method])):
        for role in roles_of(operation):
            yield from ((shot, role) for shot in shots(document, sampler, operation, number))


@contextmanager
def watching(stalls: list[Stall]) -> Iterator[None]:
    watch = LoopWatch(stalls.append, threshold_s=0.03, beat_s=0.005, always=True)
    watch.start()
    yield
    watch.stop()


def too_long(stalls: list[Stall]) -> list[Stall]:
    return [stall for stall in stalls if stall.cpu_s > MOST_CPU_S]


def places(stall: Stall) -> set[str]:
    """The functions at work inside of what surrounds every request, or the innermost one. What costs too much by its
    nature is at the same place in each round; what a host that takes the core away adds is elsewhere the next time."""
    functions = [re.sub(r":\d+", "", frame) for frame in stall.stack]
    outer = [n for n, function in enumerate(functions) if function.startswith(AROUND_ALL)]
    return set(functions[outer[-1] + 1 :] if outer else ()) or set(functions[-1:]) or {"unknown"}


@pytest.mark.alone
@pytest.mark.timeout(240)
async def test_no_request_stops_the_server_or_makes_it_grow(database: Database, tmp_path: Path, unbraked: None) -> None:
    stalls: list[Stall] = []
    async with world(database, tmp_path, traced=False) as served:
        document = await served.document()
        sampler = Sampler(document, {**served.a.rows.ids, "tenant": served.a.tenant})
        loop = asyncio.get_running_loop()

        def renew(person: Person) -> str:
            return asyncio.run_coroutine_threadsafe(served.token(person), loop).result()

        people = {**served.a.people, **served.platform.people}
        battery = Battery(int(served.url.rpartition(":")[2]), people, renew)
        load = list(load_for(document, sampler))
        warm = [each for each in load if each[0].what.startswith("head")]
        await asyncio.to_thread(battery.fire, warm[:200])
        collect_seldom()  # as a server does after its start
        gc.disable()  # it would look through all that the tests of this process have made, at anybody's place
        before = resident_kib()
        found: list[set[str]] = []
        while len(found) < ROUNDS and (not found or set.intersection(*found)):
            stalls.clear()
            with watching(stalls):
                await asyncio.to_thread(battery.fire, load)
            found.append({place for stall in too_long(stalls) for place in places(stall)})
        grown = resident_kib() - before
    slowest = [f"{seconds:.2f} s: {said}" for seconds, said in sorted(battery.slowest)[-5:]]
    costly = set.intersection(*found)
    assert not costly, "\n".join([f"{costly}:", *map(str, too_long(stalls)), "the slowest answers:", *slowest])
    assert not battery.bad, "\n".join(battery.bad)
    assert grown < MOST_GROWTH_KIB
    good = sum(count for (_, status), count in battery.codes.items() if 200 <= status < 300)
    assert good > len(load) / 10, f"most requests were refused before they cost anything: {battery.codes}"
