"""The load generator in C (native/generator.c) for Python: participants in, counts and latencies out."""

import ctypes
import socket
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.build import library

MAX_SALT = 16


class _Participant(ctypes.Structure):
    _fields_ = (
        ("fd", ctypes.c_int32),
        ("profile", ctypes.c_uint16),
        ("publishes", ctypes.c_uint8),
        ("video_type", ctypes.c_uint8),
        ("audio_type", ctypes.c_uint8),
        ("level_id", ctypes.c_uint8),
        ("cc_id", ctypes.c_uint8),
        ("mid_id", ctypes.c_uint8),
        ("send_key", ctypes.c_uint8 * 16),
        ("send_salt", ctypes.c_uint8 * 16),
        ("receive_key", ctypes.c_uint8 * 16),
        ("receive_salt", ctypes.c_uint8 * 16),
        ("video_ssrc", ctypes.c_uint32),
        ("audio_ssrc", ctypes.c_uint32),
        ("audio_mid", ctypes.c_char * 4),
        ("video_mid", ctypes.c_char * 4),
    )


class _Result(ctypes.Structure):
    _fields_ = (
        ("sent", ctypes.c_uint64),
        ("received", ctypes.c_uint64),
        ("lost", ctypes.c_uint64),
        ("sampled", ctypes.c_uint64),
        ("refused", ctypes.c_uint64),
        ("keyframes", ctypes.c_uint64),
        ("latency_count", ctypes.c_uint64),
        ("seconds", ctypes.c_double),
    )


@dataclass(frozen=True, slots=True)
class Participant:
    """One connected participant; the socket is connected to the server. Keys as DTLS-SRTP exported them."""

    socket: socket.socket
    profile: int
    send_key: bytes
    send_salt: bytes
    receive_key: bytes
    receive_salt: bytes
    publishes: bool = False
    video_ssrc: int = 0
    audio_ssrc: int = 0
    video_type: int = 96
    audio_type: int = 111
    level_id: int = 0
    cc_id: int = 0
    mid_id: int = 0
    audio_mid: str = ""
    video_mid: str = ""


@dataclass(frozen=True, slots=True)
class LoadResult:
    sent: int
    received: int
    lost: int
    refused: int
    seconds: float
    latency_p50_us: int
    latency_p99_us: int

    @property
    def loss(self) -> float:
        return self.lost / max(1, self.lost + self.received)


class Generator:
    """Runs a set of participants. Not thread safe; `run` blocks and lets other threads run."""

    def __init__(self, participants: Sequence[Participant], *, sample: int = 16, gso: bool = False) -> None:
        self._library = library("generator")
        self._library.generator_new.restype = ctypes.c_void_p
        self._library.generator_latencies.restype = ctypes.POINTER(ctypes.c_uint32)
        self._participants = list(participants)  # the sockets stay open as long as the generator lives
        array = (_Participant * len(participants))(*(self._fill(p) for p in participants))
        self._generator = ctypes.c_void_p(self._library.generator_new(array, len(array), sample, int(gso)))

    @staticmethod
    def _fill(p: Participant) -> _Participant:
        def key(data: bytes) -> "ctypes.Array[ctypes.c_uint8]":
            return (ctypes.c_uint8 * 16)(*data.ljust(16, b"\0"))

        return _Participant(
            fd=p.socket.fileno(),
            profile=p.profile,
            publishes=p.publishes,
            video_type=p.video_type,
            audio_type=p.audio_type,
            level_id=p.level_id,
            cc_id=p.cc_id,
            mid_id=p.mid_id,
            send_key=key(p.send_key),
            send_salt=key(p.send_salt),
            receive_key=key(p.receive_key),
            receive_salt=key(p.receive_salt),
            video_ssrc=p.video_ssrc,
            audio_ssrc=p.audio_ssrc,
            audio_mid=p.audio_mid.encode(),
            video_mid=p.video_mid.encode(),
        )

    def run(self, seconds: float, *, measure: bool) -> LoadResult | None:
        """Send and receive for so long; with `measure` the counts of exactly this stretch."""
        result = _Result()
        self._library.generator_run(self._generator, ctypes.c_double(seconds), int(measure), ctypes.byref(result))
        if not measure:
            return None
        values = sorted(self._library.generator_latencies(self._generator)[: result.latency_count])
        return LoadResult(
            sent=result.sent,
            received=result.received,
            lost=result.lost,
            refused=result.refused,
            seconds=result.seconds,
            latency_p50_us=values[len(values) // 2] if values else 0,
            latency_p99_us=values[len(values) * 99 // 100] if values else 0,
        )

    def close(self) -> None:
        self._library.generator_free(self._generator)
        for participant in self._participants:
            participant.socket.close()
