"""What forwarding reads of payloads: keyframes of each codec, the VP8 fields that are rewritten, and hostile sizes."""

import itertools
import random

import pytest
from aiortc.codecs.vpx import VpxPayloadDescriptor

from rtc._wire import payload_parse, vp8_patch

OPUS, VP8, H264, VP9, AV1 = 1, 2, 3, 4, 5
KEY, DELTA = b"\x10\x02\x00\x9d\x01\x2a", b"\x11\x02\x00"  # first octets of a VP8 frame: the lowest bit is P


def keyframe(codec: int, payload: bytes) -> bool:
    return bool(payload_parse(codec, payload)["keyframe"])


# --- VP8, RFC 7741 ---


@pytest.mark.parametrize(
    "payload, expected",
    [
        pytest.param(b"\x10" + KEY, True, id="S=1 PID=0 P=0"),
        pytest.param(b"\x10" + DELTA, False, id="P=1"),
        pytest.param(b"\x00" + KEY, False, id="S=0 continues a partition"),
        pytest.param(b"\x11" + KEY, False, id="PID=1 starts another partition"),
        pytest.param(b"\x30" + KEY, True, id="N=1 is a non-reference frame, no matter"),
        pytest.param(b"\x90\x80\x05" + KEY, True, id="after a 7-bit PictureID"),
        pytest.param(b"\x90\x80\x80\x05" + KEY, True, id="after a 15-bit PictureID"),
        pytest.param(b"\x90\xf0\x80\x05\x07\xe1" + KEY, True, id="after all extensions"),
        pytest.param(b"\x90\x00" + DELTA, False, id="extension octet without extensions"),
    ],
)
def test_vp8_keyframe(payload: bytes, expected: bool) -> None:
    assert keyframe(VP8, payload) is expected


@pytest.mark.parametrize(
    "field, bits, value", [(b"\x05", 7, 5), (b"\x7f", 7, 127), (b"\x80\x05", 15, 5), (b"\xff\xff", 15, 32767)]
)
def test_vp8_picture_id_of_both_widths(field: bytes, bits: int, value: int) -> None:
    parsed = payload_parse(VP8, b"\x90\x80" + field + KEY)
    assert (parsed["picture_id_bits"], parsed["picture_id"], parsed["picture_id_at"]) == (bits, value, 2)


def test_vp8_fields_are_where_aiortc_writes_them(rng: random.Random) -> None:
    for _ in range(300):
        theirs = VpxPayloadDescriptor(
            partition_start=rng.randrange(2),
            partition_id=rng.randrange(8),
            picture_id=rng.choice((None, rng.randrange(2**15))),
            tl0picidx=rng.choice((None, rng.randrange(256))),
            tid=rng.choice((None, (rng.randrange(4), rng.randrange(2)))),
            keyidx=rng.choice((None, rng.randrange(32))),
        )
        payload = bytes(theirs) + rng.choice((KEY, DELTA))
        ours = payload_parse(VP8, payload)
        assert ours["picture_id_bits"] == (0 if theirs.picture_id is None else 15)
        assert ours["picture_id"] == (theirs.picture_id or 0)
        assert ours["tl0"] == (theirs.tl0picidx or 0)
        assert bool(ours["tl0_at"]) == (theirs.tl0picidx is not None)
        assert ours["tid"] == (theirs.tid[0] if theirs.tid else 0)
        starts = theirs.partition_start == 1 and theirs.partition_id == 0
        assert ours["keyframe"] == (starts and payload.endswith(KEY))


@pytest.mark.parametrize(
    "before, picture_id, after",
    [
        pytest.param(b"\x05", 6, b"\x06", id="7 bits stay 7"),
        pytest.param(b"\x05", 127, b"\x7f", id="the largest of 7 bits"),
        pytest.param(b"\x7f", 128, b"\x00", id="7 bits roll over"),
        pytest.param(b"\x05", 32768 + 9, b"\x09", id="7 bits of a longer counter"),
        pytest.param(b"\x80\x05", 6, b"\x80\x06", id="a small number keeps 15 bits"),
        pytest.param(b"\x80\x7f", 128, b"\x80\x80", id="15 bits pass 127"),
        pytest.param(b"\x80\xff", 256, b"\x81\x00", id="15 bits pass 255"),
        pytest.param(b"\xff\xff", 32768, b"\x80\x00", id="15 bits roll over"),
        pytest.param(b"\xff\xff", 65535, b"\xff\xff", id="the sixteenth bit is no bit of the number"),
    ],
)
def test_vp8_picture_id_is_rewritten_in_its_own_width(before: bytes, picture_id: int, after: bytes) -> None:
    assert vp8_patch(b"\x90\xc0" + before + b"\x11" + DELTA, picture_id, 0xEE) == b"\x90\xc0" + after + b"\xee" + DELTA


def test_vp8_fields_that_are_absent_stay_absent() -> None:
    assert vp8_patch(b"\x10" + DELTA, 77, 88) == b"\x10" + DELTA
    assert vp8_patch(b"\x90\x80\x05" + DELTA, 6, 88) == b"\x90\x80\x06" + DELTA
    assert vp8_patch(b"\x90\x40\x11" + DELTA, 77, 0x12) == b"\x90\x40\x12" + DELTA


def test_vp8_temporal_layer_and_key_index_are_not_touched() -> None:
    payload = b"\x90\xf0\x80\x05\x11\xbf" + DELTA
    assert payload_parse(VP8, payload)["tid"] == 2
    assert vp8_patch(payload, 6, 0x12) == b"\x90\xf0\x80\x06\x12\xbf" + DELTA


def test_vp8_key_index_without_temporal_layer_is_no_layer() -> None:
    assert payload_parse(VP8, b"\x90\x10\xdf" + DELTA)["tid"] == 0


def test_vp8_picture_ids_roll_over_without_a_jump() -> None:
    """What a subscriber sees while a counter of ours runs over both widths."""
    for bits, field in ((7, b"\0"), (15, b"\x80\0")):
        payload = b"\x90\x80" + field + DELTA
        seen = [
            payload_parse(VP8, vp8_patch(payload, n & 0xFFFF, 0))["picture_id"] for n in range(2**15 - 200, 2**15 + 200)
        ]
        assert all((b - a) % 2**bits == 1 for a, b in itertools.pairwise(seen))


# --- H.264, RFC 6184 ---

SPS, PPS, IDR, SLICE, SEI = b"\x67\x42", b"\x68\xce", b"\x65\x88", b"\x61\x9a", b"\x06\x05"


def stap_a(*units: bytes) -> bytes:
    return b"\x78" + b"".join(len(unit).to_bytes(2, "big") + unit for unit in units)


def fu_a(unit_type: int, *, start: bool, end: bool = False) -> bytes:
    return bytes([0x7C, start << 7 | end << 6 | unit_type]) + b"data"


@pytest.mark.parametrize(
    "payload, expected",
    [
        pytest.param(SPS, True, id="SPS"),
        pytest.param(IDR, True, id="IDR"),
        pytest.param(PPS, False, id="PPS alone"),
        pytest.param(SLICE, False, id="slice"),
        pytest.param(SEI, False, id="SEI"),
        pytest.param(stap_a(SPS, PPS), True, id="STAP-A with SPS"),
        pytest.param(stap_a(SEI, PPS, IDR), True, id="STAP-A with IDR last"),
        pytest.param(stap_a(SEI, SLICE), False, id="STAP-A of a delta frame"),
        pytest.param(stap_a(), False, id="STAP-A of nothing"),
        pytest.param(fu_a(5, start=True), True, id="FU-A starts an IDR"),
        pytest.param(fu_a(7, start=True), True, id="FU-A starts an SPS"),
        pytest.param(fu_a(5, start=False), False, id="FU-A goes on with an IDR"),
        pytest.param(fu_a(5, start=False, end=True), False, id="FU-A ends an IDR"),
        pytest.param(fu_a(1, start=True), False, id="FU-A starts a slice"),
    ],
)
def test_h264_keyframe(payload: bytes, expected: bool) -> None:
    assert keyframe(H264, payload) is expected


# --- VP9, RFC 9628 ---

I, P, L, F, B, E, V = 0x80, 0x40, 0x20, 0x10, 0x08, 0x04, 0x02  # noqa: E741, the field's names


@pytest.mark.parametrize(
    "payload, expected",
    [
        pytest.param(bytes([B | E]) + b"x", True, id="not predicted, begins a frame"),
        pytest.param(bytes([I | B, 0x05]) + b"x", True, id="7-bit picture id"),
        pytest.param(bytes([I | L | B, 0x85, 0x05, 0x00, 0x09]) + b"x", True, id="15-bit picture id, spatial layer 0"),
        pytest.param(
            bytes([I | L | F | B | V, 0x85, 0x05, 0x01]) + b"x", True, id="flexible mode, depends on no layer"
        ),
        pytest.param(bytes([I | L | B, 0x85, 0x05, 0x02, 0x09]) + b"x", False, id="spatial layer 1"),
        pytest.param(bytes([I | P | B, 0x05]) + b"x", False, id="inter-predicted"),
        pytest.param(bytes([I | E, 0x05]) + b"x", False, id="later packet of the frame"),
    ],
)
def test_vp9_keyframe(payload: bytes, expected: bool) -> None:
    assert keyframe(VP9, payload) is expected


# --- AV1 and Opus ---


SEQUENCE_HEADER, FRAME, PADDING_OBU = b"\x08abcd", b"\x30frame", b"\x78"


def sized(*obus: bytes) -> bytes:
    """Each OBU element with its size; sizes over 127 take two octets."""
    return b"".join((bytes([len(o)]) if len(o) < 128 else bytes([len(o) & 127 | 128, len(o) >> 7])) + o for o in obus)


@pytest.mark.parametrize(
    "payload, expected",
    [
        pytest.param(b"\x18" + FRAME, True, id="N=1 in the one element of W=1"),
        pytest.param(b"\x08" + sized(FRAME), True, id="N=1, sizes on all"),
        pytest.param(b"\x10" + FRAME, False, id="a frame of W=1"),
        pytest.param(b"\x50" + FRAME, False, id="a frame that goes on in the next packet"),
        pytest.param(b"\x10" + SEQUENCE_HEADER, True, id="sequence header alone"),
        pytest.param(b"\x20" + sized(SEQUENCE_HEADER) + FRAME, True, id="sequence header first of W=2"),
        pytest.param(
            b"\x30" + sized(PADDING_OBU * 200, FRAME) + SEQUENCE_HEADER, True, id="sequence header last of W=3"
        ),
        pytest.param(b"\x00" + sized(FRAME, SEQUENCE_HEADER), True, id="sequence header with W=0"),
        pytest.param(b"\x90" + SEQUENCE_HEADER, False, id="rest of a fragment that looks like a sequence header"),
        pytest.param(
            b"\xa0" + sized(b"rest") + SEQUENCE_HEADER, True, id="sequence header after the rest of a fragment"
        ),
        pytest.param(b"\x20" + sized(b"", FRAME)[:1] + FRAME, False, id="empty element"),
        pytest.param(b"\x00", False, id="aggregation header alone"),
    ],
)
def test_av1_keyframe(payload: bytes, expected: bool) -> None:
    assert keyframe(AV1, payload) is expected


def test_opus_can_be_joined_anywhere() -> None:
    assert keyframe(OPUS, b"\x78")


# --- hostile sizes ---


@pytest.mark.parametrize("codec", [OPUS, VP8, H264, VP9, AV1])
def test_empty_payload_is_refused(codec: int) -> None:
    with pytest.raises(ValueError):
        payload_parse(codec, b"")


@pytest.mark.parametrize("length", range(1, 6))
def test_vp8_descriptor_cut_anywhere_is_refused(length: int) -> None:
    whole = b"\x90\xf0\x80\x05\x11\xbf" + KEY
    with pytest.raises(ValueError):
        payload_parse(VP8, whole[:length])


def test_vp8_descriptor_without_a_frame_is_refused() -> None:
    for descriptor in (b"\x10", b"\x90\x80\x05", b"\x90\x80\x80\x05", b"\x90\xf0\x80\x05\x11\xbf"):
        with pytest.raises(ValueError):
            payload_parse(VP8, descriptor)


@pytest.mark.parametrize(
    "codec, payload",
    [
        pytest.param(H264, b"\x78\x00", id="STAP-A cut in a size"),
        pytest.param(H264, b"\x78\x00\x05\x67", id="STAP-A unit past the end"),
        pytest.param(H264, b"\x78\xff\xff\x67", id="STAP-A unit of 65535 bytes"),
        pytest.param(H264, b"\x78\x00\x00\x67", id="STAP-A unit of no bytes"),
        pytest.param(H264, b"\x7c", id="FU-A without its header"),
        pytest.param(AV1, b"\x00\x05abcd", id="AV1 element past the end"),
        pytest.param(AV1, b"\x20\x80", id="AV1 size cut"),
        pytest.param(AV1, b"\x00\xff\xff\xff\xff\x01a", id="AV1 size of five octets"),
        pytest.param(VP9, bytes([I]), id="VP9 without picture id"),
        pytest.param(VP9, bytes([L]), id="VP9 without layer indices"),
        pytest.param(VP9, bytes([I | L, 0x85]), id="VP9 picture id cut"),
    ],
)
def test_malformed_payload_is_refused(codec: int, payload: bytes) -> None:
    with pytest.raises(ValueError):
        payload_parse(codec, payload)
