"""One RTP stream as an endpoint sends or receives it: numbers, memory for retransmission, gaps and their NACKs.

RFC 3550, 4585, 4588. Endpoint logic for `rtc.peer`: small, correct and slow. The server's own streams live in C.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rtc._wire import rtcp_sr

MEMORY = 512  # packets kept for retransmission
WINDOW = 4096  # sequence numbers back from the highest within which a late packet still counts
NACK_INTERVAL = 0.05  # seconds between two requests for the same packet, unless told otherwise
NACK_TRIES = 10
REORDERING = 0.005  # seconds a gap may fill by itself
NTP_EPOCH = 3_900_000_000  # seconds of NTP at `now` = 0: any serves, receivers only compare
CLOCK_RATES = {"audio": 48_000, "video": 90_000}


def ntp(now: float) -> int:
    """Our wall clock as NTP 32.32 (RFC 3550 section 4)."""
    return round((now + NTP_EPOCH) * 2**32)


def rtp_packet(
    payload_type: int,
    sequence: int,
    timestamp: int,
    ssrc: int,
    payload: bytes,
    *,
    marker: bool = False,
    extensions: dict[int, bytes] | None = None,
    padding: int = 0,
) -> bytes:
    """A clear RTP packet; extensions in the one-byte form (RFC 8285 section 4.2): ids 1 to 14, values of 1 to 16.

    `padding`: octets of padding behind the payload, 0 to 255.
    """
    block = b"".join(bytes([key << 4 | len(value) - 1]) + value for key, value in (extensions or {}).items())
    block += bytes(-len(block) % 4)
    head = bytes([0x80 | (0x20 if padding else 0) | (0x10 if block else 0), payload_type | (0x80 if marker else 0)])
    head += (
        (sequence & 0xFFFF).to_bytes(2, "big") + (timestamp & 0xFFFFFFFF).to_bytes(4, "big") + ssrc.to_bytes(4, "big")
    )
    if block:
        head += b"\xbe\xde" + (len(block) // 4).to_bytes(2, "big") + block
    return head + payload + (bytes(padding - 1) + bytes([padding]) if padding else b"")


@dataclass(slots=True)
class SendStream:
    """Numbers packets and remembers them; `repeat` makes the RTX packet for a NACK."""

    ssrc: int
    payload_type: int
    rtx_ssrc: int = 0
    rtx_payload_type: int = 0
    sequence: int = 0
    rtx_sequence: int = 0
    extensions: dict[int, bytes] = field(default_factory=dict)
    kind: str = "audio"
    packets: int = 0
    octets: int = 0
    clock: tuple[float, int] | None = None
    """A capture time (seconds, of `Peer.send`) and its RTP timestamp, as sender reports tell them."""
    _sent: "OrderedDict[int, tuple[int, bytes, bool]]" = field(default_factory=OrderedDict)

    def packet(
        self,
        payload: bytes,
        timestamp: int,
        *,
        marker: bool = False,
        extensions: dict[int, bytes] | None = None,
        padding: int = 0,
    ) -> bytes:
        number = self.sequence & 0xFFFF
        self.sequence += 1
        self.packets += 1
        self.octets += len(payload)
        self._sent[number] = (timestamp, payload, marker)
        while len(self._sent) > MEMORY:
            self._sent.popitem(last=False)
        return rtp_packet(
            self.payload_type,
            number,
            timestamp,
            self.ssrc,
            payload,
            marker=marker,
            extensions=self.extensions | (extensions or {}),
            padding=padding,
        )

    def report(self, now: float) -> bytes | None:
        """A sender report (RFC 3550 section 6.4.1), None while no capture time is known."""
        if self.clock is None:
            return None
        at, timestamp = self.clock
        timestamp += round((now - at) * CLOCK_RATES[self.kind])
        return rtcp_sr(self.ssrc, ntp(now), timestamp & 0xFFFFFFFF, self.packets & 0xFFFFFFFF, self.octets & 0xFFFFFFFF)

    def repeat(self, number: int) -> bytes | None:
        """The RTX packet (RFC 4588 section 4) for a lost sequence number, None when forgotten or without RTX."""
        found = self._sent.get(number)
        if found is None or not self.rtx_ssrc:
            return None
        timestamp, payload, marker = found
        self.rtx_sequence += 1
        return rtp_packet(
            self.rtx_payload_type,
            self.rtx_sequence,
            timestamp,
            self.rtx_ssrc,
            number.to_bytes(2, "big") + payload,
            marker=marker,
            extensions=self.extensions,
        )


@dataclass(frozen=True, slots=True)
class ReceivedPacket:
    ssrc: int
    sequence: int  # extended, from the first one seen
    timestamp: int
    payload_type: int
    marker: bool
    payload: bytes
    at: float  # seconds
    repaired: bool


@dataclass(slots=True)
class ReceiveStream:
    """Orders nothing and hides nothing: hands on each packet once, knows what is missing."""

    ssrc: int
    rtx_ssrc: int
    deliver: Callable[[ReceivedPacket], None]
    highest: int = -1
    received: int = 0
    repaired: int = 0
    missing: dict[int, tuple[float, int]] = field(default_factory=dict)  # sequence → (next request, tries)
    kind: str = "audio"
    first: int = -1
    jitter: float = 0.0  # in timestamp units
    nack_interval: float = NACK_INTERVAL
    sender_report: tuple[float, int] | None = None
    """When the newest SR arrived, and the middle 32 bits of its NTP time."""
    _transit: float | None = None
    _before: tuple[int, int] = (0, 0)  # expected and received at the last report
    _seen: set[int] = field(default_factory=set)

    def packet(self, rtp: dict[str, Any], now: float) -> None:
        """Take one packet of this stream or of its RTX stream, as `rtp_parse` reads it."""
        payload, number, repaired = rtp["payload"], rtp["sequence"], rtp["ssrc"] == self.rtx_ssrc
        if repaired:
            if len(payload) < 2:
                return
            number, payload = int.from_bytes(payload[:2], "big"), payload[2:]
        extended = self._extend(number)
        if extended in self._seen or extended <= self.highest - WINDOW:
            return
        self._note(extended, now)
        if not repaired:
            self._measure_jitter(rtp["timestamp"], now)
        self.received += 1
        self.repaired += repaired
        self.deliver(
            ReceivedPacket(
                self.ssrc, extended, rtp["timestamp"], rtp["payload_type"], rtp["marker"], payload, now, repaired
            )
        )

    def _extend(self, number: int) -> int:
        if self.highest < 0:
            return number
        distance = (number - self.highest + 0x8000) % 0x10000 - 0x8000
        return self.highest + distance

    def _note(self, extended: int, now: float) -> None:
        self._seen.add(extended)
        self.missing.pop(extended, None)
        self.first = extended if self.highest < 0 else min(self.first, extended)
        if self.highest >= 0:
            for lost in range(self.highest + 1, extended):
                self.missing[lost] = (now + REORDERING, 0)
        self.highest = max(self.highest, extended)
        if len(self._seen) > 2 * WINDOW:
            self._seen = {number for number in self._seen if number > self.highest - WINDOW}

    def _measure_jitter(self, timestamp: int, now: float) -> None:
        """RFC 3550 appendix A.8."""
        transit = (now * CLOCK_RATES[self.kind] - timestamp) % 2**32
        if self._transit is not None:
            distance = abs((transit - self._transit + 2**31) % 2**32 - 2**31)
            self.jitter += (distance - self.jitter) / 16
        self._transit = transit

    def report(self, now: float) -> dict[str, int]:
        """A report block (RFC 3550 section 6.4.1). Repaired packets count as lost: they were, on this path."""
        expected, arrived = self.highest - self.first + 1, self.received - self.repaired
        expected_now, arrived_now = expected - self._before[0], arrived - self._before[1]
        self._before = (expected, arrived)
        lost_now = max(0, expected_now - arrived_now)
        block = {
            "ssrc": self.ssrc,
            "fraction_lost": min(255, lost_now * 256 // expected_now) if expected_now > 0 else 0,
            "lost": max(0, expected - arrived),
            "highest": self.highest & 0xFFFFFFFF,
            "jitter": round(self.jitter),
        }
        if self.sender_report is not None:
            at, block["lsr"] = self.sender_report
            block["dlsr"] = round((now - at) * 65536) & 0xFFFFFFFF
        return block

    def due(self, now: float) -> list[int]:
        """Sequence numbers (16 bits, ascending) to ask for now."""
        wanted = []
        for number, (at, tries) in sorted(self.missing.items()):
            if tries >= NACK_TRIES:
                del self.missing[number]
            elif at <= now:
                self.missing[number] = (now + self.nack_interval, tries + 1)
                wanted.append(number & 0xFFFF)
        return wanted

    def next_due(self) -> float | None:
        return min((at for at, _ in self.missing.values()), default=None)
