"""A worker driven by hand, with people and media lines for it."""

import select
from typing import TYPE_CHECKING, Any

from rtc._worker import AUDIO, CODECS, VIDEO, Worker
from tests.rtc.checks import PASSWORD, UFRAG, check

if TYPE_CHECKING:
    from rtc._worker import Codec

SECOND = 1_000_000_000
PEER = ("192.0.2.7", 40_000)
KEYS = (7, bytes(16), bytes(12))
KEYFRAME = b"\x10\0" + bytes(800)
VP8: "Codec" = {
    "codec": CODECS["vp8"],
    "variant": 0,
    "payload_type": 96,
    "rtx_payload_type": 97,
    "nack": True,
    "pli": True,
    "clock_rate": 90_000,
}


def connected(worker: Worker, now_ns: int = 1) -> None:
    """One transport, number 1, that PEER has nominated."""
    worker.add_transport(1, UFRAG, PASSWORD)
    worker.receive(check(), PEER, now_ns)
    worker.take_datagrams()
    worker.take_events()


def a_viewer(worker: Worker, **changes: Any) -> tuple[str, int]:
    """Transport 2 at the returned address, to which the leg 1 of SSRC 9 sends track 1."""
    viewer = ("192.0.2.8", 40_001)
    worker.add_transport(2, UFRAG + "2", PASSWORD)
    worker.receive(check(ufrag=UFRAG + "2"), viewer, 1)
    worker.set_keys(2, *KEYS, *KEYS[1:])
    worker.add_leg(1, 2, **line(ssrc=9, **changes))
    worker.set_source(1, 1)
    worker.take_datagrams()
    return viewer


def line(**changes: Any) -> dict[str, Any]:
    return {"kind": VIDEO, "mid": "v", "codecs": [VP8], "extensions": {"mid": 4}, "ssrc": 1, **changes}


def sound() -> dict[str, Any]:
    opus = codec(codec=CODECS["opus"], payload_type=111, rtx_payload_type=0, clock_rate=48_000)
    return line(kind=AUDIO, mid="a", codecs=[opus], extensions={"audio_level": 1})


def codec(**changes: Any) -> dict[str, Any]:
    return {**VP8, **changes}


def readable(worker: Worker) -> bool:
    return bool(select.select([worker.fileno()], [], [], 0)[0])
