"""What our WebSockets have in common: the handshake, who may hold one, and a reader that no client can flood.

An `Admission` counts sockets by address. One that has not proved who it is (a waiting one) is worth little: there are
few of them, each has a deadline that nothing restarts, and when there are too many the oldest of the network that has
most of them makes room: an honest page says who it is in its first message, which takes its time on a thin link, and
whoever opens sockets by the hundred shall put out their own. A `GuardedSocket` is aiohttp's, with a `FrameGuard` before
its reader and without its automatic pongs: it would answer any number of pings before anybody else has a turn.
"""

import asyncio
import base64
import binascii
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from aiohttp import WSCloseCode, web
from aiohttp._websocket.reader import WebSocketDataQueue
from aiohttp.http import WebSocketError, WebSocketReader, WebSocketWriter
from aiohttp.web_request import BaseRequest

from backplane.frames import TOO_MANY_FRAMES, FrameGuard
from backplane.metrics import Metrics
from backplane.patient_websocket import PatientWebSocket
from backplane.ratelimit import KeyedBuckets, TokenBucket, address_key, site_key
from backplane.web import METRICS, Problem

HEARTBEAT_S: Final = 10.0
CLOSE_TIMEOUT_S: Final = 1.0
_VERSION: Final = "13"


def check_handshake(request: web.Request, *subprotocols: str) -> None:
    """What a client must ask for (RFC 6455 section 4.2.1), one of the subprotocols included. Problem 400 or 426."""
    headers = request.headers
    upgrade = {word.strip().lower() for word in headers.get("Upgrade", "").split(",")}
    connection = {word.strip().lower() for word in ",".join(headers.getall("Connection", ())).split(",")}
    if "websocket" not in upgrade or "upgrade" not in connection:
        raise _upgrade("upgrade_required", "This is a WebSocket.")
    if headers.getall("Sec-WebSocket-Version", []) != [_VERSION]:  # section 4.4
        raise _upgrade("unsupported_version", f"Speak version {_VERSION} of the WebSocket protocol.")
    keys = headers.getall("Sec-WebSocket-Key", [])
    if request.method != "GET" or request.version < (1, 1) or len(keys) != 1 or not _is_key(keys[0]):
        raise Problem(400, "bad_handshake", "A WebSocket begins with GET, HTTP/1.1 and one key of 16 bytes.")
    offered = ",".join(headers.getall("Sec-WebSocket-Protocol", ()))
    if not {name.strip() for name in offered.split(",")} & {*subprotocols}:
        raise Problem(400, "unsupported_protocol", f"Ask for the subprotocol {subprotocols[0]}.")


def _upgrade(code: str, detail: str) -> Problem:
    headers = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": _VERSION}
    return Problem(426, code, detail, headers)


def _is_key(text: str) -> bool:
    try:
        return len(base64.b64decode(text, validate=True)) == 16
    except (binascii.Error, ValueError):
        return False


class Place:
    """One socket's place in an `Admission`."""

    def __init__(self, admission: "Admission", address: str) -> None:
        self._admission = admission
        self.address = address
        self.site = site_key(address)
        self._evicted = False
        self._evict: Callable[[], None] | None = None

    def authenticated(self) -> None:
        """The peer has proved who it is. Idempotent."""
        self._admission.stop_waiting(self)

    def on_evict(self, act: Callable[[], None] | None) -> None:
        """Call ``act`` when the socket must go because others wait, at once when that was said already."""
        self._evict = act
        if self._evicted and act is not None:
            act()

    def evict(self) -> None:
        self._evicted = True
        self.on_evict(self._evict)


class Admission:
    """Who may hold a socket of one kind, by address (of IPv6: the /64). In bounded memory.

    ``total`` and ``waiting``: sockets of everybody. ``per_address`` and ``waiting_per_address``: of one address.
    ``opened_per_s`` and ``opened_burst``: new sockets of one address.
    """

    def __init__(
        self,
        *,
        total: int,
        waiting: int,
        per_address: int,
        waiting_per_address: int,
        opened_per_s: float,
        opened_burst: float,
    ) -> None:
        self.total = total
        self.waiting = waiting
        self.per_address = per_address
        self.waiting_per_address = waiting_per_address
        self._opened = KeyedBuckets(opened_per_s, opened_burst)
        self._places: set[Place] = set()
        self._by_address: Counter[str] = Counter()
        self._waiting: set[Place] = set()
        self._waiting_by_site: dict[str, dict[Place, None]] = {}  # the oldest first
        self._waiting_by_address: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._places)

    @contextmanager
    def place(self, remote: str | None, now: float) -> Iterator[Place]:
        """A place for as long as the block runs. Problem 429 or 503."""
        place = self._enter(address_key(remote or ""), now)
        try:
            yield place
        finally:
            self._leave(place)

    def stop_waiting(self, place: Place) -> None:
        """See `Place.authenticated`."""
        if place in self._waiting:
            self._waiting.remove(place)
            _count_down(self._waiting_by_address, place.address)
            of_site = self._waiting_by_site[place.site]
            del of_site[place]
            if not of_site:
                del self._waiting_by_site[place.site]

    def _enter(self, address: str, now: float) -> Place:
        if (
            self._by_address[address] >= self.per_address
            or self._waiting_by_address[address] >= self.waiting_per_address
            or not self._opened.allow(address, now)
        ):
            self._forget(address)
            raise Problem(429, "rate_limited", "Too many sockets from one address.", {"Retry-After": "5"})
        if len(self._places) >= self.total or len(self._waiting) >= self.waiting:
            if not self._waiting:
                self._forget(address)
                raise Problem(503, "busy", "Too many sockets are open.", {"Retry-After": "5"})
            most = max(self._waiting_by_site.values(), key=len)
            oldest = next(iter(most))
            self._leave(oldest)
            oldest.evict()
        place = Place(self, address)
        self._places.add(place)
        self._waiting.add(place)
        self._waiting_by_site.setdefault(place.site, {})[place] = None
        self._by_address[address] += 1
        self._waiting_by_address[address] += 1
        return place

    def _leave(self, place: Place) -> None:
        if place in self._places:
            self.stop_waiting(place)
            self._places.discard(place)
            _count_down(self._by_address, place.address)

    def _forget(self, address: str) -> None:
        """Reading a counter must not leave a key behind."""
        for counter in (self._by_address, self._waiting_by_address):
            if not counter[address]:
                counter.pop(address, None)


def _count_down(counter: Counter[str], key: str) -> None:
    counter[key] -= 1
    if counter[key] <= 0:
        del counter[key]


class _GuardedReader:
    """Stands where aiohttp's connection expects its reader, and hands on what the guard lets through."""

    def __init__(
        self,
        reader: WebSocketReader,
        queue: WebSocketDataQueue,
        guard: FrameGuard,
        transport: asyncio.Transport | None,
        metrics: Metrics,
    ) -> None:
        self._reader = reader
        self._queue = queue
        self._guard = guard
        self._transport = transport
        self._metrics = metrics
        self._told = False

    def feed_eof(self) -> None:
        self._reader.feed_eof()

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        count = self._guard.passes(data, time.monotonic())
        answer: tuple[bool, bytes] = False, b""
        if count:
            answer = self._reader.feed_data(data if count == len(data) else data[:count])
        fault = self._guard.fault
        if fault is not None and not self._told:
            self._told = True
            self._metrics.frame_faults.labels(str(fault.code)).inc()
            # raised by `receive` after what came before it
            self._queue.set_exception(WebSocketError(fault.code, fault.why))
            if self._transport is not None and not self._transport.is_closing():
                self._transport.pause_reading()
        return answer


class GuardedSocket(PatientWebSocket):
    """A WebSocket whose reader cannot be flooded; text comes as bytes, pings and pongs as messages.

    ``frames_per_s`` and ``frames_burst`` are of frames of any kind; one too many closes with `TOO_MANY_FRAMES`.
    ``explain`` is called with the close code before the socket closes by itself over what the peer sent (too many
    frames, or one too large), so that the shell can say why in its own protocol.
    """

    def __init__(
        self,
        *subprotocols: str,
        max_frame_bytes: int,
        frames_per_s: float,
        frames_burst: float,
        compress: bool = False,
    ) -> None:
        super().__init__(
            protocols=subprotocols,
            heartbeat=HEARTBEAT_S,
            timeout=CLOSE_TIMEOUT_S,
            compress=compress,
            max_msg_size=max_frame_bytes,
            autoping=False,
            decode_text=False,
        )
        self._bucket = TokenBucket(frames_per_s, frames_burst)
        self.explain: Callable[[int], None] | None = None

    def _post_start(self, request: BaseRequest, protocol: str | None, writer: WebSocketWriter) -> None:
        # What came in with the handshake would go to the reader at once.
        connection = request.protocol
        early, connection._message_tail = connection._message_tail, b""
        super()._post_start(request, protocol, writer)
        assert self._parser is not None
        assert self._reader is not None
        assert isinstance(request, web.Request)
        guard = FrameGuard(self._bucket, compressed=bool(self._compress))
        guarded = _GuardedReader(self._parser, self._reader, guard, request.transport, request.app[METRICS])
        connection._payload_parser = guarded
        if early:
            guarded.feed_data(early)

    async def pong(self, message: bytes = b"") -> None:
        with suppress(ConnectionError):  # gone meanwhile; the next `receive` tells it
            await super().pong(message)

    async def close(self, *, code: int = WSCloseCode.OK, message: bytes = b"", drain: bool = True) -> bool:
        if code in (WSCloseCode.MESSAGE_TOO_BIG, TOO_MANY_FRAMES) and self.explain is not None:
            explain, self.explain = self.explain, None
            explain(code)
            await asyncio.sleep(0)  # lets what was said be written first
        return await super().close(code=code, message=message, drain=drain)

    def untie(self, request: web.Request) -> None:
        """Lets the 40 KiB of a socket that is gone go at once. Circles wait for the garbage collector, which has to
        look at all other sockets to find them: 0.1 s for 2,000, in which nobody is served."""
        self.explain = None
        request.protocol._data_received_cb = None  # a method of the socket, which has the request, which has this
        error: BaseException | None = self.exception()
        while error is not None:  # the socket keeps it, and its frames keep the socket
            error.__traceback__ = None
            error = error.__context__
