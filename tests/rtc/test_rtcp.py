"""RTCP in C: compound packets and their traps, every writer read back, and aiortc as second opinion."""

import random

import pytest
from aiortc.rtp import (
    RtcpPacket,
    RtcpPsfbPacket,
    RtcpReceiverInfo,
    RtcpRrPacket,
    RtcpRtpfbPacket,
    RtcpSenderInfo,
    RtcpSrPacket,
    pack_remb_fci,
    unpack_remb_fci,
)
from hypothesis import given
from hypothesis import strategies as st

from rtc._wire import rtcp_nack, rtcp_parse, rtcp_pli, rtcp_remb, rtcp_rr, rtcp_sr

SR, RR, SDES, BYE, RTPFB, PSFB = 200, 201, 202, 203, 205, 206
US, THEM = 0x11111111, 0xFEDCBA98
REPORT = {"ssrc": 7, "fraction_lost": 255, "lost": -3, "highest": 2**32 - 1, "jitter": 5, "lsr": 6, "dlsr": 2**31}


def block(kind: int, count: int, body: bytes, *, padding: bool = False) -> bytes:
    return bytes([0x80 | padding << 5 | count, kind]) + (len(body) // 4).to_bytes(2, "big") + body


def ssrcs(*numbers: int) -> bytes:
    return b"".join(number.to_bytes(4, "big") for number in numbers)


# --- compound packets ---


def test_blocks_of_a_compound_packet_come_in_order() -> None:
    data = rtcp_sr(US, 1, 2, 3, 4) + block(SDES, 0, b"") + rtcp_pli(US, THEM) + rtcp_nack(US, THEM, [5])
    assert [(b["type"], b["count"]) for b in rtcp_parse(data)] == [(SR, 0), (SDES, 0), (PSFB, 1), (RTPFB, 1)]


def test_single_feedback_block_of_reduced_size_is_read() -> None:
    """RFC 5506."""
    assert rtcp_parse(rtcp_pli(US, THEM))[0]["media"] == THEM


def test_unknown_block_types_are_stepped_over() -> None:
    data = block(192, 3, bytes(8)) + block(207, 0, bytes(40)) + rtcp_pli(US, THEM)
    assert [b["type"] for b in rtcp_parse(data)] == [192, 207, PSFB]


def test_padding_of_the_last_block_is_taken_off() -> None:
    padded = block(RTPFB, 1, ssrcs(US, THEM) + b"\0\5\0\0" + b"\0\0\0\4", padding=True)
    (parsed,) = rtcp_parse(padded)
    assert parsed["lost"] == [5], "padding is no NACK item"
    assert len(parsed["data"]) == 16


def test_padding_of_another_than_the_last_block_is_refused() -> None:
    """RFC 3550 section 6.4.1."""
    padded = block(RTPFB, 1, ssrcs(US, THEM) + b"\0\5\0\0" + b"\0\0\0\4", padding=True)
    with pytest.raises(ValueError):
        rtcp_parse(padded + rtcp_pli(US, THEM))


@pytest.mark.parametrize("count", [0, 13, 16, 255])
def test_impossible_padding_is_refused(count: int) -> None:
    with pytest.raises(ValueError):
        rtcp_parse(block(PSFB, 1, ssrcs(US) + bytes([0, 0, 0, 0, 0, 0, 0, count]), padding=True))


def test_block_that_padding_leaves_nothing_of_says_nothing() -> None:
    (parsed,) = rtcp_parse(block(PSFB, 1, ssrcs(US) + bytes([0, 0, 0, 8]), padding=True))
    assert "media" not in parsed


@pytest.mark.parametrize(
    "data",
    [
        b"\x80",
        b"\x80\xc9\x00",
        b"\x40\xc9\0\1" + bytes(4),
        b"\x80\xc9\0\2" + bytes(4),
        b"\x80\xc9\xff\xff" + bytes(1000),
    ],
)
def test_malformed_packet_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        rtcp_parse(data)
    with pytest.raises(ValueError):
        rtcp_parse(rtcp_pli(US, THEM) + data)


def test_packet_cut_anywhere_is_refused_or_ends_with_a_whole_block() -> None:
    whole = rtcp_sr(US, 1, 2, 3, 4) + rtcp_nack(US, THEM, [5, 100]) + rtcp_pli(US, THEM)
    ends = {0, 28, 48, 60}
    for length in range(len(whole) + 1):
        if length in ends:
            rtcp_parse(whole[:length])
        else:
            with pytest.raises(ValueError):
                rtcp_parse(whole[:length])


# --- reports ---


def test_sender_report_is_read_back() -> None:
    (parsed,) = rtcp_parse(rtcp_sr(US, 2**64 - 2, 2**32 - 1, 3, 4))
    assert (parsed["sender"], parsed["ntp"], parsed["rtp"]) == (US, 2**64 - 2, 2**32 - 1)
    assert (parsed["packets"], parsed["octets"], parsed["reports"]) == (3, 4, [])


def test_receiver_report_is_read_back() -> None:
    reports = [REPORT | {"ssrc": number, "lost": number * 1000 - 9} for number in range(31)]
    (parsed,) = rtcp_parse(rtcp_rr(US, reports))
    assert (parsed["sender"], parsed["count"], parsed["reports"]) == (US, 31, reports)


@pytest.mark.parametrize("lost", [0, 1, -1, 2**23 - 1, -(2**23)])
def test_cumulative_loss_has_24_bits_and_a_sign(lost: int) -> None:
    (parsed,) = rtcp_parse(rtcp_rr(US, [REPORT | {"lost": lost}]))
    assert parsed["reports"][0]["lost"] == lost


def test_report_count_larger_than_the_block_gives_what_is_there() -> None:
    data = bytearray(rtcp_rr(US, [REPORT]))
    data[0] = 0x80 | 31
    (parsed,) = rtcp_parse(bytes(data))
    assert parsed["reports"] == [REPORT]


def test_sender_report_without_sender_information_says_nothing() -> None:
    (parsed,) = rtcp_parse(block(SR, 1, bytes(20)))
    assert "ntp" not in parsed
    assert parsed["reports"] == []


# --- feedback ---


@pytest.mark.parametrize(
    "lost, items",
    [
        pytest.param([5], 1, id="one"),
        pytest.param(list(range(5, 22)), 1, id="seventeen in a row fill one item"),
        pytest.param(list(range(5, 23)), 2, id="the eighteenth begins another"),
        pytest.param([5, 21], 1, id="the mask's last bit"),
        pytest.param([5, 22], 2, id="one past the mask"),
        pytest.param([65535, 0, 15], 1, id="over the wrap inside a mask"),
        pytest.param([65530, 65535, 0, 1, 30], 2, id="over the wrap"),
        pytest.param([0, 32767, 65535], 3, id="far apart"),
    ],
)
def test_nack_is_read_back(lost: list[int], items: int) -> None:
    data = rtcp_nack(US, THEM, lost)
    assert len(data) == 12 + 4 * items
    (parsed,) = rtcp_parse(data)
    assert (parsed["sender"], parsed["media"], parsed["lost"]) == (US, THEM, lost)


def test_every_bit_of_a_nack_mask_names_its_packet() -> None:
    for bit in range(16):
        body = ssrcs(US, THEM) + (65530).to_bytes(2, "big") + (1 << bit).to_bytes(2, "big")
        assert rtcp_parse(block(RTPFB, 1, body))[0]["lost"] == [65530, (65531 + bit) % 65536]


@given(st.integers(0, 65535), st.sets(st.integers(0, 2000), min_size=1, max_size=256))
def test_any_nack_is_read_back_in_order(first: int, distances: set[int]) -> None:
    lost = [(first + distance) % 65536 for distance in sorted(distances)]
    assert rtcp_parse(rtcp_nack(US, THEM, lost))[0]["lost"] == lost


def test_nack_of_nothing_is_not_written() -> None:
    with pytest.raises(ValueError):
        rtcp_nack(US, THEM, [])


def test_nack_expands_to_a_bounded_list() -> None:
    body = ssrcs(US, THEM) + b"\0\0\xff\xff" * 350
    assert len(rtcp_parse(block(RTPFB, 1, body))[0]["lost"]) == 512


def test_fir_names_every_source_with_its_sequence() -> None:
    """RFC 5104 section 4.3.1: the media SSRC of the header is 0, the entries name the sources."""
    body = ssrcs(US, 0) + ssrcs(THEM) + b"\x05\0\0\0" + ssrcs(9) + b"\xff\0\0\0"
    assert rtcp_parse(block(PSFB, 4, body))[0]["fir"] == [(THEM, 5), (9, 255)]
    assert rtcp_parse(block(PSFB, 4, body[:-4]))[0]["fir"] == [(THEM, 5)], "half an entry is none"


@pytest.mark.parametrize("bitrate", [0, 1, 0x3FFFF, 0x40000, 300_000, 2_500_000, 2**40])
def test_remb_keeps_18_bits_of_the_bitrate(bitrate: int) -> None:
    (parsed,) = rtcp_parse(rtcp_remb(US, bitrate, [1, 2]))
    lost_bits = max(0, bitrate.bit_length() - 18)
    assert parsed["bitrate"] == bitrate >> lost_bits << lost_bits


def test_remb_that_no_link_can_carry_is_ignored() -> None:
    body = ssrcs(US, 0) + b"REMB\x00" + (63 << 18 | 1).to_bytes(3, "big")
    assert "bitrate" not in rtcp_parse(block(PSFB, 15, body))[0]


@pytest.mark.parametrize("body", [b"REMX\0\0\0\1", b"REMB", b""])
def test_other_application_feedback_is_no_remb(body: bytes) -> None:
    assert "bitrate" not in rtcp_parse(block(PSFB, 15, ssrcs(US, 0) + body))[0]


@pytest.mark.parametrize("kind", [RTPFB, PSFB])
@pytest.mark.parametrize("count", range(32))
def test_feedback_of_every_format_and_length_is_read_or_left(kind: int, count: int, rng: random.Random) -> None:
    for words in range(8):
        assert len(rtcp_parse(block(kind, count, rng.randbytes(4 * words)))) == 1


# --- aiortc ---


def test_aiortc_reads_what_we_write() -> None:
    data = (
        rtcp_sr(US, 11, 12, 13, 14)
        + rtcp_rr(US, [REPORT])
        + rtcp_pli(US, THEM)
        + rtcp_nack(US, THEM, [5, 9, 400])
        + rtcp_remb(US, 1_000_000, [THEM])
    )
    sender, receiver, pli, nack, remb = RtcpPacket.parse(data)
    assert sender == RtcpSrPacket(US, RtcpSenderInfo(11, 12, 13, 14))
    assert receiver == RtcpRrPacket(US, [RtcpReceiverInfo(7, 255, -3, 2**32 - 1, 5, 6, 2**31)])
    assert pli == RtcpPsfbPacket(1, US, THEM)
    assert nack == RtcpRtpfbPacket(1, US, THEM, [5, 9, 400])
    assert isinstance(remb, RtcpPsfbPacket)
    bitrate, named = unpack_remb_fci(remb.fci)
    assert named == [THEM]
    assert 999_990 < bitrate <= 1_000_000


def test_we_read_what_aiortc_writes(rng: random.Random) -> None:
    for _ in range(200):
        report = RtcpReceiverInfo(
            rng.getrandbits(32),
            rng.getrandbits(8),
            rng.randint(-(2**23), 2**23 - 1),
            *(rng.getrandbits(32) for _ in range(4)),
        )
        info = RtcpSenderInfo(rng.getrandbits(64), *(rng.getrandbits(32) for _ in range(3)))
        lost = sorted(rng.sample(range(2**16), rng.randrange(1, 20)))
        bitrate = rng.getrandbits(rng.randrange(1, 50))
        theirs = [
            RtcpSrPacket(US, info, [report]),
            RtcpRtpfbPacket(1, US, THEM, lost),
            RtcpPsfbPacket(15, US, 0, pack_remb_fci(bitrate, [THEM])),
        ]
        sender, nack, remb = rtcp_parse(b"".join(map(bytes, theirs)))
        assert (sender["ntp"], sender["rtp"]) == (info.ntp_timestamp, info.rtp_timestamp)
        assert (sender["packets"], sender["octets"]) == (info.packet_count, info.octet_count)
        (ours,) = sender["reports"]
        assert (ours["ssrc"], ours["fraction_lost"], ours["lost"]) == (
            report.ssrc,
            report.fraction_lost,
            report.packets_lost,
        )
        assert (ours["highest"], ours["jitter"], ours["lsr"], ours["dlsr"]) == (
            report.highest_sequence,
            report.jitter,
            report.lsr,
            report.dlsr,
        )
        assert nack["lost"] == lost
        assert remb["bitrate"] == unpack_remb_fci(pack_remb_fci(bitrate, []))[0]
