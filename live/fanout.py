"""From a changed subject to every page that watches it.

All watchers of a subject in this process are read in one transaction, once, however many notes came meanwhile. A
subject that is slow, or locked, holds up one of `READING_AT_ONCE` only.

A fault in one watcher must not silence the others. When a subject cannot be read as a whole, its watchers are read one
by one, and those that fail end with a `bye`.
"""

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from backplane.logs import Log
from backplane.postgres import PASSING, Database, DatabaseBusy, DatabaseUnavailable
from live import messages
from live.live_socket import Watcher
from live.messages import Bye, Unchanged
from live.tickets import Ticket
from live.topics import Gone, Items, Round, View

RETRY_S: Final = 1.0
READING_AT_ONCE: Final = 4
Subject = tuple[int, UUID]
_encoder: Final = msgspec.json.Encoder()
_log = Log(__name__)


@dataclass(frozen=True, slots=True)
class _State:
    """What a topic showed. `last`: of items, the greatest number."""

    view: bytes
    version: str
    last: int | None


class Fanout:
    """Reads what has changed and pushes it to all who watch it. `count` is told why a watch was ended by us."""

    def __init__(self, database: Database, clock: Callable[[], datetime], count: Callable[[str], None]) -> None:
        self._database = database
        self._clock = clock
        self._count = count
        self._watchers: dict[Subject, set[Watcher]] = {}
        self._dirty: dict[Subject, None] = {}
        self._reading: set[Subject] = set()
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Push changes until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(READING_AT_ONCE):
                tasks.create_task(self._work())

    def add(self, watcher: Watcher) -> None:
        watcher.socket.add(watcher)
        self._watchers.setdefault(watcher.subject, set()).add(watcher)

    def end(self, watcher: Watcher) -> None:
        """Nothing is pushed to it any more. Idempotent."""
        watcher.socket.remove(watcher)
        watchers = self._watchers.get(watcher.subject, set())
        watchers.discard(watcher)
        if not watchers:
            self._watchers.pop(watcher.subject, None)

    def of(self, subject: Subject) -> Iterator[Ticket]:
        """The tickets with which it is watched."""
        return (watcher.ticket for watcher in self._watchers.get(subject, ()))

    def by_tenant(self) -> Mapping[int, Sequence[Watcher]]:
        """All watchers."""
        found: dict[int, list[Watcher]] = defaultdict(list)
        for (tenant, _), watchers in self._watchers.items():
            found[tenant] += watchers
        return found

    def changed(self, subject: Subject) -> None:
        """Read it anew, if anybody watches it."""
        if subject in self._watchers:
            self._dirty[subject] = None
            self._wake.set()

    def all_changed(self) -> None:
        """Read everything anew that anybody watches."""
        for subject in self._watchers:
            self.changed(subject)

    async def _work(self) -> None:
        while True:
            # What another one is reading is left to it, or a page would be shown what was true before.
            while (subject := next((each for each in self._dirty if each not in self._reading), None)) is not None:
                del self._dirty[subject]
                self._reading.add(subject)
                try:
                    await self._show(subject)
                except DatabaseBusy:
                    asyncio.get_running_loop().call_later(RETRY_S, self.changed, subject)
                except DatabaseUnavailable:
                    await asyncio.sleep(RETRY_S)
                    self.changed(subject)
                except Exception:
                    _log.error("live view failed")
                finally:
                    self._reading.discard(subject)
            self._wake.clear()
            await self._wake.wait()

    async def _show(self, subject: Subject) -> None:
        tenant, _ = subject
        watchers = list(self._watchers.get(subject, ()))
        try:
            await self._read(tenant, watchers)
        except PASSING:
            raise
        except Exception:  # of one of them: the others shall not suffer from it
            for watcher in watchers:
                await self._show_alone(tenant, watcher)

    async def _show_alone(self, tenant: int, watcher: Watcher) -> None:
        try:
            await self._read(tenant, [watcher])
        except PASSING:
            raise
        except Exception:
            _log.error("live view failed", kind=watcher.topic.name)
            self._count("failed")
            self._push(watcher, Gone("failed"))

    async def _read(self, tenant: int, watchers: Sequence[Watcher]) -> None:
        now = self._clock()
        shared: dict[tuple[int, UUID, int], _State | Gone] = {}
        async with (
            self._database.tenant(tenant) as connection,
            connection.transaction("repeatable_read", readonly=True),
        ):
            reading = Round(connection, now)
            for watcher in watchers:
                topic, ticket = watcher.topic, watcher.ticket
                same = (topic.kind, ticket.key, watcher.after)
                state = None if topic.personal else shared.get(same)
                if state is None:
                    state = shared[same] = _state(await topic.read(reading, ticket, watcher.after))
                self._push(watcher, state)

    def _push(self, watcher: Watcher, state: _State | Gone) -> None:
        socket = watcher.socket
        if socket.watchers.get(watcher.id) is not watcher:  # it has ended, and its number may be another's
            return
        if isinstance(state, Gone):
            socket.send(messages.encode(Bye(watcher.id, socket.next_seq(), state.reason)))
            self.end(watcher)
            return
        first = watcher.shown is None
        if state.last is None:
            if state.view == watcher.shown:
                return
            watcher.shown = state.view
        else:
            if state.last == watcher.after and not first:
                return
            watcher.shown, watcher.after = b"", state.last
        if first and state.last is None and state.version == watcher.version:
            frame = messages.encode(Unchanged(watcher.id, socket.next_seq()))
        else:
            frame = messages.push(watcher.topic.name, watcher.id, socket.next_seq(), state.view, state.version)
        socket.send(frame)


def _state(shown: View | Items | Gone) -> _State | Gone:
    if isinstance(shown, Gone):
        return shown
    view, last = (shown.view, shown.last) if isinstance(shown, Items) else (shown, None)
    text = _encoder.encode(view)
    return _State(text, hashlib.blake2b(text, digest_size=8).hexdigest(), last)
