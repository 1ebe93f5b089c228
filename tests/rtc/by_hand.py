"""A worker driven by hand, with people and media lines for it."""

import select
from typing import TYPE_CHECKING, Any

from rtc._wire import Srtp, rtcp_parse, rtcp_pli, rtcp_rr, rtcp_sr, rtp_parse
from rtc._worker import AUDIO, CODECS, VIDEO, Worker
from rtc.peer_streams import rtp_packet
from tests.rtc.checks import PASSWORD, UFRAG, check

if TYPE_CHECKING:
    from rtc._worker import Codec

SECOND = 1_000_000_000
MS = SECOND // 1000
PEER = ("192.0.2.7", 40_000)
KEYS = (7, bytes(16), bytes(12))
KEYFRAME = b"\x10\0" + bytes(800)
DELTA = b"\x10\1" + bytes(300)
STEP = 10  # ms between two pictures of a Show
TOO_MANY = 100  # lost at once to be repaired one by one
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


class Show:
    """A publisher's picture each 10 ms to one viewer. What the publisher is asked for, by the millisecond, and what the
    viewer is sent: `shown` by sequence number, `again` as (ms, sequence number)."""

    def __init__(self, worker: Worker, name: str = "vp8", first: bytes = KEYFRAME) -> None:
        self.worker, self.ms, self.number = worker, 0, 0
        self.asked = list[int]()
        self.limits = list[tuple[int, int]]()
        self.reports = list[dict[str, Any]]()
        self.shown = dict[int, int]()
        self.again = list[tuple[int, int]]()
        self.missed = list[int]()
        connected(worker)
        worker.set_keys(1, *KEYS, *KEYS[1:])
        codecs = [codec(codec=CODECS[name])]
        worker.add_track(1, 1, **line(codecs=codecs))
        self.viewer = a_viewer(worker, codecs=codecs, rtx_ssrc=10)
        self.sender, self.talker = Srtp(*KEYS), Srtp(*KEYS)
        self.hearing = {PEER: Srtp(*KEYS), self.viewer: Srtp(*KEYS)}
        self.send(first)
        self.wait()

    @property
    def now_ns(self) -> int:
        return 2 * SECOND + self.ms * MS

    def send(self, payload: bytes, *, lost: int = 0) -> None:
        """One packet, behind so many that never arrive."""
        for _ in range(lost + 1):
            packet = self.protect(payload)
        self.deliver(packet)

    def protect(self, payload: bytes) -> bytes:
        """The next packet, which does not arrive before it is delivered."""
        self.number += 1
        return self.sender.protect(rtp_packet(96, self.number, self.ms * 90, 1, payload))

    def deliver(self, packet: bytes) -> None:
        self.worker.receive(packet, PEER, self.now_ns)
        self.collect()

    def say(self, block: bytes) -> None:
        self.worker.receive(self.talker.protect_rtcp(block), self.viewer, self.now_ns)
        self.collect()

    def wish(self, how: str = "viewer") -> None:
        if how == "viewer":
            self.say(rtcp_pli(3, 9))
        else:
            self.send(DELTA, lost=TOO_MANY)

    def until(self, ms: int) -> None:
        while self.ms < ms:
            self.send(DELTA)
            self.wait()

    def wait(self) -> None:
        self.ms += STEP
        if self.ms % 1000 == 0:
            self.worker.receive(check(), PEER, self.now_ns)
            self.worker.receive(check(ufrag=UFRAG + "2"), self.viewer, self.now_ns)
        self.worker.advance(self.now_ns)
        self.collect()

    def collect(self) -> None:
        for datagram, to in self.worker.take_datagrams():
            if datagram[0] >= 128 and to == self.viewer and not 192 <= datagram[1] <= 223:
                self.see(rtp_parse(self.hearing[to].unprotect(datagram)))
            elif datagram[0] >= 128 and 192 <= datagram[1] <= 223 and to in self.hearing:
                for block in rtcp_parse(self.hearing[to].unprotect_rtcp(datagram)):
                    self.note(block)

    def see(self, packet: dict[str, Any]) -> None:
        if packet["ssrc"] == 10:
            self.again.append((self.ms, int.from_bytes(packet["payload"][:2], "big")))
        else:
            self.shown[packet["sequence"]] = self.ms

    def note(self, block: dict[str, Any]) -> None:
        match block["type"], block["count"]:
            case 205, 1:
                self.missed += block["lost"]
            case 206, 1:
                self.asked.append(self.ms)
            case 206, 15:
                self.limits.append((self.ms, block["bitrate"]))
            case 200, _:
                self.reports.append(block)

    def move_viewer_away(self, round_trip_ms: int) -> None:
        self.worker.receive(self.sender.protect_rtcp(rtcp_sr(1, 1 << 32, 1, 1, 1)), PEER, self.now_ns)
        while not self.reports:
            self.until(self.ms + STEP)
        self.until(self.ms + round_trip_ms)
        answer = {"ssrc": 9, "fraction_lost": 0, "lost": 0, "highest": 1, "jitter": 0, "dlsr": 0}
        self.say(rtcp_rr(3, [answer | {"lsr": self.reports[0]["ntp"] >> 16 & 0xFFFFFFFF}]))
