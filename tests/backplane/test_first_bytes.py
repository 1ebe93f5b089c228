"""Telling protocols apart by their first bytes."""

import pytest

from backplane.first_bytes import LONGEST_FRAME, Kind, tell

ALLOCATE = bytes.fromhex("000300002112a442") + bytes(12)
CHECK = bytes.fromhex("000100182112a442") + bytes(12 + 24)
FRAME = len(CHECK).to_bytes(2) + CHECK


@pytest.mark.parametrize(
    "first, kind",
    [
        (b"\x16\x03\x01", Kind.TLS),
        (b"GET / HTTP/1.1\r\n", Kind.HTTP),
        (b"PRI * HTTP/2.0", Kind.HTTP),
        (ALLOCATE, Kind.TURN),
        (FRAME, Kind.ICE),
        (FRAME + FRAME, Kind.ICE),
        (b"SSH-2.0", Kind.HTTP),  # which answers 400
        (b"\x03\x00\x00\x13\x0e\xe0\x00\x00", Kind.JUNK),  # remote desktop
        (b"get / http", Kind.JUNK),
        (b"\x80\x80", Kind.JUNK),  # SSL 2
        (b"\x40\x00\x00\x04", Kind.JUNK),  # ChannelData without an allocation
        (bytes(600), Kind.JUNK),
        (b"\x00\x03\x00\x01" + ALLOCATE[4:], Kind.JUNK),  # a STUN length that is no multiple of four
        ((LONGEST_FRAME - 1).to_bytes(2) + CHECK, Kind.JUNK),  # a frame longer than any first check
        (b"\x00\x13" + CHECK, Kind.JUNK),  # a frame shorter than a STUN header
        (len(CHECK).to_bytes(2) + b"\x80" + CHECK[1:], Kind.JUNK),  # RTP in a frame
    ],
)
def test_whole_openings_are_told(first: bytes, kind: Kind) -> None:
    assert tell(first) is kind


@pytest.mark.parametrize("opening", [ALLOCATE, FRAME], ids=["turn", "ice"])
def test_byte_by_byte_the_answer_is_to_wait_and_never_another_protocol(opening: bytes) -> None:
    answers = [tell(opening[:size]) for size in range(len(opening) + 1)]
    first = next(index for index, answer in enumerate(answers) if isinstance(answer, Kind))
    for size, answer in enumerate(answers[:first]):
        assert isinstance(answer, int)
        assert size < answer <= first
    assert set(answers[first:]) == {Kind.TURN if opening is ALLOCATE else Kind.ICE}


def test_ice_waits_for_its_whole_first_frame() -> None:
    assert tell(FRAME[:10]) == len(FRAME)
    assert tell(FRAME[:-1]) == len(FRAME)
