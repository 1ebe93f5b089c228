"""SRTCP in C: replay and age, and the senders of one direction, of which there may be more than have windows."""

import random

from pylibsrtp import Policy

from rtc._wire import Srtp
from tests.rtc import srtp_pairs
from tests.rtc.srtp_pairs import GCM, KEY, PROFILES, libsrtp, pair, refusal, rtcp, salt

RTCP_WINDOW = 128
RTCP_SENDERS = 32

crypto = srtp_pairs.crypto


@PROFILES
def test_rtcp_replay_and_age_are_refused(profile: int) -> None:
    sender, receiver = pair(profile)
    packets = [sender.protect_rtcp(rtcp()) for _ in range(RTCP_WINDOW + 10)]
    receiver.unprotect_rtcp(packets[5])
    assert refusal(receiver.unprotect_rtcp, packets[5]) == "replay"
    assert receiver.unprotect_rtcp(packets[4]) == rtcp()
    receiver.unprotect_rtcp(packets[-1])
    assert refusal(receiver.unprotect_rtcp, packets[9]) == "too old"
    assert receiver.unprotect_rtcp(packets[10]) == rtcp()
    assert refusal(receiver.unprotect_rtcp, packets[10]) == "replay"


@PROFILES
def test_rtcp_indices_grow_by_one_over_all_senders(profile: int) -> None:
    sender, _ = pair(profile)
    word = slice(-4, None) if profile == GCM else slice(-14, -10)
    packets = [sender.protect_rtcp(rtcp(ssrc)) for ssrc in (1, 2, 1)]
    assert [int.from_bytes(packet[word], "big") for packet in packets] == [0x8000_0000, 0x8000_0001, 0x8000_0002]


def counting_from(profile: int, index: int) -> Srtp:
    """A sender of its own index, as libsrtp keeps one per SSRC."""
    sender = Srtp(profile, KEY, salt(profile))
    for _ in range(index):
        sender.protect_rtcp(rtcp())
    return sender


@PROFILES
def test_thirty_third_rtcp_sender_replaces_the_idlest_and_nothing_is_taken_twice(profile: int) -> None:
    _, receiver = pair(profile)
    heard = {}
    for ssrc in range(RTCP_SENDERS):
        heard[ssrc] = counting_from(profile, 300).protect_rtcp(rtcp(ssrc))
        receiver.unprotect_rtcp(heard[ssrc])
    receiver.unprotect_rtcp(counting_from(profile, 301).protect_rtcp(rtcp(0)))  # now the second is the idlest
    newcomer = counting_from(profile, 1)
    for _ in range(3):  # an honest one begins at 1, whatever the others have reached
        assert receiver.unprotect_rtcp(newcomer.protect_rtcp(rtcp(RTCP_SENDERS))) == rtcp(RTCP_SENDERS)
    assert refusal(receiver.unprotect_rtcp, heard.pop(1)) == "too old"
    for packet in heard.values():
        assert refusal(receiver.unprotect_rtcp, packet) == "replay"


@PROFILES
def test_replaced_rtcp_sender_goes_on_where_it_was(profile: int) -> None:
    _, receiver = pair(profile)
    returning, others = counting_from(profile, 5), counting_from(profile, 1)
    before = [returning.protect_rtcp(rtcp(0)) for _ in range(10)]
    receiver.unprotect_rtcp(before[4])
    for ssrc in range(1, RTCP_SENDERS + 1):
        receiver.unprotect_rtcp(others.protect_rtcp(rtcp(ssrc)))
    assert [refusal(receiver.unprotect_rtcp, packet) for packet in before[:5]] == ["too old"] * 5
    assert receiver.unprotect_rtcp(before[8]) == rtcp(0)
    assert [refusal(receiver.unprotect_rtcp, packet) for packet in before[:5]] == ["replay"] * 5
    assert [receiver.unprotect_rtcp(before[number]) for number in (7, 5, 6, 9)] == [rtcp(0)] * 4
    assert [refusal(receiver.unprotect_rtcp, packet) for packet in before] == ["replay"] * 10


@PROFILES
def test_hundred_rtcp_senders_taking_turns_are_all_heard(profile: int) -> None:
    _, receiver = pair(profile)
    sender, sent = counting_from(profile, 1), []
    for _ in range(3):
        for ssrc in range(100):
            sent.append(sender.protect_rtcp(rtcp(ssrc)))
            assert receiver.unprotect_rtcp(sent[-1]) == rtcp(ssrc)
    assert {refusal(receiver.unprotect_rtcp, packet) for packet in sent} == {"too old", "replay"}


@PROFILES
def test_rtcp_of_libsrtp_is_heard_from_any_number_of_senders(profile: int, rng: random.Random) -> None:
    """A browser that changes its SSRCs all the time. Marks of others may refuse one by chance, hardly two."""
    theirs, receiver, late = libsrtp(profile, Policy.SSRC_ANY_OUTBOUND), pair(profile)[1], []
    for ssrc in rng.sample(range(2**32), 2 * RTCP_SENDERS):
        packets = [theirs.protect_rtcp(rtcp(ssrc)) for _ in range(6)]
        try:
            receiver.unprotect_rtcp(packets[0])
        except ValueError:
            late.append(ssrc)
    assert len(late) <= 2


@PROFILES
def test_forged_rtcp_senders_push_nobody_out(profile: int) -> None:
    sender, receiver = pair(profile)
    packets = [sender.protect_rtcp(rtcp(ssrc)) for ssrc in range(RTCP_SENDERS)]
    for packet in packets:
        receiver.unprotect_rtcp(packet)
    for ssrc in range(1000, 1000 + 2 * RTCP_SENDERS):
        forged = packets[0][:4] + ssrc.to_bytes(4, "big") + packets[0][8:]
        assert refusal(receiver.unprotect_rtcp, forged) == "auth"
    assert [refusal(receiver.unprotect_rtcp, packet) for packet in packets] == ["replay"] * RTCP_SENDERS


@PROFILES
def test_forged_rtcp_senders_take_no_place(profile: int) -> None:
    sender, receiver = pair(profile)
    packet = bytearray(sender.protect_rtcp(rtcp()))
    for ssrc in range(1000, 1000 + 2 * RTCP_SENDERS):
        packet[4:8] = ssrc.to_bytes(4, "big")
        assert refusal(receiver.unprotect_rtcp, bytes(packet)) == "auth"
    for ssrc in range(RTCP_SENDERS):
        assert receiver.unprotect_rtcp(sender.protect_rtcp(rtcp(ssrc))) == rtcp(ssrc)
