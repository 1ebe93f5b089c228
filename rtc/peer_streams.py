"""One RTP stream as an endpoint sends or receives it: numbers, memory for retransmission, gaps and their NACKs.

RFC 3550, 4585, 4588. Endpoint logic for `rtc.peer`: small, correct and slow. The server's own streams live in C.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from rtc._wire import rtp_parse

MEMORY = 512  # packets kept for retransmission
NACK_INTERVAL = 0.05  # seconds between two requests for the same packet
NACK_TRIES = 10
REORDERING = 0.005  # seconds a gap may fill by itself


def rtp_packet(
    payload_type: int,
    sequence: int,
    timestamp: int,
    ssrc: int,
    payload: bytes,
    *,
    marker: bool = False,
    extensions: dict[int, bytes] | None = None,
) -> bytes:
    """A clear RTP packet; extensions in the one-byte form (RFC 8285 section 4.2): ids 1 to 14, values of 1 to 16."""
    block = b"".join(bytes([key << 4 | len(value) - 1]) + value for key, value in (extensions or {}).items())
    block += bytes(-len(block) % 4)
    head = bytes([0x80 | (0x10 if block else 0), payload_type | (0x80 if marker else 0)])
    head += (
        (sequence & 0xFFFF).to_bytes(2, "big") + (timestamp & 0xFFFFFFFF).to_bytes(4, "big") + ssrc.to_bytes(4, "big")
    )
    if block:
        head += b"\xbe\xde" + (len(block) // 4).to_bytes(2, "big") + block
    return head + payload


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
    _sent: "OrderedDict[int, tuple[int, bytes, bool]]" = field(default_factory=OrderedDict)

    def packet(
        self, payload: bytes, timestamp: int, *, marker: bool = False, extensions: dict[int, bytes] | None = None
    ) -> bytes:
        number = self.sequence & 0xFFFF
        self.sequence += 1
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
        )

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
    _seen: set[int] = field(default_factory=set)

    def packet(self, data: bytes, now: float) -> None:
        """Take one clear RTP packet of this stream or of its RTX stream."""
        rtp = rtp_parse(data)
        payload, number, repaired = rtp["payload"], rtp["sequence"], rtp["ssrc"] == self.rtx_ssrc
        if repaired:
            if len(payload) < 2:
                return
            number, payload = int.from_bytes(payload[:2], "big"), payload[2:]
        extended = self._extend(number)
        if extended in self._seen:
            return
        self._note(extended, now)
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
        if self.highest >= 0:
            for lost in range(self.highest + 1, extended):
                self.missing[lost] = (now + REORDERING, 0)
        self.highest = max(self.highest, extended)

    def due(self, now: float) -> list[int]:
        """Sequence numbers (16 bits, ascending) to ask for now."""
        wanted = []
        for number, (at, tries) in sorted(self.missing.items()):
            if tries >= NACK_TRIES:
                del self.missing[number]
            elif at <= now:
                self.missing[number] = (now + NACK_INTERVAL, tries + 1)
                wanted.append(number & 0xFFFF)
        return wanted

    def next_due(self) -> float | None:
        return min((at for at, _ in self.missing.values()), default=None)
