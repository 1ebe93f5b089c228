"""What a client may send on a WebSocket, checked frame by frame before anything is kept of it (RFC 6455 section 5).

aiohttp's reader takes frames without a mask, close codes that nobody may send and any number of pings. A `FrameGuard`
walks over the same bytes first and reads headers only, so a large message costs it nothing. It stops at the first frame
that breaks a rule, or that is one too many: every frame counts, control frames, empty frames and fragments included,
because each costs a turn of the reader whatever it carries. Without I/O; ``now`` is an argument.
"""

from dataclasses import dataclass
from typing import Final

from backplane.ratelimit import TokenBucket

PROTOCOL_ERROR: Final = 1002
INVALID_TEXT: Final = 1007
TOO_MANY_FRAMES: Final = 4429
_CONTINUATION: Final = 0x0
_CLOSE: Final = 0x8
_KNOWN_OPCODES: Final = frozenset({_CONTINUATION, 0x1, 0x2, _CLOSE, 0x9, 0xA})
_MOST_IN_CONTROL: Final = 125  # section 5.5
_LENGTH_BYTES: Final = {126: 2, 127: 8}  # section 5.2
# Codes below 3000 that an endpoint may send (section 7.4.1 and the IANA registry); 1004 to 1006 and 1015 never are.
_CLOSE_CODES: Final = frozenset({1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014})


@dataclass(frozen=True, slots=True)
class FrameFault:
    """Why a connection is closed, and with which code (section 7.4)."""

    code: int
    why: str


def may_be_sent(close_code: int) -> bool:
    """Whether a client may send this close code (section 7.4.2)."""
    return close_code in _CLOSE_CODES or 3000 <= close_code <= 4999


class FrameGuard:
    """The frames of one client. ``compressed``: permessage-deflate was agreed, so RSV1 has a meaning (RFC 7692)."""

    def __init__(self, frames: TokenBucket, *, compressed: bool = False) -> None:
        self._frames = frames
        self._compressed = compressed
        self._head = bytearray()  # of a frame whose header has not come completely
        self._payload_left = 0
        self._close: bytearray | None = None  # the payload of a close frame, still masked
        self._mask = b""
        self._in_message = False  # the first fragment of a message has come, the last one has not
        self.fault: FrameFault | None = None
        self.closed = False

    def passes(self, data: bytes, now: float) -> int:
        """How many of these bytes, which follow those before, the reader may have; fewer than all after a fault or a
        close frame. `fault` says what was wrong, and nothing passes any more."""
        at = good = 0
        while at < len(data) and not self._over():
            at += self._skip(data, at) if self._payload_left else self._read_head(data, at, now)
            if not self._payload_left and not self._head and not self._over():
                self._frame_ended()
                good = good if self._failed() else at
        return good if self._failed() else at

    def _failed(self) -> bool:
        return self.fault is not None

    def _over(self) -> bool:
        return self.closed or self.fault is not None

    def _skip(self, data: bytes, at: int) -> int:
        count = min(self._payload_left, len(data) - at)
        if self._close is not None:
            self._close += data[at : at + count]
        self._payload_left -= count
        return count

    def _read_head(self, data: bytes, at: int, now: float) -> int:
        """Take bytes until the header is complete; how many."""
        begun = len(self._head)
        self._head += data[at : at + 14 - begun]
        head = self._head
        if len(head) < 2:
            return len(head) - begun
        length = head[1] & 0x7F
        size = 2 + _LENGTH_BYTES.get(length, 0) + 4
        if begun < 2:
            self.fault = self._fault_of(head[0], head[1]) or self._too_many(now)
        if self.fault is not None or len(head) < size:
            return len(head) - begun
        if length > _MOST_IN_CONTROL:
            shortest = length
            length = int.from_bytes(head[2 : size - 4])
            if length < (126 if shortest == 126 else 65536) or length >> 63:
                self.fault = FrameFault(PROTOCOL_ERROR, "The length is not in its shortest form.")
        self._payload_left = length
        self._mask = bytes(head[size - 4 : size])
        if head[0] & 0xF == _CLOSE:
            self._close = bytearray()
        head.clear()
        return size - begun

    def _too_many(self, now: float) -> FrameFault | None:
        return None if self._frames.allow(now) else FrameFault(TOO_MANY_FRAMES, "Too many frames.")

    def _fault_of(self, first: int, second: int) -> FrameFault | None:
        fin, opcode = first & 0x80, first & 0xF
        control = opcode > 0x7
        why = None
        if not second & 0x80:
            why = "A client masks its frames."  # section 5.1
        elif first & (0x30 if self._compressed and not control and opcode != _CONTINUATION else 0x70):
            why = "A reserved bit is set."
        elif opcode not in _KNOWN_OPCODES:
            why = "The opcode is reserved."
        elif control and not fin:
            why = "A control frame is not fragmented."
        elif control and second & 0x7F > _MOST_IN_CONTROL:
            why = "A control frame has at most 125 bytes."
        elif not control and (opcode == _CONTINUATION) != self._in_message:
            why = "The fragments of a message follow each other."
        if why is not None:
            return FrameFault(PROTOCOL_ERROR, why)
        if not control:
            self._in_message = not fin
        return None

    def _frame_ended(self) -> None:
        close, self._close = self._close, None
        if close is None:
            return
        self.closed = True
        content = bytes(byte ^ self._mask[index % 4] for index, byte in enumerate(close))
        if len(content) == 1 or (content and not may_be_sent(int.from_bytes(content[:2]))):
            self.fault = FrameFault(PROTOCOL_ERROR, "Nobody sends this close code.")
            return
        try:
            content[2:].decode()
        except UnicodeDecodeError:
            self.fault = FrameFault(INVALID_TEXT, "The reason of a close frame is UTF-8.")
