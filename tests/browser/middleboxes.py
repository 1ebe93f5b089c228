"""What stands between people and servers: a TCP path that can be cut, and an address translator that rebinds."""

from __future__ import annotations

import asyncio
from typing import Self


class TcpPath:
    """Carries TCP connections to a server until it is cut; while it is cut, new ones are refused."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.is_cut = False

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()

    def cut(self) -> None:
        """Break every connection, without a goodbye, and refuse new ones."""
        self.is_cut = True
        for writer in self._writers:
            writer.transport.abort()

    def mend(self) -> None:
        self.is_cut = False

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.is_cut:
            writer.transport.abort()
            return
        upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        self._writers |= {writer, upstream_writer}
        for source, sink in ((reader, upstream_writer), (upstream_reader, writer)):
            task = asyncio.create_task(self._pump(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
        except ConnectionError:
            pass
        finally:
            self._writers.discard(sink)
            sink.close()


class _Outside(asyncio.DatagramProtocol):
    def __init__(self, nat: Nat, inside: tuple[str, int]) -> None:
        self._nat, self._inside = nat, inside

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._nat.inner.sendto(data, self._inside)


class Nat(asyncio.DatagramProtocol):
    """A UDP address translator in front of one server address.

    `rebind` gives everybody a new outside address, as a phone gets when it changes its network.
    """

    def __init__(self, listen: tuple[str, int], target: tuple[str, int]) -> None:
        self._listen, self._target = listen, target
        self._outside: dict[tuple[str, int], asyncio.DatagramTransport] = {}
        self._opening: set[asyncio.Task[None]] = set()
        self.inner: asyncio.DatagramTransport

    async def __aenter__(self) -> Self:
        self.inner, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: self, local_addr=self._listen)
        self.port = int(self.inner.get_extra_info("sockname")[1])
        return self

    async def __aexit__(self, *_: object) -> None:
        self.inner.close()
        self.rebind()

    def rebind(self) -> None:
        """Forget every mapping: each client's next packet leaves from a new port, answers to the old one are lost."""
        for transport in self._outside.values():
            transport.abort()
        self._outside.clear()

    @property
    def mappings(self) -> int:
        return len(self._outside)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if outside := self._outside.get(addr):
            outside.sendto(data)
            return
        task = asyncio.create_task(self._open(addr, data))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _open(self, inside: tuple[str, int], first: bytes) -> None:
        outside, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: _Outside(self, inside), remote_addr=self._target
        )
        self._outside.setdefault(inside, outside).sendto(first)
