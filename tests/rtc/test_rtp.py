"""The RTP header in C: header extensions of both forms, padding, truncation, and aiortc as second opinion."""

import random

import pytest
from aiortc.rtp import RtpPacket, pack_header_extensions, unpack_header_extensions

from rtc._wire import rtp_parse

FIXED = bytes.fromhex("80e012340000567800009abc")
ONE_BYTE, TWO_BYTE = 0xBEDE, 0x1000


def packet(profile: int, elements: bytes, payload: bytes = b"payload") -> bytes:
    """With an extension block; ``elements`` are padded to words."""
    elements += bytes(-len(elements) % 4)
    return (
        b"\x90" + FIXED[1:] + profile.to_bytes(2, "big") + (len(elements) // 4).to_bytes(2, "big") + elements + payload
    )


def padded(payload: bytes, count: int, filler: bytes = b"") -> bytes:
    return b"\xa0" + FIXED[1:] + payload + (filler or bytes(max(0, count - 1))) + bytes([count])


def test_fixed_header() -> None:
    parsed = rtp_parse(FIXED + b"payload")
    assert (parsed["ssrc"], parsed["timestamp"], parsed["sequence"]) == (0x9ABC, 0x5678, 0x1234)
    assert (parsed["payload_type"], parsed["marker"], parsed["padding"]) == (96, True, False)
    assert (parsed["header_length"], parsed["extensions"], parsed["payload"]) == (12, {}, b"payload")


def test_one_byte_elements() -> None:
    parsed = rtp_parse(packet(ONE_BYTE, b"\x10A" + b"\x21BC" + b"\xe2DEF"))
    assert parsed["extensions"] == {1: b"A", 2: b"BC", 14: b"DEF"}
    assert (parsed["header_length"], parsed["payload"]) == (28, b"payload")


def test_one_byte_element_of_sixteen_bytes() -> None:
    assert rtp_parse(packet(ONE_BYTE, b"\x3f" + bytes(range(16))))["extensions"] == {3: bytes(range(16))}


def test_zero_bytes_between_elements_are_padding() -> None:
    assert rtp_parse(packet(ONE_BYTE, b"\0\0\x10A\0\0\0\x20B"))["extensions"] == {1: b"A", 2: b"B"}
    assert rtp_parse(packet(TWO_BYTE, b"\0\0\1\1A\0\0\0\2\1B"))["extensions"] == {1: b"A", 2: b"B"}


def test_id_15_ends_the_one_byte_list() -> None:
    assert rtp_parse(packet(ONE_BYTE, b"\x10A\xf0X\x20B"))["extensions"] == {1: b"A"}
    assert rtp_parse(packet(ONE_BYTE, b"\x10A\xff"))["extensions"] == {1: b"A"}, "its length is not looked at"


def test_id_0_with_a_length_ends_the_one_byte_list() -> None:
    """RFC 8285 section 4.2."""
    assert rtp_parse(packet(ONE_BYTE, b"\x10A\x01XX\x20B"))["extensions"] == {1: b"A"}


def test_two_byte_elements_may_be_empty_long_and_numbered_over_14() -> None:
    long = bytes(255)
    parsed = rtp_parse(packet(TWO_BYTE, b"\x01\x00" + b"\x0f\x01A" + b"\xff\xff" + long))
    assert parsed["extensions"] == {1: b"", 15: b"A", 255: long}


@pytest.mark.parametrize("application_bits", range(16))
def test_application_bits_of_the_two_byte_form_are_free(application_bits: int) -> None:
    assert rtp_parse(packet(TWO_BYTE | application_bits, b"\x07\x02AB"))["extensions"] == {7: b"AB"}


def test_unknown_extension_profile_is_stepped_over() -> None:
    parsed = rtp_parse(packet(0x1234, b"\xff\xff\xff\xff"))
    assert (parsed["extensions"], parsed["payload"]) == ({}, b"payload")


def test_extension_block_without_elements() -> None:
    parsed = rtp_parse(packet(ONE_BYTE, b""))
    assert (parsed["extensions"], parsed["header_length"]) == ({}, 16)


def test_first_of_elements_with_the_same_id_wins() -> None:
    assert rtp_parse(packet(ONE_BYTE, b"\x10A\x10B"))["extensions"] == {1: b"A"}


def test_elements_past_the_sixteenth_are_ignored() -> None:
    elements = b"".join(bytes([number, 1, number]) for number in range(1, 31))
    assert list(rtp_parse(packet(TWO_BYTE, elements))["extensions"]) == list(range(1, 17))


def test_contributors_are_stepped_over() -> None:
    parsed = rtp_parse(b"\x8f" + FIXED[1:] + bytes(60) + b"payload")
    assert (parsed["header_length"], parsed["payload"]) == (72, b"payload")


def test_padding_is_taken_off() -> None:
    parsed = rtp_parse(padded(b"payload", 4))
    assert (parsed["padding"], parsed["payload"]) == (True, b"payload")


@pytest.mark.parametrize("count", [1, 2, 255])
def test_padding_only_packet_has_an_empty_payload(count: int) -> None:
    parsed = rtp_parse(padded(b"", count))
    assert (parsed["padding"], parsed["payload"]) == (True, b"")


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(FIXED[:11], id="fixed header cut"),
        pytest.param(b"\x40" + FIXED[1:], id="version 1"),
        pytest.param(b"\xc0" + FIXED[1:], id="version 3"),
        pytest.param(b"\x81" + FIXED[1:] + bytes(3), id="contributors cut"),
        pytest.param(b"\x90" + FIXED[1:] + bytes(3), id="extension header cut"),
        pytest.param(b"\x90" + FIXED[1:] + b"\xbe\xde\0\2" + bytes(7), id="extension block cut"),
        pytest.param(b"\x90" + FIXED[1:] + b"\xbe\xde\xff\xff" + bytes(100), id="extension block of 256 KiB"),
        pytest.param(packet(ONE_BYTE, b"\0\0\x11A"), id="one-byte element past the block"),
        pytest.param(packet(ONE_BYTE, b"\0\0\0\x10"), id="one-byte element without data"),
        pytest.param(packet(TWO_BYTE, b"\0\0\0\1"), id="two-byte element without length"),
        pytest.param(packet(TWO_BYTE, b"\0\1\2A"), id="two-byte element past the block"),
        pytest.param(padded(b"", 0), id="padding of no bytes"),
        pytest.param(padded(b"payload", 13, b"xxxx"), id="padding one byte longer than the payload with it"),
        pytest.param(padded(b"", 200, b"x"), id="padding longer than the packet"),
        pytest.param(b"\xa0" + FIXED[1:], id="padding bit and no payload"),
    ],
)
def test_malformed_packet_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        rtp_parse(data)


def test_truncated_packets_are_refused_or_keep_their_header(rng: random.Random) -> None:
    whole = packet(ONE_BYTE, b"\x10A\x21BC")
    for length in range(len(whole)):
        if length < 24:
            with pytest.raises(ValueError):
                rtp_parse(whole[:length])
        else:
            assert rtp_parse(whole[:length])["extensions"] == {1: b"A", 2: b"BC"}


def test_aiortc_agrees(rng: random.Random) -> None:
    for _ in range(500):
        ids = rng.sample(range(1, 15), rng.randrange(6))
        lengths = (1, 16) if rng.random() < 0.5 else (0, 30)
        values = [(number, rng.randbytes(rng.randint(*lengths))) for number in ids]
        profile, block = pack_header_extensions(values)
        theirs = RtpPacket(
            rng.randrange(128), rng.randrange(2), rng.randrange(2**16), rng.randrange(2**32), rng.randrange(2**32)
        )
        theirs.csrc = [rng.randrange(2**32) for _ in range(rng.randrange(16))]
        theirs.payload = rng.randbytes(rng.randrange(50))
        theirs.padding_size = rng.choice((0, 0, 1, 7))
        data = theirs.serialize()
        if values:
            end = 12 + 4 * len(theirs.csrc)
            words = (len(block) // 4).to_bytes(2, "big")
            data = bytes([data[0] | 0x10]) + data[1:end] + profile.to_bytes(2, "big") + words + block + data[end:]
        ours = rtp_parse(data)
        assert ours["extensions"] == dict(unpack_header_extensions(profile, block) if values else [])
        assert (ours["ssrc"], ours["timestamp"], ours["sequence"]) == (
            theirs.ssrc,
            theirs.timestamp,
            theirs.sequence_number,
        )
        assert (ours["payload_type"], ours["marker"]) == (theirs.payload_type, bool(theirs.marker))
        assert (ours["payload"], ours["padding"]) == (theirs.payload, theirs.padding_size > 0)
