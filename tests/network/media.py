"""Scripted media: payloads that say whose they are and which, and sources that send them in fake time.

A payload carries a marker, the sender's number, the packet's number and the capture time, so that receivers know
exactly what has arrived, from whom, and when it was taken.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass

from rtc.peer import Peer
from tests.network.emulator import Network

BODY = struct.Struct("!4sHIQ")
MARK = b"wadu"
AUDIO_S, VIDEO_S = 0.02, 0.04  # 50 packets and 25 frames per second


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a payload says of itself."""

    sender: int
    number: int
    captured_ns: int


def stamped(stamp: Stamp, size: int) -> bytes:
    body = BODY.pack(MARK, stamp.sender, stamp.number, stamp.captured_ns)
    return body + bytes(max(0, size - len(body)))


def read_stamp(payload: bytes) -> Stamp | None:
    """None for packets of nothing but padding."""
    at = payload.find(MARK)
    if at < 0:
        return None
    _, sender, number, captured_ns = BODY.unpack_from(payload, at)
    return Stamp(sender, number, captured_ns)


def vp8(picture: int, tl0: int, *, key: bool, start: bool, wide: bool = True) -> bytes:
    """Payload descriptor (RFC 7741 section 4.2) with PictureID, TL0PICIDX and TID 0, and the first octet of the frame
    header."""
    head = bytes([0x90 if start else 0x80, 0xE0])  # X, S; I, L, T
    head += (0x8000 | picture & 0x7FFF).to_bytes(2, "big") if wide else bytes([picture & 0x7F])
    return head + bytes([tl0 & 0xFF, 0, 0 if key else 1])


@dataclass(slots=True)
class Picture:
    """VP8 numbers of a received payload."""

    number: int
    tl0: int
    key: bool
    start: bool
    wide: bool


def read_vp8(payload: bytes) -> Picture:
    wide = bool(payload[2] & 0x80)
    number = int.from_bytes(payload[2:4], "big") & 0x7FFF if wide else payload[2]
    rest = payload[4 if wide else 3 :]
    start = bool(payload[0] & 0x10)
    return Picture(number, rest[0], start and not rest[2] & 1, start, wide)


class Microphone:
    """Sends Opus-like packets each 20 ms while on; with `level` in -dBov, voice when louder than 50."""

    def __init__(self, network: Network, peer: Peer, sender: int, touch: Callable[[], None], name: str = "audio"):
        self.network, self.peer, self.sender, self.name = network, peer, sender, name
        self._touch = touch
        self.on, self.level, self.sent, self.size = False, 30, 0, 80
        self.timestamp = 1000 * sender
        self.first_ns = 0

    def start(self) -> None:
        self.on = True
        self._tick()

    def _tick(self) -> None:
        if not self.on:
            return
        self.send()
        self.network.after(AUDIO_S, self._tick)

    def send(self, leap: int = 960) -> None:
        """One packet; `leap`: timestamp units since the last one."""
        self.timestamp += leap
        if self.peer.connected:
            voice = 0x80 if self.level < 50 else 0
            payload = stamped(Stamp(self.sender, self.sent, self.network.now_ns), self.size)
            self.peer.send(self.name, payload, self.timestamp, level=self.level | voice, now=self.network.now)
            self.sent += 1
        self._touch()


class Camera:
    """Sends VP8-like frames of `packets` packets each 40 ms while on; a keyframe first and whenever asked."""

    def __init__(self, network: Network, peer: Peer, sender: int, touch: Callable[[], None], name: str = "video"):
        self.network, self.peer, self.sender, self.name = network, peer, sender, name
        self._touch = touch
        self.on, self.wide, self.packets, self.size = False, True, 3, 900
        self.sent = self.frames = self.keyframes = 0
        self.picture, self.tl0 = 100 * sender, 10 * sender
        self.timestamp = 7000 * sender
        self.needs_key = True

    def start(self) -> None:
        self.on = True
        self._tick()

    def _tick(self) -> None:
        if not self.on:
            return
        self.send()
        self.network.after(VIDEO_S, self._tick)

    def send(self) -> None:
        """One frame."""
        self.timestamp += round(90_000 * VIDEO_S)
        if self.peer.connected:
            key = self.needs_key or self.peer.keyframes_wanted > 0
            self.needs_key, self.peer.keyframes_wanted = False, 0
            self.keyframes += key
            for i in range(self.packets):
                head = vp8(self.picture, self.tl0, key=key, start=i == 0, wide=self.wide)
                payload = head + stamped(Stamp(self.sender, self.sent, self.network.now_ns), self.size)
                last = i == self.packets - 1
                self.peer.send(self.name, payload, self.timestamp, marker=last, now=self.network.now)
                self.sent += 1
            self.frames += 1
            self.picture += 1
            self.tl0 += 1
        self._touch()
