"""One media worker: the forwarding core (rtc/native/router.h) in a thread of its own, or driven by hand in fake time."""

from collections.abc import Sequence
from typing import Any, Final, TypedDict, final

AUDIO: Final = 1
VIDEO: Final = 2

# event types, first item of every event tuple
EVENT_DTLS: Final = 1  # (EVENT_DTLS, transport, datagram: bytes)
EVENT_SELECTED: Final = 2  # (EVENT_SELECTED, transport, host: str, port: int)
EVENT_QUIET: Final = 3  # (EVENT_QUIET, transport)
EVENT_HEARD: Final = 4  # (EVENT_HEARD, transport)
EVENT_CONSENT_LOST: Final = 5  # (EVENT_CONSENT_LOST, transport)
EVENT_TRACK_STARTED: Final = 6  # (EVENT_TRACK_STARTED, track)
EVENT_LEVEL: Final = 7  # (EVENT_LEVEL, track, level: int 0..127 in -dBov, voice: bool, at: float, seconds of time.monotonic)
EVENT_STATS: Final = 8  # (EVENT_STATS, transport, rtt_us, in_bps, out_bps, loss_in, loss_out, estimate_bps, jitter_us); losses of 10,000; each 2 s where one has changed noticeably, else each 10 s

EVENT_REQUEST: Final = 9  # (EVENT_REQUEST, stream, host, port, local_host, local_port, message: bytes): a STUN or TURN request that the gate let through
EVENT_STREAM_CLOSED: Final = 10  # (EVENT_STREAM_CLOSED, stream)

STREAM_TURN: Final = 1
STREAM_ICE: Final = 2

Client = tuple[int, str, int, str, int]
"""Stream (0 = UDP), host, port, and the local host and port that it talks to ("" and 0: the socket is bound to one address)."""

CODECS: Final[dict[str, int]]  # {"opus": 1, "vp8": 2, "h264": 3, "vp9": 4, "av1": 5}

class Codec(TypedDict):
    codec: int
    variant: int  # entries with equal codec and variant are interchangeable
    payload_type: int
    rtx_payload_type: int  # 0 = none
    nack: bool
    pli: bool
    clock_rate: int

class Extensions(TypedDict, total=False):
    """Header extension ids of one m-line; missing or 0 = not negotiated."""

    mid: int
    rid: int
    repaired_rid: int
    audio_level: int
    transport_cc: int
    abs_send_time: int
    orientation: int
    playout_delay: int

@final
class Worker:
    """Media worker bound to one UDP socket.

    With ``threaded=True`` a C thread owns socket and core; commands are queued to it, events come back through a ring, `fileno` becomes
    readable when some wait. With ``threaded=False`` there is no socket and no thread: `receive`, `advance` and `take_datagrams` drive the
    same core in the caller's time. Transport, track and leg ids are the caller's: unique positive 32-bit integers per worker.
    Commands are applied in order; one that names an unknown id is dropped and counted (``commands_refused``). Arguments are checked here: ValueError, OverflowError.
    """

    def __init__(self, *, address: str = "127.0.0.1", port: int = 0, threaded: bool = True, cpu: int = -1, max_transports: int = 4096, max_allocations: int = 16384, max_streams: int = 16384, index: int = 0, shared_port: bool = False, seed: int = 0) -> None:
        """Bind ``address:port`` (0 = any free port) and start. OSError when the bind fails. ``cpu`` >= 0 pins the thread.

        ``address`` is an IPv4 or IPv6 address; ``::`` serves both families, and a wildcard answers from the address it was asked on.
        ``index`` (0 to 255) tells the workers of a process apart. With ``shared_port`` several may have the same port: the kernel keeps each peer with one of
        them, so it is for relaying alone; forwarding wants to be found by whoever changes his address.
        """
    @property
    def port(self) -> int: ...
    @property
    def thread_id(self) -> int:
        """Kernel thread id of the worker thread (its CPU time: /proc/self/task/<id>/stat); 0 when not threaded."""
    def fileno(self) -> int:
        """Readable while events wait, but not for EVENT_STATS, and for EVENT_LEVEL only where a voice begins: look for those a few times a second."""
    def take_events(self) -> list[tuple[Any, ...]]:
        """All waiting events, oldest first; never blocks."""
    def counters(self) -> dict[str, int]:
        """Every counter of router.h WD_COUNTERS and relay.h WD_RELAY_COUNTERS, commands_refused, and drop_socket_full (by the kernel, because the worker read too late)."""
    def close(self) -> None:
        """Carry out the commands that wait, stop and join the thread; idempotent. Anything else raises RuntimeError afterwards, properties too."""

    def hold(self) -> None:
        """Commands wait until `let_go`, unless the worker is awake anyway: one wake-up for many. Not for long, and in one thread."""
    def let_go(self) -> None: ...
    def add_transport(self, transport: int, ufrag: str, password: str) -> None:
        """``ufrag`` has 4 to 32 characters, ``password`` 22 to 64, of RFC 8839's ice-char."""
    def restart_ice(self, transport: int, ufrag: str, password: str) -> None: ...
    def set_remote(self, transport: int, ufrag: str, password: str) -> None:
        """The participant's own that belong to the newest local ones, each of at most 256 characters, of base64url too: with them they are asked whether an address that they
        name is theirs (rtc/native/path_validation.c). Without, it is believed."""
    def set_keys(self, transport: int, profile: int, send_key: bytes, send_salt: bytes, receive_key: bytes, receive_salt: bytes) -> None:
        """SRTP master keys of ``profile`` (7 = AEAD_AES_128_GCM, 1 = AES128_CM_HMAC_SHA1_80); once per transport."""
    def send_dtls(self, transport: int, datagrams: Sequence[bytes]) -> None:
        """Each of 1 to 1500 bytes."""
    def remove_transport(self, transport: int) -> None: ...
    def add_track(self, track: int, transport: int, *, kind: int, mid: str, codecs: Sequence[Codec], extensions: Extensions, ssrc: int = 0, rtx_ssrc: int = 0) -> None: ...
    def remove_track(self, track: int) -> None: ...
    def add_leg(self, leg: int, transport: int, *, kind: int, mid: str, codecs: Sequence[Codec], extensions: Extensions, ssrc: int, rtx_ssrc: int = 0) -> None: ...
    def remove_leg(self, leg: int) -> None: ...
    def set_source(self, leg: int, track: int) -> None:
        """Feed ``leg`` from ``track`` (0 = from nothing)."""

    # The relay (rtc/native/relay.h). Allocation ids are the caller's, positive and below 2^31, as those of streams. Times are CLOCK_MONOTONIC nanoseconds; what is
    # over counts no more, and need not be taken back.
    def configure_relay(self, *, realm: str, nonce_key: bytes, nonce_lifetime_s: int = 3600, answer_binding: bool = True, requests_per_s: int = 1000,
                        open_ports: bytes = ...) -> None:
        """Begin to take STUN and TURN. ``nonce_key`` has 32 bytes; workers with the same key know each other's nonces. ``answer_binding``: answer Binding here,
        else it is an event. ``requests_per_s``: events of one address (IPv6: of one /64). ``open_ports``: those at which peers that are no known media address
        may be reached, 8192 bytes with one bit for each port, the lowest of a byte first; none unless it is given."""
    def know_media(self, host: str, port: int, worker: Worker | None) -> None:
        """That is an own media address: what clients send there is handed to that worker. ValueError when both have the same index. None: it is one of another node,
        reached by a socket, and is permitted with its host even where that is permitted for media only."""
    def forget_media(self, host: str, port: int) -> None: ...
    def reply(self, client: Client, message: bytes) -> None:
        """Of 1 to 1500 bytes."""
    def add_allocation(self, allocation: int, client: Client, *, bandwidth_bps: int = 0) -> None:
        """``bandwidth_bps``: both ways together; 0 = any."""
    def add_relayed(self, allocation: int, relayed: tuple[str, int]) -> None:
        """One per family. Without a socket it reaches own media addresses only."""
    def open_relayed(self, allocation: int, relayed: tuple[str, int], fd: int) -> None:
        """The descriptor of a bound, non-blocking UDP socket; it is the worker's from now on."""
    def permit(self, allocation: int, host: str, until_ns: int, *, media_only: bool = False) -> None:
        """``media_only``: only known media addresses of that host. Again: another end."""
    def bind_channel(self, allocation: int, number: int, peer: tuple[str, int], until_ns: int) -> None:
        """Data needs a permission besides."""
    def move_allocation(self, allocation: int, client: Client) -> None: ...
    def remove_allocation(self, allocation: int) -> None: ...
    def adopt_stream(self, stream: int, fd: int, kind: int, remote: tuple[str, int], local: tuple[str, int]) -> None:
        """A connection of that ``kind`` (STREAM_TURN, STREAM_ICE); the descriptor is the worker's from now on, and its end is an event."""
    def close_stream(self, stream: int) -> None: ...

    # Only with threaded=False, else RuntimeError. Time never goes back: ValueError. A command acts at once, in the time of the last call.
    def receive(self, datagram: bytes, address: tuple[str, int], now_ns: int) -> None: ...
    def receive_relayed(self, datagram: bytes, peer: tuple[str, int], relayed: tuple[str, int], now_ns: int) -> None: ...
    def advance(self, now_ns: int) -> int:
        """Flush and run timers; returns the time of the next wanted call in ns."""
    def take_datagrams(self) -> list[tuple[bytes, tuple[str, int]]]: ...
