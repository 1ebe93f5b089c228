"""Stands between a server and Postgres, counts the steps of one transaction, and cuts at the one it is told.

A step is what the server sends before it waits: messages up to Sync or Flush, or a simple query (the frontend/backend
protocol, Postgres manual chapter 55). Only those that execute something count: whether a statement has to be prepared
first depends on what the connection was used for before. The transaction that counts is the one in which ``key`` is
sent; it ends with COMMIT.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

SOCKET = ".s.PGSQL.5432"
_ENDS_STEP = b"SHQ"


@dataclass
class Cut:
    """``at``: the step that is not let through, at the latest COMMIT; None: none. ``answered``: COMMIT is let through
    and its answer is not. ``steps``: how many there were; ``done``: the cut was made."""

    key: bytes
    kill: Callable[[], None]
    at: int | None = None
    answered: bool = False
    steps: int = 0
    done: bool = False
    _line: object = None
    _committing: bool = False

    def passes(self, line: object, step: bytes) -> bool:
        """Whether this step of the connection ``line``, which executes something, may go on to Postgres."""
        if self._line is None and self.key in step:
            self._line = line
        if line is not self._line or self.done:
            return not self.done
        self.steps += 1
        self._committing = step.startswith(b"Q") and b"COMMIT" in step
        if self.at is not None and (self.steps > self.at or self._committing):
            self._make()
            return False
        return True

    def returns(self, line: object) -> bool:
        """Whether the answer to a step may go back to the server."""
        if line is self._line and self._committing and not self.done:
            if self.answered:
                self._make()
            self._line = self  # over: nothing is counted any more
        return not self.done

    def _make(self) -> None:
        self.done = True
        self.kill()


@dataclass
class Proxy:
    """Listens in ``directory`` for a server whose Postgres is in ``behind``."""

    directory: Path
    behind: Path
    cut: Cut | None = None
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._connected, self.directory / SOCKET)

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            their_reader, their_writer = await asyncio.open_unix_connection(self.behind / SOCKET)
            line = object()
            both = (
                asyncio.ensure_future(self._forward(line, reader, their_writer)),
                asyncio.ensure_future(self._back(line, their_reader, writer)),
            )
            try:
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for each in both:
                    each.cancel()
                await asyncio.gather(*both, return_exceptions=True)
                for end in (writer, their_writer):
                    end.close()
        except (OSError, asyncio.CancelledError):
            writer.close()
        finally:
            self._tasks.discard(task)

    async def _forward(self, line: object, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        length = await reader.readexactly(4)  # the startup message has no type
        writer.write(length + await reader.readexactly(int.from_bytes(length, "big") - 4))
        step, executes = b"", False
        while True:
            kind, message = await _message(reader)
            step += message
            executes = executes or kind in b"EQ"
            if kind in _ENDS_STEP:
                if executes and self.cut is not None and not self.cut.passes(line, step):
                    return
                writer.write(step)
                step, executes = b"", False
            elif kind not in b"PBDECFcdf":  # a password or a farewell is no part of a step
                writer.write(step)
                step = b""

    async def _back(self, line: object, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            kind, message = await _message(reader)
            # the client goes on when it sees this one, so to keep it back is to keep back the answer
            if kind == b"Z" and self.cut is not None and not self.cut.returns(line):
                return
            writer.write(message)


async def _message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    head = await reader.readexactly(5)
    return head[:1], head + await reader.readexactly(int.from_bytes(head[1:], "big") - 4)
