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
EVENT_LEVEL: Final = 7  # (EVENT_LEVEL, track, level: int 0..127 in -dBov, voice: bool)
EVENT_STATS: Final = 8  # (EVENT_STATS, transport, rtt_us, in_bps, out_bps, loss_in, loss_out, estimate_bps, jitter_us); losses of 10,000

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

    def __init__(self, *, address: str = "127.0.0.1", port: int = 0, threaded: bool = True, cpu: int = -1, max_transports: int = 4096, seed: int = 0) -> None:
        """Bind ``address:port`` (0 = any free port) and start. OSError when the bind fails. ``cpu`` >= 0 pins the thread.

        ``address`` is an IPv4 or IPv6 address; ``::`` serves both families, and a wildcard answers from the address it was asked on.
        """
    @property
    def port(self) -> int: ...
    @property
    def thread_id(self) -> int:
        """Kernel thread id of the worker thread (its CPU time: /proc/self/task/<id>/stat); 0 when not threaded."""
    def fileno(self) -> int: ...
    def take_events(self) -> list[tuple[Any, ...]]:
        """All waiting events, oldest first; never blocks."""
    def counters(self) -> dict[str, int]:
        """Every counter of router.h WD_COUNTERS, commands_refused, and drop_socket_full (by the kernel, because the worker read too late)."""
    def close(self) -> None:
        """Carry out the commands that wait, stop and join the thread; idempotent. Anything else raises RuntimeError afterwards, properties too."""

    def add_transport(self, transport: int, ufrag: str, password: str) -> None:
        """``ufrag`` has 4 to 32 characters, ``password`` 22 to 64, of RFC 8839's ice-char."""
    def restart_ice(self, transport: int, ufrag: str, password: str) -> None: ...
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
    def request_keyframe(self, track: int) -> None: ...

    # Only with threaded=False, else RuntimeError. Time never goes back: ValueError. A command acts at once, in the time of the last call.
    def receive(self, datagram: bytes, address: tuple[str, int], now_ns: int) -> None: ...
    def advance(self, now_ns: int) -> int:
        """Flush and run timers; returns the time of the next wanted call in ns."""
    def take_datagrams(self) -> list[tuple[bytes, tuple[str, int]]]: ...
