"""The load generator (native/loadgen.c) for Python: participants in, totals out."""

import asyncio
import ctypes
import threading
from dataclasses import dataclass

from benchmarks.bars import quantile_of
from benchmarks.native import generator_library

BUCKETS = 10_000
BUCKET_US = 2
_MAX_CHECK = 256


class _Participant(ctypes.Structure):
    _fields_ = (
        ("fd", ctypes.c_int32),
        ("profile", ctypes.c_uint16),
        ("check_length", ctypes.c_uint16),
        ("send_key", ctypes.c_uint8 * 16),
        ("send_salt", ctypes.c_uint8 * 14),
        ("receive_key", ctypes.c_uint8 * 16),
        ("receive_salt", ctypes.c_uint8 * 14),
        ("audio_ssrc", ctypes.c_uint32),
        ("video_ssrc", ctypes.c_uint32),
        ("audio_payload_type", ctypes.c_uint8),
        ("video_payload_type", ctypes.c_uint8),
        ("transport_cc", ctypes.c_uint8),
        ("audio_level", ctypes.c_uint8),
        ("check", ctypes.c_uint8 * _MAX_CHECK),
        ("password", ctypes.c_char * 64),
    )


class _Options(ctypes.Structure):
    _fields_ = (
        ("sample", ctypes.c_uint32),
        ("kernel_times", ctypes.c_uint32),
        ("spin", ctypes.c_uint32),
        ("gro", ctypes.c_uint32),
        ("gso", ctypes.c_uint32),
        ("seed", ctypes.c_uint64),
    )


_COUNTS = (
    *("sent", "sent_bytes", "keyframes", "received", "received_bytes", "expected", "lost", "checked", "forged"),
    *("rtcp_received", "rtcp_bad", "nacked", "keyframes_asked", "send_errors", "other"),
    *("streams", "silent_streams", "late_ns", "worst_late_ns", "bursts"),
)


class _Totals(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_uint64) for name in _COUNTS),
        ("cpu_s", ctypes.c_double),
        ("wall_s", ctypes.c_double),
        ("latency_count", ctypes.c_uint64 * 2),
        ("latency_over", ctypes.c_uint64 * 2),
        ("latency", ctypes.c_uint32 * BUCKETS * 2),
    )


@dataclass(frozen=True, slots=True)
class Sender:
    """What a participant publishes. Header extension ids: 0 = not negotiated."""

    audio_ssrc: int = 0
    video_ssrc: int = 0
    audio_payload_type: int = 0
    video_payload_type: int = 0
    transport_cc: int = 0
    audio_level: int = 0


@dataclass(frozen=True, slots=True)
class Keys:
    profile: int
    send_key: bytes
    send_salt: bytes
    receive_key: bytes
    receive_salt: bytes


@dataclass(frozen=True, slots=True)
class Totals:
    """What happened in one run; names as in loadgen.h. Latencies in microseconds."""

    counts: dict[str, int]
    cpu_s: float
    wall_s: float
    latencies: tuple[list[int], int]
    """Packets per bucket of `BUCKET_US`, audio and video together, and those beyond the last bucket."""

    def __getitem__(self, name: str) -> int:
        return self.counts[name]

    @property
    def loss_percent(self) -> float:
        return 100 * self["lost"] / self["expected"] if self["expected"] else 0.0

    def latency_us(self, share: float) -> float:
        """The quantile of added latency; infinite when it lies beyond the last bucket, NaN when nothing was timed."""
        return quantile_of(*self.latencies, share, BUCKET_US)


class Generator:
    """Participants in one C thread."""

    def __init__(
        self, *, sample: int = 16, spin: bool = True, gro: bool = False, gso: bool = False, seed: int = 1
    ) -> None:
        self._library = ctypes.CDLL(str(generator_library()))
        self._library.gen_new.restype = ctypes.c_void_p
        self._library.gen_run.argtypes = (ctypes.c_void_p, ctypes.c_double, ctypes.POINTER(_Totals))
        options = _Options(sample=sample, kernel_times=0, spin=spin, gro=gro, gso=gso, seed=seed)
        handle: int | None = self._library.gen_new(ctypes.byref(options))
        if handle is None:
            raise OSError("the load generator could not be made")
        self._handle = ctypes.c_void_p(handle)
        self._work = threading.Lock()

    def add(self, fd: int, keys: Keys, sender: Sender, check: bytes, password: str) -> None:
        """``check``: a STUN binding request to repeat; ``password``: ours. OSError when ``fd`` cannot be watched."""
        participant = _Participant(
            fd=fd,
            profile=keys.profile,
            check_length=len(check),
            audio_ssrc=sender.audio_ssrc,
            video_ssrc=sender.video_ssrc,
            audio_payload_type=sender.audio_payload_type,
            video_payload_type=sender.video_payload_type,
            transport_cc=sender.transport_cc,
            audio_level=sender.audio_level,
            password=password.encode(),
        )
        for name in ("send_key", "send_salt", "receive_key", "receive_salt"):
            value: bytes = getattr(keys, name)
            getattr(participant, name)[: len(value)] = list(value)
        participant.check[: len(check)] = list(check)
        if self._library.gen_add(self._handle, ctypes.byref(participant)) < 0:
            raise OSError("a participant could not be added to the load generator")

    def kernel_times(self, on: bool) -> None:
        """Latency by the kernel's arrival times, which the generator's own delays do not touch."""
        self._library.gen_kernel_times(self._handle, ctypes.c_int(on))

    def run(self, seconds: float) -> Totals:
        """Blocks, without the GIL."""
        totals = _Totals()
        with self._work:
            self._library.gen_run(self._handle, seconds, ctypes.byref(totals))
        counts = {name: int(getattr(totals, name)) for name in _COUNTS}
        audio, video = (list(kind) for kind in totals.latency)
        together = [a + v for a, v in zip(audio, video, strict=True)]
        return Totals(counts, totals.cpu_s, totals.wall_s, (together, sum(totals.latency_over)))

    @property
    def at_work(self) -> bool:
        """Whether a `run` is on its way."""
        return self._work.locked()

    async def run_beside(self, seconds: float) -> Totals:
        """`run` in a thread, while the event loop keeps the signalling sockets."""
        return await asyncio.get_running_loop().run_in_executor(None, self.run, seconds)

    def close(self) -> None:
        """Waits for a `run_beside` that was cancelled: its thread goes on until its seconds are over."""
        with self._work:
            self._library.gen_free(self._handle)
        self._handle = ctypes.c_void_p()
