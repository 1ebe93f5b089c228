"""TCP sockets to listen on and the loop that accepts from them.

A wildcard of IPv6 becomes two sockets, one per family, so that no address of IPv4 ever shows up in IPv6 form. When
descriptors or memory run out, accepting pauses: the kernel keeps who is waiting in its queue, and a loop that is woken
again at once would only burn the processor that the others need to finish.
"""

import asyncio
import errno
import resource
import socket
from collections.abc import Callable
from typing import Final

BACKLOG: Final = 1024
PAUSE_S: Final = 0.1
_BATCH: Final = 64
_PORT_TRIES: Final = 8
_EXHAUSTED: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_NO_SUCH_FAMILY: Final = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


class Listener:
    """Accepts on ``sock`` until closed; each connection (non-blocking) goes to ``arrived`` with its remote address."""

    def __init__(self, sock: socket.socket, arrived: Callable[[socket.socket, tuple[str, int]], None]) -> None:
        self.pauses = 0
        self._sock = sock
        self._arrived = arrived
        self._loop = asyncio.get_running_loop()
        self._open = True
        self._loop.add_reader(sock, self._accept)

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        host, port = self._sock.getsockname()[:2]
        return str(host), int(port)

    def close(self) -> None:
        """Nobody new; whom the kernel keeps in its queue is refused."""
        if self._open:
            self._open = False
            self._loop.remove_reader(self._sock)
            self._sock.close()

    def _accept(self) -> None:
        for _ in range(_BATCH):
            if not self._open:
                return
            try:
                sock, remote = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _EXHAUSTED:
                    return  # of the network on the way (accept(2)): that one connection is gone
                self.pauses += 1
                self._loop.remove_reader(self._sock)
                self._loop.call_later(PAUSE_S, self._resume)
                return
            sock.setblocking(False)
            self._arrived(sock, (remote[0].partition("%")[0], remote[1]))

    def _resume(self) -> None:
        if self._open:
            self._loop.add_reader(self._sock, self._accept)


def raise_file_limit() -> None:
    """A socket is a file; 1024 of them, the usual soft limit, are fewer than one clinic may open."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def bound(host: str, port: int) -> list[socket.socket]:
    """Sockets that do not listen yet, on all addresses of ``host`` (``::`` = all of both families), all on one ``port``
    (0 = any free one). OSError when there is none to be had."""
    if host == "::":
        places = [(socket.AF_INET6, "::"), (socket.AF_INET, "0.0.0.0")]
    else:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        places = list(dict.fromkeys((family, str(address[0])) for family, _, _, _, address in found))
    for remaining in range(_PORT_TRIES - 1, -1, -1):
        try:
            return _bound_at(places, port)
        except OSError as error:
            # a free port of one family may be taken in the other
            if port or error.errno != errno.EADDRINUSE or not remaining:
                raise
    raise AssertionError("unreachable")


def _bound_at(places: list[tuple[socket.AddressFamily, str]], port: int) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    missing: OSError | None = None
    try:
        for family, address in places:
            try:
                sockets.append(_bound(family, address, port))
            except OSError as error:
                if error.errno not in _NO_SUCH_FAMILY:
                    raise
                missing = error
                continue
            port = port or int(sockets[-1].getsockname()[1])
    except OSError:
        for sock in sockets:
            sock.close()
        raise
    if not sockets:
        raise missing or OSError(errno.EADDRNOTAVAIL, "no address")
    return sockets


def _bound(family: socket.AddressFamily, address: str, port: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setblocking(False)
        sock.bind((address, port))
    except OSError:
        sock.close()
        raise
    return sock
