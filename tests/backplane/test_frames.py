"""The guard over a client's frames, without a socket."""

import random

import pytest

from backplane.frames import INVALID_TEXT, PROTOCOL_ERROR, TOO_MANY_FRAMES, FrameGuard, may_be_sent
from backplane.ratelimit import TokenBucket
from tests.support.frames import CLOSE, PING, PONG, TEXT, close, frame

CONTINUATION, BINARY = 0x0, 0x2


def guard(burst: float = 1000, *, compressed: bool = False) -> FrameGuard:
    return FrameGuard(TokenBucket(0, burst), compressed=compressed)


def passed(one: FrameGuard, data: bytes, piece: int) -> bytes:
    """What the reader gets when the data come in pieces of this size."""
    pieces = [data[at : at + piece] for at in range(0, len(data), piece)]
    return b"".join(part[: one.passes(part, 0.0)] for part in pieces)


GOOD = [
    frame(TEXT, b"hello"),
    frame(TEXT, b"a" * 125) + frame(BINARY, b"b" * 126) + frame(TEXT, b"c" * 65535) + frame(BINARY, b"d" * 65536),
    frame(TEXT, b"one", fin=False) + frame(PING, b"between") + frame(CONTINUATION, b"two") + frame(TEXT),
    frame(TEXT, fin=False) + frame(CONTINUATION, fin=False) + frame(CONTINUATION),
    frame(PING) + frame(PONG, b"x" * 125) + close(None),
    close(1000) + b"",
    close(4999, "خدا حافظ".encode()),
]


@pytest.mark.parametrize("data", GOOD, ids=range(len(GOOD)))
@pytest.mark.parametrize("piece", [1, 2, 5, 7, 1 << 20])
def test_good_frames_pass_in_pieces_of_any_size(data: bytes, piece: int) -> None:
    one = guard()
    assert passed(one, data, piece) == data
    assert one.fault is None


BAD = {
    "no mask": (frame(TEXT, b"hello", mask=False), PROTOCOL_ERROR),
    "no mask on a ping": (frame(PING, mask=False), PROTOCOL_ERROR),
    "RSV1": (frame(TEXT, b"x", rsv=4), PROTOCOL_ERROR),
    "RSV2": (frame(TEXT, b"x", rsv=2), PROTOCOL_ERROR),
    "RSV3": (frame(PING, rsv=1), PROTOCOL_ERROR),
    "reserved data opcode": (frame(0x3), PROTOCOL_ERROR),
    "reserved control opcode": (frame(0xB), PROTOCOL_ERROR),
    "fragmented control": (frame(PING, fin=False), PROTOCOL_ERROR),
    "long control": (frame(PING, b"x" * 126), PROTOCOL_ERROR),
    "continuation of nothing": (frame(CONTINUATION, b"x"), PROTOCOL_ERROR),
    "message within a message": (frame(TEXT, fin=False) + frame(TEXT), PROTOCOL_ERROR),
    "length of 2 bytes for 5": (frame(TEXT, b"hello", length_bytes=2), PROTOCOL_ERROR),
    "length of 8 bytes for 5": (frame(TEXT, b"hello", length_bytes=8), PROTOCOL_ERROR),
    "length with the highest bit": (bytes([0x81, 0xFF]) + (1 << 63).to_bytes(8) + bytes(4), PROTOCOL_ERROR),
    "close of one byte": (frame(CLOSE, b"\x03"), PROTOCOL_ERROR),
    "close reason that is no UTF-8": (close(1000, b"\xff\xfe"), INVALID_TEXT),
    **{f"close {code}": (close(code), PROTOCOL_ERROR) for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000)},
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("piece", [1, 3, 1 << 20])
def test_a_bad_frame_ends_it_and_what_came_before_passes(name: str, piece: int) -> None:
    bad, code = BAD[name]
    good = frame(TEXT, b"before") + frame(PING, b"too")
    one = guard()
    got = passed(one, good + bad + frame(TEXT, b"after"), piece)
    assert one.fault is not None
    assert one.fault.code == code
    assert got[: len(good)] == good
    assert len(got) < len(good + bad), "the reader never has the whole bad frame"


@pytest.mark.parametrize("opcode", [TEXT, BINARY, PING, PONG])
def test_every_kind_of_frame_counts(opcode: int) -> None:
    one = guard(burst=10)
    data = frame(opcode) * 12
    assert one.passes(data, 0.0) == 10 * len(frame(opcode))
    assert one.fault is not None
    assert one.fault.code == TOO_MANY_FRAMES
    assert one.passes(data, 1000.0) == 0


def test_fragments_count_one_by_one() -> None:
    one = guard(burst=10)
    one.passes(frame(TEXT, fin=False) + frame(CONTINUATION, fin=False) * 20, 0.0)
    assert one.fault is not None
    assert one.fault.code == TOO_MANY_FRAMES


def test_a_pace_within_the_rate_goes_on_for_ever() -> None:
    one = FrameGuard(TokenBucket(2, 4))
    for second in range(200):
        one.passes(frame(PING) * 2, float(second))
    assert one.fault is None


def test_nothing_follows_a_close_frame() -> None:
    one = guard()
    data = close(1000)
    assert one.passes(data + frame(TEXT, b"more"), 0.0) == len(data)
    assert one.fault is None


def test_compressed_messages_say_so_in_their_first_frame_only() -> None:
    one = guard(compressed=True)
    one.passes(frame(TEXT, b"x", rsv=4, fin=False) + frame(CONTINUATION), 0.0)
    assert one.fault is None
    for wrong in (frame(PING, rsv=4), frame(TEXT, rsv=2)):
        other = guard(compressed=True)
        other.passes(wrong, 0.0)
        assert other.fault is not None
    one.passes(frame(TEXT, fin=False) + frame(CONTINUATION, rsv=4), 0.0)
    assert one.fault is not None


def test_close_codes_are_those_of_the_registry() -> None:
    allowed = [code for code in range(0x10000) if may_be_sent(code)]
    assert allowed[:12] == [1000, 1001, 1002, 1003, *range(1007, 1015)]
    assert allowed[12:] == list(range(3000, 5000))


def test_noise_never_passes_the_guard_and_never_raises() -> None:
    rng = random.Random(1)
    for _ in range(500):
        one = guard()
        for _ in range(5):
            data = rng.randbytes(rng.randrange(1, 200))
            assert 0 <= one.passes(data, 0.0) <= len(data)
